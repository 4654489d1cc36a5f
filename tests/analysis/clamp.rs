//! Clamps: what they put in place is what the network then uses, with and without padding, in every family.

use std::collections::BTreeMap;

use candle_core::{D, Tensor};
use optrode::analysis::clamp::{Preserve, ablation, graft, shared_heads};
use optrode::analysis::heads::Template;
use optrode::analysis::registry;
use optrode::hook::{Edit, Pass, Record, Run};
use optrode::models::{AttentionOnly, AttentionOnlyConfig, Input, Job, Network, Side, execute, job_gradients};
use optrode::train::{Targets, next_token_loss};
use serde_json::{Value, json};

use crate::common::shared::golden;
use crate::common::{assert_close, batch, bits, edit, floats, goldens, load, text};

/// Everything of one call under edits.
fn see(net: &dyn Network, input: &Input, edits: &[Edit], records: &[&str]) -> (Tensor, optrode::hook::Records) {
    let pass = Pass {
        edits: edits.to_vec(),
        records: records.iter().map(|r| Record::whole(r.parse().unwrap())).collect(),
        ..Pass::default()
    };
    let seen = optrode::models::execute::observe(net, input, &pass, &registry()).unwrap();
    (seen.output, seen.records)
}

fn refused(net: &dyn Network, input: &Input, edits: &[Edit]) -> String {
    let pass = Pass { edits: edits.to_vec(), ..Pass::default() };
    optrode::models::execute::observe(net, input, &pass, &registry()).unwrap_err().to_string()
}

/// Two rows that repeat themselves, the second shorter, padded on `side`.
fn repeating(side: Side) -> (Vec<Vec<u32>>, Input) {
    let rows = vec![[text(1, 6), text(1, 6)].concat(), [text(2, 4), text(2, 4)].concat()];
    let input = Input::Tokens(batch(&rows, side));
    (rows, input)
}

/// The weights of a head at a row's real positions: `[query][key]`.
fn real(pattern: &Tensor, row: usize, head: usize, length: usize, side: Side) -> Vec<Vec<f32>> {
    let whole: Vec<Vec<f32>> = pattern.get(row).unwrap().get(head).unwrap().to_vec2().unwrap();
    let start = if side == Side::Left { whole.len() - length } else { 0 };
    whole[start..start + length].iter().map(|r| r[start..start + length].to_vec()).collect()
}

#[test]
fn ideal_patterns_stand_where_they_should_whatever_the_padding() {
    let net = load(&golden("llama"));
    for side in [Side::Left, Side::Right] {
        let (rows, input) = repeating(side);
        for template in ["previous", "duplicate", "induction"] {
            let attend = edit("blocks.1.attn.hook_pattern[head=2]", json!({ "op": "attend", "template": template }));
            let (_, records) = see(&net, &input, &[attend], &["blocks.1.attn.hook_pattern"]);
            let pattern = records.get("blocks.1.attn.hook_pattern").unwrap();
            let kind: Template = serde_json::from_value(json!(template)).unwrap();
            for (row, tokens) in rows.iter().enumerate() {
                let weights = real(pattern, row, 2, tokens.len(), side);
                for (i, query) in weights.iter().enumerate() {
                    let total: f32 = query.iter().sum();
                    assert!((total - 1.0).abs() < 1e-6, "{template} {side:?} row {row} query {i}: {total}");
                    let allowed: Vec<usize> = (0..=i).filter(|j| kind.allows(tokens, i, *j)).collect();
                    let on: f32 = allowed.iter().map(|j| query[*j]).sum();
                    let expected = if allowed.is_empty() { query[0] } else { on };
                    assert!((expected - 1.0).abs() < 1e-6, "{template} {side:?} row {row} query {i}: {query:?}");
                }
                // Another head is as it was.
                let (_, free) = see(&net, &input, &[], &["blocks.1.attn.hook_pattern"]);
                let before = real(free.get("blocks.1.attn.hook_pattern").unwrap(), row, 1, tokens.len(), side);
                assert_eq!(before, real(pattern, row, 1, tokens.len(), side));
            }
        }
    }
}

