//! The parts of the claim, and what the neuron must do where it is changed.

use super::theory::{self, false_negative, false_positive};
use super::{AtThreshold, Code, Found, Rate, Side};
use crate::report::Judged;

/// A chance below this is negligible.
const NEGLIGIBLE: f64 = 0.01;
/// Counts that are farther from a formula than this, in standard errors, refute it.
const FAR: f64 = 4.0;
/// Populations over which P_fp is followed.
pub(super) const POPULATIONS: std::ops::RangeInclusive<usize> = 1..=21;
/// The threshold at which a transformer's ratio is judged.
pub(super) const JUDGED: usize = 8;

/// n of the populations: 300, 500, .. 4300.
pub(super) fn populations() -> impl Iterator<Item = usize> {
    POPULATIONS.map(|i| 100 + 200 * i)
}

/// Published values with ours, `(what, published, ours)`: those with all their digits.
pub(super) fn published() -> Vec<(String, f64, f64)> {
    let wrong = [
        (300, 64, 24, 12, 1.094_616_623_336_90e-3),
        (700, 64, 24, 12, 1.412_532_309_307_30e-7),
        (500, 128, 24, 12, 7.367_883_033_582_89e-3),
        (1100, 128, 24, 12, 2.996_421_025_901_14e-6),
        (700, 256, 24, 12, 0.121_087_724_790_945),
        (10_000, 300, 24, 12, 8.375_845_227_098_49e-13),
        (400, 8, 4, 2, 2.063_146_169_665_78e-3),
        (100_000, 2000, 10, 10, 1.001_632_161_781_13e-17),
        (100_000, 2000, 24, 12, 8.586_941_002_765_92e-15),
        (100_000, 2000, 80, 10, 4.625_684_480_375_95e-6),
        (100_000, 2000, 240, 20, 1.079_907_639_415_91e-7),
    ];
    let missed = [
        (12, 64, 0.071_698_516_040_356_4),
        (8, 64, 7.354_294_568_751_21e-4),
        (12, 70, 0.190_430_462_690_358),
        (16, 64, 0.582_501_773_030_327),
    ];
    let wrong = wrong.map(|(n, a, s, theta, value)| {
        let words = format!("P_fp n {n}, a {a}, s {s}, threshold {theta}");
        (words, value, false_positive(n, f64::from(a), s, theta))
    });
    let missed = missed.map(|(theta, v, value)| {
        (format!("P_fn a 128, s 30, threshold {theta}, {v} lost"), value, false_negative(128, 30, v, theta))
    });
    wrong.into_iter().chain(missed).collect()
}

/// The median of P_fp over the published grid of populations, activities and synapses.
pub fn median(theta: usize) -> f64 {
    let mut all = Vec::new();
    for n in (1000..=17_000).step_by(4000) {
        for activity in 1..=6 {
            let a = (0.005 * f64::from(activity) * n as f64).round();
            all.extend((20..=50).step_by(5).map(|s| false_positive(n, a, s, theta)));
        }
    }
    all.sort_by(f64::total_cmp);
    (all[(all.len() - 1) / 2] + all[all.len() / 2]) / 2.0
}

fn judged(name: impl Into<String>, holds: bool, figures: &[(&str, f64)]) -> Judged {
    Judged::claim(name, holds, 4, figures)
}

/// The farthest count, in standard errors, either way.
fn farthest<'a>(rates: impl IntoIterator<Item = &'a Rate>) -> f64 {
    rates.into_iter().map(|rate| rate.error().abs()).fold(0.0, f64::max)
}

/// Counts do not refute the formula; with how many were counted.
fn agrees<'a>(name: &str, rates: impl IntoIterator<Item = &'a Rate> + Clone) -> Judged {
    let far = farthest(rates.clone());
    let hits: u64 = rates.into_iter().map(|rate| rate.hits).sum();
    judged(name, far < FAR, &[("standard errors at most", far), ("events", hits as f64)])
}

