//! Criteria and scores on tables where the truth is known.

use optrode::analysis::label::{
    Agreement, Bits, Calibration, Joint, Matching, Overlap, Ranked, Redraws, auroc, holm, log_mean_exp, mann_whitney,
    normal_tail, null_deviation, pmi, ranking, spread,
};
use optrode::hook::random;

fn uniform(seed: u64, n: usize) -> Vec<f64> {
    (0..n as u64).map(|i| random::uniform(random::key(seed, &[i]))).collect()
}

#[track_caller]
fn near(got: f64, expected: f64, tolerance: f64) {
    assert!((got - expected).abs() <= tolerance, "{got} is not {expected}");
}

fn joint() -> Joint {
    Joint::new(5, 7, &uniform(3, 35)).unwrap()
}

#[test]
fn forward_and_reverse_pmi_of_a_joint_table_are_equal() {
    let joint = joint();
    for d in 0..5 {
        for e in 0..7 {
            near(joint.forward(d, e, 1.0), joint.reverse(d, e), 1e-14);
            near(joint.forward(d, e, 1.0), (joint.p(d, e) / (joint.label(d) * joint.set(e))).ln(), 1e-14);
        }
    }
}

#[test]
fn the_mean_pmi_is_the_mutual_information() {
    let joint = joint();
    let entropy = |p: &mut dyn Iterator<Item = f64>| -> f64 { p.map(|p| -p * p.ln()).sum() };
    let labels = entropy(&mut (0..5).map(|d| joint.label(d)));
    let sets = entropy(&mut (0..7).map(|e| joint.set(e)));
    let both = entropy(&mut (0..35).map(|i| joint.p(i / 7, i % 7)));
    near(joint.mutual_information(), labels + sets - both, 1e-14);
    assert!(joint.mutual_information() > 0.01);
}

#[test]
fn an_independent_table_has_no_pmi() {
    let (labels, sets) = (uniform(1, 5), uniform(2, 7));
    let product: Vec<f64> = labels.iter().flat_map(|a| sets.iter().map(move |b| a * b)).collect();
    let joint = Joint::new(5, 7, &product).unwrap();
    for i in 0..35 {
        near(joint.forward(i / 7, i % 7, 1.0), 0.0, 1e-14);
    }
    near(joint.mutual_information(), 0.0, 1e-15);
    // A pair that never occurs adds nothing.
    let mut sparse = product;
    sparse[3] = 0.0;
    assert!(Joint::new(5, 7, &sparse).unwrap().mutual_information().is_finite());
    for wrong in [vec![1.0; 34], vec![0.0; 35], vec![-1.0; 35], vec![f64::NAN; 35]] {
        assert!(Joint::new(5, 7, &wrong).is_err());
    }
}

#[test]
fn lambda_moves_from_likelihood_to_pmi() {
    let (given, prior) = (uniform(4, 20), uniform(5, 20));
    let logs = |p: &[f64]| p.iter().map(|p| p.ln()).collect::<Vec<_>>();
    let (given, prior) = (logs(&given), logs(&prior));
    let at = |lambda: f64, shift: f64| {
        let scores: Vec<f64> = given.iter().zip(&prior).map(|(g, p)| pmi(*g, p + shift, lambda)).collect();
        ranking(&scores)
    };
    assert_eq!(at(0.0, 0.0), ranking(&given), "lambda 0 is likelihood");
    assert_eq!(at(1.0, 0.0), at(1.0, 2.5), "a constant of the prior changes no ranking");
    assert_ne!(at(0.0, 0.0), at(1.0, 0.0));
    // The same prompt on both sides says nothing of any label.
    assert!(given.iter().all(|g| pmi(*g, *g, 1.0) == 0.0));
    assert_eq!(ranking(&[1.0, f64::NAN, 2.0, 1.0]), [2, 0, 3, 1]);
}

#[test]
fn log_mean_exp_is_the_logarithm_of_the_mean() {
    let x = [-3.0, -1.0, -2.0];
    near(log_mean_exp(&x), (x.iter().map(|x: &f64| x.exp()).sum::<f64>() / 3.0).ln(), 1e-15);
    near(log_mean_exp(&[-5000.0, -5000.0]), -5000.0, 1e-12);
    assert_eq!(log_mean_exp(&[]), f64::NEG_INFINITY);
    assert_eq!(log_mean_exp(&[f64::NEG_INFINITY]), f64::NEG_INFINITY);
}

