//! Which labels matter: what the network loses without neurons chosen by what their labels are like, and without those of
//! one label, at the tokens that it names and elsewhere. On validation documents, which no label was made or scored on.
//!
//! A neuron is silenced by setting its `mlp.hook_post` to zero, whichever of its sides was labelled; of two labels it has
//! the one with the higher AUROC. Random neurons are the control: of all layers for curves, of the same layers for labels.

use std::collections::BTreeMap;

use candle_core::DType;
use serde::{Deserialize, Serialize};

use super::run::{Evidence, Labelled};
use super::text::{Columns, Label, Piece, RULES, Reading, Split};
use crate::Result;
use crate::analysis::scan::Kind;
use crate::analysis::{Estimate, registry};
use crate::hook::random::Stream;
use crate::hook::{Edit, Pass};
use crate::models::execute::observe;
use crate::models::{Input, Model, Side, Tokens};
use crate::report::chart::{Axis, Line, Plot};
use crate::report::{Block, Cell, Chart, Column, Progress, Table};

/// Shares of all neurons that are silenced.
const SHARES: [f64; 4] = [0.02, 0.05, 0.1, 0.2];
/// Draws of random neurons.
const DRAWS: usize = 5;
/// Labels that are looked at by themselves, and fewest neurons of one.
const GROUPS: usize = 8;
const LEAST: usize = 3;
/// Tokens of a batch.
const BATCH: usize = 2048;

/// An order of neurons by a property of their labels, first the largest.
type Property = (&'static str, fn(&Label) -> f64);

const PROPERTIES: [Property; 4] = [
    ("AUROC", |l| l.held.auroc),
    ("coverage", |l| l.held.overlap.recall()),
    ("specific: fewest tokens", |l| -(l.held.overlap.concept as f64)),
    ("long: most parts", |l| l.rule.parts() as f64),
];

/// What the network loses without labelled neurons.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ablation {
    /// Nats per token of the validation documents, undisturbed.
    pub base: Estimate,
    /// Neurons that have a label.
    pub labelled: usize,
    /// By property.
    pub curves: Vec<Curve>,
    /// By label, those that most neurons have.
    pub groups: Vec<Group>,
}

/// Losses without more and more neurons.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// The property that orders the neurons; `random` for the control.
    pub property: String,
    /// Share of all neurons.
    pub shares: Vec<f64>,
    /// Nats per token more than undisturbed; the control's mean and range over draws.
    pub losses: Vec<Estimate>,
}

/// What the neurons of one label do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// The label.
    pub label: String,
    /// Neurons.
    pub neurons: usize,
    /// Nats more per token at which the label holds.
    pub at: Estimate,
    /// Nats more per other token.
    pub elsewhere: Estimate,
    /// The first with as many random neurons of the same layers, on average.
    pub random_at: f64,
    /// The second with these.
    pub random_elsewhere: f64,
}

/// A neuron: watched site and number.
type Neuron = (usize, usize);

/// The validation documents under the network: nats of the token after every place.
struct Losses<'a> {
    model: &'a Model,
    evidence: &'a Evidence,
    pieces: Vec<&'a Piece>,
}

impl Losses<'_> {
    /// (place, nats) of every counted place whose next token is in its piece, without these neurons.
    fn without(&self, neurons: &[Neuron]) -> Result<Vec<(usize, f64)>> {
        let mut by_site: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        neurons.iter().for_each(|(watch, number)| by_site.entry(*watch).or_default().push(*number));
        let mut edits = Vec::new();
        for (watch, mut numbers) in by_site {
            numbers.sort_unstable();
            numbers.dedup();
            let list: Vec<String> = numbers.iter().map(ToString::to_string).collect();
            let site = &self.evidence.watches[watch].site;
            edits.push(Edit::new(format!("{site}[neuron={}]", list.join(",")).parse()?, "zero"));
        }
        let pass = Pass { edits, ..Pass::default() };
        let mut out = Vec::new();
        let reading = &self.evidence.reading;
        let mut rest = self.pieces.as_slice();
        while !rest.is_empty() {
            // Shortest first, so the last of a batch is its longest.
            let fits = (1..=rest.len()).take_while(|n| *n == 1 || n * rest[n - 1].places.len() <= BATCH).last();
            let (batch, tail) = rest.split_at(fits.unwrap_or(1));
            rest = tail;
            let rows: Vec<Vec<u32>> = batch.iter().map(|p| reading.tokens[p.places.clone()].to_vec()).collect();
            let input = Input::Tokens(Tokens::from_rows(&rows, Side::Right, self.model.pad())?);
            let logits = observe(&self.model.decoder, &input, &pass, &registry())?.output; // [batch, pos, vocab]
            for (row, piece) in batch.iter().enumerate() {
                let logits = logits.narrow(0, row, 1)?.squeeze(0)?.to_dtype(DType::F32)?.to_vec2::<f32>()?;
                for (place, logits) in piece.places.clone().zip(&logits).take(piece.places.len() - 1) {
                    if reading.counted.contains(place + 1) {
                        out.push((place, nats(logits, reading.tokens[place + 1])));
                    }
                }
            }
        }
        Ok(out)
    }
}

