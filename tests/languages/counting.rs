//! The counting pass against naive loops.

use std::collections::BTreeMap;

use optrode::analysis::languages::{Counted, Counts, Language, Reading, Texts, count, held_out, notes, survey};
use optrode::data::{Document, DocumentOptions, Documents};
use optrode::generate::{Generator, Options as Generating};
use optrode::hook::{Pass, Registry, Values};
use optrode::models::{Model, Side};
use optrode::store::HubOptions;

use crate::cli::Desk;
use crate::common::shared::open;
use crate::common::{batch, pass, see};
use crate::scan::{corpus, desk, options, scan_with, words};

fn documents(desk: &Desk, path: &str) -> Documents {
    let spec = desk.path(path);
    let read = DocumentOptions { chunk: 5, ..DocumentOptions::default() };
    Documents::open(spec.to_str().unwrap(), read, &HubOptions::from_env()).unwrap()
}

fn reading() -> Reading {
    Reading { held_out: 0.0, window: 16, batch: 64, parts: 3, ..Reading::default() }
}

fn counted(model: &Model, documents: &Documents, reading: &Reading, what: Counted) -> (Vec<Language>, Counts) {
    let texts = Texts::Corpus(documents);
    let languages = survey(model, texts, reading).unwrap();
    let counts = count(model, texts, &languages, reading, what, &mut |_, _| {}).unwrap();
    (languages, counts)
}

/// Positive gates over rows of ids, from the first counted position of each; the special id 1 is skipped.
fn naive(model: &Model, rows: &[(Vec<u32>, usize)], layer: usize) -> (u64, Vec<u64>) {
    let site = format!("blocks.{layer}.mlp.hook_pre");
    let (mut tokens, mut fired) = (0, Vec::new());
    for (ids, from) in rows {
        let seen = see(&model.decoder, &batch(std::slice::from_ref(ids), Side::Right), &pass(&[&site], &[]));
        let values = seen.at(&site).get(0).unwrap().to_vec2::<f32>().unwrap();
        fired.resize(values[0].len(), 0);
        for at in (*from..ids.len()).filter(|at| ids[*at] != 1) {
            tokens += 1;
            values[at].iter().enumerate().for_each(|(n, x)| fired[n] += u64::from(*x > 0.0));
        }
    }
    (tokens, fired)
}

/// Rows of a group's documents as windows of 16 with BOS.
fn rows(model: &Model, documents: &Documents) -> BTreeMap<usize, Vec<(Vec<u32>, usize)>> {
    rows_by(model, documents, |document| document.group)
}

/// Rows of documents that are alike in something.
fn rows_by<T: Ord>(
    model: &Model,
    documents: &Documents,
    by: impl Fn(&Document) -> T,
) -> BTreeMap<T, Vec<(Vec<u32>, usize)>> {
    let mut out: BTreeMap<T, Vec<(Vec<u32>, usize)>> = BTreeMap::new();
    for document in documents.chunks_of(|_| true).flat_map(|chunk| chunk.unwrap().documents) {
        let ids = model.tokenizer().unwrap().encode(&document.text, false).unwrap();
        for piece in ids.chunks(15) {
            out.entry(by(&document)).or_default().push(([&[1], piece].concat(), 0));
        }
    }
    out
}

