//! The same bits again: in the same process, and at any number of threads.

use std::collections::BTreeMap;

use candle_core::Tensor;
use optrode::hook::Form;
use optrode::models::{Decoder, Side, Tokens};
use serde_json::json;

use super::layouts::{Layout, Text, trace};
use crate::common::{batch, bits, edit, goldens, normal, pass, plan, see_all, see_with, text};

#[test]
fn a_second_run_gives_the_same_bits_at_every_site() {
    let tokens = batch(&[text(1, 8), text(2, 3)], Side::Left);
    for (name, net) in goldens() {
        let edits = [
            edit("hook_embed", json!({"op": "noise", "std": 0.1})),
            edit("blocks.0.attn.hook_result[head=0]", json!({"op": "zero"})),
        ];
        let [first, second] = [(); 2].map(|()| see_all(&net, &tokens, &edits));
        assert_eq!(bits(&first.logits), bits(&second.logits), "{name}");
        for (site, recorded) in &first.records.tensors {
            assert_eq!(bits(&recorded.tensor), bits(second.at(site)), "{name}: {site}");
        }
    }
}

/// A Llama that is large enough for every kernel and product to go parallel.
fn large() -> Decoder {
    let (d, m, heads, kv, vocab) = (128usize, 352usize, 4usize, 2usize, 512usize);
    let config = json!({
        "model_type": "llama", "hidden_size": d, "intermediate_size": m, "num_attention_heads": heads,
        "num_key_value_heads": kv, "num_hidden_layers": 2, "vocab_size": vocab, "max_position_embeddings": 1024,
        "hidden_act": "silu", "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "tie_word_embeddings": false,
        "attention_bias": false, "mlp_bias": false,
    });
    let mut shapes = vec![
        ("model.embed_tokens.weight".to_string(), vec![vocab, d]),
        ("model.norm.weight".into(), vec![d]),
        ("lm_head.weight".into(), vec![vocab, d]),
    ];
    for l in 0..2 {
        for (part, shape) in [
            ("self_attn.q_proj", vec![d, d]),
            ("self_attn.k_proj", vec![d * kv / heads, d]),
            ("self_attn.v_proj", vec![d * kv / heads, d]),
            ("self_attn.o_proj", vec![d, d]),
            ("mlp.gate_proj", vec![m, d]),
            ("mlp.up_proj", vec![m, d]),
            ("mlp.down_proj", vec![d, m]),
            ("input_layernorm", vec![d]),
            ("post_attention_layernorm", vec![d]),
        ] {
            shapes.push((format!("model.layers.{l}.{part}.weight"), shape));
        }
    }
    let random = |(i, (name, shape)): (usize, (String, Vec<usize>))| {
        let scale = if shape.len() == 1 { 1.0 } else { 0.1 };
        (name, (normal(i as u64, &shape) * scale).unwrap())
    };
    let weights: BTreeMap<String, Tensor> = shapes.into_iter().enumerate().map(random).collect();
    Decoder::new(config.as_object().unwrap(), &weights).unwrap()
}

/// Bits of logits and all sites: a padded batch in both forms, then a cached generation with an edit.
fn fingerprint() -> Vec<u8> {
    let net = large();
    let words = |seed, length| -> Vec<u32> { text(seed, length).iter().map(|t| t * 8).collect() };
    let rows = [words(1, 360), words(2, 200)];
    let tokens: Tokens = batch(&rows, Side::Left);
    let mut all = Vec::new();
    let mut keep = |x: &Tensor| all.extend(bits(x).into_iter().flat_map(u32::to_le_bytes));
    for form in [Form::Inference, Form::Differentiable] {
        let mut plan = plan(&net, &pass(&["**"], &[]), &BTreeMap::new());
        if form == Form::Differentiable {
            plan = plan.differentiable();
        }
        let seen = see_with(&net, &tokens, plan);
        keep(&seen.logits);
        seen.records.tensors.values().for_each(|r| keep(&r.tensor));
    }
    let texts = [Text { prompt: rows[0].clone(), generated: words(3, 4) }];
    let edits = [edit("blocks.*.attn.hook_z[head=1]", json!({"op": "scale", "factor": 0.3}))];
    let calls = Layout::Chunked(Side::Left, 100).calls(&texts);
    keep(&trace(&net, &calls, &pass(&[], &edits), &BTreeMap::new()).logits);
    all
}

/// The number of threads is read once per process, so each number gets a process: this test, run again.
#[test]
fn a_long_prompt_gives_the_same_bits_at_any_number_of_threads() {
    const FILE: &str = "OPTRODE_TEST_FINGERPRINT";
    if let Some(file) = std::env::var_os(FILE) {
        return std::fs::write(file, fingerprint()).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let files = ["1", "2", "3"].map(|threads| {
        let file = folder.path().join(threads);
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "invariants::repeatable::a_long_prompt_gives_the_same_bits_at_any_number_of_threads"])
            .env("RAYON_NUM_THREADS", threads)
            .env(FILE, &file)
            .output()
            .unwrap()
            .status;
        assert!(status.success());
        std::fs::read(file).unwrap()
    });
    assert!(files[0].len() > 1 << 20);
    assert!(files[0] == files[1], "one thread and two differ");
    assert!(files[0] == files[2], "one thread and three differ");
}