fn nats(logits: &[f32], right: u32) -> f64 {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f64 = logits.iter().map(|x| f64::from(x - most).exp()).sum();
    total.ln() - f64::from(logits.get(right as usize).copied().unwrap_or(f32::NEG_INFINITY) - most)
}

/// The mean change per token over places that are wanted, documents drawn anew for the interval.
fn change(
    reading: &Reading,
    base: &[(usize, f64)],
    now: &[(usize, f64)],
    wanted: impl Fn(usize) -> bool,
    seed: u64,
) -> Estimate {
    let mut documents: BTreeMap<u64, (f64, f64)> = BTreeMap::new();
    for ((place, before), (_, after)) in base.iter().zip(now).filter(|((place, _), _)| wanted(*place)) {
        let sums = documents.entry(reading.document(*place).map_or(0, |d| d.number)).or_default();
        *sums = (sums.0 + after - before, sums.1 + 1.0);
    }
    Estimate::ratio(&documents.into_values().collect::<Vec<_>>(), seed)
}

/// Silences neurons by their labels.
///
/// # Errors
/// Whatever the network refuses.
pub fn ablate(
    model: &Model,
    evidence: &Evidence,
    labelled: &Labelled,
    seed: u64,
    progress: &Progress,
) -> Result<Ablation> {
    let reading = &evidence.reading;
    let mut pieces: Vec<&Piece> =
        reading.pieces.iter().filter(|p| reading.documents[p.document].split == Split::Validation).collect();
    pieces.sort_by_key(|p| (p.places.len(), p.places.start));
    let losses = Losses { model, evidence, pieces };
    let base = losses.without(&[])?;
    let neurons = of_neurons(evidence, labelled);
    let all: Vec<Neuron> = evidence
        .watches
        .iter()
        .enumerate()
        .filter(|(_, w)| w.kind == Kind::Neuron)
        .flat_map(|(watch, w)| w.numbers.iter().map(move |n| (watch, *n)))
        .collect();
    progress.task("silencing neurons by their labels");
    progress.begin((SHARES.len() * (PROPERTIES.len() + DRAWS)) as u64);
    let count = |share: f64| (share * all.len() as f64).round() as usize;
    let shares: Vec<f64> = SHARES.into_iter().filter(|s| (1..=neurons.len()).contains(&count(*s))).collect();
    let mut curves = Vec::new();
    for (name, property) in PROPERTIES {
        let mut order: Vec<(Neuron, f64)> = neurons.iter().map(|(n, label)| (*n, property(label))).collect();
        order.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let mut found = Vec::new();
        for share in &shares {
            let chosen: Vec<Neuron> = order.iter().take(count(*share)).map(|(n, _)| *n).collect();
            found.push(change(reading, &base, &losses.without(&chosen)?, |_| true, seed));
            progress.advance(1);
        }
        curves.push(Curve { property: name.to_string(), shares: shares.clone(), losses: found });
    }
    let mut random: Vec<Vec<f64>> = vec![Vec::new(); shares.len()];
    for draw in 0..DRAWS as u64 {
        let mut order = all.clone();
        Stream::new(seed, &[draw]).shuffle(&mut order);
        for (losses_of, share) in random.iter_mut().zip(&shares) {
            let now = losses.without(&order[..count(*share)])?;
            losses_of.push(change(reading, &base, &now, |_| true, seed).value);
            progress.advance(1);
        }
    }
    let over_draws = |values: Vec<f64>| {
        let ends = values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), x| (a.min(*x), b.max(*x)));
        Estimate { value: values.iter().sum::<f64>() / values.len() as f64, interval: Some(ends) }
    };
    let random = random.into_iter().map(over_draws).collect();
    curves.push(Curve { property: "random".to_string(), shares, losses: random });
    let zero: Vec<(usize, f64)> = base.iter().map(|(place, _)| (*place, 0.0)).collect();
    Ok(Ablation {
        groups: groups(&losses, &base, &neurons, seed)?,
        base: change(reading, &zero, &base, |_| true, seed),
        labelled: neurons.len(),
        curves,
    })
}

