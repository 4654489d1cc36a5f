//! What must hold in every decoder: one table, one small function per line of it (in [`super::identities`] where it
//! relates sites of one run).

use super::Place;
use super::compare::{Difference, Equality, compare, magnitude, relative, values};
use super::identities as identity;
use super::runs::{Group, Seen, Way};
use crate::Result;
use crate::hook::Axis;
use crate::models::{Decoder, Network};

/// The same arithmetic in another order: the design's bound for batch, padding, cache and fused kernels. Products of
/// thousands of f32 terms round at about 1e-6 of the largest value; a wrong weight or mask shows at 1e-2 and more.
pub const ROUNDING: f64 = 1e-5;
/// The same arithmetic in the same order: not a bit may differ.
pub const EXACT: f64 = 0.0;

/// Sites are related within one run, or two runs are compared.
const RUNS: &[Way] = &[Way::Alone, Way::Left, Way::Right, Way::Cached, Way::CachedBatch, Way::Differentiable];

/// One line of the table.
pub struct Invariant {
    /// Short name, for tables and scripts.
    pub name: &'static str,
    /// One line for people.
    pub meaning: &'static str,
    /// Largest relative error that counts as holding.
    pub tolerance: f64,
    /// In which ways of running the texts it is asked.
    pub on: &'static [Way],
    /// The check.
    pub check: fn(&Scene, &mut Tally) -> Result<()>,
}

/// All that is asked, in the order of the report.
pub const TABLE: &[Invariant] = &[
    Invariant {
        name: "sites visited",
        meaning: "every declared site is visited with the shape it declares",
        tolerance: EXACT,
        on: RUNS,
        check: sites_visited,
    },
    Invariant {
        name: "finite values",
        meaning: "no site and no logit is infinite or not a number",
        tolerance: EXACT,
        on: &[Way::Alone],
        check: finite_values,
    },
    Invariant {
        name: "pattern rows",
        meaning: "attention sums to 1 over the visible keys, and hidden keys get exactly 0",
        tolerance: ROUNDING,
        on: RUNS,
        check: identity::pattern_rows,
    },
    Invariant {
        name: "softmax",
        meaning: "the softmax of the scores is the pattern",
        tolerance: ROUNDING,
        on: RUNS,
        check: identity::softmax_of_scores,
    },
    Invariant {
        name: "pattern x v = z",
        meaning: "each head mixes the values of its key/value head by its pattern",
        tolerance: ROUNDING,
        on: RUNS,
        check: identity::mixed_values,
    },
    Invariant {
        name: "heads sum",
        meaning: "the heads' results and the output bias add up to attn.hook_out",
        tolerance: ROUNDING,
        on: RUNS,
        check: identity::heads_sum,
    },
    Invariant {
        name: "down(post)",
        meaning: "the down projection of the neurons is mlp.hook_out",
        tolerance: ROUNDING,
        on: RUNS,
        check: identity::neurons_project,
    },
    Invariant {
        name: "contributions",
        meaning: "hook_attn_out and hook_mlp_out are the modules' outputs after post-norm and multiplier",
        tolerance: ROUNDING,
        on: RUNS,
        check: identity::contributions,
    },
    Invariant {
        name: "residual sums",
        meaning: "embeddings and contributions add up to the residual stream at every site of it",
        tolerance: ROUNDING,
        on: RUNS,
        check: identity::residual_sums,
    },
    Invariant {
        name: "norms",
        meaning: "a norm's scale is that of its centred input, and normalized x scale gives that input back",
        tolerance: ROUNDING,
        on: RUNS,
        check: identity::norms,
    },
    Invariant {
        name: "lens of last layer",
        meaning: "final norm and unembedding of the last residual stream give the logits",
        tolerance: ROUNDING,
        on: RUNS,
        check: identity::last_lens,
    },
    Invariant {
        name: "hooks on = off",
        meaning: "recording every site leaves the logits bit-identical",
        tolerance: EXACT,
        on: &[Way::Alone, Way::Left, Way::CachedBatch],
        check: hooks_change_nothing,
    },
    Invariant {
        name: "rerun",
        meaning: "running again gives every site bit by bit",
        tolerance: EXACT,
        on: &[Way::Again],
        check: same_bits,
    },
    Invariant {
        name: "batch = single",
        meaning: "every site of a text is the same whatever other text runs beside it",
        tolerance: ROUNDING,
        on: &[Way::Beside],
        check: same_values,
    },
    Invariant {
        name: "padding",
        meaning: "padding on the left or on the right changes no site",
        tolerance: ROUNDING,
        on: &[Way::Left, Way::Right],
        check: same_values,
    },
    Invariant {
        name: "cached = uncached",
        meaning: "token by token with a cache gives every site of one pass over the whole text",
        tolerance: ROUNDING,
        on: &[Way::Cached, Way::CachedBatch],
        check: same_values,
    },
    Invariant {
        name: "differentiable form",
        meaning: "the form that gradients need gives every site of the inference form",
        tolerance: ROUNDING,
        on: &[Way::Differentiable],
        check: same_values,
    },
];

/// What a check may look at: one way of running the texts, and each text alone to compare with.
pub struct Scene<'a> {
    /// The network.
    pub net: &'a Decoder,
    /// The texts, as tokens.
    pub texts: &'a [Vec<u32>],
    /// The layers that were recorded.
    pub group: &'a Group,
    /// What this way of running showed.
    pub seen: &'a Seen,
    /// What each text alone showed.
    pub alone: &'a Seen,
}

