//! Edits in weights: what is exported does what the edited run does, in every family that has weights for it.

mod command;

use std::path::Path;

use candle_core::{DType, Device};
use optrode::analysis::bake::{Texts, Verified, bake, verify};
use optrode::hook::Edit;
use optrode::models::{Model, Side, Tokens};
use optrode::store::{Bundle, EditFile, WeightFile};
use serde_json::{Value, json};

use crate::common::shared::{golden, open};
use crate::common::{assert_close, edit, floats, folders, normal, pass, see};

/// The error of f32 arithmetic, relative to the largest logit.
const AGREE: f64 = 1e-5;
const TEXTS: Texts = Texts::Random(3, 9, 5);

fn bundle(edits: Vec<Edit>) -> Bundle {
    let file: EditFile = serde_json::from_value(json!({ "version": 1, "edits": edits })).unwrap();
    Bundle { path: "edit.json".into(), file, tensors: Default::default() }
}

/// Bakes, writes, opens again, compares.
fn exported(model: &Model, edits: Vec<Edit>, folder: &Path) -> optrode::Result<(Model, Verified)> {
    let bundle = bundle(edits);
    bake(model, &bundle)?.write(model, folder)?;
    let edited = open(folder);
    let verified = verify(model, &bundle, &edited, &TEXTS, 0.0)?;
    Ok((edited, verified))
}

/// Every golden model with its name.
fn models() -> impl Iterator<Item = (String, Model)> {
    folders().into_iter().map(|f| (f.file_name().unwrap().to_string_lossy().into_owned(), open(&f)))
}

fn refused(model: &Model, edits: Vec<Edit>) -> String {
    bake(model, &bundle(edits)).unwrap_err().to_string()
}

#[test]
fn zeroed_and_scaled_neurons_and_heads_are_the_same_in_weights_in_every_family() {
    for (name, model) in models() {
        let edits = vec![
            edit("blocks.0.mlp.hook_post[neuron=0,2]", json!({ "op": "zero" })),
            edit("blocks.{-1}.attn.hook_z[head=1]", json!({ "op": "zero" })),
            edit("blocks.{-1}.mlp.hook_post[neuron=1..3]", json!({ "op": "scale", "factor": [2.0, -0.5] })),
        ];
        let folder = tempfile::tempdir().unwrap();
        let (_, verified) = exported(&model, edits, folder.path()).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(verified.logits <= AGREE && verified.holds, "{name}: {verified:?}");
        assert!(verified.kl_unedited > 1e-9, "{name}: the edits do nothing");
    }
}

#[test]
fn a_value_needs_a_bias() {
    let (mut with, mut without) = (0, 0);
    for (name, model) in models() {
        let edits = || vec![edit("blocks.0.mlp.hook_post[neuron=1,3]", json!({ "op": "set", "value": [0.7, -1.1] }))];
        let folder = tempfile::tempdir().unwrap();
        if model.decoder.facts().mlp.bias {
            let (_, verified) = exported(&model, edits(), folder.path()).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert!(verified.logits <= AGREE, "{name}: {verified:?}");
            with += 1;
        } else {
            let error = refused(&model, edits());
            assert!(error.contains("no bias") && error.contains("--edit"), "{name}: {error}");
            without += 1;
        }
    }
    assert!(with > 3 && without > 3, "{with} {without}");
}

/// What removes a direction from everything that is written to the stream.
#[test]
fn a_rank_one_update_is_the_same_in_weights_in_every_family() {
    for (name, model) in models() {
        let facts = model.decoder.facts();
        let (left, right) = (floats(&normal(1, &[facts.d_model])), floats(&normal(2, &[facts.d_mlp])));
        let input = json!({ "site": "blocks.1.mlp.hook_post" });
        let update = |input: &Value, right: &[f32]| {
            let op = json!({ "op": "rank_one", "input": input, "left": left, "right": right });
            vec![edit("blocks.1.mlp.hook_out", op)]
        };
        let folder = tempfile::tempdir().unwrap();
        let made = exported(&model, update(&input, &right), folder.path());
        let (_, verified) = made.unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(verified.logits <= AGREE, "{name}: {verified:?}");
        assert!(verified.kl_unedited > 1e-9, "{name}: the edit does nothing");
        let elsewhere = json!({ "site": "blocks.0.mlp.hook_post" });
        assert!(refused(&model, update(&elsewhere, &right)).contains("which the weight reads"), "{name}");
        assert!(refused(&model, update(&input, &right[1..])).contains("as long as"), "{name}");
    }
}

fn directional(r: &[f32]) -> Vec<Edit> {
    let out = |site: &str| edit(site, json!({ "op": "project_out", "direction": r }));
    ["blocks.*.hook_resid_pre", "blocks.*.hook_attn_out", "blocks.*.hook_mlp_out"].map(out).to_vec()
}

