use super::*;
use optrode::nn::{
    Alibi, AlibiRounding, AttentionMask, CausalMask, Form, Pattern, ScoreRule, attend, masked, mix, pattern, scores,
    softcap, softmax,
};

fn causal(batch: usize, real: &[bool], key: &[u32], query: &[u32], window: Option<usize>) -> AttentionMask {
    let spec = CausalMask { batch, real, key, query, window };
    AttentionMask::causal(&spec, &Device::Cpu).unwrap()
}

/// The mask of `batch` whole rows, and the positions.
fn plain(batch: usize, t: usize) -> (AttentionMask, Vec<u32>) {
    let positions: Vec<u32> = (0..batch * t).map(|i| (i % t) as u32).collect();
    (causal(batch, &vec![true; batch * t], &positions, &positions, None), positions)
}

/// Rows of different length: the second is padded on the left.
fn padded(t: usize, pads: usize) -> (AttentionMask, Vec<u32>) {
    let positions: Vec<u32> = (0..t).chain((0..t).map(|i| i.saturating_sub(pads))).map(|p| p as u32).collect();
    let real: Vec<bool> = (0..2 * t).map(|i| i < t || i - t >= pads).collect();
    (causal(2, &real, &positions, &positions, None), positions)
}

/// Attention by the definition, in f64 loops: scores as the softmax sees them, pattern, z.
fn by_definition(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    scale: f64,
    cap: f64,
    bias: &Tensor,
    mask: &AttentionMask,
) -> [Tensor; 3] {
    let ((b, tq, h, d), (_, tk, kv, _)) = (q.dims4().unwrap(), k.dims4().unwrap());
    let (qs, ks, vs) = (values(q), values(k), values(v));
    let full = (b, h, tq, tk);
    let bias = values(&bias.broadcast_as(full).unwrap().contiguous().unwrap());
    let mask: Vec<u8> = mask.visible().broadcast_as(full).unwrap().flatten_all().unwrap().to_vec1().unwrap();
    let (mut s, mut p, mut z) = (vec![], vec![], vec![0f64; b * tq * h * d]);
    for r in 0..b * h * tq {
        let (row, head, i) = (r / (h * tq), r / tq % h, r % tq);
        let shared = head / (h / kv);
        let key = |j: usize| ((row * tk + j) * kv + shared) * d;
        let query = ((row * tq + i) * h + head) * d;
        let line: Vec<f64> = (0..tk)
            .map(|j| {
                let dot: f64 = (0..d).map(|c| qs[query + c] * ks[key(j) + c]).sum();
                let s = cap * (dot * scale / cap).tanh() + bias[r * tk + j];
                if mask[r * tk + j] == 0 { f64::NEG_INFINITY } else { s }
            })
            .collect();
        let total: f64 = line.iter().map(|s| s.exp()).sum();
        for (j, s) in line.iter().enumerate() {
            (0..d).for_each(|c| z[query + c] += s.exp() / total * vs[key(j) + c]);
            p.push(s.exp() / total);
        }
        s.extend(line);
    }
    let dims = [(b, h, tq, tk), (b, h, tq, tk), (b, tq, h, d)];
    let mut parts = [s, p, z].into_iter().zip(dims).map(|(v, d)| Tensor::from_vec(v, d, &Device::Cpu).unwrap());
    std::array::from_fn(|_| parts.next().unwrap())
}

#[test]
fn both_forms_are_attention_by_definition() {
    let cases = [(2, 5, 5, 4, 2), (1, 6, 6, 6, 1), (2, 1, 7, 4, 2), (1, 1, 33, 3, 3), (1, 2, 7, 4, 4)];
    for (b, tq, tk, h, kv) in cases {
        let (q, k, v) = (noise(&[b, tq, h, 8], 1), noise(&[b, tk, kv, 8], 2), noise(&[b, tk, kv, 8], 3));
        let key: Vec<u32> = (0..b * tk).map(|i| ((i % tk) as u32).saturating_sub((i / tk) as u32)).collect();
        let real: Vec<bool> = (0..b * tk).map(|i| i % tk >= i / tk).collect();
        let query: Vec<u32> = key.chunks_exact(tk).flat_map(|row| &row[tk - tq..]).copied().collect();
        let mask = causal(b, &real, &key, &query, Some(4));
        let bias = Alibi::new(h, AlibiRounding::F32, 1.0).unwrap().bias(&query, &key, b, &Device::Cpu).unwrap();
        let expected = by_definition(&q, &k, &v, 0.7, 1.5, &bias, &mask);
        for form in [Form::Differentiable, Form::Inference] {
            let raw = scores(&q, &k, 0.7, form).unwrap();
            let rule = ScoreRule { cap: Some(1.5), bias: Some(&bias), mask: &mask };
            let Pattern { pattern, scores } = pattern(&raw, &rule, true, form).unwrap();
            assert_close(&scores.unwrap(), &expected[0], 1e-6);
            assert_close(&pattern, &expected[1], 1e-6);
            assert_close(&mix(&pattern, &v, form).unwrap(), &expected[2], 1e-6);
        }
    }
}

