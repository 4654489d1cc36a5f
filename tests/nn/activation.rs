use super::*;
use optrode::nn::{Activation, Form};

const INPUT: [f32; 10] = [-6.0, -3.0, -1.2, -0.5, -0.01, 0.0, 0.3, 0.9, 2.5, 7.0];

/// transformers 5.23, `ACT2FN[name](INPUT)` in f32.
const EXPECTED: [(&str, [f64; 10]); 12] = [
    (
        "gelu",
        [-0.0, -0.004050225, -0.13808359, -0.15426877, -0.0049601062, 0.0, 0.18537344, 0.73434591, 2.4844759, 7.0],
    ),
    (
        "gelu_new",
        [-0.0, -0.0036374331, -0.1382972, -0.154286, -0.0049601062, 0.0, 0.18537094, 0.73422849, 2.4849157, 7.0],
    ),
    (
        "gelu_pytorch_tanh",
        [-0.0, -0.0036374331, -0.13829724, -0.154286, -0.0049601062, 0.0, 0.18537094, 0.73422849, 2.4849157, 7.0],
    ),
    (
        "gelu_fast",
        [-0.0, -0.0036374331, -0.1382972, -0.154286, -0.0049601062, 0.0, 0.18537094, 0.73422843, 2.4849157, 7.0],
    ),
    (
        "gelu_accurate",
        [-0.0, -0.0036374331, -0.1382972, -0.154286, -0.0049601062, 0.0, 0.18537094, 0.73422849, 2.4849157, 7.0],
    ),
    (
        "quick_gelu",
        [
            -0.00022035357,
            -0.018071311,
            -0.13778709,
            -0.14961156,
            -0.004957451,
            0.0,
            0.18748415,
            0.74004257,
            2.465014,
            6.9999533,
        ],
    ),
    ("relu", [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.30000001, 0.89999998, 2.5, 7.0]),
    ("relu2", [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.090000004, 0.80999994, 6.25, 49.0]),
    (
        "silu",
        [
            -0.014835739,
            -0.14227761,
            -0.27777028,
            -0.18877034,
            -0.0049749999,
            0.0,
            0.17233276,
            0.63985449,
            2.3103545,
            6.9936228,
        ],
    ),
    (
        "swish",
        [
            -0.014835739,
            -0.14227761,
            -0.27777028,
            -0.18877034,
            -0.0049749999,
            0.0,
            0.17233276,
            0.63985449,
            2.3103545,
            6.9936228,
        ],
    ),
    (
        "tanh",
        [
            -0.99998772,
            -0.99505478,
            -0.83365464,
            -0.46211717,
            -0.0099996664,
            0.0,
            0.29131263,
            0.71629786,
            0.98661429,
            0.99999833,
        ],
    ),
    (
        "sigmoid",
        [0.002472623, 0.047425874, 0.23147522, 0.37754068, 0.4975, 0.5, 0.57444251, 0.71094948, 0.92414182, 0.999089],
    ),
];

#[test]
fn both_forms_match_hugging_face() {
    for (name, expected) in EXPECTED {
        for form in [Form::Differentiable, Form::Inference] {
            let y =
                Activation::from_hf(name).unwrap().forward(&Tensor::new(&INPUT, &Device::Cpu).unwrap(), form).unwrap();
            for ((y, expected), x) in values(&y).iter().zip(expected).zip(INPUT) {
                let error = (y - expected).abs();
                assert!(error <= 1e-6, "{name}({x}) in {form:?}: {y}, expected {expected}");
            }
        }
    }
}

#[test]
fn kernels_are_close_to_f64_everywhere() {
    let x = Tensor::arange_step(-12f32, 12.0, 0.001, &Device::Cpu).unwrap();
    for (name, _) in EXPECTED {
        let a = Activation::from_hf(name).unwrap();
        let exact = values(&a.forward(&x.to_dtype(DType::F64).unwrap(), Form::Differentiable).unwrap());
        let composed = values(&a.forward(&x, Form::Differentiable).unwrap());
        let kernel = values(&a.forward(&x, Form::Inference).unwrap());
        for (i, x) in values(&x).iter().enumerate() {
            for got in [composed[i], kernel[i]] {
                let error = (got - exact[i]).abs() / x.abs().max(1.0);
                assert!(error < 3e-7 * exact[i].abs().max(1.0), "{name}({x}): {got}, exactly {}", exact[i]);
            }
        }
    }
}

#[test]
fn extremes_stay_finite_and_nan_stays_nan() {
    let x = Tensor::new(&[-1e4f32, -100.0, -88.5, 88.5, 100.0, 1e4, f32::NAN], &Device::Cpu).unwrap();
    for (name, _) in EXPECTED {
        for form in [Form::Differentiable, Form::Inference] {
            let y = values(&Activation::from_hf(name).unwrap().forward(&x, form).unwrap());
            assert!(y[..6].iter().all(|v| v.is_finite()), "{name} {form:?}: {y:?}");
            assert!(y[6].is_nan(), "{name} {form:?} hides NaN");
        }
        let var = Var::from_tensor(&x.narrow(0, 0, 6).unwrap()).unwrap();
        let y = Activation::from_hf(name).unwrap().forward(&var, Form::Differentiable).unwrap();
        let grads = y.sum_all().unwrap().backward().unwrap();
        assert!(values(grads.get(&var).unwrap()).iter().all(|v| v.is_finite()), "gradient of {name}");
    }
}

#[test]
fn gradients_match_differences() {
    for (name, _) in EXPECTED {
        let a = Activation::from_hf(name).unwrap();
        let x = (noise(&[31], 1) * 5.0).unwrap();
        assert_gradients(std::slice::from_ref(&x), |v| a.forward(&v[0], Form::Differentiable));
        assert_gradients(&[x, noise(&[31], 2)], |v| a.gated(&v[0], &v[1], Form::Differentiable));
    }
    let zero = Var::new(&[0f32], &Device::Cpu).unwrap();
    let y = Activation::Relu.forward(&zero, Form::Differentiable).unwrap();
    assert_eq!(values(y.backward().unwrap().get(&zero).unwrap()), [0.0]);
}

#[test]
fn gated_agrees_and_does_not_depend_on_threads() {
    let (gate, up) = ((noise(&[70, 3001], 3) * 4.0).unwrap(), noise(&[70, 3001], 4));
    for (name, _) in EXPECTED {
        let a = Activation::from_hf(name).unwrap();
        let fused = assert_thread_free(|| a.gated(&gate, &up, Form::Inference).unwrap());
        assert_close(&fused, &a.gated(&gate, &up, Form::Differentiable).unwrap(), 1e-6);
        let steps = (a.forward(&gate, Form::Inference).unwrap() * &up).unwrap();
        assert_eq!(bits(&fused), bits(&steps));
    }
}

#[test]
fn an_unknown_name_lists_the_known_ones() {
    let message = Activation::from_hf("gelo").unwrap_err().to_string();
    assert!(
        message.contains("`gelo`") && message.contains("gelu_pytorch_tanh") && message.contains("silu"),
        "{message}"
    );
}
