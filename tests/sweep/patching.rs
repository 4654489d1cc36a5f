//! Maps of patches: their ends are what the definitions say.

use optrode::analysis::patching::{Columns, Component, Direction, Pair, patching};
use optrode::analysis::unwatched;
use optrode::models::{Decoder, Side};
use serde_json::json;

use super::apart;
use crate::common::{AGREE, batch, floats, goldens, job, text};

fn pair(seed: u64) -> Pair {
    Pair { clean: text(seed, 6), corrupted: text(seed + 100, 6), correct: 7, wrong: 11 }
}

fn llama() -> Decoder {
    goldens().find(|(name, _)| name == "llama").unwrap().1
}

#[test]
fn maps_of_every_family_have_their_shape_and_are_finite() {
    let mut whole_blocks = 0;
    for (name, net) in goldens() {
        let components = Component::of(&net);
        whole_blocks += usize::from(components.len() == Component::ALL.len());
        for direction in [Direction::Denoise, Direction::Noise] {
            let found = patching(&net, &[pair(1), pair(2)], &components, direction, &mut unwatched).unwrap();
            for (map, component) in found.maps.iter().zip(&components) {
                assert_eq!(map.component, *component);
                let columns = match component.columns() {
                    Columns::Positions => 6,
                    Columns::Heads => net.facts().n_heads,
                    Columns::KeyHeads => net.facts().n_kv_heads,
                };
                assert!(map.effect.iter().chain(&map.kl).all(|row| row.len() == columns), "{name} {component:?}");
                assert_eq!((map.effect.len(), map.kl.len()), (net.facts().layers.len(), net.facts().layers.len()));
            }
            assert_eq!(found.maps.len(), components.len());
            let whole = found.maps.iter().flat_map(|m| m.effect.iter().chain(&m.kl)).flatten();
            assert!(whole.clone().all(|x| x.is_finite()), "{name}");
            assert!(found.maps.iter().flat_map(|m| &m.kl).flatten().all(|kl| *kl >= -1e-9), "{name}");
        }
    }
    assert!(whole_blocks > 20, "{whole_blocks}");
}

/// The last logits of a run on `base` with the values of `source` at some sites, by a job of passes.
fn with(net: &Decoder, base: &[u32], source: &[u32], sites: &[String]) -> Vec<f32> {
    let edit = |site: &String| {
        let whole = site.split('[').next().unwrap();
        json!({"site": site, "op": "replace", "value": {"pass": "source", "site": whole}})
    };
    let edits: Vec<_> = sites.iter().map(edit).collect();
    let passes = json!([{"name": "source"}, {"name": "patched", "edits": edits}]);
    let inputs = [batch(&[source.to_vec()], Side::Right), batch(&[base.to_vec()], Side::Right)];
    let output = job(net, passes, &inputs).unwrap().pass("patched").unwrap().output.clone();
    floats(&output.narrow(1, base.len() - 1, 1).unwrap())
}

#[test]
fn all_positions_of_a_stream_are_the_clean_run_and_parts_of_attention_are_its_whole() {
    for (name, net) in goldens() {
        let (clean, corrupted) = (text(1, 6), text(101, 6));
        let own = with(&net, &clean, &clean, &[]);
        let patched = |sites: &[&str], block: usize| {
            let sites: Vec<String> = sites.iter().map(|s| format!("blocks.{block}.{s}")).collect();
            with(&net, &corrupted, &clean, &sites)
        };
        for block in 0..net.facts().layers.len() {
            for component in [Component::ResidPre, Component::ResidMid, Component::ResidPost] {
                if Component::of(&net).contains(&component) {
                    // Between attention and MLP, the rest of the block reads nothing else.
                    let error = apart(&patched(&[component.site()], block), &own);
                    assert!(error < AGREE, "{name} {component:?} {block}: {error:e}");
                }
            }
            let mixed = patched(&["attn.hook_z"], block);
            for (parts, whole) in [
                (&["attn.hook_pattern", "attn.hook_v"][..], &mixed),
                (&["attn.hook_q", "attn.hook_k", "attn.hook_v"], &mixed),
                (&["hook_attn_out"], &mixed),
                (&["attn.hook_q", "attn.hook_k"], &patched(&["attn.hook_pattern"], block)),
            ] {
                let error = apart(&patched(parts, block), whole);
                assert!(error < 5.0 * AGREE, "{name} {parts:?} {block}: {error:e}");
            }
        }
    }
}

#[test]
fn maps_of_heads_are_those_of_runs_with_one_head_patched() {
    for (name, net) in goldens().filter(|(n, _)| ["gpt2", "llama", "gemma2", "mistral", "gptj"].contains(&n.as_str())) {
        let pair = pair(3);
        let ld = |logits: &[f32]| f64::from(logits[7]) - f64::from(logits[11]);
        let components = [Component::V, Component::Pattern, Component::Q, Component::K, Component::Z];
        for direction in [Direction::Denoise, Direction::Noise] {
            let found = patching(&net, std::slice::from_ref(&pair), &components, direction, &mut unwatched).unwrap();
            let (base, source) = match direction {
                Direction::Denoise => (&pair.corrupted, &pair.clean),
                Direction::Noise => (&pair.clean, &pair.corrupted),
            };
            let start = ld(&with(&net, base, base, &[]));
            let span = found.clean - found.corrupted;
            for map in &found.maps {
                let axis = if map.component.columns() == Columns::KeyHeads { "kv_head" } else { "head" };
                for (block, row) in map.effect.iter().enumerate() {
                    for (head, got) in row.iter().enumerate() {
                        let site = format!("blocks.{block}.{}[{axis}={head}]", map.component.site());
                        let moved = ld(&with(&net, base, source, &[site])) - start;
                        let expected = if direction == Direction::Denoise { moved / span } else { -moved / span };
                        let scale = (1.0 / span.abs()).max(1.0);
                        assert!(
                            (got - expected).abs() < 1e-4 * scale,
                            "{name} {:?} {block}.{head}: {got} {expected}",
                            map.component
                        );
                    }
                }
            }
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
            let found = patching(&net, &[pair], &[Component::ResidPre], direction, &mut unwatched).unwrap();
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
        let error = patching(&net, pairs, &Component::ALL, Direction::Denoise, &mut unwatched).unwrap_err().to_string();
        assert!(words.iter().all(|w| error.contains(w)), "{error}");
    };
    refused(&[], &["no pair"]);
    refused(&[Pair { corrupted: text(3, 5), ..pair(1) }], &["6 clean", "5 corrupted", "equal length"]);
    let short = Pair { clean: text(1, 4), corrupted: text(2, 4), correct: 7, wrong: 11 };
    refused(&[pair(1), short], &["pair 1", "4 tokens"]);
    refused(&[Pair { correct: 1_000_000, ..pair(1) }], &["1000000", "vocabulary"]);
    refused(&[Pair { wrong: 7, ..pair(1) }], &["do not tell the prompts apart"]);
    let refused = |components: &[Component], net: &Decoder, words: &[&str]| {
        let error = patching(net, &[pair(1)], components, Direction::Denoise, &mut unwatched).unwrap_err().to_string();
        assert!(words.iter().all(|w| error.contains(w)), "{error}");
    };
    refused(&[Component::Q, Component::Q], &net, &["`q`", "twice"]);
    let parallel = goldens().find(|(name, _)| name == "gptj").unwrap().1;
    refused(&[Component::ResidMid], &parallel, &["hook_resid_mid", "resid_pre"]);
}