impl Scene<'_> {
    /// The place of a difference at a site.
    pub fn place(&self, site: &str, text: usize, position: usize) -> Place {
        Place { site: site.to_string(), text, position, run: self.seen.way.name().to_string() }
    }

    /// The axis of a site that counts positions.
    pub fn positions(&self, site: &str) -> usize {
        let site = self.net.sites().find(site).map(|id| self.net.sites().get(id));
        site.and_then(|s| s.dim(Axis::Pos).or(s.dim(Axis::Query))).unwrap_or(1)
    }
}

/// The largest error of one invariant so far.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// In the site's own units.
    pub absolute: f64,
    /// Over the site's magnitude.
    pub relative: f64,
    /// Where it is.
    pub place: Option<Place>,
    /// Values that were looked at.
    pub compared: u64,
    /// What is wrong beyond a number.
    pub problem: Option<String>,
    /// Why it was not asked.
    pub skipped: Option<String>,
}

impl Tally {
    /// Takes a difference whose relative error is `absolute / magnitude`.
    pub fn take(&mut self, scene: &Scene, site: &str, found: &Difference, magnitude: f64) {
        self.compared += found.compared;
        let relative = relative(found.absolute, magnitude);
        let place = found.text.map(|text| scene.place(site, text, found.position));
        self.error(found.absolute, if relative.is_nan() { f64::INFINITY } else { relative }, place);
    }

    /// Takes one error.
    pub fn error(&mut self, absolute: f64, relative: f64, place: Option<Place>) {
        let first = self.place.is_none() && absolute > 0.0;
        if relative > self.relative || first {
            *self = Self { absolute, relative, place, ..std::mem::take(self) };
        }
    }

    /// Takes a failure that no number describes; the first one is kept.
    pub fn problem(&mut self, place: Place, what: String) {
        if self.problem.is_none() {
            self.problem = Some(what);
        }
        self.error(f64::INFINITY, f64::INFINITY, Some(place));
    }
}

fn sites_visited(scene: &Scene, tally: &mut Tally) -> Result<()> {
    tally.compared += scene.group.sites.len() as u64;
    for (site, what) in &scene.seen.problems {
        tally.problem(scene.place(site, 0, 0), format!("{site}: {what}"));
    }
    Ok(())
}

/// The first broken site in the order of the forward pass is the one that is named.
fn finite_values(scene: &Scene, tally: &mut Tally) -> Result<()> {
    for id in &scene.group.sites {
        let site = scene.net.sites().get(*id);
        let Some(tensors) = scene.seen.sites.get(&site.name) else {
            continue;
        };
        // Hidden keys have the score -inf.
        let hidden = |v: f32| site.name.ends_with("hook_attn_scores") && v == f32::NEG_INFINITY;
        for (text, tensor) in tensors.iter().enumerate() {
            let dim = scene.positions(&site.name);
            let inner: usize = tensor.dims()[dim + 1..].iter().product();
            let values = values(tensor)?;
            tally.compared += values.len() as u64;
            if let Some(i) = values.iter().position(|v| !v.is_finite() && !hidden(*v)) {
                let position = i / inner.max(1) % tensor.dims()[dim];
                let place = scene.place(&site.name, text, position);
                tally.problem(place, format!("{} is {} first", site.name, values[i]));
            }
        }
    }
    Ok(())
}

/// The same batches with nobody listening.
fn hooks_change_nothing(scene: &Scene, tally: &mut Tally) -> Result<()> {
    let mut silent = Vec::new();
    for batch in scene.seen.way.batches(scene.texts)? {
        let logits = batch.forward(scene.net, None)?;
        silent.extend(batch.rows(&logits, &[Axis::Batch, Axis::Pos, Axis::Vocab])?);
    }
    let found = compare(&scene.seen.output, &silent, 1, Equality::Bits)?;
    tally.take(scene, "logits", &found, found.magnitude);
    Ok(())
}

fn same_bits(scene: &Scene, tally: &mut Tally) -> Result<()> {
    same(scene, tally, Equality::Bits)
}

fn same_values(scene: &Scene, tally: &mut Tally) -> Result<()> {
    same(scene, tally, Equality::Close)
}

/// Every site against the same text alone.
fn same(scene: &Scene, tally: &mut Tally, equality: Equality) -> Result<()> {
    for (site, got) in &scene.seen.sites {
        let Some(expected) = scene.alone.sites.get(site) else {
            continue;
        };
        let found = compare(got, expected, scene.positions(site), equality)?;
        let magnitude = found.magnitude.max(source_magnitude(scene, site)?);
        tally.take(scene, site, &found, magnitude);
    }
    let found = compare(&scene.seen.output, &scene.alone.output, 1, equality)?;
    tally.take(scene, "logits", &found, magnitude(&scene.alone.output)?);
    Ok(())
}

/// The size of the numbers whose rounding a site carries where that is not its own: weights of attention shift by as
/// much as the scores do (dp = p (ds - sum p ds)), and a mean of values rounds as the values.
fn source_magnitude(scene: &Scene, site: &str) -> Result<f64> {
    for (end, source) in [("attn.hook_pattern", "attn.hook_attn_scores"), ("attn.hook_z", "attn.hook_v")] {
        let source = site.strip_suffix(end).map(|block| format!("{block}{source}"));
        if let Some(tensors) = source.and_then(|source| scene.alone.sites.get(&source)) {
            return magnitude(tensors);
        }
    }
    Ok(0.0)
}
