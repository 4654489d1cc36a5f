//! Scores, kinds, parts and the null.

use optrode::analysis::Figures;
use optrode::analysis::languages::{
    Counts, LayerKinds, Method, Options, Part, Rates, entropy, identify, jaccard, languages, largest_expected, null,
    parts,
};
use optrode::hook::random;
use optrode::report::Report;

use super::reference::Reference;
use super::{counts, random_rates};

/// Twenty neurons in two layers, three languages of unequal size. 60 probabilities: the threshold is the 57th smallest.
fn by_hand() -> Counts {
    let mut p = vec![vec![0.0; 3]; 20];
    p[0] = vec![0.9, 0.0, 0.0];
    p[11] = vec![0.0, 0.8, 0.8];
    p[2] = vec![0.0, 0.0, 0.5];
    p[13] = vec![0.7, 0.7, 0.7];
    p[4] = vec![0.1, 0.0, 0.3];
    p[15] = vec![0.2, 0.2, 0.1];
    counts(2, &p, &[100, 200, 50])
}

#[test]
fn hand_computed_answers() {
    let found = languages(&by_hand(), &Options { share: 0.2, lambda: Some(0.0), ..Options::default() }).unwrap();
    // The four largest are 0.9, 0.8, 0.8 and 0.7: the fourth is the threshold, and strictly above it are three.
    assert_eq!(found.threshold, 0.7);
    assert!((found.largest_expected - (1.0 + 0.5 + 1.0 / 3.0) / 3.0).abs() < 1e-15);
    // Least entropy: 0 and 2 (none), 4 (0.562), 11 (ln 2). 2 and 4 reach no language.
    assert_eq!(found.score.selected, 4);
    assert_eq!(found.score.appear, [2, 1, 1, 0]);
    assert_eq!(found.score.per_language, [1, 1, 1]);
    assert_eq!(found.score.masks, [[vec![0], vec![]], [vec![], vec![1]], [vec![], vec![1]]]);
    assert_eq!(found.score.overlap[1], [0.0, 1.0, 1.0]);
    // LAPE leaves out what reaches no language, however selective.
    assert_eq!((found.lape.selected, found.lape.appear.as_slice()), (2, [0, 1, 1, 0].as_slice()));
    let kinds = |specific, related, outside| LayerKinds { specific, related, outside, everywhere: 0 };
    assert_eq!(found.score.layers, [kinds(1, 0, 9), kinds(0, 1, 9)]);
    assert_eq!(found.null, None);
    let rates = Rates::of(&by_hand());
    assert!((rates.entropy[4] - (0.25 * 4f64.ln() + 0.75 * (4f64 / 3.0).ln())).abs() < 1e-15);
    assert_eq!(rates.entropy[1], 3f64.ln());
    // Of the two without entropy, the largest probability decides as soon as it counts.
    assert_eq!(rates.select(Method::Score, 0.05, 0.1, 0.7), [0]);
}

#[test]
fn selections_equal_an_independent_reference() {
    for (seed, units, k) in [(1, 120, 4), (2, 400, 10), (3, 90, 2), (4, 256, 7)] {
        let tokens: Vec<u64> = (0..k as u64).map(|i| 500 + 37 * i).collect();
        let counts = counts(2, &random_rates(seed, units, k), &tokens);
        let rates = Rates::of(&counts);
        let reference = Reference { p: (0..units).map(|u| rates.row(u).to_vec()).collect() };
        let threshold = rates.threshold();
        assert_eq!(threshold, reference.threshold());
        for unit in 0..units {
            assert!((rates.entropy[unit] - reference.entropy(unit)).abs() < 1e-12);
            assert!((0.0..=(k as f64).ln() + 1e-12).contains(&rates.entropy[unit]));
        }
        for share in [0.01, 0.05, 0.2] {
            assert_eq!(rates.select(Method::Lape, share, 0.0, threshold), reference.by_lape(share));
            for lambda in [0.0, 0.05, 0.109375, 0.2] {
                let selected = reference.by_score(share, lambda);
                assert_eq!(rates.select(Method::Score, share, lambda, threshold), selected, "{seed} {share} {lambda}");
                let found = identify(&rates, 2, Method::Score, share, Some(lambda), threshold);
                assert_eq!(found.appear, reference.appear(&selected));
                let weighted: usize = found.appear.iter().enumerate().map(|(m, n)| m * n).sum();
                assert_eq!(found.per_language.iter().sum::<usize>(), weighted);
                let kinds = found.specific() + found.related() + found.appear[0] + found.appear[k];
                assert_eq!((kinds, found.specific()), (found.selected, found.appear[1]));
            }
        }
    }
}