/// A batch of `b` rows, each padded by one more key than the one before, with a window, a cap and a bias.
#[test]
fn attention_in_one_pass_is_attention_by_definition() {
    let cases =
        [(2, 5, 5, 4, 2, 8), (1, 70, 70, 6, 2, 64), (2, 1, 7, 4, 2, 20), (3, 1, 33, 3, 1, 96), (2, 35, 40, 4, 4, 130)];
    for (b, tq, tk, h, kv, d) in cases {
        // Keys and values lie in longer rows, as in a cache.
        let cached = |seed| noise(&[b, tk + 3, kv, d], seed).narrow(1, 0, tk).unwrap();
        let (q, k, v) = (noise(&[b, tq, h, d], 1), cached(2), cached(3));
        let key: Vec<u32> = (0..b * tk).map(|i| ((i % tk) as u32).saturating_sub((i / tk) as u32)).collect();
        let real: Vec<bool> = (0..b * tk).map(|i| i % tk >= i / tk).collect();
        let query: Vec<u32> = key.chunks_exact(tk).flat_map(|row| &row[tk - tq..]).copied().collect();
        let mask = causal(b, &real, &key, &query, Some(tk / 2));
        let bias = Alibi::new(h, AlibiRounding::F32, 1.0).unwrap().bias(&query, &key, b, &Device::Cpu).unwrap();
        let expected = by_definition(&q, &k, &v, 0.7, 1.5, &bias, &mask);
        let rule = ScoreRule { cap: Some(1.5), bias: Some(&bias), mask: &mask };
        let run = |asked| attend((&q, &k, &v), 0.7, &rule, asked, Form::Inference).unwrap();
        let Some(whole) = run((true, true)) else { continue };
        assert_close(whole.scores.as_ref().unwrap(), &expected[0], 2e-6);
        assert_close(whole.pattern.as_ref().unwrap(), &expected[1], 2e-6);
        assert_close(&whole.z, &expected[2], 2e-6);
        let z = assert_thread_free(|| run((false, false)).unwrap().z);
        assert_eq!(bits(&z), bits(&whole.z));
    }
}

#[test]
fn a_mask_with_holes_and_a_query_that_sees_nothing_are_heeded() {
    let (b, t) = (1, 40);
    let visible: Vec<u8> = (0..t * t).map(|i| u8::from(i / t != 5 && (i % t) % 3 != 1 && i % t <= i / t)).collect();
    let mask = AttentionMask::from_visible(visible, (b, t, t), &Device::Cpu).unwrap();
    let (q, k, v) = (noise(&[b, t, 2, 16], 1), noise(&[b, t, 1, 16], 2), noise(&[b, t, 1, 16], 3));
    let rule = ScoreRule { cap: None, bias: None, mask: &mask };
    let Some(whole) = attend((&q, &k, &v), 0.25, &rule, (true, true), Form::Inference).unwrap() else { return };
    let raw = scores(&q, &k, 0.25, Form::Differentiable).unwrap();
    let expected = pattern(&raw, &rule, true, Form::Differentiable).unwrap();
    assert_close(&whole.scores.unwrap(), &expected.scores.unwrap(), 1e-6);
    assert_close(&whole.pattern.unwrap(), &expected.pattern, 1e-6);
    assert_close(&whole.z, &mix(&expected.pattern, &v, Form::Differentiable).unwrap(), 1e-6);
}

