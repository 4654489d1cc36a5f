use super::*;
use optrode::nn::{Form, Rope, RopeScaling};

fn rope(dim: usize, theta: f64, scaling: RopeScaling, interleaved: bool) -> Rope {
    Rope { dim, theta, scaling, interleaved }
}

fn yarn(truncate: bool, betas: (f64, f64), mscales: Option<(f64, f64)>) -> RopeScaling {
    RopeScaling::Yarn {
        factor: 4.0,
        beta_fast: betas.0,
        beta_slow: betas.1,
        original_max: 256,
        attention_factor: None,
        mscale: mscales.map(|m| m.0),
        mscale_all_dim: mscales.map(|m| m.1),
        truncate,
    }
}

fn longrope(factor: Option<f64>) -> RopeScaling {
    RopeScaling::LongRope {
        short_factor: (0..8).map(|i| 1.0 + 0.05 * f64::from(i)).collect(),
        long_factor: (0..8).map(|i| 1.5 + f64::from(i)).collect(),
        original_max: 32,
        factor,
        attention_factor: None,
        max_position: 128,
    }
}

/// Inverse frequencies of 16 dimensions by transformers 5.23, `ROPE_INIT_FUNCTIONS`; f32.
#[test]
fn frequencies_are_hugging_faces() {
    let dynamic = RopeScaling::Dynamic { factor: 2.0, original_max: 64 };
    let llama3 = RopeScaling::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_max: 512 };
    let plain = [1.0, 0.316_227_76, 0.1, 0.031_622_78, 0.01, 0.003_162_277_9, 0.001, 0.000_316_227_8];
    let yarn_plain = [1.0, 0.256_935_06, 0.0625, 0.013_834_965, 0.0025, 0.000_790_569_5, 0.000_25, 7.905_694_7e-5];
    let cases: [(RopeScaling, f64, usize, [f64; 8]); 10] = [
        (RopeScaling::None, 1e4, 9, plain),
        (RopeScaling::Linear { factor: 4.0 }, 1e4, 9, plain.map(|f| f / 4.0)),
        (dynamic.clone(), 1e4, 40, plain),
        (
            dynamic,
            1e4,
            200,
            [
                1.0,
                0.249_528_47,
                0.062_264_454,
                0.015_536_754,
                0.003_876_862_8,
                0.000_967_387_5,
                0.000_241_390_74,
                6.023_386e-5,
            ],
        ),
        (
            llama3,
            5e5,
            9,
            [
                1.0,
                0.193_922_76,
                0.027_344_134,
                0.000_911_583_13,
                0.000_176_776_68,
                3.428_102_4e-5,
                6.647_87e-6,
                1.289_173_2e-6,
            ],
        ),
        (yarn(true, (32.0, 1.0), None), 1e4, 9, yarn_plain),
        (
            yarn(false, (32.0, 1.0), None),
            1e4,
            9,
            [1.0, 0.253_972_3, 0.055_398_636, 0.009_639_943, 0.0025, 0.000_790_569_5, 0.000_25, 7.905_694_7e-5],
        ),
        (
            yarn(true, (16.0, 2.0), None),
            1e4,
            9,
            [1.0, 0.237_170_82, 0.05, 0.007_905_695, 0.0025, 0.000_790_569_5, 0.000_25, 7.905_694_7e-5],
        ),
        (
            longrope(None),
            1e4,
            32,
            [
                1.0,
                0.301_169_3,
                0.090_909_09,
                0.027_498_068,
                0.008_333_333,
                0.002_529_822_3,
                0.000_769_230_8,
                0.000_234_242_8,
            ],
        ),
        (
            longrope(None),
            1e4,
            33,
            [
                0.666_666_7,
                0.126_491_11,
                0.028_571_43,
                0.007_027_283_8,
                0.001_818_181_8,
                0.000_486_504_26,
                0.000_133_333_34,
                3.720_326_6e-5,
            ],
        ),
    ];
    for (scaling, theta, length, expected) in cases {
        let got = rope(16, theta, scaling.clone(), false).inv_freq(length).unwrap();
        for (got, expected) in got.iter().zip(expected) {
            assert!((f64::from(*got) / expected - 1.0).abs() < 2.5e-7, "{scaling:?}: {got} {expected}");
        }
        assert_eq!(got.len(), 8);
    }
    let factors = [
        (yarn(true, (32.0, 1.0), None), 1.138_629_4),
        (yarn(true, (32.0, 1.0), Some((1.0, 0.8))), 1.024_958),
        (longrope(None), 1.183_216),
        (longrope(Some(2.0)), 1.095_445_1),
        (RopeScaling::Linear { factor: 4.0 }, 1.0),
    ];
    for (scaling, expected) in factors {
        assert!((f64::from(scaling.attention_factor()) - expected).abs() < 2e-7f64, "{scaling:?}");
    }
}

