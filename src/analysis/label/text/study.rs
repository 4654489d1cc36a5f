//! Executable labels for many units at once, with what chance would give: for every unit the best rule and, for neurons,
//! the tokens that it promotes; each scored on test documents, against the labels of other units of its layer.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::columns::Columns;
use super::exemplars::{self, Exemplar};
use super::judge::{Held, Judge, active_windows};
use super::pass::{UnitId, Watch};
use super::reading::{Reading, Split};
use super::rule::Rule;
use super::search::Search;
use super::told::Told;
use super::trace::{Sign, Trace};
use crate::Result;
use crate::analysis::corpus::permutation;
use crate::analysis::label::{Overlap, holm, normal_tail};
use crate::report::number;
use crate::store::Tokenizer;

/// The explainer of executable labels that were searched for.
pub const RULES: &str = "optrode rules";
/// The explainer that reads the tokens whose logits a neuron raises.
pub const PROMOTES: &str = "optrode promotes";

/// A label counts as more than chance below this corrected p.
pub const ALPHA: f64 = 0.05;

/// How units are labelled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Options {
    /// Fewest active windows of a unit that is not too rare.
    pub least: u64,
    /// Draws of the bootstrap over documents.
    pub draws: usize,
    /// Exemplars that are kept of every unit.
    pub exemplars: usize,
    /// Seed of every draw.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { least: 200, draws: 1000, exemplars: 5, seed: 0 }
    }
}

/// A label of a unit, held out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Label {
    /// Who made it.
    pub explainer: String,
    /// The label.
    pub text: String,
    /// As a rule.
    pub rule: Rule,
    /// On the selection documents.
    pub selection: Overlap,
    /// On the test documents.
    pub held: Held,
    /// AUROC of another unit's label on this unit.
    #[serde(with = "number")]
    pub permuted: f64,
    /// The chance level that it must beat: the mean of `permuted` in the layer, 0.5 at least.
    pub chance: f64,
    /// Chance of an AUROC as large if the label says no more than chance, corrected for all units (Holm).
    pub p: f64,
    /// Whether it is more than chance: p below [`ALPHA`], and its interval above `chance`.
    pub holds: bool,
}

/// A unit with its labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unit {
    /// Its site.
    pub site: String,
    /// Its block.
    pub layer: Option<usize>,
    /// Its number within the site.
    pub number: usize,
    /// Its side.
    pub sign: Sign,
    /// Its level.
    pub level: f32,
    /// Windows in which it is active.
    pub windows: u64,
    /// Too few of them for a label.
    pub too_rare: bool,
    /// Its labels, those of [`RULES`] first.
    pub labels: Vec<Label>,
    /// Its labels in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub told: Vec<Told>,
    /// Its strongest windows in the test documents.
    #[serde(skip)]
    pub exemplars: Vec<Exemplar>,
}

impl Unit {
    /// Its name: `blocks.3.mlp.hook_post[12] +`.
    pub fn name(&self) -> String {
        format!("{}[{}] {}", self.site, self.number, self.sign.symbol())
    }

    /// The same in short, for tables: `3/12 +` is the side of large values of neuron 12 of layer 3.
    pub fn short(&self) -> String {
        match (self.layer, self.site.ends_with(".mlp.hook_post")) {
            (Some(layer), true) => format!("{layer}/{} {}", self.number, self.sign.symbol()),
            _ => self.name(),
        }
    }

    /// Its label by an explainer.
    pub fn by(&self, explainer: &str) -> Option<&Label> {
        self.labels.iter().find(|l| l.explainer == explainer)
    }
}

/// What an explainer did in a layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Layer {
    /// The site.
    pub site: String,
    /// Its block.
    pub layer: Option<usize>,
    /// The explainer.
    pub explainer: String,
    /// Units, sides counted singly.
    pub units: usize,
    /// Those with too few active windows.
    pub too_rare: usize,
    /// Those with a label.
    pub labelled: usize,
    /// Share of the units that are not too rare whose label is more than chance.
    #[serde(with = "number")]
    pub share: f64,
    /// The same of labels given to other units: the control.
    #[serde(with = "number")]
    pub permuted_share: f64,
    /// Median AUROC of the labels.
    #[serde(with = "number")]
    pub auroc: f64,
    /// Mean AUROC of labels given to other units.
    #[serde(with = "number")]
    pub permuted_auroc: f64,
    /// Median share of the active tokens that the labels cover.
    #[serde(with = "number")]
    pub coverage: f64,
    /// Median IoU on test documents.
    #[serde(with = "number")]
    pub iou: f64,
}

