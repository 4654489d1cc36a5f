//! What is known of stories260K (its SOURCE.md and reference.json), and what its texts show.

use optrode::analysis::heads::{self, Pool};
use optrode::analysis::{Corpus, Figures, lens, neurons, unwatched};
use optrode::models::{Model, Side};
use optrode::report::{Report, terminal};

use crate::common::shared::{shared, shared_model};
use crate::common::{batch, pass, see};

fn stories(model: &Model) -> Corpus<'_> {
    let folder = shared("data/stories-sampled").unwrap();
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "txt" || e == "jsonl"));
    files.sort();
    let texts = optrode::data::read_texts(files[0].to_str().unwrap()).unwrap();
    Corpus::of_texts(model, &texts[..texts.len().min(24)], 128).unwrap()
}

/// Mean attention to the token before, to its first occurrence and to what followed that, by head, on rows of our own:
/// tokens go round the vocabulary in steps.
fn naive(model: &Model, rows: u32, n: usize) -> Vec<[f64; 3]> {
    let net = &model.decoder;
    let mut sums = vec![[0.0; 3]; 5 * 8];
    for row in 0..rows {
        let half: Vec<u32> = (0..n as u32).map(|i| 3 + (i * (2 * row + 101) + 37 * row) % 509).collect();
        let ids = [vec![1], half.clone(), half].concat();
        let seen = see(net, &batch(std::slice::from_ref(&ids), Side::Right), &pass(&["**.hook_pattern"], &[]));
        for (index, sums) in sums.iter_mut().enumerate() {
            let pattern = seen.block(index / 8, "attn.hook_pattern").get(0).unwrap().get(index % 8).unwrap();
            let pattern = pattern.to_vec2::<f32>().unwrap();
            for query in n + 1..=2 * n {
                let first = (1..query).find(|key| ids[*key] == ids[query]).unwrap();
                for (sum, key) in sums.iter_mut().zip([query - 1, first, first + 1]) {
                    *sum += f64::from(pattern[query][key]) / f64::from(n as u32 * rows);
                }
            }
        }
    }
    sums
}

fn show(result: &impl Report) {
    eprintln!("{}", terminal::render(&result.blocks(), &terminal::Style::plain(170)));
}

#[test]
fn stories260k_has_previous_token_heads_and_no_induction_head() {
    let Some(model) = shared_model("stories260K") else { return };
    let found =
        heads::heads(&model.decoder, &Pool::of(&model), None, &heads::Options::default(), &mut unwatched).unwrap();
    show(&found);
    let naive = naive(&model, 12, 50);
    for head in &found.heads {
        let got = [head.previous, head.duplicate, head.induction].map(|e| e.value);
        let expected = naive[head.layer * 8 + head.head];
        for (got, expected) in got.iter().zip(expected) {
            assert!((got - expected).abs() < 0.06, "{}: {got} {expected}", head.name());
        }
    }
    assert!(found.heads.iter().all(|h| h.induction.value < 0.05));
    assert_eq!(found.induction_heads().len(), 0);
    assert_eq!(found.previous_token_heads(0.5)[0].name(), "3.6");
    assert!(found.loss.drop.value < 1.0 && found.loss.gain.value < 1.0, "{:?}", found.loss);
}

#[test]
fn the_lens_of_stories260k_settles_towards_its_last_layer() {
    let Some(model) = shared_model("stories260K") else { return };
    let corpus = stories(&model);
    let found = lens::lens(&model.decoder, &corpus, &lens::Options::default()).unwrap();
    show(&found);
    assert!(found.last_error < 1e-5);
    let kl: Vec<f64> = found.layers.iter().map(|l| l.kl.value).collect();
    assert!(kl.windows(2).all(|w| w[1] < w[0]), "{kl:?}");
    let last = found.layers.last().unwrap();
    assert!(last.loss.value > 0.5 && last.loss.value < 1.6, "{:?}", last.loss);
    assert!(last.kl_elsewhere.value > 2.0, "{:?}", last.kl_elsewhere);
}

#[test]
fn neurons_of_stories260k() {
    let Some(model) = shared_model("stories260K") else { return };
    let corpus = stories(&model);
    let found = neurons::neurons(&model.decoder, &corpus, None, &neurons::Options::default()).unwrap();
    show(&found);
    let figures = found.figures();
    assert!(figures.iter().all(|(_, value)| value.is_finite()), "{figures:?}");
    assert!(found.all.dead.value < 0.2 && found.all.rate.value > 0.05, "{:?}", found.all);
    // Byte pieces and words alike are shown as text.
    assert!(found.shown.iter().flat_map(|s| &s.top).flat_map(|e| &e.tokens).all(|t| !t.starts_with("<id ")));
}

#[test]
fn windows_begin_as_the_model_expects_and_hold_the_whole_text() {
    let Some(model) = shared_model("stories260K") else { return };
    let text = "Once upon a time there was a little cat. ".repeat(20);
    let whole = model.encode(&text).unwrap();
    let corpus = Corpus::of_texts(&model, &[text, "A dog.".to_string()], 32).unwrap();
    let bos = model.tokenizer().unwrap().bos().unwrap();
    assert!(corpus.windows.iter().all(|w| w.ids[0] == bos && w.ids.len() <= 32));
    let joined: Vec<u32> = corpus.windows.iter().filter(|w| w.text == 0).flat_map(|w| w.ids[1..].to_vec()).collect();
    assert_eq!(joined, whole[1..]);
    assert_eq!(corpus.windows.last().unwrap().text, 1);
    assert!(Corpus::of_texts(&model, &["A dog.".to_string()], 1).is_err());
    assert!(Corpus::of_texts(&model, &[String::new()], 32).is_err());
}
