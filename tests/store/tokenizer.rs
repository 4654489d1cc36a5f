//! Tokenizers: parity with recorded ids, special tokens, streams, and folders without `tokenizer.json`.

use std::path::Path;

use optrode::store::Tokenizer;
use serde_json::{Value, json};

use super::{message, shared};

const TEXTS: [&str; 5] =
    ["Hello, my dog is cute", "  tabs\tand\n\nlines ", "Zürich 東京 🙂🏳️‍🌈", "I'll don't 12345 x=y;", ""];

fn put(folder: &Path, name: &str, json: &Value) {
    std::fs::write(folder.join(name), json.to_string()).unwrap();
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// A copy of the stories tokenizer with its files changed.
fn changed(path: &Path, edit: impl Fn(&mut Value, &mut Value, &mut Value)) -> Tokenizer {
    let folder = tempfile::tempdir().unwrap();
    let names = ["tokenizer.json", "tokenizer_config.json", "config.json"];
    let mut files = names.map(|n| read(&path.join(n)));
    let [tokenizer, config, model] = &mut files;
    edit(tokenizer, config, model);
    for (name, json) in names.iter().zip(&files) {
        put(folder.path(), name, json);
    }
    Tokenizer::open(folder.path()).unwrap()
}

#[test]
fn stories260k_has_the_ids_of_its_reference() {
    let Some(path) = shared("models/stories260K") else {
        return;
    };
    let reference = read(&path.join("reference.json"));
    let ids: Vec<u32> = serde_json::from_value(reference["token_ids"].clone()).unwrap();
    let prompt = reference["prompt"].as_str().unwrap();
    let tokenizer = Tokenizer::open(&path).unwrap();
    assert_eq!(tokenizer.encode(prompt, true).unwrap(), ids);
    assert_eq!(tokenizer.encode(prompt, false).unwrap(), ids[1..]);
    assert_eq!(tokenizer.decode(&ids, true).unwrap(), prompt);
    assert_eq!((tokenizer.bos(), tokenizer.eos(), tokenizer.unk()), (Some(1), &[2][..], Some(0)));
    assert_eq!(tokenizer.special_ids().iter().copied().collect::<Vec<_>>(), [0, 1, 2]);
    assert!(tokenizer.rule().contains("post-processor"));
    assert_eq!(tokenizer.token_text(403), " Once");
    assert_eq!(tokenizer.token_text(1), "<s>");
    assert_eq!(tokenizer.token_text(99_999), "<id 99999>");
    assert!(message(tokenizer.check_vocab(511)).contains("ids up to 511, but the model has 511 rows"));
}

#[test]
fn who_decides_about_the_first_token() {
    let Some(path) = shared("models/stories260K") else {
        return;
    };
    let first = |edit: &dyn Fn(&mut Value, &mut Value, &mut Value)| {
        let tokenizer = changed(&path, edit);
        let with = tokenizer.encode("Once", true).unwrap();
        let plain = tokenizer.encode("Once", false).unwrap();
        with.strip_suffix(&plain[..]).map(<[u32]>::to_vec)
    };
    let bos = Some(vec![1]);
    let none = Some(vec![]);
    // The template stays the judge over a setting that says otherwise, as in transformers 5.
    assert_eq!(first(&|_, c, _| c["add_bos_token"] = json!(false)), bos);
    assert_eq!(first(&|t, c, _| (t["post_processor"], c["add_bos_token"]) = (Value::Null, json!(true))), bos);
    assert_eq!(first(&|t, c, _| (t["post_processor"], c["add_bos_token"]) = (Value::Null, json!(false))), none);
    assert_eq!(first(&|t, _, _| t["post_processor"] = Value::Null), bos);
    assert_eq!(first(&|t, _, m| (t["post_processor"], m["model_type"]) = (Value::Null, json!("gpt_neox"))), none);
    let both = changed(&path, |t, c, _| {
        t["post_processor"] = Value::Null;
        c["add_bos_token"] = json!(true);
        c["add_eos_token"] = json!(true);
    });
    assert_eq!(both.encode("Once", true).unwrap(), [1, 403, 2]);
}

#[test]
fn end_tokens_come_from_every_file_that_names_one() {
    let Some(path) = shared("models/stories260K") else {
        return;
    };
    let tokenizer = changed(&path, |_, c, m| {
        c["eos_token"] = json!({"content": "</s>", "lstrip": false});
        c["pad_token"] = json!("<unk>");
        m["eos_token_id"] = json!([2, 0, 99_999, -1]);
        m["bos_token_id"] = json!(null);
    });
    assert_eq!((tokenizer.eos(), tokenizer.pad(), tokenizer.bos()), (&[2, 0][..], Some(0), Some(1)));
}

#[test]
fn gpt2_and_neox_have_their_recorded_ids() {
    let Some(path) = shared("models/tokenizers") else {
        return;
    };
    let gpt2 = Tokenizer::open(path.join("gpt2")).unwrap();
    assert_eq!(gpt2.encode("Hello, my dog is cute", true).unwrap(), [15496, 11, 616, 3290, 318, 13779]);
    assert_eq!(gpt2.vocab_size(), 50_257);
    assert!(gpt2.special_ids().contains(&50_256));
    let neox = Tokenizer::open(path.join("gpt-neox-20b")).unwrap();
    assert_eq!(neox.encode("Hello world", true).unwrap(), [12092, 1533]);
    for tokenizer in [&gpt2, &neox] {
        for text in TEXTS {
            let ids = tokenizer.encode(text, true).unwrap();
            assert_eq!(tokenizer.decode(&ids, true).unwrap(), text);
            let bytes: Vec<u8> = ids.iter().flat_map(|id| tokenizer.token_bytes(*id).unwrap()).collect();
            assert_eq!(bytes, text.as_bytes());
        }
    }
    assert_eq!(gpt2.token_text(616), " my");
    let zurich = gpt2.encode("東", true).unwrap();
    assert_eq!(gpt2.token_text(*zurich.last().unwrap()), "<0xB1>");
}

#[test]
fn a_stream_gives_whole_characters_and_the_whole_text() {
    let Some(path) = shared("models") else { return };
    for folder in ["tokenizers/gpt2", "tokenizers/gpt-neox-20b", "stories260K"] {
        let tokenizer = Tokenizer::open(path.join(folder)).unwrap();
        for text in TEXTS {
            let ids = tokenizer.encode(text, true).unwrap();
            let mut stream = tokenizer.stream(true);
            let mut out = String::new();
            for id in &ids {
                let piece = stream.push(*id).unwrap().unwrap_or_default();
                assert!(!piece.contains('\u{fffd}'), "{folder}: {piece:?}");
                out += &piece;
            }
            out += &stream.finish().unwrap();
            assert_eq!(out, tokenizer.decode(&ids, true).unwrap(), "{folder}");
        }
        // Bytes that never become a character come out once, as U+FFFD.
        let ids = tokenizer.encode("東", false).unwrap();
        let mut stream = tokenizer.stream(true);
        assert_eq!(stream.push(ids[ids.len() - 1]).unwrap(), None);
        assert!(stream.finish().unwrap().contains('\u{fffd}'));
    }
}

#[test]
fn vocab_and_merges_make_the_same_tokenizer() {
    let Some(path) = shared("models/tokenizers/gpt2") else {
        return;
    };
    let whole = Tokenizer::open(&path).unwrap();
    let json = read(&path.join("tokenizer.json"));
    let folder = tempfile::tempdir().unwrap();
    let mut vocab = json["model"]["vocab"].clone();
    vocab["<|endoftext|>"] = json!(50_256);
    put(folder.path(), "vocab.json", &vocab);
    assert!(message(Tokenizer::open(folder.path())).contains("no merges.txt"));
    let mut merges = "#version: 0.2\n".to_string();
    for merge in json["model"]["merges"].as_array().unwrap() {
        let line = match merge {
            Value::String(line) => line.clone(),
            pair => format!("{} {}", pair[0].as_str().unwrap(), pair[1].as_str().unwrap()),
        };
        merges += &line;
        merges.push('\n');
    }
    std::fs::write(folder.path().join("merges.txt"), &merges).unwrap();
    let built = Tokenizer::open(folder.path()).unwrap();
    for text in TEXTS.iter().chain(&["a<|endoftext|>b"]) {
        let ids = built.encode(text, true).unwrap();
        assert_eq!(ids, whole.encode(text, true).unwrap(), "{text:?}");
        assert_eq!(built.decode(&ids, false).unwrap(), *text);
    }
    assert!(built.special_ids().contains(&50_256));
    std::fs::write(folder.path().join("merges.txt"), merges + "one\n").unwrap();
    assert!(message(Tokenizer::open(folder.path())).contains("line 50002 is \"one\""));
}

#[test]
fn a_template_with_an_unlisted_token_is_an_error_and_no_panic() {
    let Some(path) = shared("models/stories260K") else {
        return;
    };
    let mut json = read(&path.join("tokenizer.json"));
    json["post_processor"]["special_tokens"] = json!({});
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "tokenizer.json", &json);
    assert!(message(Tokenizer::open(folder.path())).contains("uses the special token `<s>`"));
}

#[test]
fn folders_without_a_tokenizer_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    assert!(message(Tokenizer::open(folder.path())).contains("expected tokenizer.json or vocab.json"));
    std::fs::write(folder.path().join("tokenizer.model"), "x").unwrap();
    assert!(message(Tokenizer::open(folder.path())).contains("save_pretrained"));
    std::fs::write(folder.path().join("tokenizer.json"), "{\"version\": \"1.0\"}").unwrap();
    assert!(message(Tokenizer::open(folder.path())).contains("not a tokenizer"));
}
