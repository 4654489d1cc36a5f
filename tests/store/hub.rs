//! The Hub: downloads, the cache, offline use, and everything that goes wrong, against a stub on this machine.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use optrode::store::{HubOptions, Origin, Source, Storage, cache_list, resolve, write_safetensors};

use super::hub_stub::{COMMIT, Stub, sha256};
use super::message;

fn options(stub: &Stub, cache: &Path) -> HubOptions {
    HubOptions {
        endpoint: stub.endpoint.clone(),
        cache: cache.to_path_buf(),
        token: None,
        offline: None,
        refresh: false,
        progress: false,
        chunk: 1000,
        retries: 0,
    }
}

/// The bytes of a weight file with one tensor of `n` numbers.
fn weights(name: &str, n: usize) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w");
    let values: Vec<f32> = (0..n).map(|i| i as f32).collect();
    let tensor = Tensor::from_vec(values, n, &Device::Cpu).unwrap();
    write_safetensors(&path, &[(name.to_string(), Source::Tensor(tensor))], &BTreeMap::new()).unwrap();
    std::fs::read(path).unwrap()
}

fn add(stub: &Stub, id: &str) -> Vec<u8> {
    let bytes = weights("w", 1000);
    stub.add(
        id,
        &[
            ("config.json", b"{\"model_type\": \"llama\"}"),
            ("tokenizer.json", b"{}"),
            ("README.md", b"# no"),
            ("pytorch_model.bin", b"pickle"),
            ("model.safetensors", &bytes),
        ],
    );
    bytes
}

#[test]
fn a_model_is_fetched_once_and_then_used_without_a_request() {
    let (stub, cache) = (Stub::start(), tempfile::tempdir().unwrap());
    let options = options(&stub, cache.path());
    let bytes = add(&stub, "org/tiny");
    let folder = resolve("org/tiny", &options).unwrap();
    let origin = Origin::Hub { id: "org/tiny".to_string(), commit: COMMIT.to_string() };
    assert_eq!(*folder.origin(), origin);
    assert_eq!(folder.name(), "org/tiny@0123456789ab");
    let w = folder.weights().unwrap().tensor("w", &[1000], Storage::F32).unwrap();
    assert_eq!(w.to_vec1::<f32>().unwrap()[999], 999.0);
    assert!(folder.file("pytorch_model.bin").is_none() && folder.file("README.md").is_none());
    let identity = folder.identity().unwrap();
    assert!(identity.files.iter().any(|f| f.name == "model.safetensors" && f.sha256 == sha256(&bytes)));
    assert!(!stub.take_log().is_empty());

    let again = resolve("org/tiny", &options).unwrap();
    assert_eq!(again.path(), folder.path());
    assert!(resolve(&format!("org/tiny@{COMMIT}"), &options).is_ok());
    assert_eq!(stub.take_log(), [""; 0]);
    let refreshed = HubOptions { refresh: true, ..options };
    assert!(resolve("org/tiny", &refreshed).is_ok());
    let log = stub.take_log();
    assert!(!log.is_empty() && log.iter().all(|line| line.contains("/api/")), "{log:?}");
}

#[test]
fn the_cache_is_laid_out_as_other_tools_expect_it() {
    let (stub, cache) = (Stub::start(), tempfile::tempdir().unwrap());
    let options = options(&stub, cache.path());
    assert!(cache_list(&options).unwrap().is_empty());
    let bytes = add(&stub, "org/tiny");
    resolve("org/tiny", &options).unwrap();
    let root = cache.path().join("models--org--tiny");
    assert_eq!(std::fs::read_to_string(root.join("refs/main")).unwrap(), COMMIT);
    assert_eq!(std::fs::read(root.join("blobs").join(sha256(&bytes))).unwrap(), bytes);
    let list = cache_list(&options).unwrap();
    assert_eq!((list.len(), list[0].id.as_str()), (1, "org/tiny"));
    let revision = &list[0].revisions[0];
    assert_eq!((revision.commit.as_str(), &revision.refs[..]), (COMMIT, &["main".to_string()][..]));
    assert_eq!(revision.files, ["config.json", "model.safetensors", "tokenizer.json"]);
    let small = "{\"model_type\": \"llama\"}{}".len();
    assert_eq!(list[0].size, (bytes.len() + small) as u64);
}