/// Labels before they are judged: of one unit by one explainer.
struct Draft {
    unit: usize,
    rule: Rule,
    selection: Overlap,
}

/// Labels every unit. `promoted` gives the tokens that a neuron's side promotes, if it is a neuron.
///
/// # Errors
/// A defect of the rules alone.
pub fn study(
    reading: &Reading,
    tokenizer: &Tokenizer,
    watches: &[Watch],
    traces: &[(UnitId, Trace)],
    promoted: &(dyn Fn(&UnitId) -> Option<Rule> + Sync),
    options: &Options,
) -> Result<(Vec<Unit>, Vec<Layer>)> {
    let columns = Columns::of(reading);
    let search = Search::new(&columns, tokenizer);
    let judge = Judge::new(reading, options.draws, options.seed);
    let mut units: Vec<Unit> =
        traces.par_iter().map(|(id, trace)| unit(reading, watches, id, trace, options)).collect();
    let selected = reading.range(Split::Selection).end;
    let counted = reading.counted.count_in(0, selected);
    let mut layers = Vec::new();
    for explainer in [RULES, PROMOTES] {
        let draft = |unit: usize| -> Result<Option<Draft>> {
            let (id, trace) = &traces[unit];
            if units[unit].too_rare {
                return Ok(None);
            }
            if explainer == RULES {
                return Ok(search.best(trace).map(|c| Draft { unit, rule: c.rule, selection: c.overlap }));
            }
            let Some(rule) = promoted(id) else { return Ok(None) };
            let (holds, active) = (rule.holds(&columns)?.prefix(selected), trace.bits(selected));
            Ok(Some(Draft { unit, rule, selection: Overlap { all: counted, ..Overlap::of(&holds, &active) } }))
        };
        let drafts: Vec<Option<Draft>> = (0..units.len()).into_par_iter().map(draft).collect::<Result<_>>()?;
        let drafts: Vec<Draft> = drafts.into_iter().flatten().collect();
        if !drafts.is_empty() {
            layers.extend(judged(explainer, &columns, &judge, traces, drafts, &mut units, options)?);
        }
    }
    Ok((units, layers))
}

fn unit(reading: &Reading, watches: &[Watch], id: &UnitId, trace: &Trace, options: &Options) -> Unit {
    let windows = active_windows(reading, trace);
    let (site, layer) = watches.get(id.watch).map_or_else(Default::default, |w| (w.site.clone(), w.layer));
    Unit {
        site,
        layer,
        number: id.number,
        sign: id.sign,
        level: trace.level,
        windows,
        too_rare: windows < options.least,
        labels: Vec::new(),
        told: Vec::new(),
        exemplars: exemplars::strongest(reading, trace, Split::Test, options.exemplars),
    }
}