#[test]
fn lambda_is_the_largest_of_the_bisection_and_its_path_is_kept() {
    let counts = counts(2, &random_rates(2, 400, 5), &[1000; 5]);
    let rates = Rates::of(&counts);
    let (threshold, share) = (rates.threshold(), 0.25);
    let (lambda, path) = rates.tune(share, threshold);
    assert!(lambda > 0.0 && lambda < 0.2, "{lambda}: the example must bend");
    let everywhere = |lambda: f64| identify(&rates, 2, Method::Score, share, Some(lambda), threshold).appear[5];
    for tried in &path {
        assert_eq!(tried.everywhere, everywhere(tried.lambda));
        let steps = tried.lambda / 0.2 * 256.0;
        assert!((steps - steps.round()).abs() < 1e-9, "{} is no 0.2 i / 2^8", tried.lambda);
    }
    assert_eq!(everywhere(lambda), 0);
    let next = path.iter().filter(|t| t.everywhere > 0).map(|t| t.lambda).fold(1.0, f64::min);
    assert!(next - lambda <= 1e-3 && next > lambda);
}

#[test]
fn names_of_languages_and_sizes_of_neurons_do_not_matter() {
    let p = random_rates(5, 200, 4);
    let shuffled: Vec<Vec<f64>> = p.iter().map(|row| [2, 0, 3, 1].map(|k| row[k]).to_vec()).collect();
    let [a, b] = [&p, &shuffled].map(|p| Rates::of(&counts(2, p, &[1000; 4])));
    for share in [0.05, 0.3] {
        let of = |rates: &Rates| rates.select(Method::Score, share, 0.1, rates.threshold());
        assert_eq!(of(&a), of(&b));
    }
    let row = [0.5, 0.25, 0.1, 0.05];
    assert!((entropy(&row) - entropy(&row.map(|x| x / 4.0))).abs() < 1e-12);
    assert_eq!((entropy(&[0.0, 0.3, 0.0]), entropy(&[0.0; 3])), (0.0, 3f64.ln()));
}

/// R_K is the mean largest coordinate of uniform points of the simplex (spacings of exponential draws).
#[test]
fn the_expected_largest_coordinate_is_that_of_random_points() {
    for k in [2usize, 5, 10] {
        let draws = 20_000u64;
        let point = |n: u64| {
            let x: Vec<f64> = (0..k as u64).map(|i| -(1.0 - random::uniform(random::key(n, &[i]))).ln()).collect();
            x.iter().copied().fold(0.0, f64::max) / x.iter().sum::<f64>()
        };
        let mean = (0..draws).map(point).sum::<f64>() / draws as f64;
        assert!((mean - largest_expected(k)).abs() < 0.004, "{k}: {mean}");
    }
    assert!((largest_expected(10) - 0.292_897).abs() < 1e-6);
}

/// The layers of a Mistral model that the method card publishes, and what lies between them.
#[test]
fn the_four_parts_of_a_published_profile() {
    let known: &[(usize, [usize; 3])] = &[
        (0, [17, 171, 181]),
        (1, [40, 190, 140]),
        (2, [63, 218, 103]),
        (3, [42, 23, 114]),
        (4, [10, 8, 150]),
        (5, [2, 5, 194]),
        (14, [2, 5, 555]),
        (17, [2, 5, 423]),
        (18, [60, 29, 316]),
        (21, [59, 17, 92]),
        (23, [59, 15, 48]),
        (27, [211, 81, 66]),
        (28, [379, 147, 108]),
        (29, [331, 260, 136]),
        (30, [145, 124, 284]),
        (31, [51, 101, 745]),
    ];
    let layer = |l: usize| {
        let (from, a) = known.iter().rev().find(|(at, _)| *at <= l).unwrap();
        let (to, b) = known.iter().find(|(at, _)| *at >= l).unwrap();
        let between = |i: usize| match to - from {
            0 => a[i],
            span => (a[i] * (to - l) + b[i] * (l - from)) / span,
        };
        LayerKinds { specific: between(0), related: between(1), everywhere: between(2), outside: 0 }
    };
    // Layer 31 has most neurons that are active everywhere, yet the middle is the inner peak at layer 14.
    let layers: Vec<LayerKinds> = (0..32).map(layer).collect();
    let found = parts(&layers).unwrap();
    assert!((4..=7).contains(&found.reasoning), "{found:?}");
    assert!((16..=19).contains(&found.output), "{found:?}");
    assert_eq!(found.vocabulary, Some(30));
    let flat = vec![LayerKinds { specific: 5, related: 5, outside: 9, everywhere: 3 }; 6];
    assert_eq!(parts(&flat), None);
    // Without an inner layer there is no middle.
    (0..3).for_each(|n| assert_eq!(parts(&layers[..n]), None));
    // However many neurons of the outer layers are active everywhere, the parts within stay where they are.
    let mut louder = layers;
    (louder[0].everywhere, louder[31].everywhere) = (10_000, 10_000);
    assert_eq!(parts(&louder).unwrap(), found);
}

