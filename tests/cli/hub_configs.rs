//! Keys that configs on the Hub carry although the model never reads them: none may keep a checkpoint out.

use optrode::models::transformer::families::describe;
use serde_json::{Value, json};

use crate::common::config;
use crate::common::shared::golden;

/// Golden network of the family, and what checkpoints of it have in their config beside what matters.
fn cases() -> Vec<(&'static str, Value)> {
    vec![
        ("qwen2", json!({"use_mrope": false})),
        (
            "llama",
            json!({"is_llama_config": true, "rope_interleaved": false, "transformers.js_config": {"dtype": "q4"}}),
        ),
        ("llama", json!({"unsloth_fixed": true, "unsloth_version": "2024.9", "max_sequence_length": 4096})),
        ("smollm3", json!({"max_window_layers": 28})),
        ("opt", json!({"activation_dropout": 0.0})),
        ("gpt2", json!({"n_special": 0, "predict_special_tokens": true, "output_past": true, "_num_labels": 1})),
        ("gemma2", json!({"sliding_window_size": 4096, "cache_implementation": "hybrid"})),
        ("phi3", json!({"full_attn_mod": 1, "interpolate_factor": 1, "lm_head_bias": false, "mlp_bias": false})),
        ("starcoder2", json!({"activation_function": "gelu", "scale_attn_weights": true, "layer_norm_epsilon": 1e-5})),
        ("falcon-new", json!({"ff_factor": 4})),
        ("stablelm", json!({"norm_eps": 1e-5, "rope_pct": 0.25, "rotary_scaling_factor": 1.0})),
    ]
}

#[test]
fn harmless_keys_of_real_checkpoints_are_taken() {
    for (name, keys) in cases() {
        let mut config = config(&golden(name));
        config.extend(keys.as_object().unwrap().clone());
        assert!(describe(&config).is_ok(), "{name}: {}", describe(&config).unwrap_err());
    }
}

#[test]
fn keys_that_change_the_numbers_are_refused_by_name() {
    for (name, key, value) in [
        ("qwen2", "use_mrope", json!(true)),
        ("llama", "rope_interleaved", json!(true)),
        ("phi3", "lm_head_bias", json!(true)),
        ("stablelm", "rotary_scaling_factor", json!(2.0)),
        ("llama", "quantization_config", json!({"bits": 4})),
    ] {
        let mut config = config(&golden(name));
        config.insert(key.to_string(), value);
        let refused = describe(&config).unwrap_err().to_string();
        assert!(refused.contains(&format!("`{key}`")), "{name}: {refused}");
    }
}

#[test]
fn absurd_and_contradictory_sizes_are_refused() {
    for (name, key, value) in [
        ("bloom", "num_hidden_layers", json!(20_000_000)),
        ("falcon", "num_hidden_layers", json!(0)),
        ("falcon", "n_layer", json!(9)),
        ("llama", "rms_norm_eps", json!(-1.0)),
    ] {
        let mut config = config(&golden(name));
        if name == "bloom" {
            config.remove("n_layer");
        }
        config.insert(key.to_string(), value);
        assert!(describe(&config).is_err(), "{name} {key}");
    }
}