#[test]
fn strength_shares_attention_out_and_mirrored_strengths_add_up() {
    let net = load(&golden("llama"));
    let (_, input) = repeating(Side::Right);
    let at = |strength: f64| {
        let op = json!({ "op": "attend", "template": "induction", "strength": strength, "candidates": [1, 3] });
        let (_, records) =
            see(&net, &input, &[edit("blocks.0.attn.hook_pattern[head=0]@6", op)], &["blocks.0.attn.hook_pattern"]);
        records.get("blocks.0.attn.hook_pattern").unwrap().get(0).unwrap().get(0).unwrap().get(6).unwrap()
    };
    let sum = (at(1.0) + at(0.0)).unwrap();
    assert_close(&sum, &(at(0.5) * 2.0).unwrap(), 1e-6, "s and 1 - s");
    let whole: Vec<f32> = at(1.0).to_vec1().unwrap();
    assert_eq!((whole[1], whole[3]), (1.0, 0.0), "position 6 repeats position 0, which 1 follows");
    let op = json!({ "op": "attend", "template": "previous", "strength": 0.75 });
    let (_, records) = see(&net, &input, &[edit("blocks.0.attn.hook_pattern", op)], &["blocks.0.attn.hook_pattern"]);
    let map: Vec<Vec<f32>> =
        records.get("blocks.0.attn.hook_pattern").unwrap().get(0).unwrap().get(1).unwrap().to_vec2().unwrap();
    assert_eq!((map[0][0], map[4][3], map[4][4]), (1.0, 0.75, 0.25));
}

