//! The one table of a decoder's sites: name, axes, kind, when it exists, meaning.

use super::facts::{Facts, Placement, QkNorm};
use crate::hook::{Axis, Kind, Site, SiteId, SiteTable};

/// One line of the table; `{l}` in the name stands for the layer.
struct Spec {
    name: &'static str,
    axes: &'static [Axis],
    kind: Kind,
    on_demand: bool,
    /// Whether a decoder has it (in a given layer, for those with `{l}`).
    when: fn(&Facts, usize) -> bool,
    meaning: &'static str,
}

const STREAM: &[Axis] = &[Axis::Batch, Axis::Pos, Axis::DModel];
const SCALE: &[Axis] = &[Axis::Batch, Axis::Pos, Axis::One];
const HEADS: &[Axis] = &[Axis::Batch, Axis::Pos, Axis::Head, Axis::DHead];
const KV_HEADS: &[Axis] = &[Axis::Batch, Axis::Pos, Axis::KvHead, Axis::DHead];
const HEAD_SCALE: &[Axis] = &[Axis::Batch, Axis::Pos, Axis::Head, Axis::One];
const KV_HEAD_SCALE: &[Axis] = &[Axis::Batch, Axis::Pos, Axis::KvHead, Axis::One];
const HEAD_STREAM: &[Axis] = &[Axis::Batch, Axis::Pos, Axis::Head, Axis::DModel];
const KV_HEAD_STREAM: &[Axis] = &[Axis::Batch, Axis::Pos, Axis::KvHead, Axis::DModel];
const MAP: &[Axis] = &[Axis::Batch, Axis::Head, Axis::Query, Axis::Key];
const NEURONS: &[Axis] = &[Axis::Batch, Axis::Pos, Axis::Neuron];
const LOGITS: &[Axis] = &[Axis::Batch, Axis::Pos, Axis::Vocab];

const fn spec(
    name: &'static str,
    axes: &'static [Axis],
    kind: Kind,
    when: fn(&Facts, usize) -> bool,
    meaning: &'static str,
) -> Spec {
    Spec { name, axes, kind, on_demand: false, when, meaning }
}

const fn on_demand(
    name: &'static str,
    axes: &'static [Axis],
    when: fn(&Facts, usize) -> bool,
    meaning: &'static str,
) -> Spec {
    Spec { name, axes, kind: Kind::Raw, on_demand: true, when, meaning }
}

fn always(_: &Facts, _: usize) -> bool {
    true
}

/// Attention reads the stream through a norm.
pub(super) fn has_ln1(f: &Facts, _: usize) -> bool {
    f.placement != Placement::Post
}

/// The MLP reads the stream through a norm of its own.
pub(super) fn has_ln2(f: &Facts, _: usize) -> bool {
    !matches!(f.placement, Placement::Post | Placement::ParallelOneNorm)
}

/// Contributions are normed before they are added.
pub(super) fn has_post(f: &Facts, _: usize) -> bool {
    f.placement.norms_contributions()
}

fn has_mid(f: &Facts, _: usize) -> bool {
    !f.placement.parallel()
}

fn reads_stream(f: &Facts, _: usize) -> bool {
    f.placement != Placement::ParallelOneNorm
}

fn has_rope(f: &Facts, layer: usize) -> bool {
    f.layers[layer].rope.is_some()
}

fn has_qk_norm(f: &Facts, _: usize) -> bool {
    f.attn.qk_norm.is_some()
}

fn qk_norm_by_head(f: &Facts, _: usize) -> bool {
    matches!(f.attn.qk_norm, Some((QkNorm::PerHead | QkNorm::PerHeadGains, _)))
}

fn qk_norm_flat(f: &Facts, _: usize) -> bool {
    matches!(f.attn.qk_norm, Some((QkNorm::Flat, _)))
}

fn gated(f: &Facts, _: usize) -> bool {
    f.mlp.gated
}