#[test]
fn overlap_of_masks() {
    let (a, b) = (vec![vec![1, 2], vec![7]], vec![vec![2, 3], vec![7]]);
    assert_eq!(jaccard(&a, &b), 0.5);
    assert!(jaccard(&[vec![]], &[vec![]]).is_nan());
}

/// Parts of documents with the given rates.
fn in_parts(p: &[Vec<f64>], parts: u64, tokens: u64) -> Counts {
    let mut counts = counts(2, p, &vec![tokens; p[0].len()]);
    for (k, own) in counts.parts.iter_mut().enumerate() {
        let part = |g: u64| {
            let fired = |u: usize| {
                let at = |t: u64| random::uniform(random::key(9, &[k as u64, g, u as u64, t])) < p[u][k];
                (0..tokens).filter(|t| at(*t)).count() as u64
            };
            Part { tokens, fired: (0..p.len()).map(fired).collect() }
        };
        *own = (0..parts).map(part).collect();
    }
    counts
}

#[test]
fn the_null_tells_planted_neurons_from_exchangeable_ones() {
    let p = random_rates(6, 200, 4);
    let planted = null(&in_parts(&p, 8, 40), 0.05, 0.05, 40, 3).unwrap();
    assert!(planted.selectivity.z > 3.0 && planted.specific.found > planted.specific.mean, "{planted:?}");
    assert_eq!(planted.selectivity.p, 1.0 / 41.0);
    assert!(planted.certain > 0, "{planted:?}");
    let same: Vec<Vec<f64>> = p.iter().map(|row| vec![row[0]; 4]).collect();
    let nothing = null(&in_parts(&same, 8, 40), 0.05, 0.05, 40, 3).unwrap();
    assert!(nothing.selectivity.z.abs() < 4.0 && nothing.selectivity.p > 0.02, "{nothing:?}");
    // The family-wise rate: at most one shuffle in twenty has a neuron below the bar.
    assert!(nothing.certain <= 1, "{nothing:?}");
    assert_eq!(null(&counts(2, &p, &[100; 4]), 0.05, 0.05, 40, 3), None);
    let again = null(&in_parts(&p, 8, 40), 0.05, 0.05, 40, 3).unwrap();
    assert_eq!(format!("{again:?}"), format!("{planted:?}"));
}

#[test]
fn a_result_shows_its_tables_and_offers_figures() {
    let found = languages(&in_parts(&random_rates(6, 200, 4), 4, 60), &Options::default()).unwrap();
    let blocks = found.blocks();
    assert!(blocks.len() > 8);
    let names: Vec<String> = found.figures().into_iter().map(|(name, _)| name).collect();
    for name in ["specific", "related", "null.selectivity.z", "l0.neurons"] {
        assert!(names.iter().any(|n| n == name), "{names:?}");
    }
    // NaN, such as the overlap of nothing with nothing, is no number in JSON and yet comes back.
    let json = serde_json::to_string(&found).unwrap();
    let back: optrode::analysis::languages::Languages = serde_json::from_str(&json).unwrap();
    assert_eq!(serde_json::to_string(&back).unwrap(), json);
}

#[test]
fn shares_and_counts_out_of_range_are_refused() {
    let refuses = |counts: &Counts, options: &Options, word: &str| {
        let said = languages(counts, options).unwrap_err().to_string();
        assert!(said.contains(word), "`{word}` is not in: {said}");
    };
    let good = by_hand();
    refuses(&good, &Options { share: 0.0, ..Options::default() }, "share");
    refuses(&good, &Options { share: 1.5, ..Options::default() }, "share");
    refuses(&good, &Options { lambda: Some(f64::NAN), ..Options::default() }, "lambda");
    let mut one = good.clone();
    one.parts[1][0].tokens = 0;
    refuses(&one, &Options::default(), "no token of the language `l1`");
    let mut unequal = good.clone();
    unequal.parts[1][0].tokens = 501;
    refuses(&unequal, &Options::default(), "more than 10 times");
    let mut twice = good.clone();
    twice.languages[1] = "l0".to_string();
    refuses(&twice, &Options::default(), "twice");
    let mut alone = good;
    alone.languages.truncate(1);
    alone.parts.truncate(1);
    refuses(&alone, &Options::default(), "expected 2 to 64");
}
