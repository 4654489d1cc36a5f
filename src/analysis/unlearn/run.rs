//! The experiment: every method at every setting of its knob, the choice of one, and what it does to data that chose
//! nothing.

use super::attack::Attack;
use super::group::{Group, Split};
use super::key_space::Cube;
use super::methods::{Fit, Fitted, Method};
use super::neuron_adjust::Variant;
use super::result::{Attacked, Before, Chosen, Forgotten, Inside, Tried, Unlearning};
use super::score::{Reach, Unit, abstained, reaches, score};
use super::statistics::{Keys, Statistics};
use crate::analysis::Estimate;
use crate::hook::random;
use crate::models::Model;
use crate::{Error, Result};

/// Settings of alpha that are tried, evenly spaced on a logarithmic axis over all that makes a difference.
const ALPHAS: usize = 40;

/// How to unlearn.
#[derive(Clone, Debug)]
pub struct Options {
    /// The methods that are compared; controls of those that have one are added.
    pub methods: Vec<Method>,
    /// Percentages of neurons that are tried.
    pub percents: Vec<f64>,
    /// Settings of alpha that are tried; over all that makes a difference if empty.
    pub alphas: Vec<f64>,
    /// Layers that directional ablation takes its direction before; up to eight, evenly spaced, if empty.
    pub layers: Vec<usize>,
    /// The layer whose keys are looked at; the last one if `None`.
    pub key_layer: Option<usize>,
    /// Whose Neuron Adjust.
    pub variant: Variant,
    /// Largest relative drop of anything that is kept for a setting to count as harmless.
    pub tolerance: f64,
    /// Runs of the stochastic methods on the reported data.
    pub runs: u64,
    /// Seed of every draw.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            methods: vec![Method::Ksd, Method::Na, Method::Sp, Method::Zero, Method::Mean, Method::Directional],
            percents: vec![0.5, 1.5, 3.0, 10.0],
            alphas: Vec::new(),
            layers: Vec::new(),
            key_layer: None,
            variant: Variant::Paper,
            tolerance: 0.1,
            runs: 3,
            seed: 0,
        }
    }
}

/// What an unlearning found, with the edits of every chosen setting, in the order of `forgotten` and `chosen`.
#[derive(Clone, Debug)]
pub struct Unlearned {
    /// The result.
    pub result: Unlearning,
    /// The edits.
    pub edits: Vec<Vec<Fitted>>,
}

/// Forgets each of the groups `forget` in turn, keeping the others. `progress` hears (settings done, settings in all).
///
/// The choice: among the settings in which, on validation data, nothing that is kept drops by more than the tolerance, the
/// one that drops the forgotten group most; of several that are as good, the middle one. Where no setting is harmless, the
/// one with the largest difference between both drops.
///
/// # Errors
/// Fewer than two groups to fit to, no text in one of them, knobs out of range, whatever the network refuses.
pub fn unlearn(
    model: &Model,
    groups: &[Group],
    forget: &[usize],
    options: &Options,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Unlearned> {
    let fitted = groups.iter().filter(|g| !g.general).count();
    if fitted < 2 || forget.iter().any(|f| groups.get(*f).is_none_or(|g| g.general)) {
        return Err(Error::invalid(
            format!("{fitted} group(s) to fit to, and {} to forget", forget.len()),
            "unlearning needs something to forget and something else to keep: give both",
        ));
    }
    let bench = Bench::new(model, groups, options)?;
    let mut before = Vec::new();
    for (group, units) in groups.iter().zip(&bench.test) {
        before.push(Before {
            group: group.name.clone(),
            metric: group.metric().to_string(),
            units: units.len(),
            value: Estimate::ratio(&units.iter().map(|u| (u.right, u.of)).collect::<Vec<_>>(), options.seed),
            nats: group.asked(Split::Test).is_none().then(|| nats(units)),
        });
    }
    let mut warnings = bench.warnings(&before);
    let (mut done, mut forgotten, mut edits) = (0, Vec::new(), Vec::new());
    let all = forget.len() * bench.settings();
    for index in forget {
        let (one, fits) = bench.forget(*index, &mut || {
            done += 1;
            progress(done, all);
        })?;
        for chosen in one.chosen.iter().filter(|c| c.kept.iter().all(|k| k.value.is_nan() || k.value <= 0.0)) {
            warnings.push(format!(
                "forgetting {}, {} at {} {} leaves nothing of any group: it abstains from, or breaks, everything",
                one.group,
                chosen.method.word(),
                chosen.method.knob(),
                chosen.knob
            ));
        }
        forgotten.push(one);
        edits.push(fits);
    }
    Ok(Unlearned { result: Unlearning { before, tolerance: options.tolerance, forgotten, warnings }, edits })
}

/// Everything that does not depend on what is forgotten.
struct Bench<'a> {
    model: &'a Model,
    groups: &'a [Group],
    options: &'a Options,
    statistics: Vec<Option<Statistics>>,
    validation: Vec<Vec<Unit>>,
    test: Vec<Vec<Unit>>,
    key_layer: usize,
}