#[test]
fn a_direction_is_gone_from_the_stream_or_the_family_is_refused() {
    let (mut baked, mut untied) = (0, 0);
    for (name, model) in models() {
        let facts = model.decoder.facts();
        let r = floats(&normal(3, &[facts.d_model]));
        let folder = tempfile::tempdir().unwrap();
        let (edited, verified) = match exported(&model, directional(&r), folder.path()) {
            Ok(both) => both,
            Err(error) => {
                let hinders = facts.placement.norms_contributions() || facts.embed.norm;
                let hinders = hinders || facts.embed.width != facts.d_model || facts.embed.positions.is_some();
                assert!(hinders || name == "opt-350m", "{name}: {error}");
                assert!(error.to_string().contains("cannot be baked"), "{name}: {error}");
                continue;
            }
        };
        assert!(verified.logits <= 10.0 * AGREE, "{name}: {verified:?}");
        let length = r.iter().map(|x| x * x).sum::<f32>().sqrt();
        let tokens = Tokens::from_rows(&[vec![3, 1, 4, 1, 5]], Side::Right, 0).unwrap();
        let seen = see(&edited.decoder, &tokens, &pass(&["blocks.*.hook_resid_post"], &[]));
        for l in 0..facts.layers.len() {
            let stream = floats(seen.block(l, "hook_resid_post"));
            let scale = stream.iter().fold(0.0f32, |m, x| m.max(x.abs()));
            for x in stream.chunks(r.len()) {
                let along: f32 = x.iter().zip(&r).map(|(x, r)| x * r / length).sum();
                assert!(along.abs() <= 1e-4 * scale, "{name} layer {l}: {along}");
            }
        }
        if facts.head.tied {
            assert!(!edited.decoder.facts().head.tied, "{name}");
            untied += 1;
        }
        baked += 1;
    }
    assert!(baked > 8 && untied > 1, "{baked} {untied}");
}

#[test]
fn what_is_not_edited_is_copied_byte_for_byte_in_its_type() {
    let (model, folder) = (open(&golden("llama")), tempfile::tempdir().unwrap());
    exported(&model, vec![edit("blocks.0.mlp.hook_post[neuron=0]", json!({ "op": "zero" }))], folder.path()).unwrap();
    let [old, new] = [&golden("llama"), folder.path()].map(|f| WeightFile::open(f.join("model.safetensors")).unwrap());
    let bytes = |file: &WeightFile, name: &str| {
        let mut all = Vec::new();
        file.bytes(name, |piece| {
            all.extend_from_slice(piece);
            Ok(())
        })
        .unwrap();
        all
    };
    assert!(old.names().eq(new.names()));
    let changed: Vec<&str> = old.names().filter(|name| bytes(&old, name) != bytes(&new, name)).collect();
    assert_eq!(changed, ["model.layers.0.mlp.down_proj.weight"]);
    assert!(old.names().all(|name| old.info(name).unwrap().element == new.info(name).unwrap().element));
    // Column 0 is zero, the others are as they were.
    let name = changed[0];
    let [a, b] = [&old, &new].map(|f| f.tensor(name, &Device::Cpu, Default::default()).unwrap());
    let [a, b] = [a, b].map(|x| x.to_dtype(DType::F32).unwrap().to_vec2::<f32>().unwrap());
    assert!(a.iter().zip(&b).all(|(a, b)| b[0] == 0.0 && a[1..] == b[1..]));
}

#[test]
fn edits_of_one_input_combine_in_their_order() {
    let (_, model) = models().find(|(_, m)| m.decoder.facts().mlp.bias).unwrap();
    let site = "blocks.0.mlp.hook_post[neuron=2]";
    let set = || edit(site, json!({ "op": "set", "value": 1.5 }));
    let double = || edit(site, json!({ "op": "scale", "factor": 2.0 }));
    let zero = || edit(site, json!({ "op": "zero" }));
    for edits in [vec![set(), double()], vec![double(), set()], vec![zero(), set()], vec![set(), zero()]] {
        let folder = tempfile::tempdir().unwrap();
        let (_, verified) = exported(&model, edits.clone(), folder.path()).unwrap();
        assert!(verified.logits <= AGREE, "{edits:?}: {verified:?}");
    }
}

#[test]
fn what_has_no_weights_is_refused_with_the_reason() {
    let model = open(&golden("llama"));
    let d = model.decoder.facts().d_model;
    let cases: [(&str, Value, &str); 9] = [
        ("blocks.0.mlp.hook_post[neuron=0]@last", json!({ "op": "zero" }), "positions, rows or phases"),
        ("blocks.0.attn.hook_pattern", json!({ "op": "zero" }), "no weights"),
        ("blocks.0.mlp.hook_post", json!({ "op": "noise", "std": 1.0 }), "depends on the activations"),
        ("blocks.0.mlp.hook_post[neuron=0]", json!({ "op": "scale", "factor": 1.0 }), "change no weight"),
        ("blocks.0.hook_mlp_out", json!({ "op": "project_out", "direction": [1.0] }), "1 numbers"),
        ("blocks.0.mlp.hook_post[neuron=0,1]", json!({ "op": "set", "value": [1.0, 2.0, 3.0] }), "3 numbers"),
        ("blocks.0.mlp.hook_post[neuron=9999]", json!({ "op": "zero" }), "9999"),
        (
            "blocks.0.hook_mlp_out",
            json!({ "op": "project_out", "direction": vec![1.0; d], "component": 2.0 }),
            "another value than 0",
        ),
        ("blocks.1.hook_resid_pre", json!({ "op": "project_out", "direction": vec![1.0; d] }), "still writes"),
    ];
    for (site, op, words) in cases {
        let error = refused(&model, vec![edit(site, op)]);
        assert!(error.contains(words), "{site}: {error}");
    }
    let scaled = refused(
        &model,
        vec![edit("blocks.0.mlp.hook_post[neuron=0]", json!({ "op": "set", "value": {"site": "hook_embed"} }))],
    );
    assert!(scaled.contains("value of a run"), "{scaled}");
}

