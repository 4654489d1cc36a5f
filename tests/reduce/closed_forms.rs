//! Each reducer against the naive computation from its definition.

use std::collections::BTreeMap;

use optrode::hook::random;

use super::laws::large;
use super::*;

fn spec(json: &str) -> ReducerSpec {
    serde_json::from_str(json).unwrap()
}

fn close(a: f64, b: f64, scale: f64) -> bool {
    (a - b).abs() <= 1e-12 * scale.max(b.abs())
}

/// The best entries by sorting everything.
fn naive_top(batches: &[Batch], unit: usize, k: usize, sign: f32, one: bool) -> Vec<(f32, u64, u32)> {
    let all = batches.iter().flat_map(|b| b.kept().map(|(d, p, i)| (b.values[i * b.width + unit], d, p)));
    let mut all: Vec<(f32, u64, u32)> = all.filter(|e| e.0.is_finite()).collect();
    all.sort_by(|a, b| (b.0 * sign).partial_cmp(&(a.0 * sign)).unwrap().then((a.1, a.2).cmp(&(b.1, b.2))));
    let mut documents = Vec::new();
    all.retain(|e| {
        !one || !documents.contains(&e.1) && {
            documents.push(e.1);
            true
        }
    });
    all.truncate(k);
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn moments_match_their_definition(batches in batches()) {
        let Reducer::Moments(got) = pass(&spec(r#"{"kind":"moments"}"#), &batches) else { panic!() };
        for unit in 0..batches[0].width {
            let all = column(&batches, unit);
            let x: Vec<f64> = all.iter().filter(|x| x.is_finite()).map(|x| f64::from(*x)).collect();
            prop_assert_eq!(got.non_finite()[unit] as usize, all.len() - x.len());
            let Some(m) = got.unit(unit) else {
                prop_assert!(x.is_empty());
                continue;
            };
            let n = x.len() as f64;
            let mean = x.iter().sum::<f64>() / n;
            let central = |p| x.iter().map(|x| (x - mean).powi(p)).sum::<f64>() / n;
            let largest = x.iter().fold(0f64, |m, x| m.max(x.abs()));
            prop_assert_eq!(m.count as usize, x.len());
            prop_assert!(close(m.mean, mean, largest));
            prop_assert!(close(m.variance, central(2), 1e-12 * largest * largest));
            prop_assert_eq!(f64::from(m.min), x.iter().copied().fold(f64::INFINITY, f64::min));
            prop_assert_eq!(f64::from(m.max), x.iter().copied().fold(f64::NEG_INFINITY, f64::max));
            if m.std > 1e-6 * largest {
                prop_assert!((m.skewness.unwrap() - central(3) / central(2).powf(1.5)).abs() < 1e-8);
                prop_assert!((m.excess_kurtosis.unwrap() - central(4) / central(2).powi(2) + 3.0).abs() < 1e-8);
            }
        }
    }

    #[test]
    fn firing_counts_match_their_definition(batches in batches(), threshold in -2i32..3) {
        let threshold = threshold as f32 / 2.0;
        let count = |documents| {
            let made = pass(&ReducerSpec::Firing(FiringSpec { threshold, documents }), &batches);
            let Reducer::Firing(firing) = made else { panic!() };
            firing
        };
        let (got, apart) = (count(0), count(40));
        prop_assert_eq!((got.seen(), got.fired(), got.non_finite()), (apart.seen(), apart.fired(), apart.non_finite()));
        prop_assert!(got.of_document(0).is_none() && apart.of_document(40).is_none());
        for document in 0..40u64 {
            let (seen, fired) = apart.of_document(document as usize).unwrap();
            let own = |b: &Batch| b.kept().filter(|k| k.0 == document).map(|k| k.2).collect::<Vec<_>>();
            prop_assert_eq!(seen as usize, batches.iter().map(|b| own(b).len()).sum::<usize>());
            for (unit, n) in fired.iter().enumerate() {
                let fires = |x: &f32| x.is_finite() && *x > threshold;
                let of = |b: &Batch| own(b).iter().filter(|i| fires(&b.values[*i * b.width + unit])).count();
                prop_assert_eq!(*n as usize, batches.iter().map(of).sum::<usize>());
            }
        }
        for unit in 0..batches[0].width {
            let all = column(&batches, unit);
            let fired = all.iter().filter(|x| x.is_finite() && **x > threshold).count();
            let finite = all.iter().filter(|x| x.is_finite()).count();
            prop_assert_eq!(got.seen() as usize, all.len());
            prop_assert_eq!(got.fired()[unit] as usize, fired);
            prop_assert_eq!(got.rate(unit), (finite > 0).then(|| fired as f64 / finite as f64));
        }
    }

    #[test]
    fn top_lists_match_a_full_sort(batches in batches(), k in 1usize..6, one in any::<bool>()) {
        let asked = TopSpec { k, bottom: true, context: [2, 1], one_per_document: one };
        let Reducer::Top(got) = pass(&ReducerSpec::Top(asked), &batches) else { panic!() };
        for unit in 0..batches[0].width {
            for (entries, sign) in [(got.top(unit), 1.0), (got.bottom(unit), -1.0)] {
                let plain: Vec<_> = entries.iter().map(|e| (e.value, e.document, e.position)).collect();
                prop_assert_eq!(plain, naive_top(&batches, unit, k, sign, one));
                for entry in entries {
                    let (batch, i) = batches
                        .iter()
                        .find_map(|b| Some((b, b.kept().find(|x| (x.0, x.1) == (entry.document, entry.position))?.2)))
                        .unwrap();
                    let real = |j: &usize| j / batch.pos == i / batch.pos && batch.positions[*j] != PADDING;
                    let window = (i.saturating_sub(2)..(i + 2).min(batch.keep.len())).filter(real);
                    let window: Vec<u32> = window.map(|j| batch.tokens[j]).collect();
                    prop_assert_eq!(entry.tokens[entry.at], batch.tokens[i]);
                    prop_assert_eq!(entry.tokens, window);
                }
            }
        }
    }

    #[test]
    fn quantiles_are_within_their_bound(batches in batches(), q in 0f64..=1.0, divisions in 0u32..6) {
        let divisions = 1 << divisions;
        let asked = HistogramSpec { octaves: [-4, 3], divisions };
        let Reducer::Histogram(got) = pass(&ReducerSpec::Histogram(asked), &batches) else { panic!() };
        for unit in 0..batches[0].width {
            let mut x = column(&batches, unit);
            x.retain(|x| x.is_finite());
            x.sort_by(f32::total_cmp);
            prop_assert_eq!(got.count(unit) as usize, x.len());
            for bin in 0..got.bins() {
                let [low, high] = got.ends(bin).unwrap();
                let middle = bin == got.bins() / 2;
                let inside = |x: f64| match () {
                    () if middle => x.abs() < high,
                    () if bin > got.bins() / 2 => low <= x && x < high,
                    () => low < x && x <= high,
                };
                let expected = x.iter().filter(|x| inside(f64::from(**x))).count();
                prop_assert_eq!(got.counts(unit)[bin] as usize, expected);
            }
            for q in [q, 0.0, 0.5, 1.0] {
                let Some(estimate) = got.quantile(unit, q) else {
                    prop_assert!(x.is_empty());
                    continue;
                };
                let rank = ((q * x.len() as f64).ceil() as usize).clamp(1, x.len());
                let truth = f64::from(x[rank - 1]);
                prop_assert!(estimate.low <= truth && truth <= estimate.high);
                let error = (estimate.value - truth).abs();
                if rank == 1 || rank == x.len() {
                    prop_assert_eq!(error, 0.0);
                } else if truth.abs() < 1.0 / 16.0 {
                    prop_assert!(error < 1.0 / 16.0);
                } else if truth.abs() < 8.0 {
                    prop_assert!(error <= truth.abs() / (2 * divisions) as f64);
                }
            }
        }
    }

    #[test]
    fn a_sample_is_the_smallest_hashes(batches in batches(), k in 1usize..9, seed in any::<u64>()) {
        let Reducer::Sample(got) = pass(&ReducerSpec::Sample(SampleSpec { k, seed, ..Default::default() }), &batches) else { panic!() };
        let mut all = BTreeMap::new();
        for batch in &batches {
            for (document, position, i) in batch.kept() {
                let vector = &batch.values[i * batch.width..][..batch.width];
                if vector.iter().all(|x| x.is_finite()) {
                    let hash = random::key(seed, &[document, u64::from(position)]);
                    let (token, tokens) = (batch.tokens[i], &batch.tokens[i..=i]);
                    all.insert(hash, Sampled { document, position, token, tokens, at: 0, values: vector });
                }
            }
        }
        prop_assert_eq!(got.seen(), all.len() as u64 + got.non_finite());
        let expected: Vec<_> = all.into_values().take(k).collect();
        prop_assert_eq!(got.iter().collect::<Vec<_>>(), expected);
    }
}

#[test]
fn second_moments_match_their_definition_across_strips() {
    let mut batches = [large(270, 2, 1), large(270, 16, 2)];
    batches[0].values[5 * 270 + 1] = f32::NAN;
    for centered in [true, false] {
        let made = pass(&ReducerSpec::Covariance(CovarianceSpec { centered }), &batches);
        let Reducer::Covariance(got) = made else { panic!() };
        let vector = |b: &Batch, i: usize| b.values[i * 270..][..270].iter().map(|x| f64::from(*x)).collect();
        let all = batches.iter().flat_map(|b| b.kept().map(move |(_, _, i)| vector(b, i)));
        let all: Vec<Vec<f64>> = all.filter(|v: &Vec<f64>| v.iter().all(|x| x.is_finite())).collect();
        assert_eq!((got.count(), got.non_finite()), (all.len() as u64, 1));
        let n = all.len() as f64;
        let mean: Vec<f64> = (0..270).map(|u| all.iter().map(|v| v[u]).sum::<f64>() / n).collect();
        let matrix = got.matrix().unwrap();
        for (a, b) in [(0, 0), (3, 200), (200, 3), (255, 256), (100, 269), (269, 269), (260, 257)] {
            let [ma, mb] = if centered { [mean[a], mean[b]] } else { [0.0; 2] };
            let expected = all.iter().map(|v| (v[a] - ma) * (v[b] - mb)).sum::<f64>() / n;
            assert!(close(got.get(a, b).unwrap(), expected, 16.0), "{a} {b}");
            assert_eq!(got.get(a, b), Some(matrix[a * 270 + b]));
            assert!(close(got.mean()[a], mean[a], 4.0));
        }
        assert_eq!(got.get(0, 270), None);
    }
}

#[test]
fn a_large_common_offset_does_not_cost_precision() {
    let mut batch = large(3, 10, 1);
    let reference = batch.clone();
    batch.values.iter_mut().for_each(|x| *x = (*x * 8.0).round() / 8.0 + 65536.0);
    let shifted = reference.values.iter().map(|x| (*x * 8.0).round() / 8.0).collect();
    let near = Batch { values: shifted, ..reference };
    let [far, near] = [batch, near].map(|b| [b]);
    for text in [r#"{"kind":"moments"}"#, r#"{"kind":"covariance"}"#] {
        match (pass(&spec(text), &far), pass(&spec(text), &near)) {
            (Reducer::Moments(a), Reducer::Moments(b)) => {
                let (a, b) = (a.unit(0).unwrap(), b.unit(0).unwrap());
                assert!(close(a.variance, b.variance, 0.0));
                assert!((a.skewness.unwrap() - b.skewness.unwrap()).abs() < 1e-9);
            }
            (Reducer::Covariance(a), Reducer::Covariance(b)) => {
                assert!(close(a.get(0, 1).unwrap(), b.get(0, 1).unwrap(), 5.0));
            }
            _ => panic!(),
        }
    }
}

#[test]
fn keys_are_those_of_splitmix64_and_uniform() {
    assert_eq!(random::key(0, &[]), 0xE220_A839_7B1D_CDAF);
    assert_ne!(random::key(0, &[1, 2]), random::key(0, &[2, 1]));
    assert_ne!(random::key(0, &[0]), random::key(0, &[0, 0]));
    let mean = (0..10_000).map(|i| random::uniform(random::key(7, &[3, i]))).sum::<f64>() / 1e4;
    // Five standard errors of 10 000 uniform numbers.
    assert!((mean - 0.5).abs() < 5.0 * (1.0f64 / 12.0 / 1e4).sqrt());
    assert_eq!(random::uniform(0), 0.0);
    assert!(random::uniform(u64::MAX) < 1.0);
}

#[test]
fn a_context_ends_where_positions_do_not_go_on() {
    let batch = Batch {
        values: vec![0.0, 1.0, 5.0, 2.0, 0.0],
        rows: 1,
        pos: 5,
        width: 1,
        keep: vec![false, true, true, true, true],
        tokens: vec![10, 11, 12, 13, 14],
        documents: vec![9],
        // The third and fourth tokens adjoin; what stands before and after comes from elsewhere in the document.
        positions: vec![0, 1, 5, 6, 20],
    };
    let top = spec(r#"{"kind":"top","k":1,"bottom":false,"context":[4,4]}"#);
    let Reducer::Top(got) = pass(&top, &[batch]) else { panic!() };
    let expected = TopEntry { value: 5.0, document: 9, position: 5, tokens: vec![12, 13], at: 0 };
    assert_eq!(got.top(0), [expected]);
}
