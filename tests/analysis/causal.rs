//! Ablation of heads: its bookkeeping on golden networks, and what it must show on the organism.

use std::path::Path;

use optrode::analysis::heads::{CausalOptions, Kind, On, Options, Pool, ablate, ablate_text, causal};
use optrode::data::organism::embedded;

use crate::common::load;
use crate::common::shared::{golden, open};

#[test]
fn ablating_is_the_same_in_any_order_and_adding_all_back_is_the_network() {
    let net = load(&golden("llama"));
    let pool = Pool { start: Some(1), ids: (3..61).collect() };
    let rows = Options { n: 10, rows: 4, ..Options::default() };
    for kind in [Kind::Zero, Kind::Mean, Kind::Resample] {
        let options = CausalOptions { rows: rows.clone(), kind, draws: 3, ..CausalOptions::default() };
        let one = ablate(&net, &pool, &[(0, 1), (1, 2)], &options).unwrap();
        let two = ablate(&net, &pool, &[(1, 2), (0, 1)], &options).unwrap();
        assert_eq!(one.target.effect, two.target.effect, "{kind:?}");
        assert_eq!(one.added_back.len(), 3);
        assert_eq!(one.added_back[0], one.target.effect.second, "{kind:?}");
        assert_eq!(one.added_back[2], one.clean.1, "{kind:?}");
        assert_eq!(one.controls.len(), 3);
        for control in &one.controls {
            let mut layers: Vec<usize> = control.heads.iter().map(|h| h.0).collect();
            layers.sort_unstable();
            assert_eq!(layers, [0, 1], "as many of each layer");
            assert!(control.heads.iter().all(|h| ![(0, 1), (1, 2)].contains(h)));
        }
        assert_eq!(one, ablate(&net, &pool, &[(0, 1), (1, 2)], &options).unwrap());
    }
    let options = CausalOptions { rows, ..CausalOptions::default() };
    let refused = |heads: &[(usize, usize)]| ablate(&net, &pool, heads, &options).unwrap_err().to_string();
    assert!(refused(&[(0, 99)]).contains("0.99"));
    assert!(refused(&[(7, 0)]).contains("7.0"));
    assert!(refused(&[]).contains("no head"));
    assert!(refused(&[(0, 1), (1, 2), (0, 1)]).contains("0.1 is named twice, as number 0 and 2"));
}

#[test]
fn control_sets_are_all_different_and_as_many_as_there_are() {
    let net = load(&golden("llama"));
    assert_eq!((net.facts().layers.len(), net.facts().n_heads), (2, 4));
    let pool = Pool { start: Some(1), ids: (3..61).collect() };
    let rows = Options { n: 6, rows: 2, ..Options::default() };
    let options = CausalOptions { rows, kind: Kind::Zero, draws: 9, ..CausalOptions::default() };
    let sets = |targets: &[(usize, usize)]| -> Vec<Vec<(usize, usize)>> {
        ablate(&net, &pool, targets, &options).unwrap().controls.into_iter().map(|c| c.heads).collect()
    };
    let few = sets(&[(0, 1)]);
    assert_eq!(few.len(), 3, "there are three other heads: {few:?}");
    let many = sets(&[(0, 1), (1, 2)]);
    assert_eq!(many.len(), 9);
    for (i, set) in many.iter().enumerate() {
        assert!(!many[..i].contains(set), "{many:?}");
    }
    let crowded = sets(&[(1, 0), (1, 1), (1, 2)]);
    assert!(crowded.iter().all(|set| set.len() == 3 && set.contains(&(1, 3))), "{crowded:?}");
    assert_eq!(crowded.len(), 6, "two of the four of the other layer: {crowded:?}");
}

#[test]
fn texts_given_twice_are_rows_too() {
    let net = load(&golden("llama"));
    let texts: Vec<Vec<u32>> = (0..5).map(|i| crate::common::text(i, 9)).chain([vec![7, 8]]).collect();
    let options =
        CausalOptions { rows: Options { n: 9, rows: 4, ..Options::default() }, draws: 2, ..CausalOptions::default() };
    let found = ablate_text(&net, Some(1), &texts, &[(1, 0)], &options).unwrap();
    assert_eq!((found.on, found.rows, found.n), (On::Text, 4, 9));
    assert_eq!(found, ablate_text(&net, Some(1), &texts, &[(1, 0)], &options).unwrap());
    let refused = |texts: &[Vec<u32>]| ablate_text(&net, None, texts, &[(1, 0)], &options).unwrap_err().to_string();
    assert!(refused(&texts[5..]).contains("0 of 1 texts have 9 tokens"));
    assert!(refused(&[vec![999; 9], vec![998; 9]]).contains("vocabulary"));
}

/// The organism's induction heads carry its copying; the previous-token pattern is what they match prefixes with.
#[test]
fn the_organism_needs_its_induction_heads_to_copy_and_they_need_the_previous_token() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/organism");
    let model = open(&folder);
    let pool = Pool::of(&model);
    let tokenizer = model.tokenizer().unwrap();
    let texts = embedded::texts().into_iter().flat_map(|set| set.texts);
    let texts: Vec<Vec<u32>> = texts.map(|text| tokenizer.encode(&text, false).unwrap()).collect();
    let options =
        CausalOptions { rows: Options { rows: 8, ..Options::default() }, draws: 3, ..CausalOptions::default() };
    let found = causal(&model.decoder, &pool, &texts, &options).unwrap();
    let ablation = found.ablation.unwrap();
    let effect = ablation.target.effect;
    assert!(effect.second_rise.value > 1.0, "{effect:?}");
    // Most heads of the last block are induction heads, so that random ones of the same blocks are often some of them.
    assert!(effect.second_rise.value > 1.5 * ablation.control_rise(), "{effect:?} {}", ablation.control_rise());
    // The organism never learned to predict noise: it expects the first half to repeat something, and without the heads
    // it does so less.
    assert!(effect.first_rise.value < 0.1 * effect.second_rise.value, "{effect:?}");
    let losses: Vec<f64> = ablation.added_back.iter().map(|e| e.value).collect();
    assert!(losses.last().unwrap() < losses.first().unwrap(), "{losses:?}");
    // A text's first half it knows how to read, and there the heads cost little beside what they are to repetition.
    let text = found.text.unwrap();
    assert_eq!((text.on, text.rows), (On::Text, 8));
    assert!(text.clean.0.value < 3.0, "{:?}", text.clean);
    assert!(text.target.effect.first_rise.value.abs() < 0.1 * effect.second_rise.value, "{:?}", text.target);
    let forbidden = found.forbidden.unwrap();
    for later in &forbidden.later {
        assert!(later.after.value < 0.5 * later.before.value, "{later:?}");
        assert!(later.control.unwrap().value > 0.8 * later.before.value, "{later:?}");
    }
    assert!(forbidden.after.value < 0.5 * forbidden.before.value, "{forbidden:?}");
}