#[test]
fn one_pass_counts_what_naive_loops_count_and_what_a_scan_counts() {
    for name in ["llama", "gpt2"] {
        let desk = desk(name);
        let root = corpus(&desk);
        // As many tokens of every language: nothing is left out then.
        std::fs::remove_dir_all(&root).unwrap();
        for (file, seed) in [("de", 1), ("en", 2), ("fr", 3)] {
            std::fs::create_dir_all(&root).unwrap();
            let lines: Vec<String> = (0..6).map(|i| words(10 * seed + i, 5 + 7 * i)).collect();
            std::fs::write(root.join(format!("{file}.txt")), lines.join("\n")).unwrap();
        }
        let model = open(&desk.path("m"));
        let documents = documents(&desk, "corpus");
        let (languages, counts) = counted(&model, &documents, &reading(), Counted::Texts);
        assert_eq!(counts.languages, ["de", "en", "fr"]);
        assert!(languages.iter().all(|l| l.unknown == 0.0 && l.fragments == 0.0 && l.held_out == 0));
        for (k, rows) in rows(&model, &documents) {
            let whole = counts.whole(k);
            for layer in 0..counts.layers {
                let (tokens, fired) = naive(&model, &rows, layer);
                assert_eq!(whole.tokens, tokens);
                assert_eq!(whole.fired[layer * counts.neurons..(layer + 1) * counts.neurons], fired, "{name}");
            }
        }
        // Parts share batches, and are counted as each alone.
        let by_part = rows_by(&model, &documents, |document| (document.group, reading().part(document.number)));
        assert_eq!(by_part.len(), counts.parts.iter().map(Vec::len).sum::<usize>());
        for (part, rows) in counts.parts.iter().flatten().zip(by_part.values()) {
            for layer in 0..counts.layers {
                let own = part.fired[layer * counts.neurons..(layer + 1) * counts.neurons].to_vec();
                assert_eq!((part.tokens, own), naive(&model, rows, layer), "{name}");
            }
        }
        let atlas = desk.path("atlas");
        let (read, options) = options();
        scan_with(&desk.path("m"), &root, &atlas, read, &options);
        let of_atlas = Counts::open(&atlas).unwrap();
        assert_eq!(of_atlas.model, counts.model);
        for k in 0..3 {
            assert_eq!(of_atlas.whole(k), counts.whole(k), "{name}");
        }
        // Neither batches nor parts matter.
        let other = Reading { batch: 1000, parts: 1, ..reading() };
        let (_, again) = self::counted(&model, &documents, &other, Counted::Texts);
        (0..3).for_each(|k| assert_eq!(again.whole(k), counts.whole(k)));
        assert!(counts.parts.iter().all(|parts| parts.len() > 1) && again.parts.iter().all(|parts| parts.len() == 1));
    }
}

/// Answers counted where they are written, and as the difference of two counts over whole rows and prompts alone.
#[test]
fn answers_alone_are_whole_texts_less_prompts() {
    let desk = desk("llama");
    let folder = desk.path("prompts");
    std::fs::create_dir_all(&folder).unwrap();
    for (name, seed) in [("a", 1u64), ("b", 50)] {
        let lines: Vec<String> = (0..5).map(|i| words(seed + i, 4 + i)).collect();
        std::fs::write(folder.join(format!("{name}.txt")), lines.join("\n")).unwrap();
    }
    let model = open(&desk.path("m"));
    let documents = documents(&desk, "prompts");
    let (_, counts) = counted(&model, &documents, &reading(), Counted::Answers(4));
    for (k, prompts) in rows(&model, &documents) {
        let whole: Vec<(Vec<u32>, usize)> = prompts
            .iter()
            .map(|(ids, _)| {
                let (pass, registry) = (Pass::default(), Registry::elementary());
                let generator =
                    Generator { net: &model.decoder, pass: &pass, registry: &registry, values: Values::default() };
                let options = Generating { max_new_tokens: 4, stop: model.eos(), ..Generating::default() };
                let made = generator.run(&batch(std::slice::from_ref(ids), Side::Right), &options, &mut |_, _| {});
                ([ids.clone(), made.unwrap().rows[0].clone()].concat(), 0)
            })
            .collect();
        let answers: Vec<(Vec<u32>, usize)> =
            whole.iter().zip(&prompts).map(|((row, _), (prompt, _))| (row.clone(), prompt.len())).collect();
        for layer in 0..counts.layers {
            let [all, before, after] = [&whole, &prompts, &answers].map(|rows| naive(&model, rows, layer));
            let own = &counts.whole(k).fired[layer * counts.neurons..(layer + 1) * counts.neurons];
            assert_eq!((counts.whole(k).tokens, own), (after.0, after.1.as_slice()));
            assert_eq!(all.0 - before.0, after.0);
            assert!(all.1.iter().zip(&before.1).zip(&after.1).all(|((a, b), c)| a - b == *c));
        }
    }
}