/// The definition, pair by pair.
fn naive(scores: &[f64], active: &[bool]) -> f64 {
    let (mut u, mut pairs) = (0.0, 0.0);
    for (s, _) in scores.iter().zip(active).filter(|(_, a)| **a) {
        for (t, _) in scores.iter().zip(active).filter(|(_, a)| !**a) {
            pairs += 1.0;
            u += if s > t {
                1.0
            } else if s == t {
                0.5
            } else {
                0.0
            };
        }
    }
    u / pairs
}

#[test]
fn auroc_is_the_share_of_pairs_in_order_with_ties_half() {
    // Rounded, so that there are ties.
    let scores: Vec<f64> = uniform(6, 300).iter().map(|x| (x * 20.0).round()).collect();
    let active: Vec<bool> = uniform(7, 300).iter().zip(&scores).map(|(x, s)| *x * 20.0 < *s).collect();
    let area = auroc(&scores, &active).unwrap();
    near(area, naive(&scores, &active), 1e-14);
    let n = active.iter().filter(|a| **a).count();
    near(area, mann_whitney(&scores, &active) / (n * (300 - n)) as f64, 1e-14);
    let bent: Vec<f64> = scores.iter().map(|s| (s * 0.3).exp() - 100.0).collect();
    assert_eq!(auroc(&bent, &active), Some(area), "monotone maps change nothing");
    let turned: Vec<f64> = scores.iter().map(|s| -s).collect();
    near(auroc(&turned, &active).unwrap(), 1.0 - area, 1e-14);
}

#[test]
fn auroc_of_the_truth_its_opposite_and_a_constant() {
    let active = [true, false, true, false, false];
    let truth: Vec<f64> = active.iter().map(|a| f64::from(u8::from(*a))).collect();
    assert_eq!(auroc(&truth, &active), Some(1.0));
    let opposite: Vec<f64> = truth.iter().map(|x| -x).collect();
    assert_eq!(auroc(&opposite, &active), Some(0.0));
    assert_eq!(auroc(&[3.0; 5], &active), Some(0.5));
    assert_eq!(auroc(&[1.0, 2.0], &[true, true]), None);
    assert_eq!(auroc(&[], &[]), None);
    // A score that is missing ranks below all.
    assert_eq!(auroc(&[f64::NAN, 0.0, 1.0], &[false, true, true]), Some(1.0));
}

#[test]
fn weights_of_documents_stand_for_repeated_documents() {
    let scores = [0.3, 0.1, 0.7, 0.7, 0.2, 0.9];
    let active = [true, false, true, false, true, false];
    let items = |repeat: &[u32; 3]| {
        let mut out = (Vec::new(), Vec::new());
        for i in 0..6 {
            for _ in 0..repeat[i / 2] {
                out.0.push(scores[i]);
                out.1.push(active[i]);
            }
        }
        auroc(&out.0, &out.1)
    };
    let ranked = Ranked::new((0..6).map(|i| (scores[i], active[i], i / 2)).collect());
    for weights in [[1, 1, 1], [2, 0, 1], [0, 3, 1], [5, 1, 2]] {
        assert_eq!(ranked.auroc(&weights), items(&weights));
    }
    assert_eq!(ranked.auroc(&[0, 0, 0]), None);
}

#[test]
fn overlaps_are_their_definitions() {
    let n = 1000;
    let (x, y) = (uniform(8, n), uniform(9, n));
    let (a, b) = (Bits::from_fn(n, |i| x[i] < 0.3), Bits::from_fn(n, |i| x[i] * y[i] < 0.1));
    let overlap = Overlap::of(&a, &b);
    let both = (0..n).filter(|i| a.contains(*i) && b.contains(*i)).count() as f64;
    let either = (0..n).filter(|i| a.contains(*i) || b.contains(*i)).count() as f64;
    near(overlap.iou(), both / either, 1e-15);
    near(overlap.f1(), 2.0 * overlap.iou() / (1.0 + overlap.iou()), 1e-15);
    let (precision, recall) = (overlap.precision(), overlap.recall());
    near(overlap.f1(), 2.0 * precision * recall / (precision + recall), 1e-15);
    let score: Vec<f64> = (0..n).map(|i| f64::from(u8::from(a.contains(i)))).collect();
    let active: Vec<bool> = (0..n).map(|i| b.contains(i)).collect();
    near(overlap.auroc().unwrap(), auroc(&score, &active).unwrap(), 1e-14);
    assert_eq!(Overlap::of(&a, &a).iou(), 1.0);
    assert_eq!(Overlap::of(&Bits::new(n), &Bits::new(n)).iou(), 0.0);
    assert_eq!(Overlap::of(&a, &Bits::new(n)).auroc(), None);
}

