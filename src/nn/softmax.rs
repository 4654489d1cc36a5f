//! From raw scores to an attention pattern: softcap, bias, mask, softmax.
//!
//! s = cap tanh(s / cap); s = s + bias; s = -inf where hidden; p = softmax(s).
//! Candle's `softmax_last_dim` has no backward pass; the composed softmax here stays finite with -inf entries, gives
//! them exactly 0 and no gradient, and makes a row of nothing but -inf zero.

use super::attention::misfit;
use super::kernel::{self, View};
use super::learn;
use super::{AttentionMask, Form};
use crate::Result;
use candle_core::{D, Device, Tensor};

/// Work of one entry of a softmax compared with a multiply-add.
const COST: usize = 16;

/// What happens between raw scores and the softmax.
#[derive(Clone, Copy, Debug)]
pub struct ScoreRule<'a> {
    /// Scores become cap * tanh(scores / cap).
    pub cap: Option<f64>,
    /// Added after the cap, `[B or 1, H, Tq, Tk]`: ALiBi.
    pub bias: Option<&'a Tensor>,
    /// Hides keys.
    pub mask: &'a AttentionMask,
}

/// What [`pattern`] wrote.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// The attention pattern, `[B, H, Tq, Tk]`: rows sum to 1.
    pub pattern: Tensor,
    /// The scores as the softmax saw them, -inf where hidden, if wanted.
    pub scores: Option<Tensor>,
}

/// cap * tanh(scores / cap), `[..]`.
pub fn softcap(scores: &Tensor, cap: f64, form: Form) -> Result<Tensor> {
    if !kernel::applies(form, scores) {
        return Ok(((scores / cap)?.tanh()? * cap)?);
    }
    change_rows(scores, |_, y| kernel::cap(y, cap as f32))
}

/// Scores `[B, H, Tq, Tk]` with -inf where the mask hides the key.
pub fn masked(scores: &Tensor, mask: &AttentionMask, form: Form) -> Result<Tensor> {
    if mask.all_visible() {
        return Ok(scores.clone());
    }
    let rule = ScoreRule { cap: None, bias: None, mask };
    rule.apply(scores, form)
}

/// The softmax over the last axis, `[..]`; 0 where the input is -inf.
pub fn softmax(scores: &Tensor, form: Form) -> Result<Tensor> {
    if kernel::applies(form, scores) {
        return change_rows(scores, |_, y| kernel::softmax(y));
    }
    if learn::applies(form, scores) {
        return learn::softmax(scores, change_rows(&scores.detach(), |_, y| kernel::softmax(y))?);
    }
    let max = scores.max_keepdim(D::Minus1)?.detach().maximum(-1e30)?; // [.., 1]; finite if all is hidden
    let e = scores.broadcast_sub(&max)?.exp()?;
    let total = e.sum_keepdim(D::Minus1)?.maximum(0.5)?; // at least 1 unless all is hidden
    Ok(e.broadcast_div(&total)?)
}

/// From raw scores `[B, H, Tq, Tk]` to the attention pattern, in one pass where kernels run.
///
/// The pattern has the same bits whether or not the masked scores are wanted, and as [`ScoreRule::apply`] followed by
/// [`softmax`].
pub fn pattern(scores: &Tensor, rule: &ScoreRule<'_>, want_scores: bool, form: Form) -> Result<Pattern> {
    if learn::applies(form, scores) && rule.cap.is_none() && rule.bias.is_none() {
        let pattern = rule.kernel(&scores.detach(), kernel::softmax)?;
        let scores_seen = want_scores.then(|| rule.apply(scores, form)).transpose()?;
        return Ok(Pattern { pattern: learn::softmax(scores, pattern)?, scores: scores_seen });
    }
    if want_scores || !kernel::applies(form, scores) {
        let scores = rule.apply(scores, form)?;
        return Ok(Pattern { pattern: softmax(&scores, form)?, scores: want_scores.then_some(scores) });
    }
    Ok(Pattern { pattern: rule.kernel(scores, kernel::softmax)?, scores: None })
}

/// A copy of `x` in which `row` changed every row.
fn change_rows(x: &Tensor, row: impl Fn(usize, &mut [f32]) + Sync) -> Result<Tensor> {
    let x = x.contiguous()?;
    let view = View::new(&x);
    let values = view.f32()?;
    let width = x.dim(D::Minus1)?;
    let out = kernel::changed_rows(&values[..x.elem_count()], width, width * COST, row);
    Ok(Tensor::from_vec(out, x.shape(), &Device::Cpu)?)
}

impl ScoreRule<'_> {
    /// Raw scores `[B, H, Tq, Tk]` to those the softmax sees: cap, bias, mask.
    pub fn apply(&self, scores: &Tensor, form: Form) -> Result<Tensor> {
        if kernel::applies(form, scores) {
            return self.kernel(scores, |_| {});
        }
        let mut s = scores.clone();
        if let Some(cap) = self.cap {
            s = softcap(&s, cap, form)?;
        }
        if let Some(bias) = self.bias {
            s = s.broadcast_add(&bias.to_dtype(s.dtype())?)?;
        }
        if !self.mask.all_visible() {
            let hidden = Tensor::new(f64::NEG_INFINITY, s.device())?.to_dtype(s.dtype())?;
            let visible = self.mask.visible().broadcast_as(s.shape())?;
            s = visible.where_cond(&s, &hidden.broadcast_as(s.shape())?)?;
        }
        Ok(s)
    }

    /// Checks mask and bias against scores `[B, H, Tq, Tk]`.
    pub(super) fn check(&self, (b, h, tq, tk): (usize, usize, usize, usize)) -> Result<()> {
        for (name, part, heads) in [("mask", Some(self.mask.visible()), 1), ("bias", self.bias, h)] {
            let fits = |t: &Tensor| {
                t.is_contiguous()
                    && matches!(*t.dims(), [rows, ht, q, k] if (rows == 1 || rows == b) && (ht, q, k) == (heads, tq, tk))
            };
            if let Some(part) = part.filter(|t| !fits(t)) {
                return Err(misfit(name, part.dims(), "scores", &[b, h, tq, tk]));
            }
        }
        Ok(())
    }

    /// Cap, bias and mask, then `finish`, on every row.
    fn kernel(&self, scores: &Tensor, finish: impl Fn(&mut [f32]) + Sync) -> Result<Tensor> {
        let (b, h, tq, tk) = scores.dims4()?;
        self.check((b, h, tq, tk))?;
        let visible = (!self.mask.all_visible()).then(|| self.mask.visible());
        let (view_mask, view_bias) = (visible.map(View::new), self.bias.map(View::new));
        let mask = view_mask.as_ref().map(View::u8).transpose()?;
        let bias = view_bias.as_ref().map(View::f32).transpose()?;
        // Row r of the scores is query r % Tq of head r / Tq % H in batch row r / Tq / H.
        let mask_rows = tq * visible.map_or(1, |t| t.dims()[0]);
        let bias_rows = h * tq * self.bias.map_or(1, |t| t.dims()[0]);
        change_rows(scores, |r, y| {
            if let Some(cap) = self.cap {
                kernel::cap(y, cap as f32);
            }
            if let Some(bias) = bias {
                kernel::add(y, &bias[r % bias_rows * tk..][..tk]);
            }
            if let Some(mask) = mask {
                let row = (r / (h * tq) * tq + r % tq) % mask_rows;
                kernel::hide(y, &mask[row * tk..][..tk]);
            }
            finish(y);
        })
    }
}
