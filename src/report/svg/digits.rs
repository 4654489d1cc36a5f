//! Numbers as a reader of a chart wants them.

/// A value with four significant digits: `0.1235`, `12`, `3.1e-7`; nothing measured is said in words.
pub(in crate::report) fn value(v: f64) -> String {
    if v.is_nan() {
        return "not measured".to_string();
    }
    if v == 0.0 || !v.is_finite() {
        return minus(format!("{}", if v == 0.0 { 0.0 } else { v }));
    }
    let magnitude = v.abs().log10().floor();
    if !(-4.0..6.0).contains(&magnitude) {
        return minus(format!("{v:.2e}"));
    }
    let decimals = (3.0 - magnitude).max(0.0) as usize;
    minus(trim(format!("{v:.decimals$}")))
}

/// Labels for the marks of an axis, all with as many digits as tell neighbours apart.
pub(super) fn labels(ticks: &[f64]) -> Vec<String> {
    let largest = ticks.iter().fold(0.0, |m: f64, t| m.max(t.abs()));
    let steps = ticks.windows(2).map(|w| (w[1] - w[0]).abs()).filter(|s| *s > 0.0);
    let step = steps.fold(f64::INFINITY, f64::min);
    let step = if step.is_finite() { step } else { largest };
    if largest == 0.0 || step == 0.0 {
        return ticks.iter().map(|t| value(*t)).collect();
    }
    let fine = (step.log10() + 1e-9).floor();
    if !(1e-4..1e6).contains(&largest) {
        let digits = (largest.log10().floor() - fine).clamp(0.0, 12.0) as usize;
        return ticks.iter().map(|t| if *t == 0.0 { "0".into() } else { minus(format!("{t:.digits$e}")) }).collect();
    }
    let least = (0..3).find(|extra| whole(step, fine - f64::from(*extra))).unwrap_or(2);
    let decimals = (f64::from(least) - fine).clamp(0.0, 15.0) as usize;
    let zero = |t: f64| if t.abs() < step * 1e-6 { 0.0 } else { t };
    ticks.iter().map(|t| minus(format!("{:.decimals$}", zero(*t)))).collect()
}

/// Whether a step is a whole number of 10^exponent, so that no digit of it is lost.
fn whole(step: f64, exponent: f64) -> bool {
    let n = step / 10f64.powf(exponent);
    (n - n.round()).abs() < 1e-6
}

fn trim(text: String) -> String {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_string() } else { text }
}

/// With the typographic sign of a negative number.
fn minus(text: String) -> String {
    text.replace('-', "−")
}
