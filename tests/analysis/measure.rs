//! Intervals and windows.

use optrode::analysis::{Corpus, Estimate};
use optrode::hook::random;

use super::{SPECIAL, texts};

#[test]
fn the_jackknife_of_a_mean_is_students_interval() {
    let x = [2.0, 3.5, 1.0, 4.0, 2.5];
    let mean = x.iter().sum::<f64>() / 5.0;
    let without: Vec<f64> = x.iter().map(|one| (5.0 * mean - one) / 4.0).collect();
    let found = Estimate::jackknife(mean, &without);
    let sd = (x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 4.0).sqrt();
    let (low, high) = found.interval.unwrap();
    assert!((high - low - 2.0 * 2.776 * sd / 5f64.sqrt()).abs() < 1e-9);
    assert!(((low + high) / 2.0 - mean).abs() < 1e-12);
}

#[test]
fn intervals_of_means_hold_the_truth_about_as_often_as_they_say() {
    let trials = 300;
    let holds = |trial: u64| {
        let units: Vec<f64> = (0..40).map(|i| random::normal(random::key(trial, &[i]))).collect();
        let (low, high) = Estimate::mean(&units, trial).interval.unwrap();
        low <= 0.0 && 0.0 <= high
    };
    let held = (0..trials).filter(|t| holds(*t)).count();
    assert!((0.90..0.98).contains(&(held as f64 / trials as f64)), "{held} of {trials}");
}

#[test]
fn a_ratio_weighs_its_units_and_says_nothing_of_a_single_one() {
    let found = Estimate::ratio(&[(1.0, 2.0), (0.0, 0.0), (3.0, 6.0)], 0);
    assert_eq!((found.value, found.interval), (0.5, Some((0.5, 0.5))));
    assert_eq!(Estimate::ratio(&[(1.0, 4.0), (5.0, 0.0)], 0), Estimate::exact(0.25));
    assert!(Estimate::ratio(&[], 0).value.is_nan());
}

#[test]
fn batches_cover_every_window_once_and_stay_small() {
    let corpus = Corpus::of_ids(&texts(), &[SPECIAL]).unwrap();
    for limit in [1, 20, 45, 10_000] {
        let mut next = 0;
        for batch in corpus.batches(limit) {
            let (windows, tokens) = batch.unwrap();
            assert_eq!(windows.start, next);
            assert!(windows.len() == 1 || tokens.rows * tokens.pos <= limit);
            for (row, window) in windows.clone().enumerate() {
                assert_eq!(tokens.row(row), corpus.windows[window].ids);
                assert_eq!(tokens.documents[row], window as u64);
            }
            next = windows.end;
        }
        assert_eq!(next, corpus.windows.len());
    }
}

#[test]
fn shuffling_keeps_the_tokens_and_the_places_of_special_ones() {
    let corpus = Corpus::of_ids(&texts(), &[SPECIAL]).unwrap();
    let shuffled = corpus.shuffled(3);
    let mut moved = 0;
    for (a, b) in corpus.windows.iter().zip(&shuffled.windows) {
        let places = |ids: &[u32]| ids.iter().map(|id| *id == SPECIAL).collect::<Vec<bool>>();
        assert_eq!(places(&a.ids), places(&b.ids));
        let (mut x, mut y) = (a.ids.clone(), b.ids.clone());
        x.sort_unstable();
        y.sort_unstable();
        assert_eq!(x, y);
        moved += usize::from(a.ids != b.ids);
    }
    assert!(moved >= 12, "{moved}");
    assert_eq!(corpus.shuffled(3).windows, shuffled.windows);
    assert_ne!(corpus.shuffled(4).windows, shuffled.windows);
}

#[test]
fn texts_without_a_token_are_refused() {
    let refused = Corpus::of_ids(&[Vec::new()], &[]).unwrap_err().to_string();
    assert!(refused.contains("no token"), "{refused}");
}