#[test]
fn fused_open_and_any_thread_count_give_the_same_bits() {
    let (mask, positions) = padded(67, 13);
    let bias = Alibi::new(6, AlibiRounding::F32, 1.0).unwrap().bias(&positions, &positions, 2, &Device::Cpu).unwrap();
    let raw = (noise(&[2, 6, 67, 67], 4) * 8.0).unwrap();
    for (cap, bias) in [(None, None), (Some(5.0), None), (None, Some(&bias)), (Some(5.0), Some(&bias))] {
        let mask = &mask;
        let rule = ScoreRule { cap, bias, mask };
        let fused = assert_thread_free(|| pattern(&raw, &rule, false, Form::Inference).unwrap().pattern);
        let both = pattern(&raw, &rule, true, Form::Inference).unwrap();
        assert_eq!(bits(&fused), bits(&both.pattern));
        let mut open = raw.clone();
        if let Some(cap) = cap {
            open = softcap(&open, cap, Form::Inference).unwrap();
        }
        if let Some(bias) = bias {
            open = open.broadcast_add(bias).unwrap();
        }
        let open = masked(&open, mask, Form::Inference).unwrap();
        assert_eq!(bits(&both.scores.unwrap()), bits(&open));
        assert_eq!(bits(&fused), bits(&softmax(&open, Form::Inference).unwrap()));
        assert_close(&fused, &pattern(&raw, &rule, false, Form::Differentiable).unwrap().pattern, 1e-6);
    }
    let (q, k) = (noise(&[2, 67, 6, 16], 5), noise(&[2, 67, 2, 16], 6));
    assert_thread_free(|| scores(&q, &k, 0.25, Form::Inference).unwrap());
    let (q, p) = (noise(&[2, 1, 6, 16], 5), noise(&[2, 6, 1, 900], 7));
    let (k, v) = (noise(&[2, 900, 2, 16], 6), noise(&[2, 900, 2, 16], 8));
    assert_thread_free(|| scores(&q, &k, 0.25, Form::Inference).unwrap());
    assert_thread_free(|| mix(&p, &v, Form::Inference).unwrap());
}

#[test]
fn patterns_sum_to_one_and_hidden_keys_get_exactly_zero() {
    let (mask, _) = padded(9, 4);
    let raw = (noise(&[2, 3, 9, 9], 9) * 30.0).unwrap();
    for form in [Form::Differentiable, Form::Inference] {
        let p = softmax(&masked(&raw, &mask, form).unwrap(), form).unwrap();
        let sums = p.sum_keepdim(3).unwrap();
        assert_close(&sums, &sums.ones_like().unwrap(), 1e-6);
        let visible = mask.visible().broadcast_as(p.shape()).unwrap();
        for (p, visible) in values(&p).iter().zip(values(&visible)) {
            assert_eq!(*p == 0.0, visible == 0.0);
        }
        let none = Tensor::full(f32::NEG_INFINITY, (1, 1, 2, 40), &Device::Cpu).unwrap();
        assert!(values(&softmax(&none, form).unwrap()).iter().all(|p| *p == 0.0));
        let nan = Tensor::new(&[[0f32, f32::NAN, 1.0]], &Device::Cpu).unwrap();
        assert!(values(&softmax(&nan, form).unwrap()).iter().all(|p| p.is_nan()));
    }
}

#[test]
fn gradients_match_differences_with_hidden_keys_too() {
    let (mask, positions) = padded(4, 2);
    let bias = Alibi::new(4, AlibiRounding::F32, 1.0).unwrap().bias(&positions, &positions, 2, &Device::Cpu).unwrap();
    let inputs = [noise(&[2, 4, 4, 3], 10), noise(&[2, 4, 2, 3], 11), noise(&[2, 4, 2, 3], 12)];
    for (cap, bias) in [(None, None), (Some(2.0), Some(&bias))] {
        assert_gradients(&inputs, |v| {
            let form = Form::Differentiable;
            let rule = ScoreRule { cap, bias, mask: &mask };
            let raw = scores(&v[0], &v[1], 0.6, form)?;
            mix(&pattern(&raw, &rule, false, form)?.pattern, &v[2], form)
        });
    }
    let (raw, bias) = (noise(&[2, 2, 4, 4], 13), noise(&[1, 2, 4, 4], 14));
    assert_gradients(&[raw, bias], |v| {
        let rule = ScoreRule { cap: None, bias: Some(&v[1]), mask: &mask };
        Ok(pattern(&v[0], &rule, false, Form::Differentiable)?.pattern)
    });
    let hidden = Var::from_tensor(&Tensor::full(f32::NEG_INFINITY, (1, 5), &Device::Cpu).unwrap()).unwrap();
    let grads = softmax(&hidden, Form::Differentiable).unwrap().sum_all().unwrap().backward().unwrap();
    assert_eq!(values(grads.get(&hidden).unwrap()), [0.0; 5]);
}