impl Found {
    /// The parts of the claim.
    pub fn verdicts(&self) -> Vec<Judged> {
        let mut verdicts = of_the_formulas();
        let one = if self.plan.networks == 1 { " (one seed)" } else { "" };
        verdicts.push(agrees("drawn patterns agree with P_fp and P_fn", self.draws.iter().map(|d| &d.1)));
        let counts = self.recognition.iter().flat_map(|r| [&r.missed, &r.wrong]);
        let name = format!(
            "the neuron misses and mistakes its own patterns as predicted, under noise, thresholds clamped{one}"
        );
        verdicts.push(agrees(&name, counts));
        let name = format!("in a dense code random inputs make spikes as predicted, thresholds clamped{one}");
        verdicts.push(agrees(&name, self.clamped.iter().map(|c| &c.1)));
        verdicts.push(self.ablated(one));
        for (side, words) in
            [(Side::Input, "patterns united in the input"), (Side::Segment, "patterns united on a segment")]
        {
            let rates = self.unions.iter().filter(|u| u.side == side).map(|u| &u.rate);
            verdicts.push(agrees(&format!("{words}: false positives as predicted{one}"), rates));
        }
        verdicts.push(self.at_mean());
        verdicts.push(self.drifts());
        verdicts.push(self.forgets());
        verdicts.extend([Code::Moment, Code::Language].into_iter().flat_map(|code| self.transformer(code)));
        verdicts
    }

    fn ablated(&self, one: &str) -> Judged {
        let counts = || self.ablation.iter().flat_map(|r| [&r.missed, &r.wrong]);
        let (whole, half) = (&self.ablation[0], &self.ablation[self.ablation.len() - 1]);
        let far = farthest(counts());
        judged(
            format!("k ablated synapses are a segment of s - k: more misses, fewer mistakes, as predicted{one}"),
            far < FAR && half.missed.ends().0 > whole.missed.ends().1 && half.wrong.ends().1 < whole.wrong.ends().0,
            &[
                ("standard errors at most", far),
                ("missed, whole", whole.missed.value()),
                ("half", half.missed.value()),
                ("mistaken, whole", whole.wrong.value()),
                ("half", half.wrong.value()),
            ],
        )
    }

    fn at_mean(&self) -> Judged {
        let inputs = || self.unions.iter().filter(|u| u.side == Side::Input);
        let apart = inputs().map(|u| (u.at_mean / u.rate.predicted - 1.0).abs()).fold(0.0, f64::max);
        judged(
            "P_fp at the mean number of active cells (a_M, as published) is within 5 % of the exact chance for a union",
            apart < 0.05,
            &[("relative error at most", apart)],
        )
    }

    fn drifts(&self) -> Judged {
        let far = self.drift.iter().map(|d| d.errors().abs()).fold(0.0, f64::max);
        let start = f64::from(crate::models::dendrites::NEW);
        let turned =
            |of: fn(&super::Drift) -> f64| self.drift.iter().find(|d| of(d) < start).map_or(f64::INFINITY, |d| d.noise);
        let (seen, due) = (turned(|d| d.permanence.value), turned(|d| d.predicted));
        judged(
            "noisy repeats move permanences as predicted, and weaken them from the predicted noise on",
            far < FAR && seen == due,
            &[("standard errors at most", far), ("weakened from a noise of", seen), ("predicted", due)],
        )
    }

    fn forgets(&self) -> Judged {
        let f = &self.forgetting;
        judged(
            "learning keeps the pattern that is shown and of the other what lies on its cells by chance; mistakes become as rare",
            f.known > 0.99 && farthest([&f.other, &f.before, &f.after]) < FAR && f.after.ends().1 < f.before.ends().0,
            &[
                ("connected, shown", f.known),
                ("not shown", f.other.value()),
                ("predicted", f.other.predicted),
                ("mistakes, 1e-6, before", 1e6 * f.before.value()),
                ("after", 1e6 * f.after.value()),
                ("after, predicted", 1e6 * f.after.predicted),
            ],
        )
    }

