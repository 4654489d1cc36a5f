//! Attention with grouped key/value heads, rotary or linear position biases, windows, caps and a cache.

use candle_core::Tensor;

use super::branch::Packed;
use super::call::Call;
use super::facts::{AttnFacts, Facts, LayerFacts, Names, NormFacts, QkNorm};
use super::load::Loader;
use super::norm::TappedNorm;
use super::qkv::{Qkv, Role};
use super::sites::{NormSites, find};
use crate::hook::{Form, SiteId, SiteTable, Tap};
use crate::models::State;
use crate::nn::{
    Layout, Linear, Norm, PackedKeys, ScoreRule, Want, attend, mix, packed_attention, pattern, scores, softmax,
};
use crate::{Error, Result};

#[derive(Clone, Debug)]
struct Sites {
    q_input: SiteId,
    k_input: SiteId,
    v_input: SiteId,
    q: SiteId,
    k: SiteId,
    v: SiteId,
    rot_q: SiteId,
    rot_k: SiteId,
    scores: SiteId,
    pattern: SiteId,
    z: SiteId,
    result: SiteId,
    out: SiteId,
}

#[derive(Clone, Debug)]
pub(super) struct Attention {
    qkv: Qkv,
    q_norm: Option<HeadNorm>,
    k_norm: Option<HeadNorm>,
    out: Linear,
    facts: AttnFacts,
    layer: LayerFacts,
    heads: (usize, usize, usize),
    site: Sites,
    cache: [String; 2],
}

/// A norm of queries or keys.
#[derive(Clone, Debug)]
struct HeadNorm {
    tapped: TappedNorm,
    flat: bool,
}

impl HeadNorm {
    /// `[b, t, h, d] -> [b, t, h, d]`.
    fn forward(&self, x: Tensor, tap: &mut Tap) -> Result<Tensor> {
        if !self.flat {
            return self.tapped.forward(&x.contiguous()?, tap);
        }
        self.flat(&x, tap)
    }

    /// One norm over all heads: the sites are split by head all the same.
    fn flat(&self, x: &Tensor, tap: &mut Tap) -> Result<Tensor> {
        let (norm, site) = (&self.tapped.norm, &self.tapped.site);
        let shape = x.shape();
        let joined = x.flatten_from(2)?.contiguous()?; // [b, t, h d]
        if tap.form() == Form::Differentiable || site.opens(tap) {
            let centered = norm.center(&joined)?;
            let scale = tap.at(site.scale, norm.scale(&centered)?)?; // [b, t, 1]
            let normalized = norm.normalized(&centered, &scale)?.reshape(shape)?; // [b, t, h, d]
            let normalized = tap.at(site.normalized, normalized)?;
            let out = norm.affine(&normalized.flatten_from(2)?)?;
            return tap.at(site.out, out.reshape(shape)?);
        }
        let want = Want { scale: tap.wants(site.scale), normalized: tap.wants(site.normalized) };
        let parts = norm.fused(&joined, want)?;
        if let Some(scale) = parts.scale {
            tap.at(site.scale, scale)?;
        }
        if let Some(normalized) = parts.normalized {
            tap.at(site.normalized, normalized.reshape(shape)?)?;
        }
        tap.at(site.out, parts.out.reshape(shape)?)
    }
}

