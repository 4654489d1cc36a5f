//! Counts and masks on disk, ours and those of others.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use optrode::analysis::languages::{Counts, Masks, Part};
use optrode::store::{Source, write_safetensors};

use super::{counts, random_rates};

fn write(path: &Path, tensors: &[(&str, Tensor)], languages: &str) {
    let tensors: Vec<(String, Source)> =
        tensors.iter().map(|(name, t)| ((*name).to_string(), Source::Tensor(t.clone()))).collect();
    write_safetensors(path, &tensors, &BTreeMap::from([("languages".to_string(), languages.to_string())])).unwrap();
}

fn integers(values: &[i64], shape: &[usize]) -> Tensor {
    Tensor::from_vec(values.to_vec(), shape, &Device::Cpu).unwrap()
}

#[test]
fn counts_come_back_from_their_file_and_merge() {
    let here = tempfile::tempdir().unwrap();
    let path = here.path().join("counts.safetensors");
    let mut all = counts(2, &random_rates(1, 12, 3), &[100, 110, 120]);
    all.model = Some("abc".to_string());
    all.save(&path).unwrap();
    assert_eq!(Counts::open(&path).unwrap(), all);
    let more = counts(2, &random_rates(2, 12, 3), &[50, 60, 70]);
    let mut sum = all.clone();
    sum.merge(more.clone()).unwrap();
    let mut other_way = more.clone();
    other_way.merge(all.clone()).unwrap();
    assert_eq!(sum, other_way);
    assert_eq!(sum.tokens(), [150, 170, 190]);
    assert_eq!(sum.whole(1).fired[5], all.whole(1).fired[5] + more.whole(1).fired[5]);
    // Parts are kept apart, those that a language lacks are empty.
    let mut parted = sum;
    parted.parts[0].push(Part { tokens: 9, fired: vec![4; 12] });
    parted.save(&path).unwrap();
    let back = Counts::open(&path).unwrap();
    assert_eq!((back.parts[0].len(), back.whole(0), back.tokens()), (2, parted.whole(0), parted.tokens()));
    let fewer = counts(2, &random_rates(2, 10, 3), &[50, 60, 70]);
    assert!(parted.merge(fewer).unwrap_err().to_string().contains("2 x 5"));
}

#[test]
fn prompts_are_taken_off_and_what_they_have_more_counts_as_nothing() {
    let here = tempfile::tempdir().unwrap();
    let path = here.path().join("counts.safetensors");
    let tensors = [
        ("counts", integers(&[9, 4, 1, 0, 7, 7, 2, 5], &[2, 2, 2])),
        ("prompt_counts", integers(&[4, 4, 2, 0, 7, 1, 0, 0], &[2, 2, 2])),
        ("tokens", integers(&[20, 30], &[2])),
        ("prompt_tokens", integers(&[8, 10], &[2])),
    ];
    write(&path, &tensors, "de, en");
    let counts = Counts::open(&path).unwrap();
    assert_eq!((counts.languages.join(" "), counts.tokens()), ("de en".to_string(), vec![12, 20]));
    assert_eq!((counts.whole(0).fired, counts.whole(1).fired), (vec![5, 0, 0, 0], vec![0, 6, 2, 5]));
}

#[test]
fn counts_that_cannot_be_are_refused() {
    let here = tempfile::tempdir().unwrap();
    let path = here.path().join("counts.safetensors");
    let refuses = |tensors: &[(&str, Tensor)], languages: &str, word: &str| {
        write(&path, tensors, languages);
        let said = Counts::open(&path).unwrap_err().to_string();
        assert!(said.contains(word), "`{word}` is not in: {said}");
    };
    let tokens = || ("tokens", integers(&[20, 30], &[2]));
    let good = || ("counts", integers(&[1; 8], &[2, 2, 2]));
    refuses(&[("count", integers(&[1], &[1])), tokens()], "a b", "no tensor `counts`");
    refuses(&[("counts", integers(&[1; 8], &[2, 4])), tokens()], "a b", "three axes; the file has `counts` [2, 4]");
    refuses(&[good(), tokens()], "a", "names 1 languages");
    refuses(&[good()], "a b", "there is no tensor `tokens`");
    refuses(&[good(), ("tokens", integers(&[20], &[1]))], "a b", "`tokens`");
    refuses(&[("counts", integers(&[-1; 8], &[2, 2, 2])), tokens()], "a b", "the count -1");
    refuses(&[("counts", integers(&[25; 8], &[2, 2, 2])), tokens()], "a b", "more often");
    let most = [i64::MAX; 8];
    refuses(&[("counts", integers(&most, &[2, 2, 2])), ("tokens", integers(&most[..2], &[2]))], "a b", "anybody");
    let prompts = [("prompt_counts", integers(&[1; 8], &[2, 2, 2])), ("prompt_tokens", integers(&[9, 31], &[2]))];
    let more = "prompts of `b` have 31 tokens, more than the 30";
    refuses(&[vec![good(), tokens()], prompts.to_vec()].concat(), "a b", more);
    let flat = [("part_counts", integers(&[1; 8], &[2, 2, 2])), ("part_tokens", integers(&[5; 2], &[2]))];
    refuses(&[vec![good(), tokens()], flat.to_vec()].concat(), "a b", "four axes [2, G, 2, 2]");
    let floats = Tensor::ones((2, 2, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
    refuses(&[("counts", floats), tokens()], "a b", "expected integers");
    let parts = [("part_counts", integers(&[1; 16], &[2, 2, 2, 2])), ("part_tokens", integers(&[5; 4], &[2, 2]))];
    refuses(&[vec![good(), tokens()], parts.to_vec()].concat(), "a b", "do not add up");
}

#[test]
fn masks_are_read_in_both_layouts_and_refused_for_another_model() {
    let here = tempfile::tempdir().unwrap();
    let path = here.path().join("masks.json");
    let read = |text: &str| {
        std::fs::write(&path, text).unwrap();
        Masks::open(&path)
    };
    let bare = read("[[[3, 1, 3], []], [[], [4]]]").unwrap();
    assert_eq!((bare.languages.join(" "), &bare.masks[0][0]), ("0 1".to_string(), &vec![1, 3]));
    bare.check_model(2, 5, "anything").unwrap();
    let own =
        r#"{"version": 1, "model": "abc", "languages": ["de", "en"], "neurons": 5, "masks": [[[1], []], [[], [4]]]}"#;
    let own = read(own).unwrap();
    assert_eq!((own.index("en").unwrap(), own.model.as_deref()), (1, Some("abc")));
    assert!(own.index("fr").unwrap_err().to_string().contains("de, en"));
    for (masks, layers, neurons, sha256, word) in [
        (&bare, 3, 5, "x", "masks are of 2 layers"),
        (&bare, 2, 4, "x", "neuron 4, but a layer has 4"),
        (&own, 2, 5, "def", "of the model abc"),
        (&own, 2, 6, "abc", "of 5 neurons"),
    ] {
        let said = masks.check_model(layers, neurons, sha256).unwrap_err().to_string();
        assert!(said.contains(word), "`{word}` is not in: {said}");
    }
    for (text, word) in [
        ("[[[1], []], [[]]]", "has 1 layers"),
        ("[]", "0 languages"),
        ("{}", "no masks"),
        ("[[[-1]]]", "no masks"),
        (r#"{"version": 2, "model": null, "languages": ["a"], "neurons": 5, "masks": [[[1]]]}"#, "version 2"),
    ] {
        let said = read(text).unwrap_err().to_string();
        assert!(said.contains(word), "`{word}` is not in: {said}");
    }
}