const BEFORE: &[Spec] = &[
    spec("embed.ln.hook_scale", SCALE, Kind::Raw, |f, _| f.embed.norm, "denominator of the embedding's norm"),
    spec(
        "embed.ln.hook_normalized",
        STREAM,
        Kind::Raw,
        |f, _| f.embed.norm,
        "embedding over its scale, before the gain",
    ),
    spec(
        "hook_embed",
        STREAM,
        Kind::Contribution,
        always,
        "token embedding as it enters the stream, scaled and normed",
    ),
    spec(
        "hook_pos_embed",
        STREAM,
        Kind::Contribution,
        |f, _| f.embed.positions.is_some(),
        "learned position embedding of each token",
    ),
];

const BLOCK: &[Spec] = &[
    spec("hook_resid_pre", STREAM, Kind::Stream, always, "residual stream before the block"),
    on_demand("hook_q_input", HEAD_STREAM, always, "what each query head reads of the stream, before the norm"),
    on_demand("hook_k_input", KV_HEAD_STREAM, always, "what each key head reads of the stream, before the norm"),
    on_demand("hook_v_input", KV_HEAD_STREAM, always, "what each value head reads of the stream, before the norm"),
    spec("ln1.hook_scale", SCALE, Kind::Raw, ln1_reads, "denominator of the norm before attention"),
    spec("ln1.hook_normalized", STREAM, Kind::Raw, ln1_reads, "stream over its scale, before gain and bias"),
    spec("ln1.hook_out", STREAM, Kind::Raw, ln1_reads, "what attention reads: after gain and bias"),
    spec("attn.hook_q", HEADS, Kind::Raw, always, "queries, before any norm and rotation"),
    spec("attn.hook_k", KV_HEADS, Kind::Raw, always, "keys, before any norm and rotation"),
    spec("attn.hook_v", KV_HEADS, Kind::Raw, always, "values"),
    spec("attn.q_norm.hook_scale", HEAD_SCALE, Kind::Raw, qk_norm_by_head, "denominator of the query norm"),
    spec("attn.q_norm.hook_scale", SCALE, Kind::Raw, qk_norm_flat, "denominator of the query norm, over all heads"),
    spec("attn.q_norm.hook_normalized", HEADS, Kind::Raw, has_qk_norm, "queries over their scale, before the gain"),
    spec("attn.q_norm.hook_out", HEADS, Kind::Raw, has_qk_norm, "queries after their norm"),
    spec("attn.k_norm.hook_scale", KV_HEAD_SCALE, Kind::Raw, qk_norm_by_head, "denominator of the key norm"),
    spec("attn.k_norm.hook_scale", SCALE, Kind::Raw, qk_norm_flat, "denominator of the key norm, over all heads"),
    spec("attn.k_norm.hook_normalized", KV_HEADS, Kind::Raw, has_qk_norm, "keys over their scale, before the gain"),
    spec("attn.k_norm.hook_out", KV_HEADS, Kind::Raw, has_qk_norm, "keys after their norm"),
    spec("attn.hook_rot_q", HEADS, Kind::Raw, has_rope, "queries after rotation"),
    spec("attn.hook_rot_k", KV_HEADS, Kind::Raw, has_rope, "keys after rotation"),
    spec("attn.hook_attn_scores", MAP, Kind::Raw, always, "scaled and masked scores, before the softmax"),
    spec("attn.hook_pattern", MAP, Kind::Raw, always, "attention: rows sum to 1"),
    spec("attn.hook_z", HEADS, Kind::Raw, always, "attention-weighted values of each head"),
    on_demand("attn.hook_result", HEAD_STREAM, always, "each head's share of attn.hook_out (bias apart)"),
    spec("attn.hook_out", STREAM, Kind::Raw, always, "output of the attention module, before any post-norm"),
    spec("ln1_post.hook_scale", SCALE, Kind::Raw, has_post, "denominator of the norm after attention"),
    spec("ln1_post.hook_normalized", STREAM, Kind::Raw, has_post, "attention's output over its scale, before the gain"),
    spec("ln1_post.hook_out", STREAM, Kind::Raw, has_post, "attention's output after its norm"),
    spec("hook_attn_out", STREAM, Kind::Contribution, always, "what attention adds to the stream"),
    spec("ln1.hook_scale", SCALE, Kind::Raw, after_add, "denominator of the norm after attention was added"),
    spec("ln1.hook_normalized", STREAM, Kind::Raw, after_add, "stream over its scale, before gain and bias"),
    spec("ln1.hook_out", STREAM, Kind::Raw, after_add, "stream after the norm that follows attention"),
    spec("hook_resid_mid", STREAM, Kind::Stream, has_mid, "residual stream between attention and MLP"),
    spec("hook_mlp_in", STREAM, Kind::Raw, reads_stream, "what the MLP reads of the stream, before its norm"),
    spec("ln2.hook_scale", SCALE, Kind::Raw, ln2_reads, "denominator of the norm before the MLP"),
    spec("ln2.hook_normalized", STREAM, Kind::Raw, ln2_reads, "stream over its scale, before gain and bias"),
    spec("ln2.hook_out", STREAM, Kind::Raw, ln2_reads, "what the MLP reads: after gain and bias"),
    spec("mlp.hook_pre", NEURONS, Kind::Raw, always, "neurons before the nonlinearity (the gate, if gated)"),
    spec("mlp.hook_pre_linear", NEURONS, Kind::Raw, gated, "the linear branch that the gate multiplies"),
    spec("mlp.hook_post", NEURONS, Kind::Raw, always, "neurons as the down projection reads them"),
    spec("mlp.hook_out", STREAM, Kind::Raw, always, "output of the MLP module, before any post-norm"),
    spec("ln2_post.hook_scale", SCALE, Kind::Raw, has_post, "denominator of the norm after the MLP"),
    spec("ln2_post.hook_normalized", STREAM, Kind::Raw, has_post, "the MLP's output over its scale, before the gain"),
    spec("ln2_post.hook_out", STREAM, Kind::Raw, has_post, "the MLP's output after its norm"),
    spec("hook_mlp_out", STREAM, Kind::Contribution, always, "what the MLP adds to the stream"),
    spec("ln2.hook_scale", SCALE, Kind::Raw, after_add, "denominator of the norm after the MLP was added"),
    spec("ln2.hook_normalized", STREAM, Kind::Raw, after_add, "stream over its scale, before gain and bias"),
    spec("ln2.hook_out", STREAM, Kind::Raw, after_add, "stream after the norm that follows the MLP"),
    spec("hook_resid_post", STREAM, Kind::Stream, always, "residual stream after the block"),
];