#[test]
fn a_forbidden_pattern_gets_no_attention_and_the_rest_keeps_its_proportions() {
    for (name, net) in goldens().filter(|(n, _)| ["gpt2", "llama", "gemma2", "falcon-new"].contains(&n.as_str())) {
        let (rows, input) = repeating(Side::Left);
        for template in [Template::Previous, Template::Induction] {
            let op = json!({ "op": "forbid", "template": template });
            let sites = ["blocks.0.attn.hook_pattern"];
            let (_, free) = see(&net, &input, &[], &sites);
            let (_, barred) = see(&net, &input, &[edit("blocks.0.attn.hook_attn_scores[head=1]", op)], &sites);
            let (free, barred) = (free.get(sites[0]).unwrap(), barred.get(sites[0]).unwrap());
            for (row, tokens) in rows.iter().enumerate() {
                let before = real(free, row, 1, tokens.len(), Side::Left);
                let after = real(barred, row, 1, tokens.len(), Side::Left);
                for i in 1..tokens.len() {
                    let barred_at = |j: usize| template.allows(tokens, i, j);
                    let left: f32 = (0..=i).filter(|j| !barred_at(*j)).map(|j| before[i][j]).sum();
                    if left < 1e-3 {
                        continue;
                    }
                    for j in 0..=i {
                        let expected = if barred_at(j) { 0.0 } else { before[i][j] / left };
                        assert!((after[i][j] - expected).abs() < 1e-4, "{name} {template:?} {row} {i} {j}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_matcher_attends_to_what_followed_the_most_alike() {
    let net = load(&golden("llama"));
    let (rows, input) = repeating(Side::Right);
    let site = ["blocks.1.attn.hook_pattern"];
    let at = |temperature: f64| {
        let op = json!({ "op": "match", "value": { "site": "hook_embed" }, "temperature": temperature });
        let (_, records) = see(&net, &input, &[edit("blocks.1.attn.hook_pattern[head=0]", op)], &site);
        real(records.get(site[0]).unwrap(), 0, 0, rows[0].len(), Side::Right)
    };
    let hard = at(0.0);
    for i in 6..12 {
        assert!((hard[i][i - 5] - 1.0).abs() < 1e-6, "query {i} repeats {}: {:?}", i - 6, hard[i]);
    }
    let (soft, sharp) = (at(1.0), at(1e-4));
    for row in soft.iter().take(12) {
        let total: f32 = row.iter().sum();
        assert!((total - 1.0).abs() < 1e-5);
    }
    assert!(soft[8][3] < 0.9 && sharp[8][3] > 0.999);
}

fn few_shot(seed: u64) -> (AttentionOnly, Input) {
    let config = AttentionOnlyConfig::paper(5);
    let variables = AttentionOnly::variables(&config, Some(16), seed).unwrap();
    let weights: BTreeMap<String, Tensor> =
        variables.iter().map(|(name, v)| (name.clone(), v.as_tensor().clone())).collect();
    let exemplars = crate::common::normal(seed, &[8, 16]);
    let net = AttentionOnly::new(config, Some(exemplars), &weights).unwrap();
    let rows = vec![vec![5, 2, 7, 4, 5], vec![9, 0, 11, 3, 11]];
    (net, Input::Tokens(batch(&rows, Side::Right)))
}

/// The loss of two logits does not change when both rise alike, so that the gradient at their scores adds up to nothing,
/// also at the larger one.
#[test]
fn a_copier_hands_its_gradient_to_both_scores_alike() {
    let (net, input) = few_shot(3);
    let site = "blocks.1.attn.hook_attn_scores";
    let op =
        json!({ "op": "copy_attended", "value": { "site": site, "detach": false }, "head": 6, "candidates": [1, 3] });
    let pass = Pass { edits: vec![edit("logits@last", op)], gradients: vec![site.parse().unwrap()], ..Pass::default() };
    let job =
        Job { run: &Run { passes: vec![pass] }, inputs: &[input], stored: BTreeMap::new(), registry: &registry() };
    let targets = Targets { places: vec![4, 9], tokens: vec![2, 3] };
    let found = job_gradients(&net, job, |outputs| next_token_loss(&outputs[0], &targets, 1.0)).unwrap();
    let gradient = &found.passes[0].1[site];
    let (outcome, _) = &found.passes[0];
    for (row, (labels, answer)) in [([2, 4], 0), ([0, 3], 1)].into_iter().enumerate() {
        let logits: Vec<f32> = outcome.output.get(row).unwrap().get(4).unwrap().to_vec1().unwrap();
        let [a, b] = labels.map(|label: usize| f64::from(logits[label]));
        let first = 1.0 / (1.0 + (b - a).exp());
        let expected = [first - f64::from(u8::from(answer == 0)), 1.0 - first - f64::from(u8::from(answer == 1))];
        let got: Vec<f32> = gradient.get(row).unwrap().get(6).unwrap().get(4).unwrap().to_vec1().unwrap();
        for (key, expected) in [1, 3].into_iter().zip(expected) {
            assert!((f64::from(got[key]) - expected).abs() < 1e-5, "row {row} key {key}: {got:?} {expected}");
        }
        assert!(got[0] == 0.0 && got[2] == 0.0 && got[4] == 0.0, "{got:?}");
    }
}

#[test]
fn a_copier_s_logits_are_the_scores_of_the_labels() {
    let (net, input) = few_shot(3);
    let scores = json!({ "site": "blocks.1.attn.hook_attn_scores", "detach": false });
    let op = json!({ "op": "copy_attended", "value": scores, "head": 6, "candidates": [1, 3] });
    let (logits, records) = see(&net, &input, &[edit("logits@last", op)], &["blocks.1.attn.hook_attn_scores"]);
    let scores = records.get("blocks.1.attn.hook_attn_scores").unwrap();
    for (row, labels) in [[2, 4], [0, 3]].into_iter().enumerate() {
        let last: Vec<f32> = logits.get(row).unwrap().get(4).unwrap().to_vec1().unwrap();
        let own: Vec<f32> = scores.get(row).unwrap().get(6).unwrap().get(4).unwrap().to_vec1().unwrap();
        for (label, logit) in last.iter().enumerate().take(5) {
            match labels.iter().position(|l| *l == label) {
                Some(which) => assert!((logit - own[2 * which + 1]).abs() < 1e-5),
                None => assert!(*logit < -1e8),
            }
        }
    }
    // Two keys that hold the same token: the logit is the log-sum-exp of both.
    let config = AttentionOnlyConfig::paper(20);
    let variables = AttentionOnly::variables(&config, None, 1).unwrap();
    let weights: BTreeMap<String, Tensor> =
        variables.iter().map(|(name, v)| (name.clone(), v.as_tensor().clone())).collect();
    let net = AttentionOnly::new(config, None, &weights).unwrap();
    let input = Input::Tokens(batch(&[vec![3, 7, 3, 9]], Side::Right));
    let op = json!({ "op": "copy_attended", "value": { "site": "blocks.0.attn.hook_attn_scores" }, "head": 0 });
    let (logits, records) = see(&net, &input, &[edit("logits", op)], &["blocks.0.attn.hook_attn_scores"]);
    let s: Vec<f32> = records
        .get("blocks.0.attn.hook_attn_scores")
        .unwrap()
        .get(0)
        .unwrap()
        .get(0)
        .unwrap()
        .get(3)
        .unwrap()
        .to_vec1()
        .unwrap();
    let got: Vec<f32> = logits.get(0).unwrap().get(3).unwrap().to_vec1().unwrap();
    assert!((got[3] - (s[0].exp() + s[2].exp()).ln()).abs() < 1e-5);
    assert!((got[7] - s[1]).abs() < 1e-5 && got[0] < -1e8);
}

#[test]
fn preserving_patterns_or_values_preserves_them_bit_by_bit() {
    for (name, net) in goldens().filter(|(n, _)| ["gpt2", "llama", "gpt_neox"].contains(&n.as_str())) {
        let input = Input::Tokens(batch(&[text(4, 9)], Side::Right));
        let (clean_logits, clean) = see(&net, &input, &[], &["**.hook_pattern", "**.hook_v"]);
        for (preserve, part) in [(Preserve::Patterns, "attn.hook_pattern"), (Preserve::Values, "attn.hook_v")] {
            let mut run = ablation(net.sites(), &[(0, 1)], preserve).unwrap();
            let last = run.passes.last_mut().unwrap();
            last.records =
                ["**.hook_pattern", "**.hook_v", "**.hook_z"].map(|s| Record::whole(s.parse().unwrap())).to_vec();
            let outcome = run_job(&net, &run, &input);
            let (logits, records) = outcome.last().unwrap();
            assert_ne!(bits(logits), bits(&clean_logits), "{name}: something was ablated");
            for layer in 0..net.facts().layers.len() {
                let site = format!("blocks.{layer}.{part}");
                assert_eq!(bits(records.get(&site).unwrap()), bits(clean.get(&site).unwrap()), "{name} {site}");
            }
            let z = records.get("blocks.0.attn.hook_z").unwrap().narrow(2, 1, 1).unwrap();
            assert!(floats(&z).iter().all(|x| *x == 0.0));
        }
        assert!(ablation(net.sites(), &[(0, 99)], Preserve::Nothing).unwrap_err().to_string().contains("99"));
    }
}

fn run_job(net: &dyn Network, run: &Run, input: &Input) -> Vec<(Tensor, optrode::hook::Records)> {
    let registry = registry();
    let job = Job { run, inputs: std::slice::from_ref(input), stored: BTreeMap::new(), registry: &registry };
    execute(net, job).unwrap().passes.into_iter().map(|p| (p.output, p.records)).collect()
}

#[test]
fn zeroing_values_mixed_values_or_results_of_a_head_is_the_same() {
    for (name, net) in goldens().filter(|(n, _)| ["gpt2", "gpt_neox"].contains(&n.as_str())) {
        let input = Input::Tokens(batch(&[text(5, 8)], Side::Right));
        let zeroed = |site: &str| see(&net, &input, &[edit(site, json!({ "op": "zero" }))], &[]).0;
        let z = zeroed("blocks.0.attn.hook_z[head=1]");
        assert_close(&zeroed("blocks.0.attn.hook_v[kv_head=1]"), &z, 1e-6, &name);
        assert_close(&zeroed("blocks.0.attn.hook_result[head=1]"), &z, 1e-5, &name);
    }
}

#[test]
fn a_clamp_to_its_own_value_changes_no_bit_and_lets_gradients_pass_only_if_live() {
    let (net, input) = few_shot(5);
    let run = |detach: bool| -> Run {
        let value = json!({ "pass": "clean", "site": "blocks.0.hook_resid_post", "detach": detach });
        let edits = vec![edit("blocks.0.hook_resid_post", json!({ "op": "replace", "value": value }))];
        Run {
            passes: vec![
                Pass { name: "clean".into(), ..Pass::default() },
                Pass { name: "clamped".into(), edits, ..Pass::default() },
            ],
        }
    };
    let registry = registry();
    let of = |run: &Run, which: usize| {
        let job = Job { run, inputs: std::slice::from_ref(&input), stored: BTreeMap::new(), registry: &registry };
        job_gradients(&net, job, |outputs| Ok(outputs[which].sqr()?.sum_all()?)).unwrap()
    };
    let (live, cut) = (run(false), run(true));
    let [plain, through, stopped] = [of(&live, 0), of(&live, 1), of(&cut, 1)];
    assert_eq!(bits(&plain.passes[0].0.output), bits(&through.passes[1].0.output));
    let upstream = "blocks.0.attn.v.weight";
    assert_close(&through.weights[upstream], &plain.weights[upstream], 1e-5, "live: as without a clamp");
    assert!(stopped.weights.get(upstream).is_none_or(|g| floats(g).iter().all(|x| *x == 0.0)), "cut: nothing upstream");
    let at = |run: &Run| {
        let mut run = run.clone();
        run.passes[0].gradients = vec!["blocks.0.attn.hook_v".parse().unwrap()];
        let job = Job { run: &run, inputs: std::slice::from_ref(&input), stored: BTreeMap::new(), registry: &registry };
        let found = job_gradients(&net, job, |outputs| Ok(outputs[1].sqr()?.sum_all()?)).unwrap();
        found.passes[0].1["blocks.0.attn.hook_v"].clone()
    };
    let pass = Pass { gradients: vec!["blocks.0.attn.hook_v".parse().unwrap()], ..Pass::default() };
    let direct =
        optrode::models::gradients(&net, &input, &pass, &registry, Default::default(), |x| Ok(x.sqr()?.sum_all()?));
    assert_close(&at(&live), &direct.unwrap().sites["blocks.0.attn.hook_v"], 1e-6, "the live second pass");
    assert!(floats(&at(&cut)).iter().all(|x| *x == 0.0));
}

#[test]
fn a_graft_of_itself_is_itself_and_of_another_is_its_later_layers() {
    let (one, two) = (load(&golden("llama")), few_shot(1).0);
    let input = Input::Tokens(batch(&[text(6, 7)], Side::Right));
    let own = graft(&one, &one, &input, 0).unwrap();
    assert_close(&own, &see(&one, &input, &[], &[]).0, 1e-6, "itself");
    let (net, other) = (few_shot(1), few_shot(2).0);
    let grafted = graft(&other, &net.0, &net.1, 1).unwrap();
    let (_, records) = see(&other, &net.1, &[], &["blocks.1.hook_resid_post"]);
    let stream = records.get("blocks.1.hook_resid_post").unwrap();
    // Of the last layer's stream only the host's norm and unembedding are left.
    let parameters: BTreeMap<&str, &Tensor> = net.0.parameters().iter().map(|(n, t)| (n.as_str(), t)).collect();
    let centered = stream.broadcast_sub(&stream.mean_keepdim(D::Minus1).unwrap()).unwrap();
    let scale = ((centered.sqr().unwrap().mean_keepdim(D::Minus1).unwrap() + 1e-5).unwrap()).sqrt().unwrap();
    let normed = centered.broadcast_div(&scale).unwrap();
    let normed = normed.broadcast_mul(parameters["ln_final.weight"]).unwrap();
    let read = normed.broadcast_add(parameters["ln_final.bias"]).unwrap().flatten_to(1).unwrap();
    let expected = read.matmul(&parameters["unembed.weight"].t().unwrap()).unwrap();
    let expected = expected.broadcast_add(parameters["unembed.bias"]).unwrap().reshape(grafted.shape()).unwrap();
    assert_close(&grafted, &expected, 1e-5, "another");
    assert!(graft(&two, &one, &input, 7).unwrap_err().to_string().contains("blocks.7"));
}

#[test]
fn the_attention_only_network_adds_up() {
    let (net, input) = few_shot(9);
    let (logits, seen) = see(&net, &input, &[], &["**"]);
    for layer in 0..2 {
        let at = |part: &str| seen.get(&format!("blocks.{layer}.{part}")).unwrap();
        let rows = at("attn.hook_pattern").sum(D::Minus1).unwrap();
        assert!(floats(&rows).iter().all(|x| (x - 1.0).abs() < 1e-5));
        assert_close(&at("attn.hook_result").sum(2).unwrap(), at("hook_attn_out"), 1e-5, "heads");
        let sum = (at("hook_resid_pre") + at("hook_attn_out")).unwrap();
        assert_close(&sum, at("hook_resid_post"), 1e-6, "stream");
    }
    assert_eq!(bits(&logits), bits(seen.get("logits").unwrap()));
    let count: usize = AttentionOnly::variables(&AttentionOnlyConfig::paper(5), Some(512), 0)
        .unwrap()
        .values()
        .map(|v| v.elem_count())
        .sum();
    assert_eq!(count, 66_629, "the paper's parameters");
    // A padded row is what it is alone.
    let rows = vec![vec![5, 2, 7], vec![9, 0, 11, 3, 11]];
    let padded = see(&net, &Input::Tokens(batch(&rows, Side::Left)), &[], &[]).0;
    let alone = see(&net, &Input::Tokens(batch(&rows[..1], Side::Right)), &[], &[]).0;
    assert_close(&padded.get(0).unwrap().narrow(0, 2, 3).unwrap(), &alone.get(0).unwrap(), 1e-5, "padding");
    // Both forms agree.
    let pass = Pass { gradients: vec!["hook_embed".parse().unwrap()], ..Pass::default() };
    let run = Run { passes: vec![pass] };
    let registry = registry();
    let job = Job { run: &run, inputs: std::slice::from_ref(&input), stored: BTreeMap::new(), registry: &registry };
    let found = job_gradients(&net, job, |outputs| Ok(outputs[0].sum_all()?)).unwrap();
    assert_close(&found.passes[0].0.output, &logits, 1e-5, "forms");
    assert!(floats(&found.passes[0].1["hook_embed"]).iter().any(|x| *x != 0.0));
}

#[test]
fn clamps_that_cannot_be_are_refused_in_words() {
    let net = load(&golden("llama"));
    let (_, input) = repeating(Side::Right);
    let says = |site: &str, op: Value, words: &[&str]| {
        let answer = refused(&net, &input, &[edit(site, op)]);
        for word in words {
            assert!(answer.contains(word), "`{word}` is not in: {answer}");
        }
    };
    says("blocks.0.attn.hook_z", json!({ "op": "attend", "template": "previous" }), &["attn.hook_pattern"]);
    says(
        "blocks.0.attn.hook_pattern",
        json!({ "op": "attend", "template": "previous", "strength": 2.0 }),
        &["0 and 1"],
    );
    says("blocks.0.attn.hook_pattern", json!({ "op": "attend", "template": "last" }), &["attend", "previous"]);
    says("blocks.0.attn.hook_pattern", json!({ "op": "forbid", "template": "previous" }), &["hook_attn_scores"]);
    says("blocks.0.attn.hook_z[head=99]", json!({ "op": "zero" }), &["99", "head"]);
    says("blocks.9.attn.hook_z", json!({ "op": "zero" }), &["blocks"]);
    says("blocks.0.attn.hook_v[head=1]", json!({ "op": "zero" }), &["kv_head", "hook_z"]);
    let scores = json!({ "site": "blocks.1.attn.hook_attn_scores" });
    says("logits", json!({ "op": "copy_attended", "value": scores, "head": 77 }), &["77"]);
    let facts = net.facts();
    assert!(facts.n_heads > facts.n_kv_heads, "the golden has grouped heads");
    let zero = edit("blocks.0.attn.hook_v[kv_head=1]", json!({ "op": "zero" }));
    let notes = shared_heads(&net, &[zero]).unwrap();
    let group = facts.n_heads / facts.n_kv_heads;
    let heads: Vec<String> = (group..2 * group).map(|h| h.to_string()).collect();
    assert!(notes[0].ends_with(&heads.join(", ")), "{notes:?}");
}