#[test]
fn bits_are_a_boolean_algebra() {
    for n in [1, 63, 64, 65, 200] {
        let (x, y) = (uniform(10, n), uniform(11, n));
        let (a, b) = (Bits::from_fn(n, |i| x[i] < 0.4), Bits::from_fn(n, |i| y[i] < 0.6));
        assert_eq!(a.not().not(), a, "NOT NOT c = c");
        assert_eq!(a.and(&b).not(), a.not().or(&b.not()), "De Morgan");
        assert_eq!(a.or(&b).not(), a.not().and(&b.not()), "De Morgan");
        assert_eq!(a.and_not(&b), a.and(&b.not()));
        assert_eq!(a.count() + a.not().count(), n as u64);
        assert_eq!(a.common(&b), a.and(&b).count());
        assert_eq!(Bits::of(n, a.iter()), a);
        for (from, to) in [(0, n), (n / 3, n / 2), (n / 2, n / 2), (n - 1, n), (0, n + 5)] {
            assert_eq!(a.count_in(from, to), (from..to).filter(|i| a.contains(*i)).count() as u64, "{from}..{to}");
            assert_eq!(a.prefix(to).count(), a.count_in(0, to));
        }
    }
}

#[test]
fn simulation_scores_are_one_for_the_truth_and_zero_for_silence() {
    let truth: Vec<f64> = uniform(12, 100).iter().map(|x| (x * 10.0).floor()).collect();
    let perfect = Agreement::of(&truth, &truth);
    near(perfect.correlation, 1.0, 1e-14);
    assert_eq!((perfect.squares, perfect.absolute), (1.0, 1.0));
    assert_eq!(Agreement::of(&[0.0; 100], &truth), Agreement { correlation: 0.0, squares: 0.0, absolute: 0.0 });
    let noise = uniform(13, 100);
    let guess: Vec<f64> = truth.iter().zip(&noise).map(|(a, n)| a + 5.0 * n).collect();
    let moved: Vec<f64> = guess.iter().map(|s| 3.0 * s - 2.0).collect();
    let (own, moved_score) = (Agreement::of(&guess, &truth), Agreement::of(&moved, &truth));
    near(own.correlation, moved_score.correlation, 1e-14);
    assert!(own.squares > moved_score.squares);
    let calibrated = |s: &[f64]| {
        let fit = Calibration::fit(s, &truth);
        Agreement::of(&s.iter().map(|s| fit.apply(*s)).collect::<Vec<_>>(), &truth)
    };
    near(calibrated(&guess).squares, calibrated(&moved).squares, 1e-12);
    assert!(calibrated(&guess).squares > own.squares);
    let constant = Calibration::fit(&[2.0; 100], &truth);
    near(constant.apply(2.0), truth.iter().sum::<f64>() / 100.0, 1e-12);
}

#[test]
fn soft_matching_with_certainty_one_is_hard_matching() {
    let (windows, concepts) = (40, 6);
    let p: Vec<f64> = uniform(14, windows * concepts);
    let order = |unit: u64| ranking(&uniform(20 + unit, windows));
    let top: Vec<Vec<usize>> = (0..5).map(order).collect();
    let soft =
        Matching { certainty: (1.0, 1.0), ..Matching { scale: 2.0, windows: 28, lambda: 0.6, ..Matching::SOFT } };
    assert_eq!(soft.scores(&p, concepts, &top).unwrap(), Matching::HARD.scores(&p, concepts, &top).unwrap());
    // Independent of the code: r = 1 leaves log(q + 1e-7).
    let q = |i: usize, m: usize| {
        let row = &p[i * concepts..][..concepts];
        (2.0 * row[m]).exp() / row.iter().map(|x| (2.0 * x).exp()).sum::<f64>()
    };
    let g = |u: usize, m: usize| -> f64 { top[u][..28].iter().map(|i| (q(*i, m) + 1e-7).ln()).sum() };
    let prior = |m: usize| ((0..5).map(|u| g(u, m).exp()).sum::<f64>() / 5.0).ln();
    let scores = Matching::HARD.scores(&p, concepts, &top).unwrap();
    for (u, scores) in scores.iter().enumerate() {
        for (m, score) in scores.iter().enumerate() {
            near(*score, g(u, m) - 0.6 * prior(m), 1e-9);
        }
    }
}

