//! The experiment: every method at every setting of its knob, the choice of one, and what it does to data that chose
//! nothing.

use super::checks::Checks;
use super::choose::{choose, kept_share, share, spread};
use super::group::{Group, Split};
use super::key_space::Cube;
use super::methods::{Fit, Fitted, Method, Setting};
use super::neuron_adjust::Variant;
use super::reach::{Reach, abstained, reaches};
use super::result::{Before, Chosen, Forgotten, Inside, Tried, Unlearning, Within};
use super::score::{Unit, score};
use super::statistics::{Keys, Statistics};
use crate::analysis::Estimate;
use crate::hook::random;
use crate::models::Model;
use crate::{Error, Result};

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
    /// Layers whose keys are looked at; up to eight, evenly spaced, and the last one, if empty.
    pub key_layers: Vec<usize>,
    /// Whose Neuron Adjust.
    pub variant: Variant,
    /// Largest relative drop of anything that is kept for a setting to count as harmless.
    pub tolerance: f64,
    /// Runs of the stochastic methods on the reported data.
    pub runs: u64,
    /// Updates of the relearning check; none if 0.
    pub relearn: u64,
    /// Seed of every draw.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            methods: vec![
                Method::Ksd,
                Method::KsdLast,
                Method::Na,
                Method::Sp,
                Method::Zero,
                Method::Mean,
                Method::Directional,
            ],
            percents: vec![0.5, 1.5, 3.0, 10.0],
            alphas: Vec::new(),
            layers: Vec::new(),
            key_layers: Vec::new(),
            variant: Variant::Paper,
            tolerance: 0.1,
            runs: 3,
            relearn: 0,
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
/// one that drops the forgotten group most; of several that are as good, the middle one of the layer in which alpha may move
/// farthest. Where no setting is harmless, the one with the largest difference between both drops.
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
    let bench = Bench::new(model, groups, forget, options)?;
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
                chosen.setting.method.word(),
                chosen.setting.method.knob(),
                chosen.setting.knob
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
    /// Cubes with their layers, of every group that is forgotten.
    cubes: Vec<(usize, Cube)>,
    /// The group that each of them is of.
    owners: Vec<usize>,
    /// How near every group comes to each of them on validation and test data: `[groups][cubes][units]`.
    near: [Vec<Vec<Vec<Reach>>>; 2],
}

impl<'a> Bench<'a> {
    fn new(model: &'a Model, groups: &'a [Group], forget: &[usize], options: &'a Options) -> Result<Self> {
        let special = model.special();
        let mut bench = Self {
            model,
            groups,
            options,
            statistics: Vec::new(),
            validation: Vec::new(),
            test: Vec::new(),
            cubes: Vec::new(),
            owners: Vec::new(),
            near: Default::default(),
        };
        for group in groups {
            let statistics = match group.general {
                true => None,
                false => Some(Statistics::of(&model.decoder, &group.fitted(model)?, &special)?),
            };
            bench.statistics.push(statistics);
            let nothing = Fitted::default();
            bench.validation.push(score(model, group, Split::Validation, &nothing, options.seed)?);
            bench.test.push(score(model, group, Split::Test, &nothing, options.seed)?);
        }
        if options.methods.iter().any(|m| m.abstains()) {
            for index in forget {
                bench.fit_cubes(*index)?;
            }
            for (part, split) in [Split::Validation, Split::Test].into_iter().enumerate() {
                bench.near[part] =
                    groups.iter().map(|group| reaches(model, group, split, &bench.cubes)).collect::<Result<_>>()?;
            }
        }
        Ok(bench)
    }

