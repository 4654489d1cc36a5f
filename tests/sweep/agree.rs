//! Same numbers as the naive loop.

use super::{ALL, apart, naive, sites, swept};
use crate::common::{AGREE, goldens, text};

/// Every site of a block that has one value per token.
const SITES: &[&str] = &[
    "hook_resid_pre",
    "hook_q_input",
    "hook_k_input",
    "hook_v_input",
    "ln1.hook_out",
    "ln1.hook_normalized",
    "attn.hook_q",
    "attn.hook_k",
    "attn.hook_v",
    "attn.k_norm.hook_out",
    "attn.q_norm.hook_normalized",
    "attn.hook_rot_q",
    "attn.hook_rot_k",
    "attn.hook_z",
    "attn.hook_result",
    "attn.hook_out",
    "ln1_post.hook_out",
    "hook_attn_out",
    "hook_resid_mid",
    "hook_mlp_in",
    "ln2.hook_out",
    "mlp.hook_pre",
    "mlp.hook_pre_linear",
    "mlp.hook_post",
    "mlp.hook_out",
    "hook_mlp_out",
    "hook_resid_post",
];

fn assert_same(net: &optrode::models::Decoder, name: &str, pairs: [&[Vec<u32>]; 2], patches: &[String]) {
    let (got, _) = swept(net, pairs, patches, ALL);
    for (patch, got) in patches.iter().zip(&got) {
        for (row, (got, expected)) in got.iter().zip(naive(net, pairs, patch)).enumerate() {
            let error = apart(got, &expected);
            assert!(error <= AGREE, "{name}: {patch}, prompt {row}: {error:.1e}");
        }
    }
}

#[test]
fn every_kind_of_site_in_every_family_equals_a_run_of_its_own() {
    for (name, net) in goldens() {
        let (base, source) = (vec![text(1, 9)], vec![text(2, 9)]);
        let mut patches = Vec::new();
        for part in SITES {
            let there = sites(&net, &format!("blocks.*.{part}"));
            for (i, site) in there.into_iter().enumerate() {
                patches.extend([0, 4, 8].iter().skip(i % 2).map(|p| format!("{site}@{p}")));
            }
        }
        assert!(patches.len() > 30, "{name}");
        assert_same(&net, &name, [&base, &source], &patches);
    }
}

#[test]
fn every_layer_and_position_of_the_stream_equals_a_run_of_its_own_in_both_directions() {
    for (name, net) in goldens() {
        let (a, b) = (vec![text(1, 7)], vec![text(2, 7)]);
        let layers = 0..net.facts().layers.len();
        let patches: Vec<String> =
            layers.flat_map(|l| (0..7).map(move |p| format!("blocks.{l}.hook_resid_pre@{p}"))).collect();
        assert_same(&net, &name, [&a, &b], &patches);
        assert_same(&net, &name, [&b, &a], &patches);
    }
}

#[test]
fn heads_neurons_lists_of_positions_and_several_sites_equal_a_run_of_their_own() {
    for (name, net) in goldens() {
        let (base, source) = (vec![text(1, 8)], vec![text(2, 8)]);
        let last = net.facts().layers.len() - 1;
        let mut patches: Vec<String> = Vec::new();
        for head in 0..net.facts().n_heads {
            patches.push(format!("blocks.0.attn.hook_z[head={head}]@5"));
            patches.push(format!("blocks.{last}.attn.hook_z[head={head}]@last"));
            patches.push(format!("blocks.{last}.attn.hook_q[head={head}]"));
        }
        for head in 0..net.facts().n_kv_heads {
            patches.push(format!("blocks.0.attn.hook_k[kv_head={head}]@2"));
            patches.push(format!("blocks.{last}.attn.hook_v[kv_head={head}]@0..3"));
        }
        patches.extend(
            [
                "blocks.0.mlp.hook_post[neuron=0,3,5]@2,6",
                "blocks.0.hook_resid_pre",
                "blocks.*.hook_mlp_out@3",
                "blocks.*.hook_attn_out@1,4..6",
                "blocks.{0,-1}.attn.hook_v@2..5",
            ]
            .map(String::from),
        );
        assert_same(&net, &name, [&base, &source], &patches);
    }
}

