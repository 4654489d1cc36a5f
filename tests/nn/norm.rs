use super::*;
use optrode::nn::{Form, Norm, NormKind, Want};

fn norm(kind: NormKind, shape: &[usize], bias: bool, offset: f32) -> Norm {
    Norm { kind, weight: Some(noise(shape, 1)), bias: bias.then(|| noise(shape, 2)), eps: 1e-5, offset }
}

fn all() -> Vec<(Norm, Vec<usize>)> {
    vec![
        (norm(NormKind::Layer, &[37], true, 0.0), vec![2, 3, 37]),
        (norm(NormKind::Rms, &[64], false, 0.0), vec![5, 64]),
        (norm(NormKind::Rms, &[48], false, 1.0), vec![2, 3, 4, 48]),
        (norm(NormKind::Layer, &[4, 20], true, 0.0), vec![2, 3, 4, 20]),
        (norm(NormKind::Layer, &[4, 20], false, 0.0), vec![1, 1, 4, 20]),
    ]
}

#[test]
fn forms_agree_and_parts_are_the_steps() {
    for (norm, shape) in all() {
        let x = noise(&shape, 3).affine(3.0, 0.5).unwrap();
        let centered = norm.center(&x).unwrap();
        let scale = norm.scale(&centered).unwrap();
        let normalized = norm.normalized(&centered, &scale).unwrap();
        let open = norm.affine(&normalized).unwrap();
        let want = Want { scale: true, normalized: true };
        let fused = norm.fused(&x, want).unwrap();
        assert_close(&fused.out, &open, 1e-6);
        assert_close(&fused.scale.unwrap(), &scale, 1e-6);
        assert_close(&fused.normalized.unwrap(), &normalized, 1e-6);
        assert_close(&norm.forward(&x, Form::Differentiable).unwrap(), &open, 1e-6);
    }
}

#[test]
fn f32_kernel_is_close_to_f64() {
    let (norm, x) = (norm(NormKind::Layer, &[4099], true, 0.0), (noise(&[3, 4099], 4) + 10.0).unwrap());
    let exact = norm.forward(&x.to_dtype(DType::F64).unwrap(), Form::Differentiable).unwrap();
    assert_close(&norm.forward(&x, Form::Inference).unwrap(), &exact, 3e-6);
}

#[test]
fn matches_pytorch() {
    // torch.nn.functional.layer_norm([1, 2, 4], eps=1e-5) and x * rsqrt(mean(x^2) + 1e-6)
    let x = Tensor::new(&[1f32, 2.0, 4.0], &Device::Cpu).unwrap();
    let plain = |kind, eps| Norm { kind, weight: None, bias: None, eps, offset: 0.0 };
    for form in [Form::Differentiable, Form::Inference] {
        let y = plain(NormKind::Layer, 1e-5).forward(&x, form).unwrap();
        assert_close(&y, &Tensor::new(&[-1.069_042_1f64, -0.267_260_5, 1.336_302_6], &Device::Cpu).unwrap(), 1e-6);
        let y = plain(NormKind::Rms, 1e-6).forward(&x, form).unwrap();
        assert_close(&y, &Tensor::new(&[0.377_964_4f64, 0.755_928_87, 1.511_857_7], &Device::Cpu).unwrap(), 1e-6);
    }
}

#[test]
fn wanted_outputs_and_threads_leave_the_bits() {
    let norm = norm(NormKind::Layer, &[300], true, 0.0);
    let x = noise(&[40, 50, 300], 5);
    let out = assert_thread_free(|| norm.fused(&x, Want::default()).unwrap().out);
    for (scale, normalized) in [(true, false), (false, true), (true, true)] {
        let again = norm.fused(&x, Want { scale, normalized }).unwrap();
        assert_eq!(bits(&out), bits(&again.out));
        assert_eq!((again.scale.is_some(), again.normalized.is_some()), (scale, normalized));
    }
}

#[test]
fn a_row_does_not_depend_on_its_batch() {
    let norm = norm(NormKind::Rms, &[64], false, 1.0);
    let x = noise(&[200, 20, 64], 6);
    let alone = norm.forward(&x.narrow(0, 7, 1).unwrap(), Form::Inference).unwrap();
    let batch = norm.forward(&x, Form::Inference).unwrap();
    assert_eq!(bits(&alone), bits(&batch.narrow(0, 7, 1).unwrap()));
}

#[test]
fn gradients_match_differences() {
    for (norm, shape) in all() {
        let shape = [&[1, 1][..], &shape[shape.len() - norm.weight.as_ref().unwrap().rank()..]].concat();
        let mut inputs = vec![noise(&shape, 7), norm.weight.clone().unwrap()];
        inputs.extend(norm.bias.clone());
        assert_gradients(&inputs, |v| {
            let norm = Norm { weight: Some(v[1].clone()), bias: v.get(2).cloned(), ..norm.clone() };
            norm.forward(&v[0], Form::Differentiable)
        });
    }
}

#[test]
fn half_weights_and_wrong_shapes() {
    let mut norm = norm(NormKind::Rms, &[64], false, 0.0);
    norm.weight = Some(norm.weight.unwrap().to_dtype(DType::BF16).unwrap());
    let x = noise(&[3, 64], 8);
    let open = norm.forward(&x, Form::Differentiable).unwrap();
    assert_close(&norm.forward(&x, Form::Inference).unwrap(), &open, 1e-6);
    let message = norm.forward(&noise(&[3, 32], 8), Form::Inference).unwrap_err().to_string();
    assert!(message.contains("[64]") && message.contains("[3, 32]"), "{message}");
}