    /// The cubes of a group in every layer that is looked at. A layer that nobody named, in which the keys are all the
    /// same, has none.
    fn fit_cubes(&mut self, index: usize) -> Result<()> {
        let last = self.model.decoder.facts().layers.len().saturating_sub(1);
        let named = &self.options.key_layers;
        let mut layers = if named.is_empty() { self.spaced() } else { named.clone() };
        layers.push(last);
        layers.sort_unstable();
        layers.dedup();
        for layer in layers {
            match self.statistics(index)?.cube(layer, self.keys(index)) {
                Ok(cube) => {
                    self.cubes.push((layer, cube));
                    self.owners.push(index);
                }
                Err(e) if layer == last || named.contains(&layer) => return Err(e),
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Up to eight layers, evenly spaced.
    fn spaced(&self) -> Vec<usize> {
        let layers = self.model.decoder.facts().layers.len();
        (0..layers).step_by(layers.div_ceil(8).max(1)).collect()
    }

    fn statistics(&self, index: usize) -> Result<&Statistics> {
        let missing = || Error::invalid("a group without statistics", "report this as a defect");
        self.statistics[index].as_ref().ok_or_else(missing)
    }

    fn keys(&self, index: usize) -> Keys {
        match self.groups[index].asked(Split::Test) {
            Some(_) => Keys::Last,
            None => Keys::All,
        }
    }

    /// The cube of a forgotten group in a layer, with how near every group comes to it: `[groups][units]`.
    fn cube(&self, index: usize, layer: usize, split: Split) -> Option<(&Cube, Vec<&[Reach]>)> {
        let at = self.owners.iter().zip(&self.cubes).position(|(of, (own, _))| (*of, *own) == (index, layer))?;
        let near = &self.near[usize::from(split == Split::Test)];
        Some((&self.cubes[at].1, near.iter().map(|group| group[at].as_slice()).collect()))
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
        let knobs = |method: Method| match method {
            Method::Ksd | Method::KsdLast => Vec::new(),
            Method::Directional if self.options.layers.is_empty() => self.spaced().iter().map(|l| *l as f64).collect(),
            Method::Directional => self.options.layers.iter().map(|l| *l as f64).collect(),
            _ => self.options.percents.clone(),
        };
        methods.into_iter().map(|m| (m, knobs(m))).collect()
    }

    fn settings(&self) -> usize {
        self.knobs().iter().map(|(_, knobs)| knobs.len() + 1).sum()
    }

    /// value / original value of each group, on validation data.
    fn tried(&self, setting: Setting, fitted: &Fitted) -> Result<Tried> {
        let mut kept = Vec::new();
        for (group, base) in self.groups.iter().zip(&self.validation) {
            kept.push(share(&score(self.model, group, Split::Validation, fitted, self.options.seed)?, base));
        }
        Ok(Tried { setting, kept })
    }

    /// Every alpha in every layer that `method` looks at, on validation data: the keys were seen once.
    fn abstentions(&self, method: Method, index: usize) -> Vec<Tried> {
        let last = self.model.decoder.facts().layers.len().saturating_sub(1);
        let named = &self.options.key_layers;
        let looked_at = |layer: usize| match method {
            Method::KsdLast => layer == last,
            _ => named.is_empty() || named.contains(&layer),
        };
        let own = self.owners.iter().zip(&self.cubes).filter(|(of, _)| **of == index);
        let layers = own.map(|(_, (layer, _))| *layer).filter(|layer| looked_at(*layer));
        let mut out = Vec::new();
        for layer in layers {
            let Some((_, near)) = self.cube(index, layer, Split::Validation) else { continue };
            let spread = if self.options.alphas.is_empty() { spread(&near) } else { self.options.alphas.clone() };
            for alpha in spread {
                let each = self.validation.iter().zip(&near);
                let kept = each.map(|(units, near)| share(&abstained(units, near, alpha), units)).collect();
                out.push(Tried { setting: Setting { method, layer: Some(layer), knob: alpha }, kept });
            }
        }
        out
    }

    fn forget(&self, index: usize, advance: &mut dyn FnMut()) -> Result<(Forgotten, Vec<Fitted>)> {
        let forget = self.statistics(index)?;
        let mut others =
            self.statistics.iter().enumerate().filter(|(i, _)| *i != index).filter_map(|(_, s)| s.as_ref());
        let nothing = || Error::invalid("nothing is kept", "report this as a defect");
        let mut retain = others.next().ok_or_else(nothing)?.clone();
        others.try_for_each(|s| retain.merge(s))?;
        let fit = Fit {
            forget,
            retain: &retain,
            variant: self.options.variant,
            keys: self.keys(index),
            seed: self.options.seed,
        };
        let (mut tried, mut chosen, mut edits) = (Vec::new(), Vec::<Chosen>::new(), Vec::new());
        for (method, knobs) in self.knobs() {
            let mut own = if method.abstains() { self.abstentions(method, index) } else { Vec::new() };
            for knob in knobs {
                let setting = Setting::new(method, knob);
                own.push(self.tried(setting, &fit.edits(setting)?)?);
                advance();
            }
            // A control takes the setting of its method.
            let of = Method::ALL.into_iter().find(|m| m.control() == Some(method));
            let rival = chosen.iter().find(|c| Some(c.setting.method) == of).map(|c| c.setting.knob);
            let pick = match rival {
                Some(knob) => own.iter().find(|t| t.setting.knob == knob),
                None => choose(&own, index, self.options.tolerance),
            };
            if let Some(pick) = pick {
                let fitted = fit.edits(pick.setting)?;
                chosen.push(self.chosen(pick, index, &fitted)?);
                edits.push(fitted);
            }
            advance();
            tried.extend(own);
        }
        let layers = self.spaced();
        let checks = Checks { model: self.model, groups: self.groups, index, layers: &layers, seed: self.options.seed };
        let forgotten = Forgotten {
            group: self.groups[index].name.clone(),
            cube: self.within(index, &chosen, &tried),
            tried,
            attacks: checks.attacks(&edits)?,
            probe: checks.probe(&edits)?,
            relearning: checks.relearning(&edits, self.options.relearn)?,
            chosen,
        };
        Ok((forgotten, edits))
    }

    /// What lies in the cube of the layer that Key Space Detection chose.
    fn within(&self, index: usize, chosen: &[Chosen], tried: &[Tried]) -> Option<Within> {
        let layer = chosen.iter().find(|c| c.setting.method.abstains())?.setting.layer?;
        let (cube, near) = self.cube(index, layer, Split::Validation)?;
        let own = |t: &&Tried| t.setting.method.abstains() && t.setting.layer == Some(layer);
        let mut alphas: Vec<f64> = tried.iter().filter(own).map(|t| t.setting.knob).collect();
        alphas.sort_unstable_by(f64::total_cmp);
        alphas.dedup();
        let inside = |alpha: f64| {
            let share = |near: &&[Reach]| near.iter().filter(|r| r.alpha() <= alpha).count() as f64 / near.len() as f64;
            Inside { alpha, shares: near.iter().map(share).collect() }
        };
        let inside = alphas.into_iter().map(inside).collect();
        Some(Within { layer, kappa: cube.kappa, keys: cube.keys, inside })
    }

    /// The chosen setting on data that chose nothing.
    fn chosen(&self, pick: &Tried, index: usize, fitted: &Fitted) -> Result<Chosen> {
        let (seed, alpha) = (self.options.seed, pick.setting.knob);
        let near = pick.setting.layer.and_then(|layer| self.cube(index, layer, Split::Test)).map(|(_, near)| near);
        let runs = if pick.setting.method.is_stochastic() { self.options.runs.max(1) } else { 1 };
        let mut by_run = vec![Vec::new(); runs as usize];
        let (mut kept, mut after, mut phases) = (Vec::new(), Vec::new(), Vec::new());
        for (g, (group, base)) in self.groups.iter().zip(&self.test).enumerate() {
            let mut mean = vec![Unit::default(); base.len()];
            for run in 0..runs {
                let units = match &near {
                    Some(near) => abstained(base, near[g], alpha),
                    None => score(self.model, group, Split::Test, fitted, random::key(seed, &[run]))?,
                };
                by_run[run as usize].push(share(&units, base));
                for (sum, unit) in mean.iter_mut().zip(&units) {
                    sum.right += unit.right / runs as f64;
                    sum.of = unit.of;
                    sum.nats += unit.nats / runs as f64;
                }
            }
            kept.push(kept_share(&mean, base, seed));
            let says_nothing = near.is_some() || group.asked(Split::Test).is_some();
            after.push(if says_nothing { f64::NAN } else { nats(&mean) });
            if let Some(near) = &near {
                let n = near[g].len().max(1) as f64;
                let prefill = near[g].iter().filter(|r| r.prefill <= alpha).count() as f64 / n;
                let all = near[g].iter().filter(|r| r.alpha() <= alpha).count() as f64 / n;
                phases.push((prefill, all - prefill));
            }
        }
        Ok(Chosen {
            setting: pick.setting,
            harmless: pick.worst(index) <= self.options.tolerance,
            neurons: fitted.neurons.len(),
            kept,
            runs: by_run,
            nats: after,
            abstained: phases,
        })
    }
}

fn nats(units: &[Unit]) -> f64 {
    units.iter().map(|u| u.nats).sum::<f64>() / units.iter().map(|u| u.of).sum::<f64>()
}
