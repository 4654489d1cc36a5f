//! Model folders that are damaged or not understood: each has its answer, and nothing is written.

use std::collections::HashMap;

use candle_core::{Device, Tensor};
use serde_json::{Map, Value, json};

use super::Desk;
use crate::common::shared::shared;

fn damaged(golden: &str, damage: impl FnOnce(&Desk), words: &[&str]) {
    let desk = Desk::new(golden);
    damage(&desk);
    desk.refuses_record(&[], words);
}

fn config(golden: &str, change: impl FnOnce(&mut Map<String, Value>), words: &[&str]) {
    let change = |desk: &Desk| {
        let text = std::fs::read_to_string(desk.path("m/config.json")).unwrap();
        let mut config: Map<String, Value> = serde_json::from_str(&text).unwrap();
        change(&mut config);
        desk.write("m/config.json", Value::Object(config).to_string());
    };
    damaged(golden, change, words);
}

fn weights(change: impl FnOnce(&mut HashMap<String, Tensor>), words: &[&str]) {
    let change = |desk: &Desk| {
        let file = desk.path("m/model.safetensors");
        let mut tensors = candle_core::safetensors::load(&file, &Device::Cpu).unwrap();
        change(&mut tensors);
        candle_core::safetensors::save(&tensors, &file).unwrap();
    };
    damaged("llama", change, words);
}

const DOWN: &str = "model.layers.1.mlp.down_proj.weight";

#[test]
fn truncated_weights() {
    let cut = |desk: &Desk| {
        let bytes = std::fs::read(desk.path("m/model.safetensors")).unwrap();
        desk.write("m/model.safetensors", &bytes[..bytes.len() - 100]);
    };
    damaged("llama", cut, &["m/model.safetensors", "bytes"]);
}

#[test]
fn a_header_longer_than_the_file() {
    for length in [1000u64, u64::MAX] {
        let lie = |desk: &Desk| {
            let mut bytes = length.to_le_bytes().to_vec();
            bytes.extend(b"{}");
            desk.write("m/model.safetensors", bytes);
        };
        damaged("llama", lie, &["m/model.safetensors", "header"]);
    }
}

#[test]
fn an_empty_weight_file_and_one_that_is_none() {
    damaged("llama", |d| d.write("m/model.safetensors", b""), &["m/model.safetensors"]);
    damaged("llama", |d| d.write("m/model.safetensors", [b'<'; 64]), &["m/model.safetensors"]);
}

#[test]
fn a_missing_shard() {
    let split = |desk: &Desk| {
        std::fs::rename(desk.path("m/model.safetensors"), desk.path("m/model-00001-of-00002.safetensors")).unwrap();
        let map = json!({"weight_map": {
            "model.embed_tokens.weight": "model-00001-of-00002.safetensors",
            "lm_head.weight": "model-00002-of-00002.safetensors",
        }});
        desk.write("m/model.safetensors.index.json", map.to_string());
    };
    damaged("llama", split, &["model-00002-of-00002.safetensors"]);
}

#[test]
fn weights_of_another_shape() {
    let wide = Tensor::zeros((24, 31), candle_core::DType::F32, &Device::Cpu).unwrap();
    weights(|tensors| drop(tensors.insert(DOWN.to_string(), wide)), &[DOWN, "[24, 31]", "[24, 30]"]);
}

#[test]
fn a_weight_that_is_missing_and_one_that_has_no_use() {
    weights(|tensors| drop(tensors.remove(DOWN)), &[DOWN]);
    let stray = "model.layers.0.self_attn.q_norm.weight";
    weights(
        |tensors| {
            let gain = Tensor::ones(10, candle_core::DType::F32, &Device::Cpu).unwrap();
            tensors.insert(stray.to_string(), gain);
        },
        &[stray, "does not use"],
    );
}

#[test]
fn weights_that_are_not_numbers() {
    for (bad, shown) in [(f32::NAN, "NaN"), (f32::NEG_INFINITY, "-inf")] {
        weights(
            |tensors| {
                let mut values = tensors[DOWN].flatten_all().unwrap().to_vec1::<f32>().unwrap();
                values[32] = bad;
                let tensor = Tensor::from_vec(values, (24, 30), &Device::Cpu).unwrap();
                tensors.insert(DOWN.to_string(), tensor);
            },
            &[DOWN, shown, "[1, 2]", "download or export it again"],
        );
    }
}

#[test]
fn weights_that_are_only_there_as_a_pickle() {
    let pickle = |desk: &Desk| {
        std::fs::rename(desk.path("m/model.safetensors"), desk.path("m/pytorch_model.bin")).unwrap();
    };
    damaged("llama", pickle, &["pytorch_model.bin", "safe_serialization=True"]);
}

