//! What is known of stories260K (its SOURCE.md and reference.json), and what its texts show.

use optrode::analysis::heads::{self, Pool};
use optrode::analysis::{Corpus, Figures, lens, neurons};
use optrode::models::Model;
use optrode::report::{Report, terminal};

use crate::common::shared::{shared, shared_model};

fn stories(model: &Model) -> Corpus<'_> {
    let folder = shared("data/stories-sampled").unwrap();
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "txt" || e == "jsonl"));
    files.sort();
    let texts = optrode::data::read_texts(files[0].to_str().unwrap()).unwrap();
    Corpus::of_texts(model, &texts[..texts.len().min(24)], 128).unwrap()
}

fn show(result: &impl Report) {
    eprintln!("{}", terminal::render(&result.blocks(), &terminal::Style::plain(170)));
}

#[test]
fn stories260k_has_previous_token_heads_and_no_induction_head() {
    let Some(model) = shared_model("stories260K") else { return };
    let found = heads::heads(&model.decoder, &Pool::of(&model), None, &heads::Options::default()).unwrap();
    show(&found);
    let head = |layer: usize, head: usize| &found.heads[layer * 8 + head];
    assert!((head(3, 6).previous.value - 0.73).abs() < 0.04, "{:?}", head(3, 6).previous);
    assert!((head(1, 3).previous.value - 0.61).abs() < 0.04, "{:?}", head(1, 3).previous);
    assert!(found.heads.iter().all(|h| h.induction.value < 0.05));
    assert_eq!(found.induction_heads().len(), 0);
    assert_eq!(found.previous_token_heads(0.5)[0].name(), "3.6");
    assert!(found.loss.drop.value < 1.0, "{:?}", found.loss);
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