#[test]
fn both_forms_rotate_by_definition() {
    let positions = [0u32, 1, 5, 2, 3, 4];
    let x = noise(&[2, 3, 2, 12], 1);
    for interleaved in [false, true] {
        for dim in [4, 8, 12] {
            let r = rope(dim, 100.0, yarn(true, (32.0, 1.0), None), interleaved);
            let tables = r.tables(&positions, 2, &Device::Cpu).unwrap();
            assert_eq!(tables.cos.dims(), [2, 3, dim / 2]);
            let (f, scale) = (r.inv_freq(6).unwrap(), f64::from(r.scaling.attention_factor()));
            let mut expected = values(&x);
            for (row, y) in expected.chunks_exact_mut(12).enumerate() {
                for (i, f) in f.iter().enumerate() {
                    let (a, b) = if interleaved { (2 * i, 2 * i + 1) } else { (i, i + dim / 2) };
                    let angle = f64::from(positions[row / 2]) * f64::from(*f);
                    let (c, s) = (angle.cos() * scale, angle.sin() * scale);
                    (y[a], y[b]) = (y[a] * c - y[b] * s, y[b] * c + y[a] * s);
                }
            }
            let expected = Tensor::from_vec(expected, x.shape(), &Device::Cpu).unwrap();
            for form in [Form::Differentiable, Form::Inference] {
                assert_close(&r.apply(&x, &tables, form).unwrap(), &expected, 1e-6);
            }
        }
    }
}

#[test]
fn shared_tables_threads_and_batches_leave_the_bits() {
    let r = rope(16, 1e4, RopeScaling::None, false);
    let positions: Vec<u32> = (0..4 * 300).map(|i| i % 300).collect();
    let x = noise(&[4, 300, 4, 20], 2);
    let tables = r.tables(&positions, 4, &Device::Cpu).unwrap();
    assert_eq!(tables.cos.dims(), [1, 300, 8]);
    let out = assert_thread_free(|| r.apply(&x, &tables, Form::Inference).unwrap());
    assert_eq!(bits(&out), bits(&r.apply(&x, &tables, Form::Differentiable).unwrap()));
    let alone = r.apply(&x.narrow(0, 2, 1).unwrap(), &tables, Form::Inference).unwrap();
    assert_eq!(bits(&alone), bits(&out.narrow(0, 2, 1).unwrap()));
}

#[test]
fn a_row_takes_its_own_length_in_a_batch() {
    let r = rope(16, 1e4, longrope(None), false);
    let short: Vec<u32> = (0..40).map(|i: u32| i.saturating_sub(20)).collect();
    let long: Vec<u32> = (0..40).collect();
    let both = r.tables(&[short.clone(), long].concat(), 2, &Device::Cpu).unwrap();
    let alone = r.tables(&short, 1, &Device::Cpu).unwrap();
    assert_eq!(bits(&both.cos.narrow(0, 0, 1).unwrap()), bits(&alone.cos));
}

#[test]
fn gradients_match_differences() {
    for interleaved in [false, true] {
        for dim in [4, 6] {
            let r = rope(dim, 100.0, RopeScaling::None, interleaved);
            let tables = r.tables(&[0, 1, 2, 1, 2, 3], 2, &Device::Cpu).unwrap();
            assert_gradients(&[noise(&[2, 3, 2, 6], 3)], |v| r.apply(&v[0], &tables, Form::Differentiable));
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let r = rope(8, 1e4, RopeScaling::None, false);
    assert!(r.tables(&[0, 1, 2], 2, &Device::Cpu).is_err());
    let tables = r.tables(&[0, 1, 2], 1, &Device::Cpu).unwrap();
    assert!(r.apply(&noise(&[1, 4, 1, 8], 1), &tables, Form::Inference).is_err());
    assert!(r.apply(&noise(&[1, 3, 1, 6], 1), &tables, Form::Inference).is_err());
    assert!(rope(7, 1e4, RopeScaling::None, false).inv_freq(1).is_err());
    assert!(rope(4, 1e4, longrope(None), false).inv_freq(1).is_err());
}
