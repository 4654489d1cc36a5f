//! One block: attention and MLP around the residual stream, in one of six placements of the norms.

use candle_core::Tensor;

use super::attention::Attention;
use super::call::Call;
use super::facts::{Facts, Names, Placement};
use super::load::Loader;
use super::mlp::Mlp;
use super::norm::TappedNorm;
use super::qkv::Role;
use super::sites::{self, NormSites, find};
use crate::Result;
use crate::hook::{SiteId, SiteTable, Tap};
use crate::models::State;
use crate::nn::{Linear, Norm};

#[derive(Clone, Debug)]
struct Sites {
    resid_pre: SiteId,
    attn_out: SiteId,
    resid_mid: SiteId,
    mlp_in: SiteId,
    mlp_out: SiteId,
    resid_post: SiteId,
}

#[derive(Clone, Debug)]
pub(super) struct Block {
    ln1: Option<TappedNorm>,
    attn: Attention,
    ln1_post: Option<TappedNorm>,
    ln2: Option<TappedNorm>,
    mlp: Mlp,
    ln2_post: Option<TappedNorm>,
    placement: Placement,
    multiplier: f64,
    site: Sites,
}

impl Block {
    pub fn load(loader: &Loader, facts: &Facts, names: &Names, table: &SiteTable, l: usize) -> Result<Self> {
        let block = names.block.replace("{l}", &l.to_string());
        let norm = |has: bool, name: &str, part: &str| -> Result<Option<TappedNorm>> {
            let load = || -> Result<TappedNorm> {
                Ok(TappedNorm {
                    norm: loader.norm(&format!("{block}.{name}"), &facts.norm, &[facts.d_model])?,
                    site: NormSites::find(table, &format!("blocks.{l}.{part}")),
                })
            };
            has.then(load).transpose()
        };
        let site = |part: &str| find(table, &format!("blocks.{l}.{part}"));
        Ok(Self {
            ln1: norm(sites::has_ln1(facts, l), names.ln1, "ln1")?,
            attn: Attention::load(loader, facts, names, &block, table, l)?,
            ln1_post: norm(sites::has_post(facts, l), names.ln1_post, "ln1_post")?,
            ln2: norm(sites::has_ln2(facts, l), names.ln2, "ln2")?,
            mlp: Mlp::load(loader, facts, names, &block, table, l)?,
            ln2_post: norm(sites::has_post(facts, l), names.ln2_post, "ln2_post")?,
            placement: facts.placement,
            multiplier: facts.residual_multiplier,
            site: Sites {
                resid_pre: site("hook_resid_pre"),
                attn_out: site("hook_attn_out"),
                resid_mid: site("hook_resid_mid"),
                mlp_in: site("hook_mlp_in"),
                mlp_out: site("hook_mlp_out"),
                resid_post: site("hook_resid_post"),
            },
        })
    }

    pub fn attention_output(&self) -> &Linear {
        self.attn.output()
    }

    /// What attention's heads read with: `[head or kv_head, d_head, d_model]`, f32.
    pub fn attention_weights(&self, role: Role) -> Result<Tensor> {
        self.attn.weights(role)
    }

    pub fn mlp_output(&self) -> &Linear {
        self.mlp.output()
    }

    /// What the MLP's neurons read: `[d_model, d_mlp]`, f32.
    pub fn mlp_input(&self) -> Result<Tensor> {
        self.mlp.input()
    }

    /// The norms between the stream and what the MLP reads, and between its output and what it adds.
    pub fn mlp_norms(&self) -> (Option<&Norm>, Option<&Norm>) {
        let before = match self.placement {
            Placement::AfterAdd => None,
            Placement::ParallelOneNorm => self.ln1.as_ref(),
            _ => self.ln2.as_ref(),
        };
        (before.map(|n| &n.norm), self.ln2_post.as_ref().map(|n| &n.norm))
    }

    /// `[b, t, d] -> [b, t, d]`, or `None` once nobody wants what comes.
    pub fn forward(&self, x: Tensor, call: &Call, state: &mut State, tap: &mut Tap) -> Result<Option<Tensor>> {
        let x = tap.at(self.site.resid_pre, x)?;
        if call.over(self.site.resid_pre.next(), tap) {
            return Ok(None);
        }
        let before = self.ln1.as_ref().filter(|_| self.placement != Placement::AfterAdd);
        let norm_input = |tap: &mut Tap| before.map_or(Ok(x.clone()), |n| n.forward(&x, tap));
        let (z, normed) = self.attn.mixed(norm_input, &x, before, call, state, tap)?;
        let (x, normed) = (call.keep(x)?, call.keep(normed)?);
        let mid = match self.adds_raw(self.ln1_post.as_ref(), self.site.attn_out, tap) {
            true => self.attn.add_to(&x, &z, tap)?,
            false => {
                let raw = self.attn.project(&z, tap)?;
                (&x + self.contribution(raw, self.ln1_post.as_ref(), self.site.attn_out, tap)?)?
            }
        };
        if call.over(self.site.attn_out.next(), tap) {
            return Ok(None);
        }
        let (mid, read) = match self.placement.parallel() {
            true => (mid, self.parallel_input(x, normed, tap)?),
            false => {
                let mid = match (&self.ln1, self.placement) {
                    (Some(norm), Placement::AfterAdd) => norm.forward(&mid, tap)?,
                    _ => mid,
                };
                let mid = tap.at(self.site.resid_mid, mid)?;
                let read = tap.at(self.site.mlp_in, mid.clone())?;
                let before = self.ln2.as_ref().filter(|_| self.placement != Placement::AfterAdd);
                let read = before.map_or(Ok(read.clone()), |n| n.forward(&read, tap))?;
                (mid, read)
            }
        };
        let Some(neurons) = self.mlp.neurons(&read, call, tap)? else { return Ok(None) };
        let post = match self.adds_raw(self.ln2_post.as_ref(), self.site.mlp_out, tap) {
            true => self.mlp.add_to(&mid, &neurons, tap)?,
            false => {
                let raw = self.mlp.project(&neurons, tap)?;
                (mid + self.contribution(raw, self.ln2_post.as_ref(), self.site.mlp_out, tap)?)?
            }
        };
        let post = match (&self.ln2, self.placement) {
            (Some(norm), Placement::AfterAdd) => norm.forward(&post, tap)?,
            _ => post,
        };
        tap.at(self.site.resid_post, post).map(Some)
    }

    /// Where the MLP stands beside attention it reads the same stream, through its own norm or attention's.
    fn parallel_input(&self, x: Tensor, normed: Tensor, tap: &mut Tap) -> Result<Tensor> {
        let Some(norm) = &self.ln2 else { return Ok(normed) };
        let stream = tap.at(self.site.mlp_in, x)?;
        norm.forward(&stream, tap)
    }

    /// True where a module's raw output is added to the stream as it is, and nobody looks at what is added.
    fn adds_raw(&self, post: Option<&TappedNorm>, site: SiteId, tap: &Tap) -> bool {
        post.is_none() && self.multiplier == 1.0 && !tap.wants(site)
    }

    /// A module's output as it is added to the stream.
    fn contribution(&self, raw: Tensor, post: Option<&TappedNorm>, site: SiteId, tap: &mut Tap) -> Result<Tensor> {
        let normed = post.map_or(Ok(raw.clone()), |n| n.forward(&raw, tap))?;
        let scaled = if self.multiplier == 1.0 { normed } else { normed.affine(self.multiplier, 0.0)? };
        tap.at(site, scaled)
    }
}