#[test]
fn an_interrupted_download_goes_on_where_it_stopped() {
    for tell in [true, false] {
        let (stub, cache) = (Stub::start(), tempfile::tempdir().unwrap());
        let options = options(&stub, cache.path());
        let bytes = add(&stub, "org/tiny");
        if !tell {
            stub.hide_sha256();
        }
        stub.break_after(Some(2));
        let text = message(resolve("org/tiny", &options));
        assert!(text.contains("broke at byte 2000") && text.contains("goes on from there"), "{text}");
        let offline = HubOptions { offline: Some("HF_HUB_OFFLINE is set".to_string()), ..options.clone() };
        assert!(message(resolve("org/tiny", &offline)).contains("is not in the cache"));
        stub.take_log();
        stub.break_after(None);
        let folder = resolve("org/tiny", &options).unwrap();
        assert_eq!(std::fs::read(folder.file("model.safetensors").unwrap()).unwrap(), bytes);
        let log = stub.take_log();
        let ranges: Vec<&String> = log.iter().filter(|l| l.starts_with("GET") && l.contains("bytes=")).collect();
        assert!(ranges[0].ends_with("model.safetensors bytes=2000-2999"), "{ranges:?}");
        assert_eq!(folder.identity().unwrap().files[1].sha256, sha256(&bytes), "the blob is named by its sha256");
    }
}

#[test]
fn a_resumed_file_that_does_not_fit_is_fetched_again() {
    let (stub, cache) = (Stub::start(), tempfile::tempdir().unwrap());
    let options = options(&stub, cache.path());
    let bytes = add(&stub, "org/tiny");
    let blobs = cache.path().join("models--org--tiny").join("blobs");
    std::fs::create_dir_all(&blobs).unwrap();
    std::fs::write(blobs.join(format!("{}.incomplete", sha256(&bytes))), [0xffu8; 1500]).unwrap();
    let folder = resolve("org/tiny", &options).unwrap();
    assert_eq!(std::fs::read(folder.file("model.safetensors").unwrap()).unwrap(), bytes);
}

#[test]
fn a_broken_connection_is_tried_again() {
    let (stub, cache) = (Stub::start(), tempfile::tempdir().unwrap());
    let mut options = options(&stub, cache.path());
    options.retries = 2;
    add(&stub, "org/tiny");
    stub.break_after(Some(1));
    let mender = stub.clone();
    std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(150));
        mender.break_after(None);
    });
    assert!(resolve("org/tiny", &options).is_ok());
}

#[test]
fn two_at_once_fetch_a_file_once() {
    for tell in [true, false] {
        let (stub, cache) = (Stub::start(), tempfile::tempdir().unwrap());
        let options = options(&stub, cache.path());
        add(&stub, "org/tiny");
        if !tell {
            stub.hide_sha256();
        }
        std::thread::scope(|scope| {
            let runs = [(); 4].map(|()| scope.spawn(|| resolve("org/tiny", &options).and_then(|f| f.weights())));
            assert!(runs.map(|run| run.join().unwrap().is_ok()).iter().all(|ok| *ok));
        });
        let log = stub.take_log();
        let first = |line: &&String| line.starts_with("GET") && line.ends_with("model.safetensors bytes=0-999");
        assert_eq!(log.iter().filter(first).count(), 1, "{log:?}");
    }
}

#[test]
fn shards_are_fetched_by_their_index() {
    let (stub, cache) = (Stub::start(), tempfile::tempdir().unwrap());
    let options = options(&stub, cache.path());
    let (a, b) = (weights("a", 10), weights("b", 20));
    let index =
        br#"{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}"#;
    let mut files: Vec<(&str, &[u8])> = vec![
        ("config.json", b"{}"),
        ("model.safetensors.index.json", index),
        ("model-00001-of-00002.safetensors", &a),
        ("model-00002-of-00002.safetensors", &b),
        ("model-00003-of-00003.safetensors", &b),
    ];
    stub.add("org/large", &files);
    let folder = resolve("org/large", &options).unwrap();
    assert_eq!(folder.weights().unwrap().names().collect::<Vec<_>>(), ["a", "b"]);
    assert!(folder.file("model-00003-of-00003.safetensors").is_none());
    stub.take_log();
    // It has no tokenizer, and that is remembered too.
    assert!(resolve("org/large", &options).is_ok());
    assert_eq!(stub.take_log(), [""; 0]);
    files.remove(3);
    stub.add("org/lacking", &files);
    assert!(message(resolve("org/lacking", &options)).contains("lacks the shard model-00002-of-00002.safetensors"));
}