#[test]
fn padding_and_batching_change_nothing() {
    // Row 0 alone, and as row 1 of a batch behind four pads.
    let (t, pads) = (6, 4);
    let part = |seed, heads| noise(&[1, t, heads, 8], seed);
    let wide = |x: &Tensor, heads: usize, seed| {
        let front = Tensor::cat(&[&(noise(&[1, pads, heads, 8], seed) * 9.0).unwrap(), x], 1).unwrap();
        Tensor::cat(&[&noise(&[1, t + pads, heads, 8], seed + 1), &front], 0).unwrap()
    };
    let (q, k, v) = (part(20, 4), part(21, 2), part(22, 2));
    let alibi = Alibi::new(4, AlibiRounding::Bf16, 0.5).unwrap();
    let run = |q: &Tensor, k: &Tensor, v: &Tensor, (mask, positions): (AttentionMask, Vec<u32>), form| {
        let b = q.dim(0).unwrap();
        let bias = alibi.bias(&positions, &positions, b, &Device::Cpu).unwrap();
        let rule = ScoreRule { cap: None, bias: Some(&bias), mask: &mask };
        let p = pattern(&scores(q, k, 0.35, form).unwrap(), &rule, false, form).unwrap().pattern;
        mix(&p, v, form).unwrap()
    };
    for form in [Form::Differentiable, Form::Inference] {
        let alone = run(&q, &k, &v, plain(1, t), form);
        let batch = run(&wide(&q, 4, 30), &wide(&k, 2, 40), &wide(&v, 2, 50), padded(t + pads, pads), form);
        let inside = batch.narrow(0, 1, 1).unwrap().narrow(1, pads, t).unwrap();
        assert_close(&alone, &inside, 1e-6);
    }
}

#[test]
fn one_query_on_a_strided_cache_is_the_last_row() {
    for b in [1, 2] {
        let (q, k, v) = (noise(&[b, 7, 4, 8], 60), noise(&[b, 16, 2, 8], 61), noise(&[b, 16, 2, 8], 62));
        let (k, v) = (k.narrow(1, 0, 7).unwrap(), v.narrow(1, 0, 7).unwrap());
        let all = scores(&q, &k, 0.3, Form::Inference).unwrap();
        let last = scores(&q.narrow(1, 6, 1).unwrap(), &k, 0.3, Form::Inference).unwrap();
        assert_close(&all.narrow(2, 6, 1).unwrap(), &last, 1e-6);
        let z = mix(&all, &v, Form::Inference).unwrap();
        assert_close(&z.narrow(1, 6, 1).unwrap(), &mix(&last, &v, Form::Inference).unwrap(), 1e-6);
    }
}

#[test]
fn slopes_and_bf16_rounding_are_hugging_faces() {
    // transformers 5.23: bloom and falcon `build_alibi_tensor`
    let slopes = |heads| Alibi::new(heads, AlibiRounding::F32, 1.0).unwrap().slopes;
    assert_eq!(slopes(4), [0.25, 0.0625, 0.015625, 0.00390625]);
    assert_eq!(slopes(6), [0.25, 0.0625, 0.015625, 0.00390625, 0.5, 0.125]);
    let expected = [0.707_106_77, 0.353_553_38, 0.176_776_69, 0.088_388_34];
    for (slope, expected) in slopes(12)[8..].iter().zip(expected) {
        assert!((slope / expected - 1.0f32).abs() < 2e-7, "{slope} {expected}");
    }
    let keys = [1, 3, 255, 257, 300, 301, 599];
    let falcon = Alibi::new(6, AlibiRounding::Bf16, 1.0).unwrap();
    let bias = falcon.bias(&[0], &keys, 1, &Device::Cpu).unwrap();
    let head = |h: usize| values(&bias.narrow(1, h, 1).unwrap());
    assert_eq!(head(1), [0.0625, 0.1875, 15.9375, 16.0, 18.75, 18.75, 37.5]);
    assert_eq!(head(5)[3], 32.0);
    let plain = Alibi::new(6, AlibiRounding::F32, 0.5).unwrap().bias(&[300], &keys, 1, &Device::Cpu).unwrap();
    assert_eq!(values(&plain.narrow(1, 1, 1).unwrap())[5], 0.5 * 0.0625);
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let (mask, _) = plain(1, 3);
    for form in [Form::Differentiable, Form::Inference] {
        let (q, k) = (noise(&[1, 3, 3, 4], 1), noise(&[1, 3, 2, 4], 2));
        let message = scores(&q, &k, 1.0, form).unwrap_err().to_string();
        assert!(message.contains("3 query heads") && message.contains("2 key heads"), "{message}");
        assert!(masked(&noise(&[1, 2, 4, 4], 3), &mask, form).is_err());
    }
}