impl<'a> Bench<'a> {
    fn new(model: &'a Model, groups: &'a [Group], options: &'a Options) -> Result<Self> {
        let key_layer = options.key_layer.unwrap_or(model.decoder.facts().layers.len().saturating_sub(1));
        let special = model.special();
        let mut bench = Self {
            model,
            groups,
            options,
            statistics: Vec::new(),
            validation: Vec::new(),
            test: Vec::new(),
            key_layer,
        };
        for group in groups {
            let statistics = match group.general {
                true => None,
                false => Some(Statistics::of(&model.decoder, &group.fitted(model)?, &special, key_layer)?),
            };
            bench.statistics.push(statistics);
            let nothing = Fitted::default();
            bench.validation.push(score(model, group, Split::Validation, &nothing, options.seed)?);
            bench.test.push(score(model, group, Split::Test, &nothing, options.seed)?);
        }
        Ok(bench)
    }

    fn warnings(&self, before: &[Before]) -> Vec<String> {
        let mut out = Vec::new();
        for (i, a) in self.groups.iter().enumerate() {
            for b in &self.groups[i + 1..] {
                let shared = a.overlap(b);
                if let Some(first) = shared.first() {
                    let first: String = first.chars().take(40).collect();
                    out.push(format!(
                        "{} and {} share {} text(s), such as `{first}`: what is to be forgotten is also to be kept",
                        a.name,
                        b.name,
                        shared.len()
                    ));
                }
            }
        }
        for group in before.iter().filter(|b| b.value.value.is_nan() || b.value.value <= 0.0) {
            out.push(format!(
                "the model has nothing of {} right before any edit: it takes no part in choices",
                group.group
            ));
        }
        out
    }

    /// Methods with their controls, and the knobs that are tried.
    fn knobs(&self) -> Vec<(Method, Vec<f64>)> {
        let mut methods = self.options.methods.clone();
        methods.extend(self.options.methods.iter().filter_map(|m| m.control()));
        methods.sort_unstable();
        methods.dedup();
        let layers = self.model.decoder.facts().layers.len();
        let spaced = || (0..layers).step_by(layers.div_ceil(8)).map(|l| l as f64).collect::<Vec<_>>();
        let knobs = |method: Method| match method {
            Method::Ksd => Vec::new(),
            Method::Directional if self.options.layers.is_empty() => spaced(),
            Method::Directional => self.options.layers.iter().map(|l| *l as f64).collect(),
            _ => self.options.percents.clone(),
        };
        methods.into_iter().map(|m| (m, knobs(m))).collect()
    }

    fn settings(&self) -> usize {
        self.knobs().iter().map(|(_, knobs)| knobs.len() + 1).sum()
    }

    /// value / original value of each group, on validation data.
    fn tried(&self, method: Method, knob: f64, fitted: &Fitted) -> Result<Tried> {
        let mut kept = Vec::new();
        for (group, base) in self.groups.iter().zip(&self.validation) {
            kept.push(share(&score(self.model, group, Split::Validation, fitted, self.options.seed)?, base));
        }
        Ok(Tried { method, knob, kept })
    }

