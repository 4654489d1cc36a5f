//! The parts of the claim, and what is shown.

use super::lesion::SHORT;
use super::plan::Over;
use super::{Found, Imitated, Lesions, Remembered, Score};
use crate::analysis::reservoir::over_networks;
use crate::analysis::{Estimate, Figures};
use crate::report::chart::{Axis, Chart, Line, Plot};
use crate::report::{Better, Block, Cell, Column, Judged, Report, Table};

/// What one network gains over another before it counts: AUROC, explained variance and accuracy.
const MARGIN: f64 = 0.01;

impl Found {
    /// An arm of the imitation.
    fn arm(&self, name: &str) -> Option<&Imitated> {
        self.imitated.iter().find(|i| i.arm.name == name)
    }

    fn by_memory(&self) -> impl Iterator<Item = (usize, &Imitated)> {
        let own = self.imitated.iter().filter(|i| i.arm.over == Over::Memory);
        self.plan.memory.iter().copied().zip(own)
    }

    fn largest(&self) -> Option<&Imitated> {
        self.by_memory().last().map(|(_, arm)| arm)
    }

    /// Mean of what edits cost over seeds.
    fn cost(&self, of: impl Fn(&Lesions) -> f64) -> f64 {
        over_networks(&self.lesions.iter().map(of).collect::<Vec<_>>()).value
    }

    /// The parts of the claim.
    pub fn verdicts(&self) -> Vec<Judged> {
        let mut verdicts = self.growth();
        if let Some(own) = self.largest() {
            for other in self.imitated.iter().filter(|i| i.arm.over == Over::Lstm) {
                let (lstm, beside) = other.arm.name.split_once(" beside ").unwrap_or(("LSTM", ""));
                let own = self.arm(beside).unwrap_or(own);
                verdicts.push(Judged::claim(
                    format!("{beside} imitates spikes better than the {lstm} of as many weights"),
                    own.auc().value > other.auc().value,
                    4,
                    &[("neuron", own.auc().value), ("LSTM", other.auc().value)],
                ));
            }
            for other in self.imitated.iter().filter(|i| i.arm.over == Over::TauMax && i.arm.name == "tau_max 20") {
                verdicts.push(Judged::claim(
                    "time constants up to 20 ms, below the neuron's own of 60 and 120, explain less of the soma",
                    own.soma().value > other.soma().value + MARGIN,
                    3,
                    &[("up to 150 ms", own.soma().value), ("up to 20 ms", other.soma().value)],
                ));
            }
        }
        verdicts.extend(self.plan.recall.iter().flat_map(|(task, gap)| {
            let own: Vec<&Remembered> = self.remembered.iter().filter(|r| r.task == *task && r.gap == *gap).collect();
            over_a_gap(&own, *gap)
        }));
        if !self.lesions.is_empty() {
            let (slow, fast) = (self.cost(|l| l.intact.soma - l.slow.soma), self.cost(|l| l.intact.soma - l.fast.soma));
            verdicts.push(Judged::claim(
                "edited in the trained neuron: slow time constants shortened cost more than fast ones by the same factors",
                slow > fast,
                3,
                &[("soma, slow", slow), ("soma, fast", fast)],
            ));
            let worst = |scores: &[Score], intact: Score| {
                scores.iter().map(|s| intact.auc - s.auc).fold(f64::NEG_INFINITY, f64::max)
            };
            let least = |l: &Lesions| l.branches.iter().map(|s| l.intact.auc - s.auc).fold(f64::INFINITY, f64::min);
            let (lowest, highest) = (self.cost(least), self.cost(|l| worst(&l.branches, l.intact)));
            verdicts.push(Judged::claim(
                "edited in the trained neuron: every branch that is cut costs AUROC",
                lowest > 0.0,
                4,
                &[("least cost", lowest), ("largest", highest)],
            ));
        }
        verdicts
    }