const AFTER: &[Spec] = &[
    spec("ln_final.hook_scale", SCALE, Kind::Raw, |f, _| f.head.norm, "denominator of the last norm"),
    spec(
        "ln_final.hook_normalized",
        STREAM,
        Kind::Raw,
        |f, _| f.head.norm,
        "stream over its scale, before gain and bias",
    ),
    spec("ln_final.hook_out", STREAM, Kind::Raw, |f, _| f.head.norm, "what the unembedding reads"),
    spec("unembed.hook_out", LOGITS, Kind::Raw, always, "the unembedding's product, before divisor and softcap"),
    spec("logits", LOGITS, Kind::Raw, always, "logits as the model gives them"),
];

fn after_add(f: &Facts, _: usize) -> bool {
    f.placement == Placement::AfterAdd
}

fn ln1_reads(f: &Facts, layer: usize) -> bool {
    has_ln1(f, layer) && !after_add(f, layer)
}

fn ln2_reads(f: &Facts, layer: usize) -> bool {
    has_ln2(f, layer) && !after_add(f, layer)
}

/// Every site of a decoder with these facts, in the order of the forward pass.
pub(super) fn table(facts: &Facts) -> SiteTable {
    let sizes = Sizes {
        n_heads: facts.n_heads,
        n_kv_heads: facts.n_kv_heads,
        d_head: facts.d_head,
        d_model: facts.d_model,
        d_mlp: facts.d_mlp,
        vocab: facts.vocab,
    };
    let mut table = SiteTable::default();
    for spec in BEFORE.iter().filter(|s| (s.when)(facts, 0)) {
        table.push(site(spec, sizes, None));
    }
    for layer in 0..facts.layers.len() {
        for spec in BLOCK.iter().filter(|s| (s.when)(facts, layer)) {
            table.push(site(spec, sizes, Some(layer)));
        }
    }
    for spec in AFTER.iter().filter(|s| (s.when)(facts, 0)) {
        table.push(site(spec, sizes, None));
    }
    table
}

