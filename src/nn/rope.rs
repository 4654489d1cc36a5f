//! Rotary position embedding: pairs of coordinates turned by an angle that grows with the position.
//!
//! (a, b) -> (a cos p f_i - b sin p f_i, b cos p f_i + a sin p f_i) for pair i of `dim / 2` at position p. Pairs are
//! (x[i], x[i + dim/2]) (half-split: Llama, GPT-NeoX) or (x[2i], x[2i+1]) (interleaved: GPT-J, GLM). Coordinates from
//! `dim` on pass unchanged. Tables are made once for a forward pass and shared by all layers.

use super::Form;
use super::kernel::{self, View};
use super::learn;
use super::rope_scaling::RopeScaling;
use crate::{Error, Result};
use candle_core::{D, Device, Tensor};

/// A rotary embedding.
#[derive(Clone, PartialEq, Debug)]
pub struct Rope {
    /// How many coordinates of a head are rotated; even, at most the size of a head.
    pub dim: usize,
    /// The base of the frequencies.
    pub theta: f64,
    /// How the frequencies are stretched.
    pub scaling: RopeScaling,
    /// Whether pairs are neighbours rather than halves apart.
    pub interleaved: bool,
}

/// Cosines and sines for the positions of a batch, already scaled by the attention factor.
#[derive(Clone, Debug)]
pub struct RopeTables {
    /// `[B or 1, T, dim/2]`, f32; one row where all rows have the same positions.
    pub cos: Tensor,
    /// Like `cos`.
    pub sin: Tensor,
}

impl Rope {
    /// The inverse frequencies `[dim / 2]` for a sequence of `seq_len` tokens (the largest position plus 1).
    pub fn inv_freq(&self, seq_len: usize) -> Result<Vec<f32>> {
        if self.dim == 0 || !self.dim.is_multiple_of(2) {
            return Err(Error::invalid(
                format!("a rotary embedding rotates pairs and got {} dimensions", self.dim),
                "check the head size and the rotary fraction in the configuration",
            ));
        }
        self.scaling.inv_freq(self.theta, self.dim, seq_len)
    }

    /// Tables for `positions` `[B, T]` (row after row) of `batch` rows.
    ///
    /// Where frequencies depend on the length, each row takes its own length, so that a row in a batch is what it is
    /// alone; Hugging Face takes the longest row.
    pub fn tables(&self, positions: &[u32], batch: usize, device: &Device) -> Result<RopeTables> {
        let t = positions.len().checked_div(batch).unwrap_or(0);
        if t * batch != positions.len() || t == 0 {
            return Err(Error::invalid(
                format!("{} positions do not make {batch} rows", positions.len()),
                "give one position for each token of the batch",
            ));
        }
        let first = &positions[..t];
        let rows = if positions.chunks_exact(t).all(|row| row == first) { 1 } else { batch };
        let half = self.dim / 2;
        let factor = self.scaling.attention_factor();
        let (mut cos, mut sin) = (Vec::with_capacity(rows * t * half), Vec::with_capacity(rows * t * half));
        let mut frequencies = self.inv_freq(1)?;
        for row in positions.chunks_exact(t).take(rows) {
            if self.scaling.depends_on_length() {
                frequencies = self.inv_freq(row.iter().max().map_or(0, |p| *p as usize + 1))?;
            }
            for &p in row {
                cos.extend(frequencies.iter().map(|f| (p as f32 * f).cos() * factor));
                sin.extend(frequencies.iter().map(|f| (p as f32 * f).sin() * factor));
            }
        }
        Ok(RopeTables {
            cos: Tensor::from_vec(cos, (rows, t, half), device)?,
            sin: Tensor::from_vec(sin, (rows, t, half), device)?,
        })
    }

    /// Rotates queries or keys `x` `[B, T, H, d]`: `[B, T, H, d]`.
    pub fn apply(&self, x: &Tensor, tables: &RopeTables, form: Form) -> Result<Tensor> {
        let (b, t, h, d) = x.dims4()?;
        let (rows, tt, half) = tables.cos.dims3()?;
        if tt != t || (rows != 1 && rows != b) || 2 * half != self.dim || self.dim > d {
            return Err(Error::invalid(
                format!("rotary tables [{rows}, {tt}, {half}] do not fit an input {:?}", x.dims()),
                "make the tables for the positions of this batch",
            ));
        }
        if kernel::applies(form, x) {
            return self.kernel(x, tables, rows);
        }
        if learn::applies(form, x) {
            let out = self.kernel(&x.detach(), tables, rows)?;
            let (rope, back) = (self.clone(), RopeTables { cos: tables.cos.clone(), sin: tables.sin.neg()? });
            return learn::linear(x, out, move |grad| rope.kernel(grad, &back, rows));
        }
        let table = |table: &Tensor| -> Result<Tensor> {
            Ok(table.to_dtype(x.dtype())?.unsqueeze(2)?) // [B or 1, T, 1, dim/2]
        };
        let (cos, sin) = (table(&tables.cos)?, table(&tables.sin)?);
        let turned = x.narrow(D::Minus1, 0, self.dim)?; // [B, T, H, dim]
        let (first, second) = if self.interleaved {
            let pairs = turned.reshape((b, t, h, half, 2))?;
            let part = |i| pairs.narrow(4, i, 1)?.squeeze(4);
            (part(0)?, part(1)?)
        } else {
            (turned.narrow(3, 0, half)?, turned.narrow(3, half, half)?)
        }; // [B, T, H, dim/2]
        let left = (first.broadcast_mul(&cos)? - second.broadcast_mul(&sin)?)?;
        let right = (second.broadcast_mul(&cos)? + first.broadcast_mul(&sin)?)?;
        let turned = if self.interleaved {
            Tensor::stack(&[&left, &right], 4)?.reshape((b, t, h, self.dim))?
        } else {
            Tensor::cat(&[&left, &right], 3)?
        };
        if self.dim == d {
            return Ok(turned);
        }
        let rest = x.narrow(3, self.dim, d - self.dim)?;
        Ok(Tensor::cat(&[&turned, &rest], 3)?) // [B, T, H, d]
    }

    fn kernel(&self, x: &Tensor, tables: &RopeTables, rows: usize) -> Result<Tensor> {
        let (_, t, h, d) = x.dims4()?;
        let half = self.dim / 2;
        let x = x.contiguous()?;
        let (view, view_cos, view_sin) = (View::new(&x), View::new(&tables.cos), View::new(&tables.sin));
        let (values, cos, sin) = (view.f32()?, view_cos.f32()?, view_sin.f32()?);
        let out = kernel::changed_rows(&values[..x.elem_count()], h * d, h * d, |token, y| {
            let at = if rows == 1 { token % t } else { token } * half;
            let (cos, sin) = (&cos[at..at + half], &sin[at..at + half]);
            for head in y.chunks_exact_mut(d) {
                if self.interleaved {
                    for ((pair, c), s) in head.chunks_exact_mut(2).zip(cos).zip(sin) {
                        let (a, b) = (pair[0], pair[1]);
                        pair[0] = a * c - b * s;
                        pair[1] = b * c + a * s;
                    }
                } else {
                    let (first, second) = head.split_at_mut(half);
                    for (((a, b), c), s) in first.iter_mut().zip(second).zip(cos).zip(sin) {
                        (*a, *b) = (*a * c - *b * s, *b * c + *a * s);
                    }
                }
            }
        });
        Ok(Tensor::from_vec(out, x.shape(), &Device::Cpu)?)
    }
}