#[test]
fn a_folder_without_a_config_or_weights() {
    let remove = |name: &'static str| move |desk: &Desk| std::fs::remove_file(desk.path(name)).unwrap();
    damaged("llama", remove("m/config.json"), &["no config.json"]);
    damaged("llama", remove("m/model.safetensors"), &["no weights"]);
}

#[test]
fn a_config_that_is_no_json_or_no_object() {
    damaged("llama", |d| d.write("m/config.json", "{\"a\": 1,\n"), &["m/config.json", "line 2"]);
    damaged("llama", |d| d.write("m/config.json", "[1]"), &["m/config.json", "object"]);
    damaged("llama", |d| d.write("m/config.json", b"{\"a\": \"\xff\"}"), &["not UTF-8"]);
}

#[test]
fn an_unknown_architecture() {
    config("llama", |c| drop(c.insert("model_type".into(), "lama".into())), &["`lama`", "llama"]);
    config("llama", |c| drop(c.remove("model_type")), &["no `model_type`"]);
}

#[test]
fn config_keys_that_could_change_the_numbers() {
    for (key, value) in [
        ("rope_thetaa", json!(500.0)),
        ("attn_logit_softcap", json!(30.0)),
        ("attn_logit_softcapping", json!(30.0)),
        ("quantization_config", json!({"bits": 4, "quant_method": "gptq", "modules": vec!["down_proj"; 40]})),
    ] {
        for golden in ["llama", "gpt2", "qwen3", "phi3"] {
            config(golden, |c| drop(c.insert(key.into(), value.clone())), &[&format!("`{key}`"), golden]);
        }
    }
    config("llama", |c| drop(c.insert("rope_thetaa".into(), json!(1.0))), &["did you mean `rope_theta`?"]);
}

#[test]
fn config_values_of_a_wrong_type_or_size() {
    for (key, value) in [
        ("hidden_size", json!("24")),
        ("hidden_size", json!(-24)),
        ("hidden_size", json!(24.5)),
        ("hidden_size", json!(0)),
        ("rms_norm_eps", json!("1e-5")),
        ("num_hidden_layers", json!(2_000_000_000)),
        ("num_attention_heads", json!([4])),
        ("mlp_bias", json!("yes")),
        ("tie_word_embeddings", json!(0)),
    ] {
        config("llama", |c| drop(c.insert(key.into(), value)), &[&format!("`{key}`")]);
    }
    let rope =
        |parameters: Value| move |c: &mut Map<String, Value>| drop(c.insert("rope_parameters".into(), parameters));
    config("llama", rope(json!(7)), &["rope_parameters"]);
    config("llama", rope(json!({"rope_type": 3})), &["rope_type"]);
    config("llama", rope(json!({"rope_type": "default", "rope_theta": "500"})), &["rope_theta"]);
    config("llama", rope(json!({"rope_type": "linear"})), &["factor"]);
    config("llama", rope(json!({"partial_rotary_factor": "half"})), &["partial_rotary_factor"]);
    config("llama", |c| drop(c.insert("hidden_act".into(), "swich".into())), &["`swich`", "swish"]);
    config("llama", |c| drop(c.remove("hidden_size")), &["lacks `hidden_size`"]);
}

#[test]
fn a_text_for_a_folder_without_a_tokenizer() {
    let desk = Desk::new("llama");
    desk.refuses_record(&["--text", "hello"], &["m", "tokenizer.json", "--token-ids"]);
    super::refuses(desk.root(), &["generate", "m", "--prompt", "hello"], &["tokenizer.json"]);
}

#[test]
fn a_tokenizer_that_is_damaged_or_belongs_to_another_model() {
    damaged("llama", |d| d.write("m/tokenizer.json", "{\"version\": \"1.0\"}"), &["m/tokenizer.json"]);
    let Some(stories) = shared("models/stories260K") else {
        return;
    };
    let foreign = std::fs::read(stories.join("tokenizer.json")).unwrap();
    damaged("llama", |d| d.write("m/tokenizer.json", foreign), &["tokenizer.json", "61"]);
}

#[test]
fn a_model_that_is_not_there() {
    let desk = Desk::new("gpt2");
    let args = ["record", "nowhere/at/all", "--token-ids", "ids.json", "--sites", "logits", "--out", "acts.npz"];
    super::refuses(desk.root(), &args, &["nowhere/at/all", "model folder"]);
    desk.is_clean();
}
