//! Queries, keys and values out of one, two or three matrices, whole or head by head.

use candle_core::{DType, Tensor};

use super::facts::{Facts, Names, QkvLayout};
use super::load::Loader;
use crate::Result;
use crate::hook::Form;
use crate::nn::{Layout, Linear, forward_all};

/// Which of the three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Query,
    Key,
    Value,
}

impl Role {
    pub const ALL: [Self; 3] = [Self::Query, Self::Key, Self::Value];
}

#[derive(Clone, Debug)]
enum Matrices {
    Separate([Linear; 3]),
    Joined(Linear),
    Grouped(Linear),
}

/// The input projections of attention.
#[derive(Clone, Debug)]
pub(super) struct Qkv {
    matrices: Matrices,
    heads: usize,
    kv_heads: usize,
    d_head: usize,
}

impl Qkv {
    pub fn load(loader: &Loader, facts: &Facts, names: &Names, prefix: &str) -> Result<Self> {
        let (heads, kv_heads, d_head) = (facts.n_heads, facts.n_kv_heads, facts.d_head);
        let (d, bias) = (facts.d_model, facts.attn.qkv_bias);
        let linear = |i: usize, outputs: usize| loader.linear(&format!("{prefix}.{}", names.qkv[i]), d, outputs, bias);
        let all = (heads + 2 * kv_heads) * d_head;
        let matrices = match facts.attn.layout {
            QkvLayout::Separate => Matrices::Separate([
                linear(0, heads * d_head)?,
                linear(1, kv_heads * d_head)?,
                linear(2, kv_heads * d_head)?,
            ]),
            QkvLayout::Joined => Matrices::Joined(linear(0, all)?),
            QkvLayout::Grouped => Matrices::Grouped(linear(0, all)?),
        };
        Ok(Self { matrices, heads, kv_heads, d_head })
    }

    fn count(&self, role: Role) -> usize {
        if role == Role::Query { self.heads } else { self.kv_heads }
    }

    /// First row of a role in a joined matrix, and its number of rows.
    fn rows(&self, role: Role) -> (usize, usize) {
        let (q, kv) = (self.heads * self.d_head, self.kv_heads * self.d_head);
        match role {
            Role::Query => (0, q),
            Role::Key => (q, kv),
            Role::Value => (q + kv, kv),
        }
    }

    /// First slot of a role in a group of `heads / kv_heads + 2`, and its number of slots.
    fn slots(&self, role: Role) -> (usize, usize) {
        let group = self.heads / self.kv_heads;
        match role {
            Role::Query => (0, group),
            Role::Key => (group, 1),
            Role::Value => (group + 1, 1),
        }
    }

    /// `[b, t, d_model]` to q `[b, t, heads, d_head]`, k and v `[b, t, kv_heads, d_head]`.
    pub fn forward(&self, x: &Tensor, form: Form) -> Result<[Tensor; 3]> {
        let (b, t, _) = x.dims3()?;
        let d = self.d_head;
        let split = |y: &Tensor, role: Role| -> Result<Tensor> {
            let (start, rows) = self.rows(role);
            Ok(y.narrow(2, start, rows)?.reshape((b, t, self.count(role), d))?)
        };
        match &self.matrices {
            Matrices::Separate([q, k, v]) => {
                let [q, k, v] = forward_all([q, k, v], x, form)?;
                Ok([
                    q.reshape((b, t, self.heads, d))?,
                    k.reshape((b, t, self.kv_heads, d))?,
                    v.reshape((b, t, self.kv_heads, d))?,
                ])
            }
            Matrices::Joined(all) => {
                let y = all.forward(x, form)?; // [b, t, (heads + 2 kv_heads) d]
                Ok([split(&y, Role::Query)?, split(&y, Role::Key)?, split(&y, Role::Value)?])
            }
            Matrices::Grouped(all) => {
                let per_group = self.heads / self.kv_heads + 2;
                let y = all.forward(x, form)?.reshape((b, t, self.kv_heads, per_group, d))?;
                let part = |role: Role| -> Result<Tensor> {
                    let (start, slots) = self.slots(role);
                    Ok(y.narrow(3, start, slots)?.reshape((b, t, self.count(role), d))?)
                };
                Ok([part(Role::Query)?, part(Role::Key)?, part(Role::Value)?])
            }
        }
    }

    /// One role from an input of its own per head: `[b, t, n, d_model] -> [b, t, n, d_head]`.
    pub fn by_head(&self, x: &Tensor, role: Role) -> Result<Tensor> {
        let (b, t, n, d_model) = x.dims4()?;
        let (weight, bias) = self.head_weight(role, x.dtype())?; // [n, d_head, d_model], [n, d_head]
        let x = x.reshape((b * t, n, d_model))?.transpose(0, 1)?.contiguous()?; // [n, b t, d_model]
        let y = x.matmul(&weight.transpose(1, 2)?.contiguous()?)?; // [n, b t, d_head]
        let y = y.transpose(0, 1)?.reshape((b, t, n, self.d_head))?;
        Ok(match bias {
            Some(bias) => y.broadcast_add(&bias.to_dtype(y.dtype())?)?,
            None => y,
        })
    }

    /// The weights of a role by head: `[head or kv_head, d_head, d_model]`, f32.
    pub fn weights(&self, role: Role) -> Result<Tensor> {
        Ok(self.head_weight(role, DType::F32)?.0)
    }

    fn head_weight(&self, role: Role, dtype: DType) -> Result<(Tensor, Option<Tensor>)> {
        let rows = |linear: &Linear| -> Result<Tensor> {
            let weight = linear.weight.to_dtype(dtype)?;
            Ok(match linear.layout {
                Layout::OutIn => weight,
                Layout::InOut => weight.t()?.contiguous()?,
            })
        };
        let (n, d) = (self.count(role), self.d_head);
        let pick = |y: Tensor| -> Result<Tensor> {
            let rest = y.dims()[1..].to_vec();
            let with = |head: &[usize]| -> Vec<usize> { head.iter().chain(&rest).copied().collect() };
            Ok(match &self.matrices {
                Matrices::Separate(_) => y.reshape(with(&[n, d]))?,
                Matrices::Joined(_) => {
                    let (start, rows) = self.rows(role);
                    y.narrow(0, start, rows)?.reshape(with(&[n, d]))?
                }
                Matrices::Grouped(_) => {
                    let per_group = self.heads / self.kv_heads + 2;
                    let (start, slots) = self.slots(role);
                    let groups = y.reshape(with(&[self.kv_heads, per_group, d]))?;
                    groups.narrow(1, start, slots)?.reshape(with(&[n, d]))?
                }
            })
        };
        let linear = match &self.matrices {
            Matrices::Separate(each) => &each[role as usize],
            Matrices::Joined(all) | Matrices::Grouped(all) => all,
        };
        let bias = linear.bias.clone().map(pick).transpose()?;
        Ok((pick(rows(linear)?)?, bias))
    }
}