/// Sizes of the axes that sites may have.
#[derive(Clone, Copy, Debug)]
pub(in crate::models) struct Sizes {
    pub n_heads: usize,
    pub n_kv_heads: usize,
    pub d_head: usize,
    pub d_model: usize,
    pub d_mlp: usize,
    pub vocab: usize,
}

/// The table of a smaller network: of the decoder's sites those of these names (in a block, without `blocks.{l}.`), so
/// that a name means the same everywhere. What the decoder has twice is what it is in a pre-norm block.
pub(in crate::models) fn part(
    sizes: Sizes,
    layers: usize,
    before: &[&str],
    block: &[&str],
    after: &[&str],
) -> SiteTable {
    let mut table = SiteTable::default();
    let mut push = |from: &[Spec], names: &[&str], layer: Option<usize>| {
        let known = names.iter().filter_map(|name| from.iter().find(|spec| spec.name == *name));
        known.for_each(|spec| {
            table.push(site(spec, sizes, layer));
        });
    };
    push(BEFORE, before, None);
    (0..layers).for_each(|layer| push(BLOCK, block, Some(layer)));
    push(AFTER, after, None);
    table
}

fn site(spec: &Spec, sizes: Sizes, layer: Option<usize>) -> Site {
    let size = |axis: &Axis| match axis {
        Axis::Head => Some(sizes.n_heads),
        Axis::KvHead => Some(sizes.n_kv_heads),
        Axis::DHead => Some(sizes.d_head),
        Axis::DModel => Some(sizes.d_model),
        Axis::Neuron => Some(sizes.d_mlp),
        Axis::Vocab => Some(sizes.vocab),
        Axis::One => Some(1),
        _ => None,
    };
    Site {
        name: match layer {
            Some(l) => format!("blocks.{l}.{}", spec.name),
            None => spec.name.to_string(),
        },
        layer,
        axes: spec.axes.to_vec(),
        sizes: spec.axes.iter().map(size).collect(),
        timed: false,
        kind: spec.kind,
        on_demand: spec.on_demand,
        meaning: spec.meaning,
    }
}

/// The sites of a norm.
#[derive(Clone, Copy, Debug)]
pub(in crate::models) struct NormSites {
    pub scale: SiteId,
    pub normalized: SiteId,
    pub out: SiteId,
}

impl NormSites {
    pub fn find(table: &SiteTable, prefix: &str) -> Self {
        let id = |name: &str| find(table, &format!("{prefix}.{name}"));
        Self { scale: id("hook_scale"), normalized: id("hook_normalized"), out: id("hook_out") }
    }

    /// True when somebody looks at one of the inner values.
    pub fn watched(&self, tap: &crate::hook::Tap) -> bool {
        tap.wants(self.scale) || tap.wants(self.normalized)
    }

    /// True when one of the inner values may change, so that the norm must be computed step by step.
    pub fn opens(&self, tap: &crate::hook::Tap) -> bool {
        tap.opens(self.scale) || tap.opens(self.normalized)
    }
}

/// The site's index, or [`SiteId::ABSENT`].
pub(super) fn find(table: &SiteTable, name: &str) -> SiteId {
    table.find(name).unwrap_or(SiteId::ABSENT)
}
