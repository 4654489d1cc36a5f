//! Products with weights where they lie, and what is fused around them.

use super::*;
use optrode::nn::{Activation, Form, Layout, Linear, Maps, activated, forward_all};

const TYPES: [DType; 3] = [DType::F32, DType::BF16, DType::F16];

/// Inputs of one and of several pieces, whole vectors and not.
const INPUTS: [usize; 4] = [7, 576, 776, 1600];

fn map(out: usize, inputs: usize, dtype: DType, seed: u64) -> Linear {
    Linear {
        weight: noise(&[out, inputs], seed).to_dtype(dtype).unwrap(),
        bias: Some(noise(&[out], seed + 1)),
        layout: Layout::OutIn,
    }
}

fn run(l: &Linear, x: &Tensor) -> Tensor {
    l.forward(x, Form::Inference).unwrap()
}

/// Rows up to which a product is the same kernel on any processor.
fn most_rows() -> usize {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        return 230;
    }
    4
}

#[test]
fn products_are_exact_for_any_number_of_rows() {
    for dtype in TYPES {
        for inputs in INPUTS {
            let l = map(101, inputs, dtype, 1);
            let exact = Linear { weight: l.weight.to_dtype(DType::F64).unwrap(), ..l.clone() };
            for rows in [1, 2, 5, 6, 7, 12, 13, 200] {
                let x = noise(&[rows, inputs], 3);
                let expected = exact.forward(&x.to_dtype(DType::F64).unwrap(), Form::Differentiable).unwrap();
                assert_close(&run(&l, &x), &expected, 1e-6);
            }
        }
    }
}

#[test]
fn a_row_has_the_same_bits_whatever_stands_beside_it() {
    for dtype in TYPES {
        for inputs in INPUTS {
            let l = map(101, inputs, dtype, 1);
            let x = noise(&[most_rows(), inputs], 4);
            let all = run(&l, &x);
            for (start, rows) in [(0, 1), (1, 2), (0, 3), (0, most_rows() / 2)] {
                let some = run(&l, &x.narrow(0, start, rows).unwrap());
                assert_eq!(bits(&some), bits(&all.narrow(0, start, rows).unwrap()), "{dtype:?} {inputs} {rows}");
            }
        }
    }
}

#[test]
fn weights_kept_as_halves_are_their_values_as_f32() {
    for dtype in [DType::BF16, DType::F16] {
        for rows in [1, 4, 9, 50] {
            let half = map(65, 800, dtype, 1);
            let wide = Linear { weight: half.weight.to_dtype(DType::F32).unwrap(), ..half.clone() };
            let x = noise(&[rows, 800], 5);
            assert_eq!(bits(&run(&half, &x)), bits(&run(&wide, &x)), "{dtype:?} {rows}");
        }
    }
}

#[test]
fn threads_do_not_matter() {
    for dtype in TYPES {
        for rows in [1, 3, 200] {
            let (l, x) = (map(500, 300, dtype, 1), noise(&[rows, 300], 6));
            assert_thread_free(|| run(&l, &x));
        }
    }
}

#[test]
fn adding_to_a_stream_is_adding_afterwards() {
    for dtype in TYPES {
        for rows in [1, 40] {
            let l = map(70, 90, dtype, 1);
            let (x, stream) = (noise(&[2, rows, 90], 7), noise(&[2, rows, 70], 8));
            let fused = l.add_to(&stream, &x, Form::Inference).unwrap();
            assert_eq!(bits(&fused), bits(&(stream + run(&l, &x)).unwrap()), "{dtype:?} {rows}");
        }
    }
}

#[test]
fn maps_taken_together_are_the_maps_taken_alone() {
    for form in [Form::Inference, Form::Differentiable] {
        let maps = [map(70, 90, DType::F32, 1), map(33, 90, DType::F32, 2), map(34, 90, DType::F32, 3)];
        let x = noise(&[2, 40, 90], 7);
        let all = forward_all([&maps[0], &maps[1], &maps[2]], &x, form).unwrap();
        for (l, y) in maps.iter().zip(&all) {
            assert_eq!(bits(y), bits(&l.forward(&x, form).unwrap()));
        }
    }
}

#[test]
fn neurons_in_one_pass_are_neurons_step_by_step() {
    let (gate, up) = (map(200, 70, DType::F32, 1), map(200, 70, DType::F32, 3));
    let cat = |a: &Tensor, b: &Tensor| Tensor::cat(&[a, b], 0).unwrap();
    let joined = Linear {
        weight: cat(&gate.weight, &up.weight),
        bias: Some(cat(gate.bias.as_ref().unwrap(), up.bias.as_ref().unwrap())),
        layout: Layout::OutIn,
    };
    for activation in [Activation::Silu, Activation::Gelu, Activation::Relu] {
        for rows in [1, most_rows()] {
            let x = noise(&[1, rows, 70], 5);
            let (pre, linear) = (run(&gate, &x), run(&up, &x));
            let post = activation.gated(&pre, &linear, Form::Inference).unwrap();
            let plain = activation.forward(&pre, Form::Inference).unwrap();
            for asked in [(false, false), (true, false), (false, true), (true, true)] {
                for maps in [Maps::Gated(&gate, &up), Maps::Joined(&joined), Maps::Plain(&gate)] {
                    let all = activated(&x, maps, activation, asked, Form::Inference).unwrap().unwrap();
                    let gated = !matches!(maps, Maps::Plain(_));
                    assert_eq!(bits(&all.post), bits(if gated { &post } else { &plain }), "{activation:?} {rows}");
                    assert_eq!(all.pre.as_ref().map(bits), asked.0.then(|| bits(&pre)));
                    assert_eq!(all.linear.as_ref().map(bits), (asked.1 && gated).then(|| bits(&linear)));
                }
            }
        }
    }
    let x = noise(&[most_rows(), 70], 5);
    let maps = Maps::Gated(&gate, &up);
    assert_thread_free(|| {
        activated(&x, maps, Activation::Silu, (false, false), Form::Inference).unwrap().unwrap().post
    });
    assert!(activated(&x, maps, Activation::Silu, (false, false), Form::Differentiable).unwrap().is_none());
}
