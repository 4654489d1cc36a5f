//! How often a segment errs on sparse random codes (Ahmad and Hawkins 2016): n cells of which a are active, s synapses, an
//! NMDA spike where theta of them or more are active.
//!
//! ```text
//! t_b  = C(s,b) C(n-s,a-b) / C(n,a) = C(s,b) [a]_b [n-a]_(s-b) / [n]_s        [x]_k = x (x-1) .. (x-k+1)
//! P_fp = sum of t_b over b = theta..s
//! P_fn = the same sum for a cells, v of them lost, over b = s-theta+1..s
//! ```
//!
//! The right-hand form is the left-hand one with the factors that both have taken out: s factors near 1 instead of
//! logarithms of factorials near 1e6, whose last bit alone is 1e-10 of P. It takes a real a as Gamma functions of real
//! arguments do, to which it is identical: their arguments differ by whole numbers.
//!
//! Of the published values that were checked (tests/bio/dendrites.rs) all come out but for the last digits of three, which
//! whole numbers decide for this form: for n 1e5 and a 2000, s 40, theta 10 is 4.91541864883645e-9 (listed as ..4813209e-9,
//! 1.4e-10 off), s 240, theta 20 is 1.07990763946553e-7 (..41591e-7, 4.6e-11 off), and s 80, theta 10 is 4.62568448038218e-6
//! (..37595e-6, 1.3e-12 off). Logarithms of Gamma functions lose as much there.

/// ln t_b; minus infinity where no such overlap exists.
fn ln_term(n: usize, a: f64, s: usize, b: usize) -> f64 {
    let (n, synapses) = (n as f64, s as f64);
    let mut ln = 0.0;
    for i in (0..b).map(|i| i as f64) {
        let left = a - i;
        if left <= 0.0 {
            return f64::NEG_INFINITY;
        }
        ln += (left / (n - i) * ((synapses - i) / (i + 1.0))).ln();
    }
    for j in (0..s - b).map(|j| j as f64) {
        let left = n - a - j;
        if left <= 0.0 {
            return f64::NEG_INFINITY;
        }
        ln += (left / (n - b as f64 - j)).ln();
    }
    ln
}

/// ln of the chance that b synapses of s or more, from `from` on, are among a random a of n cells.
///
/// For a real a below s the overlaps beyond it are left out. NaN for s > n and for a outside 0 to n.
pub fn ln_tail(n: usize, a: f64, s: usize, from: usize) -> f64 {
    if s > n || !(0.0..=n as f64).contains(&a) {
        return f64::NAN;
    }
    if from == 0 {
        return 0.0;
    }
    let terms: Vec<f64> = (from..=s).map(|b| ln_term(n, a, s, b)).collect();
    let top = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if top == f64::NEG_INFINITY {
        return top;
    }
    let sum: f64 = terms.iter().map(|t| (t - top).exp()).sum();
    (top + sum.ln()).min(0.0)
}

/// t_b for every b from 0 to s.
pub fn overlaps(n: usize, a: usize, s: usize) -> Vec<f64> {
    (0..=s).map(|b| ln_term(n, a as f64, s, b).exp()).collect()
}

/// P_fp: a random input of `a` active cells makes a segment spike. `a` may be a mean, as of [`united_cells`].
pub fn false_positive(n: usize, a: f64, s: usize, theta: usize) -> f64 {
    ln_tail(n, a, s, theta).exp()
}

/// P_fn: a pattern that has lost `v` of its `a` active cells no longer does. Nothing is put in their place.
pub fn false_negative(a: usize, s: usize, v: usize, theta: usize) -> f64 {
    match (s + 1).checked_sub(theta) {
        None => 1.0,
        Some(lost) => ln_tail(a, v as f64, s, lost).exp(),
    }
}

/// a_M: active cells where M random patterns are active at once, on average; not rounded.
pub fn united_cells(n: usize, a: f64, patterns: usize) -> f64 {
    n as f64 * (1.0 - (1.0 - a / n as f64).powi(patterns as i32))
}

/// s_m: synapses of a segment on s random cells for each of m patterns, where a cell takes one only; rounded.
pub fn united_synapses(n: usize, s: usize, patterns: usize) -> usize {
    united_cells(n, s as f64, patterns).round() as usize
}

/// P_fp for M random patterns active at once, exactly: the number of active cells varies, which a_M leaves out.
///
/// Each pattern falls on the synapses that are still silent as on any other cells, so their number is a Markov chain.
pub fn united_false_positive(n: usize, a: usize, s: usize, theta: usize, patterns: usize) -> f64 {
    let mut chance = vec![0.0; s + 1];
    chance[0] = 1.0;
    let steps: Vec<Vec<f64>> = (0..=s).map(|active| overlaps(n, a, s - active)).collect();
    for _ in 0..patterns {
        let mut next = vec![0.0; s + 1];
        for (active, p) in chance.iter().enumerate() {
            for (more, q) in steps[active].iter().enumerate() {
                next[active + more] += p * q;
            }
        }
        chance = next;
    }
    chance.iter().skip(theta).sum()
}

/// Any of M segments spikes: no more than M P_fp.
pub fn any_of(segments: usize, p: f64) -> f64 {
    segments as f64 * p
}

/// Mean change of a permanence in one presentation of a pattern that has lost `v` of its cells, while segments learn where
/// they spike: sum over b >= theta of t_b (grow b/s - shrink (1 - b/s)).
pub fn drift(a: usize, s: usize, v: usize, theta: usize, grow: f64, shrink: f64) -> f64 {
    let change = |b: usize| grow * b as f64 / s as f64 - shrink * (1.0 - b as f64 / s as f64);
    overlaps(a, a - v, s).iter().enumerate().skip(theta).map(|(b, t)| t * change(b)).sum()
}