    /// A steep rise with memory, then a ceiling.
    fn growth(&self) -> Vec<Judged> {
        let curve: Vec<(usize, f64, f64)> =
            self.by_memory().map(|(d, arm)| (d, arm.auc().value, arm.soma().value)).collect();
        let (Some(first), Some(last)) = (curve.first(), curve.last()) else { return Vec::new() };
        if curve.len() < 3 {
            return Vec::new();
        }
        let (middle, before) = (curve[curve.len() / 2], curve[curve.len() - 2]);
        let named = |of: fn(&(usize, f64, f64)) -> f64| -> Vec<(String, f64)> {
            curve.iter().map(|point| (format!("d_m {}", point.0), of(point))).collect()
        };
        let claim = |name: String, holds: bool, figures: Vec<(String, f64)>| {
            let figures: Vec<(&str, f64)> = figures.iter().map(|(name, x)| (name.as_str(), *x)).collect();
            Judged::claim(name, holds, 4, &figures)
        };
        let (auc, soma) = (last.1 - first.1, last.2 - first.2);
        vec![
            claim(
                format!("the AUROC of spikes rises by more than {MARGIN} from d_m {} to {}", first.0, last.0),
                auc > MARGIN,
                named(|p| p.1),
            ),
            claim(
                format!(
                    "more than half of that is there at d_m {}, and less than a quarter comes after {}",
                    middle.0, before.0
                ),
                middle.1 - first.1 > 0.5 * auc && last.1 - before.1 < 0.25 * auc,
                vec![
                    (format!("share at d_m {}", middle.0), (middle.1 - first.1) / auc),
                    (format!("share after d_m {}", before.0), (last.1 - before.1) / auc),
                ],
            ),
            claim(
                format!("so does what is explained of the soma, from d_m {} to {}", first.0, last.0),
                soma > MARGIN && middle.2 - first.2 > 0.5 * soma,
                named(|p| p.2),
            ),
        ]
    }
}

/// Whether a task is learnt with long time constants alone, and better than by an LSTM.
fn over_a_gap(arms: &[&Remembered], gap: usize) -> Vec<Judged> {
    let neurons: Vec<&&Remembered> = arms.iter().filter(|r| r.arm.over == Over::TauMax).collect();
    let (Some(short), Some(long)) = (neurons.first(), neurons.last()) else { return Vec::new() };
    let task = long.name();
    let chance = long.task.answers() as f64;
    let chance = if long.task.answers() == crate::data::events::ITEMS { chance.recip() } else { 0.1 };
    let (low, high) = (short.share().value, long.share().value);
    let mut verdicts = vec![
        Judged::claim(
            format!("{task}: a neuron with {} answers above three times chance", long.arm.name),
            high > 3.0 * chance,
            3,
            &[("right", high), ("chance", chance)],
        ),
        Judged::claim(
            format!("{task}: with {} below the gap of {gap} it is within 5 points of chance", short.arm.name),
            (low - chance).abs() < 0.05,
            3,
            &[("right", low), ("chance", chance)],
        ),
    ];
    for lstm in arms.iter().filter(|r| r.arm.over == Over::Lstm) {
        let other = lstm.share().value;
        verdicts.push(Judged::claim(
            format!("{task}: the neuron does better than the {} of as many weights", lstm.arm.name),
            high > other,
            3,
            &[("neuron", high), ("LSTM", other)],
        ));
    }
    verdicts
}

impl Remembered {
    fn name(&self) -> String {
        let task = match self.task {
            crate::data::events::Recall::Delayed => "recall",
            crate::data::events::Recall::Adding => "adding",
        };
        format!("{task} over {} steps", self.gap)
    }
}

impl Figures for Found {
    fn figures(&self) -> Vec<(String, f64)> {
        let mut figures = Vec::new();
        for arm in &self.imitated {
            let name = arm.arm.name.replace([' ', '.'], "_");
            figures.push((format!("{name}.auc"), arm.auc().value));
            figures.push((format!("{name}.soma"), arm.soma().value));
        }
        for r in &self.remembered {
            figures.push((format!("{}.{}", r.name(), r.arm.name).replace(' ', "_"), r.share().value));
        }
        if !self.lesions.is_empty() {
            figures.push(("shortened.slow.soma".into(), self.cost(|l| l.intact.soma - l.slow.soma)));
            figures.push(("shortened.fast.soma".into(), self.cost(|l| l.intact.soma - l.fast.soma)));
        }
        figures
    }
}