/// Longer than a block, a window, padding, grouped heads: the fused operation against the composed one in f64.
#[test]
fn attention_in_one_operation_has_the_values_and_gradients_of_the_composed_one() {
    let t = 150;
    let positions: Vec<u32> = (0..2 * t).map(|i| (i % t) as u32).collect();
    let windowed = causal(2, &vec![true; 2 * t], &positions, &positions, Some(20));
    for (name, mask) in [("plain", plain(2, t).0), ("windowed", windowed), ("padded", padded(t, 70).0)] {
        let rule = ScoreRule { cap: None, bias: None, mask: &mask };
        let parts = [noise(&[2, t, 4, 8], 1), noise(&[2, t, 2, 8], 2), noise(&[2, t, 2, 8], 3)];
        let weights = noise(&[2, t, 4, 8], 4);
        let vars = |dtype: DType| parts.each_ref().map(|x| Var::from_tensor(&x.to_dtype(dtype).unwrap()).unwrap());
        let ([q, k, v], [q64, k64, v64]) = (vars(DType::F32), vars(DType::F64));
        let form = Form::Differentiable;
        let whole = attend((&q, &k, &v), 0.4, &rule, (true, true), form).unwrap().unwrap();
        let raw = scores(&q64, &k64, 0.4, form).unwrap();
        let composed = pattern(&raw, &rule, true, form).unwrap();
        let z = mix(&composed.pattern, &v64, form).unwrap();
        assert_close(&whole.z, &z, 2e-6);
        assert_close(&whole.pattern.unwrap(), &composed.pattern, 2e-6);
        let (seen, hidden) = (values(&whole.scores.unwrap()), values(&composed.scores.unwrap()));
        assert!(seen.iter().zip(&hidden).all(|(a, b)| a == b || (a - b).abs() < 1e-5), "{name}");
        let quiet = attend((&q, &k, &v), 0.4, &rule, (false, false), form).unwrap().unwrap();
        assert_eq!(bits(&quiet.z), bits(&whole.z), "{name}: what is asked for changes no bit");
        let slopes = |z: &Tensor| (z * weights.to_dtype(z.dtype()).unwrap()).unwrap().sum_all().unwrap().backward();
        let (fused, composed) = (slopes(&whole.z).unwrap(), slopes(&z).unwrap());
        for (own, other) in [(&q, &q64), (&k, &k64), (&v, &v64)] {
            assert_close(fused.get(own.as_tensor()).unwrap(), composed.get(other.as_tensor()).unwrap(), 5e-6);
        }
    }
    let (mask, _) = plain(1, 3);
    let capped = ScoreRule { cap: Some(30.0), bias: None, mask: &mask };
    let x = noise(&[1, 3, 2, 4], 5);
    assert!(attend((&x, &x, &x), 1.0, &capped, (false, false), Form::Differentiable).unwrap().is_none());
    let rule = ScoreRule { cap: None, bias: None, mask: &mask };
    let long = x.to_dtype(DType::F64).unwrap();
    for form in [Form::Inference, Form::Differentiable] {
        assert!(attend((&long, &long, &long), 1.0, &rule, (false, false), form).unwrap().is_none());
    }
    let wide = noise(&[1, 3, 2, 5], 5);
    assert!(attend((&x, &wide, &wide), 1.0, &rule, (false, false), Form::Differentiable).is_err());
}
