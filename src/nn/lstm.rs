//! Long short-term memory (Hochreiter and Schmidhuber 1997), one step at a time, in PyTorch's layout.
//!
//! ```text
//! i, f, g, o = split(x W_ih^T + h W_hh^T + b)
//! c' = sigmoid(f) c + sigmoid(i) tanh(g)
//! h' = sigmoid(o) tanh(c')
//! ```

use candle_core::{D, Tensor};

use super::{Form, Layout, Linear};
use crate::Result;

/// One layer's weights.
#[derive(Clone, Debug)]
pub struct Lstm {
    /// `[4 hidden, inputs]`, with the bias `[4 hidden]`.
    pub input: Linear,
    /// `[4 hidden, hidden]`.
    pub hidden: Linear,
}

impl Lstm {
    /// A layer of these weights.
    pub fn new(input: Tensor, hidden: Tensor, bias: Tensor) -> Self {
        let linear = |weight, bias| Linear { weight, bias, layout: Layout::OutIn };
        Self { input: linear(input, Some(bias)), hidden: linear(hidden, None) }
    }

    /// The hidden state and the cell after the input `x` `[b, inputs]`: `[b, hidden]` each.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn step(&self, x: &Tensor, h: &Tensor, c: &Tensor, form: Form) -> Result<(Tensor, Tensor)> {
        let gates = (self.input.forward(x, form)? + self.hidden.forward(h, form)?)?;
        let [i, f, g, o] = {
            let parts = gates.chunk(4, D::Minus1)?;
            let [i, f, g, o] = [0, 1, 2, 3].map(|k| parts[k].clone());
            [sigmoid(&i)?, sigmoid(&f)?, g.tanh()?, sigmoid(&o)?]
        };
        let c = ((f * c)? + (i * g)?)?;
        Ok(((o * c.tanh()?)?, c))
    }
}

/// 1 / (1 + exp(-x)), by a tanh that does not overflow.
pub fn sigmoid(x: &Tensor) -> Result<Tensor> {
    Ok(((x * 0.5)?.tanh()? * 0.5)?.affine(1.0, 0.5)?)
}