#[test]
fn the_same_model_twice_is_no_edit() {
    let model = open(&golden("llama"));
    let edits = vec![edit("blocks.0.mlp.hook_post[neuron=0]", json!({ "op": "zero" }))];
    let error = verify(&model, &bundle(edits), &open(&golden("llama")), &TEXTS, 0.0).unwrap_err().to_string();
    assert!(error.contains("same weights"), "{error}");
}

#[test]
fn another_edit_does_not_verify() {
    let (model, folder) = (open(&golden("llama")), tempfile::tempdir().unwrap());
    let zero = |neuron: usize| vec![edit(format!("blocks.0.mlp.hook_post[neuron={neuron}]"), json!({ "op": "zero" }))];
    let (edited, _) = exported(&model, zero(0), folder.path()).unwrap();
    let verified = verify(&model, &bundle(zero(1)), &edited, &TEXTS, 0.0).unwrap();
    assert!(!verified.holds && verified.logits > AGREE, "{verified:?}");
}

fn organism() -> Model {
    open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/organism"))
}

#[test]
fn an_exported_organism_has_the_same_logits_in_candle_transformers() {
    use candle_transformers::models::llama::{Cache, Llama, LlamaConfig};
    let (model, folder) = (organism(), tempfile::tempdir().unwrap());
    let edits = vec![
        edit("blocks.*.mlp.hook_post[neuron=0..40]", json!({ "op": "zero" })),
        edit("blocks.2.attn.hook_z[head=1,4]", json!({ "op": "zero" })),
    ];
    let baked = bake(&model, &bundle(edits.clone())).unwrap();
    assert!(baked.is_exact(), "zero has a place in bf16: {:?}", baked.changes);
    let (_, verified) = exported(&model, edits.clone(), folder.path()).unwrap();
    assert!(verified.holds && verified.logits <= AGREE, "{verified:?}");

    let config: LlamaConfig =
        serde_json::from_slice(&std::fs::read(folder.path().join("config.json")).unwrap()).unwrap();
    let config = config.into_config(false);
    let weights = candle_core::safetensors::load(folder.path().join("model.safetensors"), &Device::Cpu).unwrap();
    let weights = weights.into_iter().map(|(name, w)| (name, w.to_dtype(DType::F32).unwrap())).collect();
    let weights = candle_nn::VarBuilder::from_tensors(weights, DType::F32, &Device::Cpu);
    let llama = Llama::load(weights, &config).unwrap();
    let row = model.encode("max(4,9,2)=").unwrap();
    let ids = candle_core::Tensor::new(row.as_slice(), &Device::Cpu).unwrap().unsqueeze(0).unwrap();
    let mut cache = Cache::new(false, DType::F32, &config, &Device::Cpu).unwrap();
    let theirs = llama.forward(&ids, 0, &mut cache).unwrap();
    let tokens = Tokens::from_rows(&[row], Side::Right, 0).unwrap();
    let ours = see(&model.decoder, &tokens, &pass(&[], &edits)).logits;
    let last = ours.dim(1).unwrap() - 1;
    let ours = ours.narrow(1, last, 1).unwrap().squeeze(1).unwrap();
    assert_close(&theirs, &ours, AGREE as f32, "candle-transformers");
}

#[test]
fn a_direction_in_bf16_is_rounded_and_the_divergence_says_how_much() {
    let (model, folder) = (organism(), tempfile::tempdir().unwrap());
    let edits = directional(&floats(&normal(3, &[model.decoder.facts().d_model])));
    let bundle = bundle(edits);
    let baked = bake(&model, &bundle).unwrap();
    assert!(!baked.is_exact() && baked.changes.iter().all(|c| c.rounding < 0.01 && c.changed > 0));
    baked.write(&model, folder.path()).unwrap();
    let verified = verify(&model, &bundle, &open(folder.path()), &TEXTS, 0.01).unwrap();
    assert!(verified.holds && verified.kl < 0.1 * verified.kl_unedited, "{verified:?}");
    let strict = verify(&model, &bundle, &open(folder.path()), &TEXTS, 0.0).unwrap();
    assert!(!strict.holds, "bf16 rounds: {strict:?}");
}
