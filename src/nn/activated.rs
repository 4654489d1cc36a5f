//! The way into an MLP in one pass: act(x W^T), or act(x G^T) * (x U^T), block by block in the cache.

use std::ops::Range;

use candle_core::{Device, Tensor};

use super::buffer::{Fresh, Sheet};
use super::dense::{self, Weight, block, grid, scratch};
use super::kernel::{self, View};
use super::{Activation, Form, Linear};
use crate::Result;

/// The matrices that lead into an MLP.
#[derive(Clone, Copy, Debug)]
pub enum Maps<'a> {
    /// One.
    Plain(&'a Linear),
    /// Gate and up.
    Gated(&'a Linear, &'a Linear),
    /// Gate and up in one, rows `[gate | up]`.
    Joined(&'a Linear),
}

/// What came out, with what was asked for beside it.
#[derive(Clone, Debug)]
pub struct Activated {
    /// The neurons, `[.., M]`.
    pub post: Tensor,
    /// Before the nonlinearity, `[.., M]`.
    pub pre: Option<Tensor>,
    /// The branch that multiplies, `[.., M]`.
    pub linear: Option<Tensor>,
}

/// A map with its bias.
struct Map<'a> {
    weight: Weight<'a>,
    bias: Option<Vec<f32>>,
}

impl Map<'_> {
    /// # Safety
    /// As [`block`].
    unsafe fn block(&self, x: &[f32], rows: &Range<usize>, columns: &Range<usize>, to: (&Sheet, usize, usize)) {
        // SAFETY: as promised by the caller; the block has been written when its parts are lent out.
        unsafe {
            block(x, rows.clone(), &self.weight, columns.clone(), to);
            if let Some(bias) = &self.bias {
                for i in 0..rows.len() {
                    kernel::add(to.0.part(to.1 + i, to.2..to.2 + columns.len()), &bias[columns.clone()]);
                }
            }
        }
    }
}

/// The neurons of an MLP for `x` `[.., in]`, or `None` where they must be composed.
///
/// `post` has the same bits whatever else is asked for.
///
/// # Errors
/// Sizes that do not fit.
pub fn activated(
    x: &Tensor,
    maps: Maps,
    activation: Activation,
    (want_pre, want_linear): (bool, bool),
    form: Form,
) -> Result<Option<Activated>> {
    let (first, second) = match maps {
        Maps::Plain(only) => (only, None),
        Maps::Gated(gate, up) => (gate, Some(up)),
        Maps::Joined(both) => (both, Some(both)),
    };
    if ![Some(first), second].into_iter().flatten().all(|linear| dense::applies(linear, x, form)) {
        return Ok(None);
    }
    let mut shape = first.mapped(x)?;
    let views = (View::new(&first.weight), second.map(|s| View::new(&s.weight)));
    let map = |view, linear: &Linear| -> Result<Map> {
        Ok(Map { weight: Weight::new(view, &linear.weight)?, bias: linear.bias_values()? })
    };
    let mut first = map(&views.0, first)?;
    let mut second = match (&views.1, second) {
        (Some(view), Some(linear)) => Some(map(view, linear)?),
        _ => None,
    };
    if let (Maps::Joined(_), Some(up)) = (maps, &mut second) {
        let half = first.weight.outputs / 2;
        first.weight = first.weight.rows(0..half);
        up.weight = up.weight.rows(half..2 * half);
        up.bias = up.bias.as_ref().map(|bias| bias[half..].to_vec());
    }
    let m = first.weight.outputs;
    if let Some(last) = shape.last_mut() {
        *last = m;
    }
    let x = x.contiguous()?;
    let view = View::new(&x);
    let rows = x.elem_count() / first.weight.inputs.max(1);
    let x = &view.f32()?[..rows * first.weight.inputs];

    let room = |wanted: bool| wanted.then(|| Fresh::new(rows * m));
    let (mut post, mut pre, mut linear) = (Fresh::new(rows * m), room(want_pre), room(want_linear && second.is_some()));
    let sheets = (post.sheet(m), pre.as_mut().map(|p| p.sheet(m)), linear.as_mut().map(|l| l.sheet(m)));
    grid(rows, &[&first.weight], 1 + usize::from(second.is_some()), |_, rows, columns| {
        let (post, pre, linear) = &sheets;
        let place = |sheet| (sheet, rows.start, columns.start);
        // SAFETY: blocks of a grid do not overlap, and every part is written before it is lent out.
        unsafe {
            first.block(x, &rows, &columns, place(post));
            let Some(second) = &second else {
                for row in rows {
                    finish(post.part(row, columns.clone()), pre.map(|p| p.at(row, columns.start)), None, activation);
                }
                return;
            };
            let both = |others: &Sheet, down: usize, right: usize| {
                for row in rows.clone() {
                    let up = others.part(row - down, columns.start - right..columns.end - right);
                    finish(
                        post.part(row, columns.clone()),
                        pre.map(|p| p.at(row, columns.start)),
                        Some(up),
                        activation,
                    );
                }
            };
            match linear {
                Some(linear) => {
                    second.block(x, &rows, &columns, place(linear));
                    both(linear, 0, 0);
                }
                None => scratch(rows.len() * columns.len(), |own| {
                    let own = Sheet::over(own, columns.len());
                    second.block(x, &rows, &columns, (&own, 0, 0));
                    both(&own, rows.start, columns.start);
                }),
            }
        }
    });
    // SAFETY: the grid covers all rows and columns of every sheet.
    let tensor = |values: Fresh| Tensor::from_vec(unsafe { values.filled() }, shape.as_slice(), &Device::Cpu);
    Ok(Some(Activated {
        post: tensor(post)?,
        pre: pre.map(tensor).transpose()?,
        linear: linear.map(tensor).transpose()?,
    }))
}

/// y := act(y) * up, with y kept in `pre` before.
///
/// # Safety
/// `pre` has room for y, and nobody else uses it.
unsafe fn finish(y: &mut [f32], pre: Option<*mut f32>, up: Option<&mut [f32]>, activation: Activation) {
    if let Some(pre) = pre {
        // SAFETY: the caller's promise; a fresh row does not overlap y.
        unsafe { pre.copy_from_nonoverlapping(y.as_ptr(), y.len()) };
    }
    activation.apply(y);
    if let Some(up) = up {
        kernel::multiply(y, up);
    }
}
