//! Model folders: what makes one, what is refused, and the identity of the files.

use std::path::Path;

use optrode::store::{Identity, ModelFolder, Origin, sha256_file, write_atomic};
use optrode::{Error, store};

use super::{message, shared};

fn put(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).unwrap();
}

#[test]
fn a_folder_that_is_no_model_says_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    assert!(message(ModelFolder::open(path.join("none"))).contains("no such folder"));
    assert!(message(ModelFolder::open(path)).contains("no config.json"));
    put(path, "config.json", "{\n  \"a\": 1,\n  \"b\" 2\n}");
    assert!(message(ModelFolder::open(path)).contains("line 3 column 7"));
    assert!(message(ModelFolder::open(path.join("config.json"))).contains("is a file, expected a folder"));
    put(path, "config.json", "[]");
    assert!(message(ModelFolder::open(path)).contains("expected a JSON object"));
    std::fs::write(path.join("config.json"), b"{\"a\": \"\xff\"}").unwrap();
    assert!(message(ModelFolder::open(path)).contains("byte 7 is not UTF-8"));
    put(path, "config.json", "{}");
    assert!(message(ModelFolder::open(path)).contains("no weights in this folder"));
    put(path, "training_args.bin", "x");
    assert!(message(ModelFolder::open(path)).contains("no weights in this folder"));
    put(path, "pytorch_model.bin", "x");
    let text = message(ModelFolder::open(path));
    assert!(text.contains("`pytorch_model.bin`") && text.contains("safe_serialization=True"), "{text}");
    put(path, "one.safetensors", "x");
    assert!(ModelFolder::open(path).is_ok(), "a lone safetensors file of another name is the model");
    put(path, "two.safetensors", "x");
    assert!(message(ModelFolder::open(path)).contains("neither model.safetensors nor"));
}

#[test]
fn identity_changes_with_any_file_and_is_remembered_by_size_and_time() {
    let folder = tempfile::tempdir().unwrap();
    let memory = folder.path().join("cache").join("hashes.json");
    let file = folder.path().join("model.safetensors");
    put(folder.path(), "model.safetensors", "abc");
    let files = [file.clone()];
    let first = Identity::remembered(&files, Some(&memory)).unwrap();
    assert_eq!(first.files[0].sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_eq!(first, Identity::remembered(&files, Some(&memory)).unwrap());
    // A wrong entry shows that the memory is used; another size, that it is not used blindly.
    let text = std::fs::read_to_string(&memory).unwrap().replace("ba7816bf", "00000000");
    std::fs::write(&memory, text).unwrap();
    assert!(Identity::remembered(&files, Some(&memory)).unwrap().files[0].sha256.starts_with("00000000"));
    put(folder.path(), "model.safetensors", "abcd");
    let changed = Identity::remembered(&files, Some(&memory)).unwrap();
    assert_eq!(changed.files[0].sha256, sha256_file(&file).unwrap());
    assert_ne!(changed.sha256, first.sha256);
    // Nonsense in the memory, or no place for it, is no error.
    std::fs::write(&memory, "{").unwrap();
    assert_eq!(Identity::remembered(&files, Some(&memory)).unwrap(), changed);
    assert_eq!(Identity::remembered(&files, Some(&file.join("below"))).unwrap(), changed);
    assert_eq!(Identity::remembered(&files, None).unwrap(), changed);
}

#[cfg(unix)]
#[test]
fn a_link_into_a_hub_cache_is_identified_by_its_blob_name() {
    let folder = tempfile::tempdir().unwrap();
    let hash = "0123456789abcdef".repeat(4);
    let (blobs, snapshot) = (folder.path().join("blobs"), folder.path().join("snapshots").join("c"));
    std::fs::create_dir_all(&blobs).unwrap();
    std::fs::create_dir_all(&snapshot).unwrap();
    put(&blobs, &hash, "x");
    put(&blobs, "0123456789", "y");
    std::os::unix::fs::symlink(format!("../../blobs/{hash}"), snapshot.join("large")).unwrap();
    std::os::unix::fs::symlink("../../blobs/0123456789", snapshot.join("small")).unwrap();
    let identity = Identity::remembered(&[snapshot.join("large"), snapshot.join("small")], None).unwrap();
    assert_eq!(identity.files[0].sha256, hash);
    assert_eq!(identity.files[1].sha256, sha256_file(blobs.join("0123456789")).unwrap());
}

#[test]
fn a_failed_write_leaves_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep").join("file");
    write_atomic(&path, |file| std::io::Write::write_all(file, b"old").map_err(Error::io("file"))).unwrap();
    let failed = write_atomic(&path, |file| {
        std::io::Write::write_all(file, b"new").map_err(Error::io("file"))?;
        Err(Error::invalid("stopped", "try again"))
    });
    assert!(message(failed).contains("stopped"));
    assert_eq!(std::fs::read(&path).unwrap(), b"old");
    assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
}

#[test]
fn stories260k_opens_as_a_whole() {
    let Some(path) = shared("models/stories260K") else {
        return;
    };
    let folder = store::resolve(path.to_str().unwrap(), &store::HubOptions::from_vars(|_| None)).unwrap();
    assert_eq!(folder.config()["model_type"], "llama");
    assert_eq!(*folder.origin(), Origin::Local);
    assert_eq!(folder.weight_files().unwrap().len(), 1);
    assert!(folder.generation_config().is_some() && folder.chat_template().unwrap().is_none());
    let embed = folder.weights().unwrap();
    assert!(embed.contains("model.embed_tokens.weight"));
    folder.tokenizer().unwrap().check_vocab(512).unwrap();
}