/// Every labelled neuron with the better of its sides' labels.
fn of_neurons<'l>(evidence: &Evidence, labelled: &'l Labelled) -> BTreeMap<Neuron, &'l Label> {
    let mut neurons: BTreeMap<Neuron, &Label> = BTreeMap::new();
    for ((id, _), unit) in evidence.traces.iter().zip(&labelled.units) {
        let neuron = evidence.watches[id.watch].kind == Kind::Neuron;
        let Some(label) = unit.by(RULES).filter(|l| l.holds && neuron) else { continue };
        let best = neurons.entry((id.watch, id.number)).or_insert(label);
        if label.held.auroc > best.held.auroc {
            *best = label;
        }
    }
    neurons
}

/// The commonest labels one by one.
fn groups(losses: &Losses, base: &[(usize, f64)], neurons: &BTreeMap<Neuron, &Label>, seed: u64) -> Result<Vec<Group>> {
    let reading = &losses.evidence.reading;
    let columns = Columns::of(reading);
    let mut by_text: BTreeMap<&str, Vec<Neuron>> = BTreeMap::new();
    neurons.iter().for_each(|(n, label)| by_text.entry(&label.text).or_default().push(*n));
    let mut common: Vec<(&str, Vec<Neuron>)> = by_text.into_iter().filter(|(_, n)| n.len() >= LEAST).collect();
    common.sort_by(|a, b| b.1.len().cmp(&a.1.len()).then(a.0.cmp(b.0)));
    let mut groups = Vec::new();
    for (text, members) in common.into_iter().take(GROUPS) {
        let holds = neurons[&members[0]].rule.holds(&columns)?;
        let now = losses.without(&members)?;
        let (at, other) = (|place: usize| holds.contains(place), |place: usize| !holds.contains(place));
        let (mut random_at, mut random_elsewhere) = (0.0, 0.0);
        for draw in 0..DRAWS {
            let now = losses.without(&others(losses.evidence, &members, seed, draw))?;
            random_at += change(reading, base, &now, at, seed).value / DRAWS as f64;
            random_elsewhere += change(reading, base, &now, other, seed).value / DRAWS as f64;
        }
        groups.push(Group {
            label: text.to_string(),
            neurons: members.len(),
            at: change(reading, base, &now, at, seed),
            elsewhere: change(reading, base, &now, other, seed),
            random_at,
            random_elsewhere,
        });
    }
    Ok(groups)
}

/// As many random neurons of every layer as the members are there, none of them a member.
fn others(evidence: &Evidence, members: &[Neuron], seed: u64, draw: usize) -> Vec<Neuron> {
    let mut chosen = Vec::new();
    for (watch, site) in evidence.watches.iter().enumerate() {
        let wanted = members.iter().filter(|(w, _)| *w == watch).count();
        let mut rest: Vec<Neuron> = site.numbers.iter().map(|n| (watch, *n)).filter(|n| !members.contains(n)).collect();
        Stream::new(seed, &[draw as u64, watch as u64]).shuffle(&mut rest);
        chosen.extend(rest.into_iter().take(wanted));
    }
    chosen
}

impl Ablation {
    pub(super) fn blocks(&self) -> Vec<Block> {
        let line = |curve: &Curve| {
            let points = || curve.shares.iter().zip(&curve.losses);
            Line {
                name: curve.property.clone(),
                points: points().map(|(s, l)| (100.0 * s, l.value)).collect(),
                band: points().map(|(_, l)| l.ends()).collect(),
                reference: curve.property == "random",
            }
        };
        let mut blocks = vec![
            Block::heading("What labels matter"),
            Block::text(format!(
                "Neurons set to zero, on validation documents ({:.3} nats per token undisturbed); {} neurons have a label \
                 that is more than chance. At each share the neurons whose labels have most of a property.",
                self.base.value, self.labelled
            )),
        ];
        if self.curves.iter().any(|c| !c.shares.is_empty()) {
            blocks.push(Block::Chart(Chart {
                title: "Loss without labelled neurons".to_string(),
                caption:
                    "Nats per token more than undisturbed; bands: documents drawn anew, for random neurons the range \
                          of five draws."
                        .to_string(),
                plot: Plot::Lines {
                    x: Axis::new("% of all neurons"),
                    y: Axis::new("nats per token"),
                    series: self.curves.iter().map(line).collect(),
                },
            }));
        }
        let row = |g: &Group| {
            vec![
                Cell::text(&g.label),
                Cell::count(g.neurons),
                g.at.cell(4),
                g.elsewhere.cell(4),
                Cell::Number { value: g.random_at, digits: 4 },
                Cell::Number { value: g.random_elsewhere, digits: 4 },
            ]
        };
        let names =
            ["label", "neurons", "nats, where it holds", "elsewhere", "random neurons, where it holds", "elsewhere"];
        if !self.groups.is_empty() {
            blocks.push(Block::Table(Table {
                columns: names.map(Column::new).to_vec(),
                rows: self.groups.iter().map(row).collect(),
            }));
        }
        blocks
    }
}
