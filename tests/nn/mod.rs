//! The shared layers: both forms agree, gradients match finite differences, and numbers match Hugging Face's.

mod activation;
mod attention;
mod dense;
mod linear;
mod mask;
mod norm;
mod rope;

use candle_core::{DType, Device, Tensor, Var};
use optrode::Result;

/// Reproducible values in (-1, 1).
pub fn noise(shape: &[usize], seed: u64) -> Tensor {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..20).for_each(|_| {
        next();
    });
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| next()).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// All elements as f64.
pub fn values(x: &Tensor) -> Vec<f64> {
    x.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// The bits of all elements.
pub fn bits(x: &Tensor) -> Vec<u32> {
    let v: Vec<f32> = x.flatten_all().unwrap().to_vec1().unwrap();
    v.into_iter().map(f32::to_bits).collect()
}

/// Asserts that two tensors of one shape agree to `tolerance` of the larger one's largest finite entry.
#[track_caller]
pub fn assert_close(a: &Tensor, b: &Tensor, tolerance: f64) {
    assert_eq!(a.dims(), b.dims());
    let (a, b) = (values(a), values(b));
    let scale = a.iter().chain(&b).filter(|v| v.is_finite()).fold(1e-30, |m: f64, v| m.max(v.abs()));
    for (i, (a, b)) in a.iter().zip(&b).enumerate() {
        let same = a == b || (a - b).abs() <= tolerance * scale;
        assert!(same, "element {i}: {a} and {b} differ by more than {tolerance} of {scale}");
    }
}

/// Asserts that every input of `f` gets the gradient of a fixed random projection of `f`, by central differences.
#[track_caller]
pub fn assert_gradients(inputs: &[Tensor], f: impl Fn(&[Tensor]) -> Result<Tensor>) {
    let inputs: Vec<Tensor> = inputs.iter().map(|x| x.to_dtype(DType::F64).unwrap()).collect();
    let vars: Vec<Var> = inputs.iter().map(|x| Var::from_tensor(x).unwrap()).collect();
    let as_tensors: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let out = f(&as_tensors).unwrap();
    let weights = noise(out.dims(), 99).to_dtype(DType::F64).unwrap();
    let loss = |y: &Tensor| (y * &weights).unwrap().sum_all().unwrap();
    let grads = loss(&out).backward().unwrap();
    let step = 1e-5;
    for (which, var) in vars.iter().enumerate() {
        let grad = values(grads.get(var).unwrap_or_else(|| panic!("input {which} got no gradient")));
        let base = values(&inputs[which]);
        for i in 0..base.len() {
            let at = |delta: f64| {
                let mut moved = base.clone();
                moved[i] += delta;
                let mut all = inputs.clone();
                all[which] = Tensor::from_vec(moved, inputs[which].shape(), &Device::Cpu).unwrap();
                loss(&f(&all).unwrap()).to_scalar::<f64>().unwrap()
            };
            let expected = (at(step) - at(-step)) / (2.0 * step);
            assert!(
                (grad[i] - expected).abs() <= 1e-8 * (1.0 + expected.abs()),
                "input {which}, element {i}: gradient {} where differences give {expected}",
                grad[i]
            );
        }
    }
}

/// Runs `f` in rayon pools of one and of two threads, asserts equal bits, and returns the result.
#[track_caller]
pub fn assert_thread_free(f: impl Fn() -> Tensor + Sync + Send) -> Tensor {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(&f)
    };
    let (one, two) = (run(1), run(2));
    assert!(bits(&one) == bits(&two), "one and two threads give different bits");
    one
}
