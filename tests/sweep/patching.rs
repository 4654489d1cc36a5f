//! Maps of patches: their ends are what the definitions say.

use optrode::analysis::patching::{Component, Direction, Pair, patching};
use optrode::models::Decoder;

use crate::common::{goldens, text};

fn pair(seed: u64) -> Pair {
    Pair { clean: text(seed, 6), corrupted: text(seed + 100, 6), correct: 7, wrong: 11 }
}

fn llama() -> Decoder {
    goldens().find(|(name, _)| name == "llama").unwrap().1
}

#[test]
fn maps_of_every_family_have_their_shape_and_are_finite() {
    for (name, net) in goldens() {
        for direction in [Direction::Denoise, Direction::Noise] {
            let found = patching(&net, &[pair(1), pair(2)], &Component::ALL, direction).unwrap();
            assert_eq!(found.maps.len(), 4);
            assert_eq!(found.maps[0].effect[0].len(), 6);
            assert_eq!(found.maps[3].effect[0].len(), net.facts().n_heads);
            let whole = found.maps.iter().flat_map(|m| m.effect.iter().chain(&m.kl)).flatten();
            assert!(whole.clone().all(|x| x.is_finite()), "{name}");
            assert!(found.maps.iter().flat_map(|m| &m.kl).flatten().all(|kl| *kl >= -1e-9), "{name}");
        }
    }
}

/// All of one corrupted token at the only position where the prompts differ is the other prompt.
#[test]
fn the_first_stream_where_prompts_differ_has_the_effect_one() {
    for (name, net) in goldens() {
        let clean = text(1, 6);
        let mut corrupted = clean.clone();
        corrupted[3] = if clean[3] == 9 { 10 } else { 9 };
        for direction in [Direction::Denoise, Direction::Noise] {
            let pair = Pair { clean: clean.clone(), corrupted: corrupted.clone(), correct: 7, wrong: 11 };
            let found = patching(&net, &[pair], &[Component::ResidPre], direction).unwrap();
            let map = &found.maps[0];
            let expected_kl = if direction == Direction::Denoise { 0.0 } else { found.corrupted_kl };
            assert!((map.effect[0][3] - 1.0).abs() < 1e-3, "{name}: {}", map.effect[0][3]);
            assert!((map.kl[0][3] - expected_kl).abs() < 1e-4, "{name}");
            assert!(map.effect.iter().all(|row| row[..3] == [0.0; 3]), "{name}");
        }
    }
}

#[test]
fn pairs_that_cannot_be_compared_are_refused() {
    let net = llama();
    let refused = |pairs: &[Pair], words: &[&str]| {
        let error = patching(&net, pairs, &Component::ALL, Direction::Denoise).unwrap_err().to_string();
        assert!(words.iter().all(|w| error.contains(w)), "{error}");
    };
    refused(&[], &["no pair"]);
    refused(&[Pair { corrupted: text(3, 5), ..pair(1) }], &["6 clean", "5 corrupted", "equal length"]);
    let short = Pair { clean: text(1, 4), corrupted: text(2, 4), correct: 7, wrong: 11 };
    refused(&[pair(1), short], &["pair 1", "4 tokens"]);
    refused(&[Pair { correct: 1_000_000, ..pair(1) }], &["1000000", "vocabulary"]);
    refused(&[Pair { wrong: 7, ..pair(1) }], &["do not tell the prompts apart"]);
}
