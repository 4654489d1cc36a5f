//! The fused operations against the composed ones: the same network in f32 and in f64.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor, Var};
use optrode::hook::{Pass, Registry, Values};
use optrode::models::{Decoder, Gradients, Input, Side, gradients};
use optrode::nn::{cross_entropy, soft_cross_entropy};
use optrode::train::{Targets, next_token_loss};

use crate::common::{batch, bits, config, floats, folders, normal, text, weights};

/// Networks in which every fused operation, and every reason not to fuse, occurs.
const NETWORKS: [&str; 8] = ["llama", "llama-dynamic", "gemma2", "gemma3_text", "gpt2", "gptj", "qwen3", "bloom"];

fn of(name: &str, dtype: DType, gradient: Option<&str>, record: bool) -> Gradients {
    let folder = folders().into_iter().find(|f| f.ends_with(name)).unwrap();
    let variable = |(name, w): (String, Tensor)| {
        (name, Var::from_tensor(&w.to_dtype(dtype).unwrap()).unwrap().as_tensor().clone())
    };
    let tensors: BTreeMap<String, Tensor> = weights(&folder).into_iter().map(variable).collect();
    let net = Decoder::new(&config(&folder), &tensors).unwrap();
    let rows = [text(1, 7), text(2, 7)];
    let targets = Targets::of_rows(&rows, &[vec![true; 7], vec![true; 7]]);
    let records = record.then(|| optrode::hook::Record::whole("**".parse().unwrap()));
    let pass = Pass {
        gradients: gradient.iter().map(|site| site.parse().unwrap()).collect(),
        records: records.into_iter().collect(),
        ..Pass::default()
    };
    let input = Input::Tokens(batch(&rows, Side::Left));
    let loss = |logits: &Tensor| next_token_loss(logits, &targets, 0.1);
    gradients(&net, &input, &pass, &Registry::elementary(), Values::default(), loss).unwrap()
}

fn relative(got: &Tensor, expected: &Tensor) -> f64 {
    let expected: Vec<f64> = expected.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap();
    let scale = expected.iter().fold(0f64, |m, v| m.max(v.abs()));
    let worst = floats(got).iter().zip(&expected).map(|(g, e)| (f64::from(*g) - e).abs()).fold(0f64, f64::max);
    if scale == 0.0 { worst } else { worst / scale }
}

#[test]
fn gradients_of_every_weight_are_those_of_the_composed_operations_in_f64() {
    for name in NETWORKS {
        let (fused, composed) = (of(name, DType::F32, None, false), of(name, DType::F64, None, false));
        assert_eq!(fused.weights.len(), composed.weights.len(), "{name}");
        assert!(!fused.weights.is_empty());
        for (weight, expected) in &composed.weights {
            let error = relative(&fused.weights[weight], expected);
            assert!(error < 2e-5, "{name} {weight}: {error:e} of its scale");
        }
    }
}

#[test]
fn gradients_at_sites_inside_a_fused_operation_open_it() {
    for site in ["blocks.0.ln1.hook_normalized", "blocks.1.attn.hook_attn_scores", "blocks.0.mlp.hook_pre"] {
        let (fused, composed) =
            (of("llama", DType::F32, Some(site), false), of("llama", DType::F64, Some(site), false));
        let error = relative(&fused.sites[site], &composed.sites[site]);
        assert!(error < 2e-5, "{site}: {error:e}");
        assert!(floats(&fused.sites[site]).iter().any(|v| *v != 0.0), "{site}");
    }
}

#[test]
fn recording_everything_changes_no_bit_of_loss_and_gradients() {
    for name in NETWORKS {
        let (quiet, watched) = (of(name, DType::F32, None, false), of(name, DType::F32, None, true));
        assert_eq!(bits(&quiet.value), bits(&watched.value), "{name}");
        for (weight, gradient) in &quiet.weights {
            assert_eq!(bits(gradient), bits(&watched.weights[weight]), "{name} {weight}");
        }
    }
}

#[test]
fn cross_entropy_is_minus_the_log_of_the_softmax() {
    let logits = (normal(3, &[5, 11]) * 4.0).unwrap();
    let tokens = [0u32, 10, 3, 3, 7];
    let fused = cross_entropy(&logits, &tokens).unwrap();
    let composed = cross_entropy(&logits.to_dtype(DType::F64).unwrap(), &tokens).unwrap();
    let by_hand: f64 = logits
        .to_vec2::<f32>()
        .unwrap()
        .iter()
        .zip(tokens)
        .map(|(row, t)| row.iter().map(|x| f64::from(*x).exp()).sum::<f64>().ln() - f64::from(row[t as usize]))
        .sum();
    assert!((f64::from(fused.to_scalar::<f32>().unwrap()) - by_hand).abs() < 1e-5 * by_hand);
    assert!((composed.to_scalar::<f64>().unwrap() - by_hand).abs() < 1e-9 * by_hand);
    assert!(cross_entropy(&logits, &[11, 0, 0, 0, 0]).is_err(), "a token beyond the vocabulary");
    assert!(cross_entropy(&logits, &[1]).is_err(), "too few targets");
}

#[test]
fn soft_cross_entropy_is_the_cross_entropy_averaged_over_the_aims() {
    let logits = (normal(3, &[4, 7]) * 3.0).unwrap();
    let onehot = |tokens: [usize; 4]| {
        let mut values = vec![0f32; 28];
        tokens.iter().enumerate().for_each(|(row, t)| values[row * 7 + t] = 1.0);
        Tensor::from_vec(values, (4, 7), &candle_core::Device::Cpu).unwrap()
    };
    let (a, b) = ([0usize, 6, 2, 2], [1usize, 6, 0, 5]);
    let aims = ((onehot(a) * 0.25).unwrap() + (onehot(b) * 0.75).unwrap()).unwrap();
    let logits64 = Var::from_tensor(&logits.to_dtype(DType::F64).unwrap()).unwrap();
    let logits32 = Var::from_tensor(&logits).unwrap();
    let tokens = |t: [usize; 4]| t.map(|t| t as u32);
    let hard = |t| cross_entropy(logits64.as_tensor(), &tokens(t)).unwrap();
    let averaged = ((hard(a) * 0.25).unwrap() + (hard(b) * 0.75).unwrap()).unwrap();
    let composed = soft_cross_entropy(logits64.as_tensor(), &aims.to_dtype(DType::F64).unwrap()).unwrap();
    let fused = soft_cross_entropy(logits32.as_tensor(), &aims).unwrap();
    let slope = |loss: &Tensor, of: &Var| -> Vec<f64> {
        let slope = loss.backward().unwrap().get(of.as_tensor()).unwrap().to_dtype(DType::F64).unwrap();
        slope.flatten_all().unwrap().to_vec1().unwrap()
    };
    let expected = (averaged.to_scalar::<f64>().unwrap(), slope(&averaged, &logits64));
    let fused = (f64::from(fused.to_scalar::<f32>().unwrap()), slope(&fused, &logits32));
    let composed = (composed.to_scalar::<f64>().unwrap(), slope(&composed, &logits64));
    for ((loss, slope), tolerance) in [(composed, 1e-12), (fused, 1e-5)] {
        assert!((loss - expected.0).abs() < tolerance * expected.0, "{loss} instead of {}", expected.0);
        assert!(slope.iter().zip(&expected.1).all(|(a, b)| (a - b).abs() < tolerance));
    }
    assert!(soft_cross_entropy(&logits, &normal(1, &[4, 6])).is_err(), "another vocabulary");
}