impl Report for Found {
    fn blocks(&self) -> Vec<Block> {
        let plan = &self.plan;
        let networks = if plan.seeds == 1 {
            "one network of each kind (no interval)".into()
        } else {
            format!("{} networks of each kind", plan.seeds)
        };
        let mut blocks = vec![Block::text(format!(
            "Neurons imitate a simulated one with {} branches of {} synapses that spikes at {:.1} Hz: {} trials of {} ms to learn \
             from, {} to be tested on, the first {} ms of each left out; {} updates of {} trials (Adam, {}, cosine); {networks}. \
             Intervals are Student's, 95 %, over networks. LSTMs begin with forget biases of 1; slow ones with units that keep up \
             to as many steps as the neuron's slowest.",
            crate::data::dendrites::BRANCHES,
            crate::data::dendrites::SYNAPSES,
            self.rate,
            plan.trials[0],
            plan.steps,
            plan.trials[1],
            plan.burn_in,
            plan.training.updates,
            plan.training.batch,
            plan.training.rate
        ))];
        blocks.push(self.curve());
        blocks.push(Block::text(
            "Published for NeuronIO, a biophysical model of a cortical cell with 1278 inputs: AUROC .9437 at d_m 1 (4,601 \
             weights), .9757 at 5, .9878 at 10, .9922 at 20, .9938 at 75. The authors' weights and that data are not part of \
             this, so that only the shape of the curve is compared.",
        ));
        blocks.push(Block::Table(self.table()));
        if !self.remembered.is_empty() {
            blocks.push(Block::heading("Over a gap"));
            blocks.push(Block::text(format!(
                "Items are bursts of events on 32 channels, 10 classes; recall asks for the class of one item after the gap, adding \
                 for the sum of two with the gap between them (the likeliest sum has probability 0.1). {} memory units, {} updates of \
                 {} new sequences.",
                plan.recall_memory, plan.recall_training.updates, plan.recall_training.batch
            )));
            blocks.push(Block::Table(self.gaps()));
        }
        if let Some(lesions) = self.lesions.first() {
            blocks.push(Block::heading("Edited while it runs"));
            blocks.push(Block::text(format!(
                "The largest neuron of the first seed. A memory unit held at 0 (elm.hook_mem) takes one time constant away; a branch \
                 held at 0 (elm.hook_branch) is a cut dendrite. The slower half of the time constants shortened to {SHORT} ms \
                 (elm.hook_tau) leaves a soma R2 of {:.3} of {:.3}; the faster half shortened by the same factors {:.3}. Shortening \
                 also raises lambda (1 - kappa_m), by which proposals move memory.",
                lesions.slow.soma, lesions.intact.soma, lesions.fast.soma
            )));
            blocks.push(units(lesions));
            blocks.push(Block::Table(branches(lesions)));
        }
        blocks
    }
}

impl Found {
    fn curve(&self) -> Block {
        let line = |name: &str, of: fn(&Imitated) -> Estimate| Line {
            name: name.to_string(),
            points: self.by_memory().map(|(d, arm)| (d as f64, of(arm).value)).collect(),
            band: self.by_memory().map(|(_, arm)| of(arm).ends()).collect(),
            reference: false,
        };
        Block::Chart(Chart {
            title: "Imitation against memory".to_string(),
            caption: "AUROC of spikes at 1 ms and explained variance of the soma on test trials.".to_string(),
            plot: Plot::Lines {
                x: Axis { log: true, ..Axis::new("d_m") },
                y: Axis::new("score"),
                series: vec![line("AUROC of spikes", Imitated::auc), line("R2 of the soma", Imitated::soma)],
            },
        })
    }

    fn table(&self) -> Table {
        let columns = vec![
            Column::new("network"),
            Column::new("weights"),
            Column::new("AUROC of spikes").better(Better::More),
            Column::new("R2 of the soma").better(Better::More),
        ];
        let row = |i: &Imitated| vec![Cell::text(&i.arm.name), Cell::count(i.count), i.auc().cell(4), i.soma().cell(3)];
        Table { columns, rows: self.imitated.iter().map(row).collect() }
    }

    fn gaps(&self) -> Table {
        let columns = vec![
            Column::new("task"),
            Column::new("network"),
            Column::new("weights"),
            Column::new("right").better(Better::More),
        ];
        let row = |r: &Remembered| {
            vec![Cell::text(r.name()), Cell::text(&r.arm.name), Cell::count(r.count), r.share().cell(3)]
        };
        Table { columns, rows: self.remembered.iter().map(row).collect() }
    }
}

/// What each memory unit is worth, against its time constant.
fn units(lesions: &Lesions) -> Block {
    let line = |name: &str, of: fn(&Score) -> f64| Line {
        name: name.to_string(),
        points: lesions.units.iter().map(|(tau, s)| (*tau, of(&lesions.intact) - of(s))).collect(),
        band: Vec::new(),
        reference: false,
    };
    Block::Chart(Chart {
        title: "What is lost with one memory unit at 0".to_string(),
        caption: "Against the unit's time constant; the neuron is not trained again.".to_string(),
        plot: Plot::Lines {
            x: Axis { log: true, ..Axis::new("tau_m (ms)") },
            y: Axis::new("loss"),
            series: vec![line("AUROC of spikes", |s| s.auc), line("R2 of the soma", |s| s.soma)],
        },
    })
}

fn branches(lesions: &Lesions) -> Table {
    let columns = vec![Column::new("branch cut"), Column::new("AUROC of spikes"), Column::new("R2 of the soma")];
    let number = |value, digits| Cell::Number { value, digits };
    let row = |name: String, s: &Score| vec![Cell::text(name), number(s.auc, 4), number(s.soma, 3)];
    let cut = lesions.branches.iter().enumerate().map(|(p, s)| row(p.to_string(), s));
    Table { columns, rows: std::iter::once(row("none".into(), &lesions.intact)).chain(cut).collect() }
}