impl Attention {
    pub fn load(
        loader: &Loader,
        facts: &Facts,
        names: &Names,
        block: &str,
        table: &SiteTable,
        l: usize,
    ) -> Result<Self> {
        let (h, kv, d) = (facts.n_heads, facts.n_kv_heads, facts.d_head);
        let prefix = format!("{block}.{}", names.attn);
        let site = |part: &str| find(table, &format!("blocks.{l}.{part}"));
        let head_norm = |which: usize, heads: usize| -> Result<Option<HeadNorm>> {
            let Some((kind, norm)) = &facts.attn.qk_norm else { return Ok(None) };
            let part = ["q_norm", "k_norm"][which];
            let name = format!("{prefix}.{}", names.qk_norm[which]);
            Ok(Some(HeadNorm {
                tapped: TappedNorm {
                    norm: load_head_norm(loader, &name, *kind, norm, heads, d)?,
                    site: NormSites::find(table, &format!("blocks.{l}.attn.{part}")),
                },
                flat: *kind == QkNorm::Flat,
            }))
        };
        Ok(Self {
            qkv: Qkv::load(loader, facts, names, &prefix)?,
            q_norm: head_norm(0, h)?,
            k_norm: head_norm(1, kv)?,
            out: loader.linear(&format!("{prefix}.{}", names.out), h * d, facts.d_model, facts.attn.out_bias)?,
            facts: facts.attn.clone(),
            layer: facts.layers[l].clone(),
            heads: (h, kv, d),
            site: Sites {
                q_input: site("hook_q_input"),
                k_input: site("hook_k_input"),
                v_input: site("hook_v_input"),
                q: site("attn.hook_q"),
                k: site("attn.hook_k"),
                v: site("attn.hook_v"),
                rot_q: site("attn.hook_rot_q"),
                rot_k: site("attn.hook_rot_k"),
                scores: site("attn.hook_attn_scores"),
                pattern: site("attn.hook_pattern"),
                z: site("attn.hook_z"),
                result: site("attn.hook_result"),
                out: site("attn.hook_out"),
            },
            cache: ["k", "v"].map(|w| format!("blocks.{l}.attn.cache_{w}")),
        })
    }

    /// What the heads of a role read of the stream: `[b, t, head, d_model]`.
    fn spread(&self, stream: &Tensor, role: Role) -> Result<Tensor> {
        let (h, kv, _) = self.heads;
        let heads = if role == Role::Query { h } else { kv };
        let (b, t, d) = stream.dims3()?;
        Ok(stream.unsqueeze(2)?.broadcast_as((b, t, heads, d))?.contiguous()?)
    }

    /// `[h or kv, d, d_model]`, f32.
    pub fn weights(&self, role: Role) -> Result<Tensor> {
        self.qkv.weights(role)
    }

    /// `[h d] -> [d_model]`.
    pub fn output(&self) -> &Linear {
        &self.out
    }

    /// What the heads read when their inputs may have changed apart: `[b, t, head, d_model]` each.
    fn inputs(&self, stream: &Tensor, tap: &mut Tap) -> Result<[Option<Tensor>; 3]> {
        Ok([
            tap.at_with(self.site.q_input, || self.spread(stream, Role::Query))?,
            tap.at_with(self.site.k_input, || self.spread(stream, Role::Key))?,
            tap.at_with(self.site.v_input, || self.spread(stream, Role::Value))?,
        ])
    }

    /// Each head's mixed values `[b, t, h, d]`, and what the heads read. `stream` is what the block got, `norm` the norm
    /// that makes `normed` of it.
    pub fn mixed(
        &self,
        normed: impl FnOnce(&mut Tap) -> Result<Tensor>,
        stream: &Tensor,
        norm: Option<&TappedNorm>,
        call: &Call,
        state: &mut State,
        tap: &mut Tap,
    ) -> Result<(Tensor, Tensor)> {
        let form = tap.form();
        let inputs = self.inputs(stream, tap)?;
        let normed = normed(tap)?; // [b, t, d_model]
        let [mut q, mut k, mut v] = self.qkv.forward(&normed, form)?; // [b, t, h, d], [b, t, kv, d] twice
        for (role, (own, input)) in Role::ALL.into_iter().zip([&mut q, &mut k, &mut v].into_iter().zip(inputs)) {
            if let Some(input) = input {
                // Only the change is added: what the norm's own sites say stays in force, and in the gradient.
                let read = |x: &Tensor| -> Result<Tensor> {
                    let normed = norm.map_or(Ok(x.clone()), |n| n.quiet(x, form))?;
                    self.qkv.by_head(&normed, role)
                };
                let change = (read(&input)? - read(&self.spread(stream, role)?)?)?;
                *own = (&*own + change)?;
            }
        }
        if let Some(limit) = self.facts.clip {
            [q, k, v] = [q.clamp(-limit, limit)?, k.clamp(-limit, limit)?, v.clamp(-limit, limit)?];
        }
        let mut q = tap.at(self.site.q, q)?;
        let mut k = tap.at(self.site.k, k)?;
        let v = tap.at(self.site.v, v)?;
        if let Some(norm) = &self.q_norm {
            q = norm.forward(q, tap)?;
        }
        if let Some(norm) = &self.k_norm {
            k = norm.forward(k, tap)?;
        }
        let (q, k) = self.rotate(q, k, call, state, tap)?;
        let z = match &call.packed {
            Some(packed) => self.attend_packed(q, &k, &v, packed, call, tap)?,
            None => {
                let v = state.append(&self.cache[1], v, form)?; // [b, keys, kv, d]
                self.attend(&q, &k, &v, call, tap)?
            }
        }; // [b, t, h, d]
        Ok((tap.at(self.site.z, z)?, normed))
    }