/// Scores drafts on the test documents, with the labels of other units beside them, and adds them to their units.
fn judged(
    explainer: &str,
    columns: &Columns,
    judge: &Judge,
    traces: &[(UnitId, Trace)],
    drafts: Vec<Draft>,
    units: &mut [Unit],
    options: &Options,
) -> Result<Vec<Layer>> {
    let others = others(traces, &drafts, options.seed);
    let score = |(i, draft): (usize, &Draft)| -> Result<[Option<Held>; 2]> {
        let trace = &traces[draft.unit].1;
        let other = others[i].map(|other| drafts[other].rule.holds(columns)).transpose()?;
        let own = judge.held(&draft.rule.holds(columns)?, trace);
        Ok([own, other.and_then(|holds| judge.held(&holds, trace))])
    };
    let scores: Vec<[Option<Held>; 2]> = drafts.par_iter().enumerate().map(score).collect::<Result<_>>()?;
    let site = |draft: &Draft| traces[draft.unit].0.watch;
    // What the labels of other units reach in a layer, on average.
    let area = |i: usize| scores[i][1].as_ref().map(|h| h.auroc);
    let mut sites: Vec<usize> = drafts.iter().map(site).collect();
    sites.dedup();
    let mean = |watch: usize| {
        let areas: Vec<f64> = (0..drafts.len()).filter(|i| site(&drafts[*i]) == watch).filter_map(area).collect();
        areas.iter().sum::<f64>() / areas.len() as f64
    };
    let chance: std::collections::BTreeMap<usize, f64> = sites.iter().map(|w| (*w, mean(*w))).collect();
    let level = |draft: &Draft| chance[&site(draft)].max(0.5); // NaN, without other units, gives 0.5
    let verdicts = [0, 1].map(|side| {
        let p = |(scores, draft): (&[Option<Held>; 2], &Draft)| {
            scores[side].as_ref().map_or(f64::NAN, |h| normal_tail((h.auroc - level(draft)) / h.deviation))
        };
        let p: Vec<f64> = scores.iter().zip(&drafts).map(p).collect();
        let pass = |((p, scores), draft): ((f64, &[Option<Held>; 2]), &Draft)| {
            let above = scores[side].as_ref().is_some_and(|h| h.interval.0 > level(draft));
            (p, p < ALPHA && above)
        };
        holm(&p).into_iter().zip(&scores).zip(&drafts).map(pass).collect::<Vec<(f64, bool)>>()
    });
    let mut layers = Vec::new();
    for watch in sites {
        let of_site: Vec<usize> = (0..drafts.len()).filter(|i| site(&drafts[*i]) == watch).collect();
        let held = |f: &dyn Fn(&Held) -> f64| median(of_site.iter().filter_map(|i| scores[*i][0].as_ref()).map(f));
        let every: Vec<usize> = (0..units.len()).filter(|u| traces[*u].0.watch == watch).collect();
        let too_rare = every.iter().filter(|u| units[**u].too_rare).count();
        let share = |side: usize| {
            of_site.iter().filter(|i| verdicts[side][**i].1).count() as f64 / (every.len() - too_rare) as f64
        };
        layers.push(Layer {
            site: units[every[0]].site.clone(),
            layer: units[every[0]].layer,
            explainer: explainer.to_string(),
            units: every.len(),
            too_rare,
            labelled: of_site.iter().filter(|i| scores[**i][0].is_some()).count(),
            share: share(0),
            permuted_share: share(1),
            auroc: held(&|h| h.auroc),
            permuted_auroc: chance[&watch],
            coverage: held(&|h| h.overlap.recall()),
            iou: held(&|h| h.overlap.iou()),
        });
    }
    for (i, (draft, [own, other])) in drafts.iter().zip(scores.iter()).enumerate() {
        let Some(held) = own else { continue };
        units[draft.unit].labels.push(Label {
            explainer: explainer.to_string(),
            text: text(explainer, &draft.rule),
            rule: draft.rule.clone(),
            selection: draft.selection,
            held: held.clone(),
            permuted: other.as_ref().map_or(f64::NAN, |h| h.auroc),
            chance: level(draft),
            p: verdicts[0][i].0,
            holds: verdicts[0][i].1,
        });
    }
    Ok(layers)
}

/// For every draft another one of the same site and side, each taken once: the permuted labels.
fn others(traces: &[(UnitId, Trace)], drafts: &[Draft], seed: u64) -> Vec<Option<usize>> {
    let family = |i: usize| (traces[drafts[i].unit].0.watch, traces[drafts[i].unit].0.sign);
    let mut families: std::collections::BTreeMap<(usize, Sign), Vec<usize>> = Default::default();
    (0..drafts.len()).for_each(|i| families.entry(family(i)).or_default().push(i));
    let mut others = vec![None; drafts.len()];
    for (row, members) in families.into_values().enumerate().filter(|(_, m)| m.len() > 1) {
        let order = permutation(members.len(), seed, row as u64);
        for (k, at) in order.iter().enumerate() {
            others[members[*at]] = Some(members[order[(k + 1) % order.len()]]);
        }
    }
    others
}

fn text(explainer: &str, rule: &Rule) -> String {
    let rule = rule.to_string();
    match rule.strip_prefix("before the token") {
        Some(rest) if explainer == PROMOTES => {
            format!("promotes {}", rest.trim_start_matches('s').trim_start())
        }
        _ => rule,
    }
}

/// The middle value; NaN of none.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.filter(|x| !x.is_nan()).collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}