    fn forget(&self, index: usize, advance: &mut dyn FnMut()) -> Result<(Forgotten, Vec<Fitted>)> {
        let missing = || Error::invalid("a group without statistics", "report this as a defect");
        let forget = self.statistics[index].as_ref().ok_or_else(missing)?;
        let mut others =
            self.statistics.iter().enumerate().filter(|(i, _)| *i != index).filter_map(|(_, s)| s.as_ref());
        let mut retain = others.next().ok_or_else(missing)?.clone();
        others.try_for_each(|s| retain.merge(s))?;
        let keys = match self.groups[index].asked(Split::Test) {
            Some(_) => Keys::Last,
            None => Keys::All,
        };
        let fit = Fit { forget, retain: &retain, variant: self.options.variant, keys, seed: self.options.seed };
        let cube = forget.cube(keys)?;
        let near = |split: Split| -> Result<Vec<Vec<Reach>>> {
            let one = |group: &Group| {
                Ok(reaches(self.model, group, split, std::slice::from_ref(&cube), self.key_layer)?.remove(0))
            };
            self.groups.iter().map(one).collect()
        };
        let ksd = self.options.methods.contains(&Method::Ksd);
        let (validation, test) = match ksd {
            true => (near(Split::Validation)?, near(Split::Test)?),
            false => (Vec::new(), Vec::new()),
        };
        let alphas = if self.options.alphas.is_empty() { spread(&validation) } else { self.options.alphas.clone() };

        let (mut tried, mut chosen, mut edits) = (Vec::new(), Vec::new(), Vec::new());
        for (method, knobs) in self.knobs() {
            let mut own = Vec::new();
            if method == Method::Ksd {
                for alpha in &alphas {
                    let each = self.validation.iter().zip(&validation);
                    let kept = each.map(|(units, near)| share(&abstained(units, near, *alpha), units)).collect();
                    own.push(Tried { method, knob: *alpha, kept });
                }
            }
            for knob in knobs {
                own.push(self.tried(method, knob, &fit.edits(method, knob)?)?);
                advance();
            }
            // A control takes the setting of its method.
            let of = Method::ALL.into_iter().find(|m| m.control() == Some(method));
            let rival = chosen.iter().find(|c: &&Chosen| Some(c.method) == of).map(|c| c.knob);
            let pick = match rival {
                Some(knob) => own.iter().find(|t| t.knob == knob),
                None => choose(&own, index, self.options.tolerance),
            };
            if let Some(pick) = pick {
                let fitted = fit.edits(method, pick.knob)?;
                chosen.push(self.chosen(pick, index, &fitted, &test)?);
                edits.push(fitted);
            }
            advance();
            tried.extend(own);
        }
        let inside = |alpha: &f64| {
            let share =
                |near: &Vec<Reach>| near.iter().filter(|r| r.alpha() <= *alpha).count() as f64 / near.len() as f64;
            Inside { alpha: *alpha, shares: validation.iter().map(share).collect() }
        };
        let inside = if ksd { alphas.iter().map(inside).collect() } else { Vec::new() };
        let forgotten = Forgotten {
            group: self.groups[index].name.clone(),
            kappa: cube.kappa,
            keys: cube.keys,
            inside,
            tried,
            attacks: self.attacks(index, &cube, &chosen, &edits)?,
            chosen,
        };
        Ok((forgotten, edits))
    }

    /// The forgotten group asked in other ways, under every chosen setting.
    fn attacks(&self, index: usize, cube: &Cube, chosen: &[Chosen], edits: &[Fitted]) -> Result<Vec<Attacked>> {
        let kept = self.groups.iter().enumerate().find(|(i, g)| *i != index && g.asked(Split::Test).is_some());
        let mut out = Vec::new();
        for attack in Attack::ALL {
            let Some(group) = attack.on(&self.groups[index], kept.map(|k| k.1)) else { continue };
            let seed = self.options.seed;
            let base = score(self.model, &group, Split::Test, &Fitted::default(), seed)?;
            let right = |units: &[Unit]| Estimate::mean(&units.iter().map(|u| u.right).collect::<Vec<_>>(), seed);
            let mut after = Vec::new();
            for (chosen, fitted) in chosen.iter().zip(edits) {
                after.push(right(&match chosen.method {
                    Method::Ksd => {
                        let near =
                            reaches(self.model, &group, Split::Test, std::slice::from_ref(cube), self.key_layer)?
                                .remove(0);
                        abstained(&base, &near, chosen.knob)
                    }
                    _ => score(self.model, &group, Split::Test, fitted, seed)?,
                }));
            }
            out.push(Attacked { attack, before: right(&base), after });
        }
        Ok(out)
    }