    /// The module's raw output, `[b, t, h, d] -> [b, t, d_model]`.
    pub fn project(&self, z: &Tensor, tap: &mut Tap) -> Result<Tensor> {
        let out = match tap.at_with(self.site.result, || self.result(z))? {
            Some(result) => {
                let sum = result.sum(2)?; // [b, t, d_model]
                match &self.out.bias {
                    Some(bias) => sum.broadcast_add(&bias.to_dtype(sum.dtype())?)?,
                    None => sum,
                }
            }
            None => self.out.forward(&z.flatten_from(2)?, tap.form())?,
        };
        tap.at(self.site.out, out)
    }

    /// `stream` plus the module's raw output.
    pub fn add_to(&self, stream: &Tensor, z: &Tensor, tap: &mut Tap) -> Result<Tensor> {
        if tap.wants(self.site.result) || tap.wants(self.site.out) {
            return Ok((stream + self.project(z, tap)?)?);
        }
        self.out.add_to(stream, &z.flatten_from(2)?, tap.form())
    }

    /// Rotated queries, and all rotated keys with the cached ones.
    ///
    /// Where the frequencies depend on the length of the text, keys are cached before rotation and turned anew at each
    /// call; an edit at `hook_rot_k` then lasts for its call only, and a token keeps what it was computed with at the
    /// length that the text had then: a text fed in parts equals one fed at once while the frequencies stay the same.
    fn rotate(&self, q: Tensor, k: Tensor, call: &Call, state: &mut State, tap: &mut Tap) -> Result<(Tensor, Tensor)> {
        let form = tap.form();
        let Some(index) = self.layer.rope else { return Ok((q, state.append(&self.cache[0], k, form)?)) };
        let rope = &call.ropes[index];
        let q = tap.at(self.site.rot_q, rope.rope.apply(&q.contiguous()?, &rope.queries, form)?)?;
        let turned = rope.rope.apply(&k.contiguous()?, &rope.queries, form)?;
        let turned = tap.at(self.site.rot_k, turned)?; // [b, t, kv, d]
        let Some(keys) = &rope.keys else { return Ok((q, state.append(&self.cache[0], turned, form)?)) };
        let new = k.dim(1)?;
        let all = state.append(&self.cache[0], k, form)?;
        let old = all.dim(1)? - new;
        if old == 0 {
            return Ok((q, turned));
        }
        let all = rope.rope.apply(&all, keys, form)?; // [b, keys, kv, d]
        Ok((q, Tensor::cat(&[&all.narrow(1, 0, old)?, &turned], 1)?))
    }