    /// Every layer's false positives at the judged threshold, and what random codes do.
    fn transformer(&self, code: Code) -> Vec<Judged> {
        let mine = |c: &&super::Concept| c.code == code && c.model == "organism";
        let layers: Vec<&AtThreshold> = (self.concepts.iter().filter(mine))
            .filter_map(|c| c.thresholds.iter().find(|t| t.theta == JUDGED))
            .collect();
        if layers.is_empty() {
            return Vec::new();
        }
        let least = |of: &dyn Fn(&AtThreshold) -> f64| layers.iter().map(|t| of(t)).fold(f64::INFINITY, f64::min);
        let ratio = least(&|t| t.ratio());
        let lower = least(&|t| t.measured.ends().0 / t.predicted);
        let rates = least(&|t| t.rates / t.predicted);
        // Where the formula is the highest, random codes have enough events in every paragraph.
        let random = self.concepts.iter().filter(mine).filter_map(|c| c.thresholds.first());
        let (mut far, mut all) = (0.0f64, 0);
        for at in random {
            far = far.max((at.random.value / at.predicted - 1.0).abs());
            all += 1;
        }
        let words = match code {
            Code::Moment => "what was active at one token",
            Code::Language => "a language's neurons",
        };
        vec![
            judged(
                format!(
                    "a transformer's codes are not random: segments on {words} are mistaken 10 times more than P_fp"
                ),
                lower > 10.0,
                &[
                    ("least ratio", ratio),
                    ("lower end", lower),
                    ("by unequal rates alone", rates),
                    ("layers", all as f64),
                ],
            ),
            judged(
                format!("the same segments on random codes of that sparsity ({words}): P_fp within 10 %"),
                far < 0.1,
                &[("relative error at most", far)],
            ),
        ]
    }
}

/// What the formulas say without a count.
fn of_the_formulas() -> Vec<Judged> {
    let published = published();
    let apart = published.iter().map(|(_, published, ours)| (ours / published - 1.0).abs()).fold(0.0, f64::max);
    let ln = |n: usize, a: usize| theory::ln_tail(n, a as f64, 24, 12);
    let bends = |a: usize| {
        let all: Vec<f64> = populations().filter(|n| *n >= 2 * a).map(|n| ln(n, a)).collect();
        all.windows(3).map(|w| w[0] + w[2] - 2.0 * w[1]).collect::<Vec<f64>>()
    };
    let all: Vec<f64> = [64, 128, 256].into_iter().flat_map(bends).collect();
    let downwards = all.iter().filter(|bend| **bend < 0.0).count() as f64 / all.len() as f64;
    let power = (ln(16_000, 64) - ln(8000, 64)) / std::f64::consts::LN_2;
    let half: Vec<f64> = populations().map(|n| ln(n, n / 2).exp()).collect();
    let (low, high) = half.iter().fold((f64::INFINITY, 0.0f64), |(l, h), p| (l.min(*p), h.max(*p)));
    let lost = |s: usize, theta: usize| false_negative(128, s, 64, theta);
    let window: Vec<usize> = (1..=30).filter(|theta| median(*theta) < 1e-6 && lost(30, *theta) < NEGLIGIBLE).collect();
    let worst = (8..=12).flat_map(|theta| [20, 25, 30].map(|s| lost(s, theta))).fold(0.0, f64::max);
    let ends = [window.first(), window.last()].map(|theta| theta.map_or(f64::NAN, |t| *t as f64));
    vec![
        judged(
            "the formulas give the published values to a relative 1e-10",
            apart < 1e-10,
            &[("values", published.len() as f64), ("log10 of the largest deviation", apart.log10())],
        ),
        judged(
            "P_fp falls super-exponentially in n at fixed a, as it is put: log P_fp bends downwards (s 24, threshold 12)",
            downwards > 0.9,
            &[("share of n where it does", downwards)],
        ),
        judged(
            "P_fp falls as a power of n at fixed a, of the threshold: exponent within 10 % of -12 (a 64, n 8000 to 16000)",
            (power / -12.0 - 1.0).abs() < 0.1,
            &[("exponent", power)],
        ),
        judged(
            "a population of which half is active gains nothing from size: P_fp within 10 % over n, and above 1/2",
            high / low < 1.1 && low > 0.5,
            &[("least", low), ("most", high)],
        ),
        judged(
            "there are thresholds of 8 to 20 at which 30 synapses err negligibly with half of the pattern missing",
            window.iter().any(|theta| (8..=20).contains(theta)),
            &[("from", ends[0]), ("to", ends[1])],
        ),
        judged(
            "every threshold of 8 to 12 does, with 20 to 30 synapses, as it is put: fewer than 1 % missed",
            worst < NEGLIGIBLE,
            &[("missed at worst", worst), ("missed, 30 synapses, threshold 12", lost(30, 12))],
        ),
    ]
}