    /// The chosen setting on data that chose nothing.
    fn chosen(&self, pick: &Tried, index: usize, fitted: &Fitted, near: &[Vec<Reach>]) -> Result<Chosen> {
        let seed = self.options.seed;
        let runs = if pick.method.is_stochastic() { self.options.runs.max(1) } else { 1 };
        let mut by_run = vec![Vec::new(); runs as usize];
        let (mut kept, mut after, mut phases) = (Vec::new(), Vec::new(), Vec::new());
        for (g, (group, base)) in self.groups.iter().zip(&self.test).enumerate() {
            let mut mean = vec![Unit::default(); base.len()];
            for run in 0..runs {
                let units = match pick.method {
                    Method::Ksd => abstained(base, &near[g], pick.knob),
                    _ => score(self.model, group, Split::Test, fitted, random::key(seed, &[run]))?,
                };
                by_run[run as usize].push(share(&units, base));
                for (sum, unit) in mean.iter_mut().zip(&units) {
                    sum.right += unit.right / runs as f64;
                    sum.of = unit.of;
                    sum.nats += unit.nats / runs as f64;
                }
            }
            kept.push(kept_share(&mean, base, seed));
            let says_nothing = pick.method == Method::Ksd || group.asked(Split::Test).is_some();
            after.push(if says_nothing { f64::NAN } else { nats(&mean) });
            if pick.method == Method::Ksd {
                let n = near[g].len().max(1) as f64;
                let prefill = near[g].iter().filter(|r| r.prefill <= pick.knob).count() as f64 / n;
                let all = near[g].iter().filter(|r| r.alpha() <= pick.knob).count() as f64 / n;
                phases.push((prefill, all - prefill));
            }
        }
        Ok(Chosen {
            method: pick.method,
            knob: pick.knob,
            harmless: pick.worst(index) <= self.options.tolerance,
            neurons: fitted.neurons.len(),
            kept,
            runs: by_run,
            nats: after,
            abstained: phases,
        })
    }
}

/// The setting that the criterion of [`unlearn`] chooses.
pub fn choose(tried: &[Tried], forgotten: usize, tolerance: f64) -> Option<&Tried> {
    let harmless: Vec<&Tried> = tried.iter().filter(|t| t.worst(forgotten) <= tolerance).collect();
    let gain = |t: &Tried| match harmless.is_empty() {
        true => t.drop(forgotten) - t.worst(forgotten),
        false => t.drop(forgotten),
    };
    let pool: Vec<&Tried> = if harmless.is_empty() { tried.iter().collect() } else { harmless.clone() };
    let best = pool.iter().map(|t| gain(t)).filter(|x| x.is_finite()).fold(f64::NEG_INFINITY, f64::max);
    let mut equal: Vec<&Tried> = pool.into_iter().filter(|t| gain(t) >= best - 1e-12).collect();
    let least = equal.iter().map(|t| t.worst(forgotten)).fold(f64::INFINITY, f64::min);
    equal.retain(|t| t.worst(forgotten) <= least + 1e-12);
    equal.get(equal.len().saturating_sub(1) / 2).copied()
}

/// Alphas from the nearest key to the farthest, evenly spaced on a logarithmic axis.
fn spread(near: &[Vec<Reach>]) -> Vec<f64> {
    let all = || near.iter().flatten().map(Reach::alpha).filter(|x| x.is_finite() && *x > 0.0);
    let (low, high) = (all().fold(f64::INFINITY, f64::min), all().fold(0.0, f64::max));
    if high == 0.0 {
        return vec![1.0];
    }
    let step = |i: usize| (low.ln() + (high / low).ln() * i as f64 / (ALPHAS - 1) as f64).exp();
    (0..ALPHAS).map(step).collect()
}

/// value / original value; NaN where the original is 0.
fn share(units: &[Unit], base: &[Unit]) -> f64 {
    let sum = |units: &[Unit]| units.iter().map(|u| u.right).sum::<f64>();
    if sum(base) == 0.0 { f64::NAN } else { sum(units) / sum(base) }
}

/// The same with its interval: units drawn anew, both runs together.
fn kept_share(units: &[Unit], base: &[Unit], seed: u64) -> Estimate {
    if base.iter().all(|b| b.right == 0.0) {
        return Estimate::exact(f64::NAN);
    }
    // A unit that was wrong before may be right after: it must be drawn too, so that no weight is quite 0.
    let pairs: Vec<(f64, f64)> = units.iter().zip(base).map(|(u, b)| (u.right, b.right.max(1e-12))).collect();
    Estimate::ratio(&pairs, seed)
}

fn nats(units: &[Unit]) -> f64 {
    units.iter().map(|u| u.nats).sum::<f64>() / units.iter().map(|u| u.of).sum::<f64>()
}