    /// Scores, pattern and mixed values: `[b, t, h, d]`.
    fn attend(&self, q: &Tensor, k: &Tensor, v: &Tensor, call: &Call, tap: &mut Tap) -> Result<Tensor> {
        let form = tap.form();
        let rule = ScoreRule { cap: self.facts.softcap, bias: call.alibi.as_ref(), mask: call.mask(self.layer.window) };
        let (see_scores, see_pattern) = (tap.wants(self.site.scores), tap.wants(self.site.pattern));
        if !tap.follows(self.site.scores) && !tap.follows(self.site.pattern) {
            let asked = (see_scores, see_pattern);
            if let Some(whole) = attend((q, k, v), self.layer.scale, &rule, asked, form)? {
                for (site, seen) in [(self.site.scores, whole.scores), (self.site.pattern, whole.pattern)] {
                    seen.map(|seen| tap.at(site, seen)).transpose()?;
                }
                return Ok(whole.z);
            }
        }
        let raw = scores(q, k, self.layer.scale, form)?; // [b, h, t, keys]
        let weights = if tap.opens(self.site.scores) {
            let scores = tap.at(self.site.scores, rule.apply(&raw, form)?)?;
            softmax(&scores, form)?
        } else {
            let parts = pattern(&raw, &rule, see_scores, form)?;
            if let Some(scores) = parts.scores {
                tap.at(self.site.scores, scores)?;
            }
            parts.pattern
        };
        let weights = if see_pattern { tap.at(self.site.pattern, weights)? } else { weights };
        mix(&weights, v, form)
    }

    /// The same for a flat list of tokens `[tokens, 1, ..]`, whose scores and pattern are not kept.
    fn attend_packed(
        &self,
        q: Tensor,
        k: &Tensor,
        v: &Tensor,
        packed: &Packed,
        call: &Call,
        tap: &mut Tap,
    ) -> Result<Tensor> {
        if tap.wants(self.site.scores) || tap.wants(self.site.pattern) {
            return Err(Error::invalid(
                "an attention map was asked for in runs that branch off an earlier one, which make none",
                "record or edit it in a run of its own",
            ));
        }
        packed.enter(tap);
        let q = packed.keep(q)?;
        let rule = ScoreRule { cap: self.facts.softcap, bias: call.alibi.as_ref(), mask: call.mask(self.layer.window) };
        let [earlier_keys, earlier_values] = &packed.earlier;
        let all = PackedKeys { keys: k, values: v, earlier_keys, earlier_values };
        packed_attention(&q, &all, &packed.rows, self.layer.scale, &rule, tap.form())
    }

    /// Each head's share of the output: `[b, t, h, d_model]`.
    fn result(&self, z: &Tensor) -> Result<Tensor> {
        let (h, _, d) = self.heads;
        let (b, t, _, _) = z.dims4()?;
        let weight = self.out.weight.to_dtype(z.dtype())?;
        let weight = match self.out.layout {
            Layout::OutIn => weight.t()?,
            Layout::InOut => weight,
        };
        let d_model = weight.dim(1)?;
        let weight = weight.reshape((h, d, d_model))?;
        let z = z.flatten(0, 1)?.transpose(0, 1)?.contiguous()?; // [h, b t, d]
        let result = z.matmul(&weight.contiguous()?)?; // [h, b t, d_model]
        Ok(result.transpose(0, 1)?.reshape((b, t, h, d_model))?)
    }
}

/// q/k norms, whose gains come in three shapes.
fn load_head_norm(
    loader: &Loader,
    name: &str,
    kind: QkNorm,
    facts: &NormFacts,
    heads: usize,
    d: usize,
) -> Result<Norm> {
    match kind {
        QkNorm::PerHead => loader.norm(name, facts, &[d]),
        QkNorm::Flat => loader.norm(name, facts, &[heads * d]),
        QkNorm::PerHeadGains => {
            let each = (0..heads).map(|h| loader.norm(&format!("{name}.norms.{h}"), facts, &[d]));
            let each: Vec<Norm> = each.collect::<Result<_>>()?;
            let stack = |part: fn(&Norm) -> Option<&Tensor>| -> Result<Option<Tensor>> {
                let parts: Option<Vec<&Tensor>> = each.iter().map(part).collect();
                Ok(parts.map(|p| Tensor::stack(&p, 0)).transpose()?) // [heads, d]
            };
            Ok(Norm {
                kind: facts.kind,
                weight: stack(|n| n.weight.as_ref())?,
                bias: stack(|n| n.bias.as_ref())?,
                eps: facts.eps,
                offset: facts.offset,
            })
        }
    }
}