#[test]
fn languages_are_balanced_and_held_out_documents_never_counted() {
    let desk = desk("llama");
    let folder = desk.path("texts");
    std::fs::create_dir_all(&folder).unwrap();
    for (name, lines) in [("a", 40u64), ("b", 400)] {
        let lines: Vec<String> = (0..lines).map(|i| words(i, 10)).collect();
        std::fs::write(folder.join(format!("{name}.txt")), lines.join("\n")).unwrap();
    }
    let model = open(&desk.path("m"));
    let documents = documents(&desk, "texts");
    let reading = Reading { held_out: 0.3, ..reading() };
    let (languages, counts) = counted(&model, &documents, &reading, Counted::Texts);
    let tokens = counts.tokens();
    assert_eq!(tokens[0], languages[0].available);
    assert!(tokens[1] >= tokens[0] && tokens[1] < tokens[0] + 10, "{tokens:?} of {}", languages[1].available);
    assert!(languages[1].available > 5 * languages[0].available);
    let kept = held_out(Texts::Corpus(&documents), &reading, 1000).unwrap();
    assert_eq!(kept[0].texts.len() as u64, languages[0].held_out);
    assert_eq!(kept[0].texts.len() as u64 + languages[0].documents, 40);
    let fewer = Reading { tokens: Some(50), ..reading };
    let (_, few) = counted(&model, &documents, &fewer, Counted::Texts);
    assert!(few.tokens().iter().all(|n| (50..60).contains(n)), "{:?}", few.tokens());
}

#[test]
fn texts_that_languages_cannot_be_told_by_are_refused() {
    let desk = desk("llama");
    let model = open(&desk.path("m"));
    let refuses = |files: &[(&str, &str)], reading: &Reading, word: &str| {
        let folder = desk.path("bad");
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        files.iter().for_each(|(name, text)| std::fs::write(folder.join(format!("{name}.txt")), text).unwrap());
        let said = survey(&model, Texts::Corpus(&documents(&desk, "bad")), reading).unwrap_err().to_string();
        assert!(said.contains(word), "`{word}` is not in: {said}");
    };
    refuses(&[("en", "w3 w4")], &reading(), "1 languages");
    refuses(&[("en", "w3 w4"), ("de", "\n\n")], &reading(), "`de.txt` holds no text");
    refuses(&[("en", "w3 w4"), ("de", "Guten Tag w3")], &reading(), "does not know 67 %");
    let all = Reading { held_out: 1.0, ..reading() };
    refuses(&[("en", "w3 w4"), ("de", "w3 w5")], &all, "no token to count");
    refuses(&[("en", "w3 w4"), ("de", " \t \n  ")], &reading(), "`de");
    // What all would be cut down to is next to nothing; fewer of all may be asked for.
    let (long, short) = (words(1, 500), words(2, 4));
    refuses(&[("en", &long), ("de", &short)], &reading(), "`en` has 500 tokens to count and `de` 4");
    let folder = desk.path("bad");
    let few = Reading { tokens: Some(100), ..reading() };
    assert!(folder.is_dir() && survey(&model, Texts::Corpus(&documents(&desk, "bad")), &few).is_ok());
}

#[test]
fn a_reader_is_told_of_few_tokens_and_of_characters_in_parts() {
    let language = |name: &str, fragments| Language {
        name: name.to_string(),
        documents: 9,
        available: 20_000,
        held_out: 3,
        unknown: 0.0,
        fragments,
    };
    let languages = [language("en", 0.0), language("hi", 0.8)];
    let said = notes(&languages, &[20_000, 20_000]);
    assert!(said.len() == 1 && said[0].contains("80 % of the tokens of `hi` are parts of characters"), "{said:?}");
    let said = notes(&languages[..1], &[20_000, 900]);
    assert!(said.len() == 1 && said[0].contains("900 tokens"), "{said:?}");
    assert!(notes(&languages[..1], &[20_000]).is_empty());
}
