//! The rule of AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101).
//!
//! With g the gradient of update t (counted from 1), per element and in f32:
//!
//! ```text
//! m := b1 m + (1 - b1) g          v := b2 v + (1 - b2) g^2
//! w := w - rate decay w           w := w - rate m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)
//! ```
//!
//! which is PyTorch's `AdamW`.

use serde::{Deserialize, Serialize};

/// The constants of AdamW.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamWOptions {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
}

impl Default for AdamWOptions {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, eps: 1e-8 }
    }
}

/// One update, the `t`-th, of `weights` with their moments `m` and `v`; the gradient is multiplied by `factor`.
pub(super) fn update(
    weights: &mut [f32],
    gradient: &[f32],
    (m, v): (&mut [f32], &mut [f32]),
    (rate, weight_decay, factor): (f64, f64, f32),
    t: i32,
    options: AdamWOptions,
) {
    let keep = (1.0 - rate * weight_decay) as f32;
    let step = (rate / (1.0 - options.beta1.powi(t))) as f32;
    let root = (1.0 - options.beta2.powi(t)).sqrt().recip() as f32;
    let (beta1, beta2, eps) = (options.beta1 as f32, options.beta2 as f32, options.eps as f32);
    for ((w, g), (m, v)) in weights.iter_mut().zip(gradient).zip(m.iter_mut().zip(v)) {
        let g = g * factor;
        *m = beta1 * *m + (1.0 - beta1) * g;
        *v = beta2 * *v + (1.0 - beta2) * g * g;
        *w = *w * keep - step * *m / (v.sqrt() * root + eps);
    }
}