/// Rows of unequal length: each has its own prefix, its own last position and, where frequencies depend on it, its own
/// length.
#[test]
fn prompts_of_many_lengths_are_what_they_are_alone() {
    for (name, net) in goldens() {
        let lengths = [5, 11, 3];
        let rows = |seed: u64| -> Vec<Vec<u32>> {
            lengths.iter().enumerate().map(|(i, n)| text(seed + i as u64, *n)).collect()
        };
        let (base, source) = (rows(10), rows(20));
        let last = net.facts().layers.len() - 1;
        let patches = [
            "blocks.0.hook_resid_pre@1".to_string(),
            format!("blocks.{last}.hook_resid_pre@-1"),
            "blocks.0.attn.hook_k@0".into(),
            format!("blocks.{last}.hook_mlp_out@last"),
            "blocks.0.hook_mlp_out@2".into(),
        ];
        let (got, _) = swept(&net, [&base, &source], &patches, ALL);
        for (patch, got) in patches.iter().zip(&got) {
            for row in 0..base.len() {
                let alone = naive(&net, [&base[row..=row], &source[row..=row]], patch);
                let error = apart(&got[row], &alone[0]);
                assert!(error <= AGREE, "{name}: {patch}, prompt {row}: {error:.1e}");
            }
        }
    }
}

#[test]
fn a_patch_from_the_same_prompt_runs_nothing_and_changes_nothing() {
    for (name, net) in goldens() {
        let base = vec![text(1, 6)];
        let patches = ["blocks.0.hook_resid_pre@3".to_string(), "blocks.0.attn.hook_z[head=1]".into()];
        let (got, work) = swept(&net, [&base, &base], &patches, ALL);
        let own = naive(&net, [&base, &base], "blocks.0.hook_resid_pre@0");
        assert_eq!((work.ran, work.skipped, work.tokens), (0, 2, 0), "{name}");
        assert!(got.iter().all(|g| apart(&g[0], &own[0]) <= AGREE), "{name}");
    }
}

/// Two prompts with a common beginning: patches there cannot act, and cost nothing.
#[test]
fn what_both_prompts_share_is_skipped() {
    for (name, net) in goldens() {
        let base = vec![text(1, 8)];
        let mut source = base.clone();
        source[0][5] = if source[0][5] == 9 { 10 } else { 9 };
        let patches: Vec<String> = (0..8).map(|p| format!("blocks.1.hook_resid_pre@{p}")).collect();
        let (got, work) = swept(&net, [&base, &source], &patches, ALL);
        assert_eq!((work.ran, work.skipped), (3, 5), "{name}");
        for (patch, got) in patches.iter().zip(&got) {
            assert!(apart(&got[0], &naive(&net, [&base, &source], patch)[0]) <= AGREE, "{name}: {patch}");
        }
    }
}

#[test]
fn the_last_stream_at_the_last_position_carries_the_whole_effect() {
    for (name, net) in goldens() {
        let (base, source) = (vec![text(1, 6)], vec![text(2, 6)]);
        let last = net.facts().layers.len() - 1;
        let patches = [
            format!("blocks.{last}.hook_resid_post@last"),
            "blocks.0.hook_resid_pre".to_string(),
            format!("blocks.{last}.hook_resid_post@0..5"),
        ];
        let (got, _) = swept(&net, [&base, &source], &patches, ALL);
        let own = |rows: &[Vec<u32>]| naive(&net, [rows, rows], "blocks.0.hook_resid_pre@0").remove(0);
        assert!(apart(&got[0][0], &own(&source)) <= AGREE, "{name}: the last stream");
        assert!(apart(&got[1][0], &own(&source)) <= AGREE, "{name}: all of the first stream");
        assert!(apart(&got[2][0], &own(&base)) <= AGREE, "{name}: positions that nobody reads");
    }
}