#[test]
fn what_the_hub_refuses_is_explained() {
    let (stub, cache) = (Stub::start(), tempfile::tempdir().unwrap());
    let mut options = options(&stub, cache.path());
    let fails = |id: &str, options: &HubOptions| message(resolve(id, options));
    add(&stub, "org/tiny");
    add(&stub, "org/private");
    let text = fails("org/none", &options);
    assert!(text.contains("org/none does not exist") && text.contains("404"), "{text}");
    assert!(fails("org/tiny@v9", &options).contains("no revision `v9`"));
    let text = fails("org/gated", &options);
    assert!(text.contains("is gated") && text.contains("HF_TOKEN"), "{text}");
    let text = fails("org/private", &options);
    assert!(text.contains("does not exist") && text.contains("private (401)") && text.contains("HF_TOKEN"), "{text}");
    options.token = Some("good".to_string());
    assert!(resolve("org/private", &options).is_ok());
    stub.add("org/pickled", &[("config.json", b"{}"), ("pytorch_model.bin", b"x")]);
    let text = fails("org/pickled", &options);
    assert!(text.contains("only as `pytorch_model.bin`") && text.contains("\"org/pickled\""), "{text}");
    stub.add("org/adapter", &[("adapter_config.json", b"{}")]);
    assert!(fails("org/adapter", &options).contains("has no config.json"));
    stub.add("org/empty", &[("config.json", b"{}")]);
    assert!(fails("org/empty", &options).contains("has no weights"));
    options.endpoint = "http://127.0.0.1:1".to_string();
    assert!(fails("org/other", &options).contains("cannot be reached"));
    // What is in the cache does not need the Hub.
    assert!(resolve("org/private", &options).is_ok());
}

#[test]
fn offline_the_cache_is_all_there_is() {
    let (stub, cache) = (Stub::start(), tempfile::tempdir().unwrap());
    let mut options = options(&stub, cache.path());
    add(&stub, "org/tiny");
    options.offline = HubOptions::from_vars(|n| (n == "HF_HUB_OFFLINE").then(|| "1".to_string())).offline;
    let text = message(resolve("org/tiny", &options));
    assert!(text.contains("HF_HUB_OFFLINE is set") && text.contains("unset"), "{text}");
    let online = HubOptions { offline: None, ..options.clone() };
    resolve("org/tiny", &online).unwrap();
    stub.take_log();
    options.refresh = true;
    assert!(resolve("org/tiny", &options).is_ok());
    assert_eq!(stub.take_log(), [""; 0]);
}

#[test]
fn names_that_are_none_never_reach_the_network() {
    let (stub, cache) = (Stub::start(), tempfile::tempdir().unwrap());
    let options = options(&stub, cache.path());
    for id in
        ["", "a/b/c", "../x", "/none/such", "org/", "/x", "org/..", "org/x@", "org/x@../y", "o r/x", "a--b/c", "./x"]
    {
        assert!(message(resolve(id, &options)).contains("neither an existing folder nor a Hub name"), "{id}");
    }
    assert_eq!(stub.take_log(), [""; 0]);
}

#[test]
fn the_environment_is_read_as_other_tools_read_it() {
    let read = |vars: &[(&str, &str)]| {
        HubOptions::from_vars(|name| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| v.to_string()))
    };
    let plain = read(&[("HOME", "/home/me")]);
    assert_eq!(plain.cache, Path::new("/home/me/.cache/huggingface/hub"));
    assert_eq!(plain.endpoint, "https://huggingface.co");
    assert!(plain.offline.is_none() && plain.progress);
    assert_eq!(read(&[("HF_HOME", "/h"), ("HOME", "/x")]).cache, Path::new("/h/hub"));
    assert_eq!(read(&[("HF_HOME", "/h"), ("HF_HUB_CACHE", "/c")]).cache, Path::new("/c"));
    assert_eq!(read(&[("XDG_CACHE_HOME", "/x")]).cache, Path::new("/x/huggingface/hub"));
    assert_eq!(read(&[("HF_ENDPOINT", "http://mirror")]).endpoint, "http://mirror");
    assert_eq!(read(&[("TRANSFORMERS_OFFLINE", "true")]).offline.as_deref(), Some("TRANSFORMERS_OFFLINE is set"));
    assert!(read(&[("HF_HUB_OFFLINE", "0")]).offline.is_none());
    assert!(!read(&[("HF_HUB_DISABLE_PROGRESS_BARS", "1")]).progress);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), "secret\n").unwrap();
    let home = folder.path().to_str().unwrap();
    assert_eq!(read(&[("HF_HOME", home)]).token.as_deref(), Some("secret"));
    assert_eq!(read(&[("HF_TOKEN_PATH", &format!("{home}/token"))]).token.as_deref(), Some("secret"));
    assert_eq!(read(&[("HF_HOME", home), ("HF_TOKEN", "mine")]).token.as_deref(), Some("mine"));
}