#[test]
fn matching_finds_the_concept_that_a_unit_is_made_of() {
    let (windows, concepts) = (400, 8);
    let p: Vec<f64> = uniform(15, windows * concepts);
    let unit = |m: usize| -> Vec<f64> {
        let noise = uniform(30 + m as u64, windows);
        (0..windows).map(|i| p[i * concepts + m] + 0.2 * noise[i]).collect()
    };
    let top: Vec<Vec<usize>> = (0..concepts).map(|m| ranking(&unit(m))).collect();
    for matching in [Matching::SOFT, Matching::HARD] {
        let scores = matching.scores(&p, concepts, &top).unwrap();
        for (m, scores) in scores.iter().enumerate() {
            assert_eq!(ranking(scores)[0], m);
        }
    }
    assert!(Matching::SOFT.scores(&p, 7, &top).is_err());
    assert!(Matching::SOFT.scores(&p, concepts, &[vec![windows]]).is_err());
    assert!(Matching::SOFT.scores(&p, concepts, &[vec![]]).is_err());
}

#[test]
fn holm_steps_down() {
    let p = [0.01, 0.04, 0.03, 0.005, f64::NAN];
    let adjusted = holm(&p);
    for (got, expected) in adjusted.iter().zip([0.03, 0.06, 0.06, 0.02]) {
        near(*got, expected, 1e-15);
    }
    assert!(adjusted[4].is_nan());
    assert_eq!(holm(&[0.9, 0.8]), [1.0, 1.0]);
    assert!(holm(&[]).is_empty());
}

#[test]
fn the_normal_tail_matches_tables() {
    // R: pnorm(z, lower.tail = FALSE)
    let table =
        [(0.0, 0.5), (1.0, 0.158_655_253_931_457), (1.959_963_984_540_054, 0.025), (4.0, 3.167_124_183_311_986e-5)];
    for (z, p) in table.into_iter().chain([(8.0, 6.220_960_574_271_785e-16), (-2.0, 0.977_249_868_051_821)]) {
        assert!((normal_tail(z) / p - 1.0).abs() < 3e-7, "{z}: {} is not {p}", normal_tail(z));
    }
}

#[test]
fn documents_are_drawn_and_their_spread_is_the_standard_error() {
    let values = uniform(16, 200);
    let redraws = Redraws::new(200, 1000, 0);
    let mean = |weights: &[u32]| {
        let total: u32 = weights.iter().sum();
        assert_eq!(total, 200);
        Some(values.iter().zip(weights).map(|(x, w)| x * f64::from(*w)).sum::<f64>() / 200.0)
    };
    let drawn = redraws.values(mean);
    let centre = values.iter().sum::<f64>() / 200.0;
    let error = (values.iter().map(|x| (x - centre).powi(2)).sum::<f64>() / 200.0 / 200.0).sqrt();
    let (deviation, (low, high)) = spread(&drawn).unwrap();
    assert!((deviation / error - 1.0).abs() < 0.1, "{deviation} {error}");
    near(low, centre - 1.96 * error, 0.3 * error);
    near(high, centre + 1.96 * error, 0.3 * error);
    assert_eq!(Redraws::new(200, 1000, 0).values(mean), drawn, "the same seed draws the same");
    assert_ne!(Redraws::new(200, 1000, 1).values(mean), drawn);
    assert!(spread(&[1.0]).is_none());
}

#[test]
fn the_area_of_chance_scores_has_the_deviation_of_mann_and_whitney() {
    let areas: Vec<f64> = (0..400)
        .map(|i| {
            let scores = uniform(100 + i, 60);
            let active: Vec<bool> = (0..60).map(|i| i < 12).collect();
            auroc(&scores, &active).unwrap()
        })
        .collect();
    let mean = areas.iter().sum::<f64>() / 400.0;
    let deviation = (areas.iter().map(|a| (a - mean).powi(2)).sum::<f64>() / 399.0).sqrt();
    assert!((deviation / null_deviation(12, 48) - 1.0).abs() < 0.12, "{deviation} {}", null_deviation(12, 48));
    near(mean, 0.5, 4.0 * null_deviation(12, 48) / 20.0);
}
