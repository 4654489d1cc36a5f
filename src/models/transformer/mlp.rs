//! The MLP: `down(act(up x))`, or gated `down(act(gate x) * up x)`.

use candle_core::{D, Tensor};

use super::call::Call;
use super::circuits::inputs_first;
use super::facts::{Facts, Names};
use super::load::Loader;
use super::sites::find;
use crate::Result;
use crate::hook::{SiteId, SiteTable, Tap};
use crate::nn::{Activation, Linear, Maps, activated};

#[derive(Clone, Debug)]
enum Projections {
    Plain {
        up: Linear,
    },
    Gated {
        gate: Linear,
        up: Linear,
    },
    /// Rows `[gate | up]`.
    Fused {
        gate_up: Linear,
    },
}

#[derive(Clone, Debug)]
pub(super) struct Mlp {
    projections: Projections,
    down: Linear,
    activation: Activation,
    pre: SiteId,
    pre_linear: SiteId,
    post: SiteId,
    out: SiteId,
}

impl Mlp {
    pub fn load(
        loader: &Loader,
        facts: &Facts,
        names: &Names,
        block: &str,
        table: &SiteTable,
        l: usize,
    ) -> Result<Self> {
        let (d, m, bias) = (facts.d_model, facts.d_mlp, facts.mlp.bias);
        let name = |part: &str| match names.mlp {
            "" => format!("{block}.{part}"),
            mlp => format!("{block}.{mlp}.{part}"),
        };
        let projections = match (facts.mlp.gated, facts.mlp.fused) {
            (true, true) => Projections::Fused { gate_up: loader.linear(&name(names.gate), d, 2 * m, bias)? },
            (true, false) => Projections::Gated {
                gate: loader.linear(&name(names.gate), d, m, bias)?,
                up: loader.linear(&name(names.up), d, m, bias)?,
            },
            (false, _) => Projections::Plain { up: loader.linear(&name(names.up), d, m, bias)? },
        };
        let site = |part: &str| find(table, &format!("blocks.{l}.mlp.{part}"));
        Ok(Self {
            projections,
            down: loader.linear(&name(names.down), m, d, bias)?,
            activation: facts.mlp.activation,
            pre: site("hook_pre"),
            pre_linear: site("hook_pre_linear"),
            post: site("hook_post"),
            out: site("hook_out"),
        })
    }

    /// `[m] -> [d]`.
    pub fn output(&self) -> &Linear {
        &self.down
    }

    /// The projection whose values are `hook_pre`: `[d, m]`, f32.
    pub fn input(&self) -> Result<Tensor> {
        match &self.projections {
            Projections::Plain { up } => inputs_first(up),
            Projections::Gated { gate, .. } => inputs_first(gate),
            Projections::Fused { gate_up } => {
                let both = inputs_first(gate_up)?; // [d, 2 m]
                Ok(both.narrow(1, 0, both.dim(1)? / 2)?.contiguous()?)
            }
        }
    }

    /// The neurons as the down projection reads them, `[b, t, d] -> [b, t, m]`; `None` once nobody wants what comes.
    pub fn neurons(&self, x: &Tensor, call: &Call, tap: &mut Tap) -> Result<Option<Tensor>> {
        let post = match self.fused(x, tap)? {
            Some(post) => post,
            None => self.composed(x, tap)?,
        };
        let post = tap.at(self.post, post)?;
        Ok((!call.over(self.post.next(), tap)).then_some(post))
    }

    /// In one pass, where nobody changes what lies inside.
    fn fused(&self, x: &Tensor, tap: &mut Tap) -> Result<Option<Tensor>> {
        if tap.opens(self.pre) || tap.opens(self.pre_linear) {
            return Ok(None);
        }
        let maps = match &self.projections {
            Projections::Plain { up } => Maps::Plain(up),
            Projections::Gated { gate, up } => Maps::Gated(gate, up),
            Projections::Fused { gate_up } => Maps::Joined(gate_up),
        };
        let asked = (tap.wants(self.pre), tap.wants(self.pre_linear));
        let Some(all) = activated(x, maps, self.activation, asked, tap.form())? else { return Ok(None) };
        for (site, seen) in [(self.pre, all.pre), (self.pre_linear, all.linear)] {
            seen.map(|seen| tap.at(site, seen)).transpose()?;
        }
        Ok(Some(all.post))
    }

    fn composed(&self, x: &Tensor, tap: &mut Tap) -> Result<Tensor> {
        let form = tap.form();
        let (pre, linear) = match &self.projections {
            Projections::Plain { up } => (up.forward(x, form)?, None), // [b, t, m]
            Projections::Gated { gate, up } => (gate.forward(x, form)?, Some(up.forward(x, form)?)),
            Projections::Fused { gate_up } => {
                let both = gate_up.forward(x, form)?; // [b, t, 2 m]
                let halves = both.chunk(2, D::Minus1)?;
                (halves[0].contiguous()?, Some(halves[1].contiguous()?))
            }
        };
        let pre = tap.at(self.pre, pre)?;
        match linear {
            None => self.activation.forward(&pre, form),
            Some(linear) => {
                let linear = tap.at(self.pre_linear, linear)?;
                self.activation.gated(&pre, &linear, form)
            }
        }
    }

    /// The module's raw output, `[b, t, m] -> [b, t, d]`.
    pub fn project(&self, post: &Tensor, tap: &mut Tap) -> Result<Tensor> {
        let out = self.down.forward(post, tap.form())?;
        tap.at(self.out, out)
    }

    /// `stream` plus the module's raw output.
    pub fn add_to(&self, stream: &Tensor, post: &Tensor, tap: &mut Tap) -> Result<Tensor> {
        if tap.wants(self.out) {
            return Ok((stream + self.project(post, tap)?)?);
        }
        self.down.add_to(stream, post, tap.form())
    }
}
