//! The experiment of the paper: all conditions side by side, strengths and progress on the way, heads one by one, more
//! classes and more labels, and the toy model.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::clamps::Condition;
use super::report::{curves, strengths_chart};
use super::run::{
    Curve, Evaluation, Formed, Moment, Options, Task, accuracy_by_head, evaluate, side_by_side, strengths,
};
use super::toy::{Clamped, Toy, toy};
use crate::Result;
use crate::analysis::Figures;
use crate::data::fewshot::{Draw, FewShotConfig};
use crate::report::chart::{Axis, Line, Plot};
use crate::report::{Block, Cell, Chart, Column, Figure, Judged, Report, Table, Verdict, number};

/// The loss at which a condition counts as learnt, nats.
pub const LEARNT: f64 = 0.25;
/// The plateau: around ln 2, guessing among the two labels in context.
pub const PLATEAU: (f64, f64) = (0.6, 0.8);
/// Sequences that trained networks are judged on.
const JUDGED: usize = 2048;

/// How much of the experiment is carried out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Adam's learning rate.
    pub rate: f64,
    /// Updates with all heads.
    pub free: u64,
    /// Updates of every clamp.
    pub clamps: u64,
    /// Updates with more classes or labels.
    pub scaling: u64,
    /// Classes of the second comparison, beside 50.
    pub classes: Vec<usize>,
    /// Labels of the third one, beside 5.
    pub labels: Vec<usize>,
    /// Seeds of the clamps; everything else is done with the first.
    pub seeds: Vec<u64>,
}

impl Plan {
    /// One seed at three times the paper's learning rate, in about two minutes on two cores.
    pub fn quick(seed: u64) -> Self {
        Self {
            rate: 3e-5,
            free: 5000,
            clamps: 5000,
            scaling: 2500,
            classes: vec![200],
            labels: vec![15],
            seeds: vec![seed],
        }
    }

    /// The paper's learning rate, three seeds of the clamps.
    pub fn full(seed: u64) -> Self {
        Self {
            rate: 1e-5,
            free: 31_250,
            clamps: 18_750,
            scaling: 9_000,
            classes: vec![100, 200],
            labels: vec![10, 15],
            seeds: vec![seed, seed + 1, seed + 2],
        }
    }

    /// How many networks are trained.
    pub fn trainings(&self) -> usize {
        1 + Condition::CLAMPS.len() * self.seeds.len() + 2 * (1 + self.classes.len() + self.labels.len())
    }

    fn options(&self, updates: u64, seed: u64, look: u64) -> Options {
        let window = (updates / 120).clamp(20, 100);
        Options { rate: self.rate, updates, batch: 32, window, look, seed }
    }
}

/// One trained condition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trained {
    /// What was clamped.
    pub condition: Condition,
    /// Classes of the data.
    pub classes: usize,
    /// Labels of the data.
    pub labels: usize,
    /// Seed.
    pub seed: u64,
    /// Its loss.
    pub curve: Curve,
}

impl Trained {
    /// Sequences until the loss was [`LEARNT`].
    pub fn learnt(&self) -> Option<f64> {
        self.curve.reached(LEARNT)
    }

    /// The share of these sequences that the loss spent on the plateau.
    pub fn plateau(&self) -> Option<f64> {
        self.learnt().map(|at| self.curve.stay(PLATEAU.0, PLATEAU.1) / at)
    }
}

/// What the experiment found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Experiment {
    /// What was done.
    pub plan: Plan,
    /// With all heads and nothing clamped.
    pub free: Trained,
    /// Looks at that network on the way.
    pub moments: Vec<Moment>,
    /// Its evaluations: training sequences, held-out label pairs, exemplars and classes.
    pub evaluations: [Evaluation; 4],
    /// Its heads' induction strengths.
    #[serde(with = "number::nested")]
    pub strengths: Vec<f64>,
    /// Its accuracy with one head of layer 1 alone.
    #[serde(with = "number::nested")]
    pub alone: Vec<f64>,
    /// Its loss with the strongest head alone, the two strongest, and so on.
    #[serde(with = "number::nested")]
    pub added: Vec<f64>,
    /// The clamps, seed by seed, in the order of [`Condition::CLAMPS`].
    pub clamps: Vec<Trained>,
    /// B alone (layer 1 + copy) and C alone (match) with more classes and more labels, and as in the paper's main task.
    pub scaling: Vec<Trained>,
    /// The toy model with nothing, one and two factors clamped.
    pub toys: Vec<Toy>,
}

/// Carries the experiment out; `done` hears how many trainings of how many are over.
///
/// # Errors
/// A training whose loss is no finite number.
pub fn experiment(plan: &Plan, done: &(dyn Fn(usize, usize) + Sync)) -> Result<Experiment> {
    let first = plan.seeds.first().copied().unwrap_or(0);
    let task = |condition, classes, labels, seed| {
        let data = FewShotConfig { held_out: 50, ..FewShotConfig::paper(classes, labels, seed) };
        Task { data, condition, live: 0 }
    };
    let mut tasks = vec![(task(Condition::Free, 50, 5, first), plan.options(plan.free, first, 4))];
    for seed in &plan.seeds {
        for condition in Condition::CLAMPS {
            tasks.push((task(condition, 50, 5, *seed), plan.options(plan.clamps, *seed, 0)));
        }
    }
    let clamps_end = tasks.len();
    let sizes = [(50, 5)].into_iter();
    let sizes = sizes.chain(plan.classes.iter().map(|c| (*c, 5))).chain(plan.labels.iter().map(|l| (50, *l)));
    for (classes, labels) in sizes {
        for condition in [Condition::Layer1Copy, Condition::Match] {
            tasks.push((task(condition, classes, labels, first), plan.options(plan.scaling, first, 0)));
        }
    }
    let all = tasks.len();
    let formed = side_by_side(&tasks, &|n| done(n, all))?;
    let trained = |f: &Formed| Trained {
        condition: f.task.condition,
        classes: f.task.data.classes,
        labels: f.task.data.labels,
        seed: f.task.data.seed,
        curve: f.curve.clone(),
    };
    let free = &formed[0];
    let net = free.network()?;
    let heads = net.config().n_heads;
    let as_it_is = Condition::Free.run(heads, 0)?;
    let judge = |draw: Draw| evaluate(&net, &as_it_is, &free.data.batch(draw, u64::MAX - 1, JUDGED));
    let episodes = free.data.batch(Draw::Train, u64::MAX - 1, JUDGED);
    let (alone, added) = accuracy_by_head(&net, &episodes)?;
    Ok(Experiment {
        plan: plan.clone(),
        free: trained(free),
        moments: free.moments.clone(),
        evaluations: [judge(Draw::Train)?, judge(Draw::Relabel)?, judge(Draw::Exemplars)?, judge(Draw::Classes)?],
        strengths: strengths(&net, &episodes)?.0,
        alone,
        added,
        clamps: formed[1..clamps_end].iter().map(trained).collect(),
        scaling: formed[clamps_end..].iter().map(trained).collect(),
        toys: [Clamped::None, Clamped::C, Clamped::BAndC].map(|c| toy(c, 20, 1.0, 0.1, 1000, first)).to_vec(),
    })
}

impl Experiment {
    /// Sequences until a clamp was learnt, mean over seeds; `None` if it was not with one of them.
    pub fn learnt(&self, condition: Condition) -> Option<f64> {
        self.mean(condition, Trained::learnt)
    }

    /// Share of these on the plateau, mean over seeds.
    pub fn plateau(&self, condition: Condition) -> Option<f64> {
        self.mean(condition, Trained::plateau)
    }

    fn mean(&self, condition: Condition, of: fn(&Trained) -> Option<f64>) -> Option<f64> {
        let own: Vec<f64> = self.clamps.iter().filter(|t| t.condition == condition).map(of).collect::<Option<_>>()?;
        (!own.is_empty()).then(|| own.iter().sum::<f64>() / own.len() as f64)
    }

    /// Sequences until a condition was learnt with so many classes and labels.
    fn scaled(&self, condition: Condition, classes: usize, labels: usize) -> Option<f64> {
        let found = |t: &&Trained| t.condition == condition && t.classes == classes && t.labels == labels;
        self.scaling.iter().find(found).and_then(Trained::learnt)
    }

    /// The parts of the claim.
    pub fn verdicts(&self) -> Vec<Judged> {
        let mut verdicts = Vec::new();
        let mut judge = |name: &str, holds: Option<bool>, figures: Vec<(String, Option<f64>)>| {
            let figures = figures.into_iter().map(|(name, value)| {
                Figure::new(name, value.map_or(Cell::Empty, |value| Cell::Number { value, digits: 3 }))
            });
            let (verdict, reason) = match holds {
                Some(true) => (Verdict::Passed, ""),
                Some(false) => (Verdict::Failed, "the figures say otherwise"),
                None => (Verdict::Failed, "a condition did not learn in the updates that it was given"),
            };
            verdicts.push(Judged { name: name.into(), verdict, reason: reason.into(), figures: figures.collect() });
        };
        let free = self.free.plateau();
        judge(
            "unclamped training waits near ln 2 and then drops",
            free.map(|share| share > 0.1),
            vec![("share of the way on the plateau".into(), free), ("learnt at".into(), self.free.learnt())],
        );
        let at = |c: Condition| self.learnt(c);
        for (slower, faster) in [
            (Condition::None, Condition::Step1),
            (Condition::Step1, Condition::Layer1),
            (Condition::Layer1, Condition::Copy),
            (Condition::Layer1, Condition::Match),
            (Condition::Copy, Condition::Layer1Copy),
        ] {
            judge(
                &format!("\"{}\" learns later than \"{}\"", slower.name(), faster.name()),
                at(slower).zip(at(faster)).map(|(a, b)| a > b),
                vec![(slower.name().into(), at(slower)), (faster.name().into(), at(faster))],
            );
        }
        let plateau = |c: Condition| self.plateau(c);
        for condition in [Condition::Match, Condition::Layer1Copy] {
            judge(
                &format!("\"{}\" has less of a plateau than no clamp", condition.name()),
                plateau(condition).zip(plateau(Condition::None)).map(|(a, b)| a < 0.5 * b),
                vec![(condition.name().into(), plateau(condition)), ("none".into(), plateau(Condition::None))],
            );
        }
        let several = self.strengths.iter().filter(|s| **s > 0.2).count();
        judge(
            "several heads become induction heads",
            Some(several >= 3),
            vec![("heads of a strength above 0.2".into(), Some(several as f64))],
        );
        let (one, whole) = (self.added.first().copied(), self.added.last().copied());
        judge(
            "heads add up: all of them lose less than the strongest alone",
            one.zip(whole).map(|(a, b)| a > b),
            vec![("strongest alone".into(), one), ("all".into(), whole)],
        );
        let (b, c) = (Condition::Layer1Copy, Condition::Match);
        let most = self.plan.classes.last().copied().unwrap_or(50);
        let growth = |condition: Condition, classes: usize, labels: usize| {
            self.scaled(condition, classes, labels).zip(self.scaled(condition, 50, 5)).map(|(a, b)| a / b)
        };
        let (of_b, of_c) = (growth(b, most, 5), growth(c, most, 5));
        judge(
            &format!("{most} classes delay the match (B) more than the copy (C)"),
            of_b.zip(of_c).map(|(b, c)| b > c && b > 1.0),
            vec![("B, times as long".into(), of_b), ("C, times as long".into(), of_c)],
        );
        let most = self.plan.labels.last().copied().unwrap_or(5);
        let (of_b, of_c) = (growth(b, 50, most), growth(c, 50, most));
        judge(
            &format!("{most} labels delay the copy (C) more than the match (B)"),
            of_b.zip(of_c).map(|(b, c)| c > b && c > 1.0),
            vec![("C, times as long".into(), of_c), ("B, times as long".into(), of_b)],
        );
        verdicts
    }

    fn clamp_table(&self) -> Block {
        let paper = [325, 225, 85, 45, 35, 30];
        let rows = Condition::CLAMPS.iter().zip(paper).map(|(c, paper)| {
            let at =
                self.learnt(*c).map_or(Cell::text("not learnt"), |v| Cell::Number { value: v / 1000.0, digits: 1 });
            let share = self.plateau(*c).map_or(Cell::Empty, |value| Cell::Number { value, digits: 2 });
            vec![Cell::text(c.name()), at, Cell::count(paper), share]
        });
        let columns = [
            "clamped",
            "loss 0.25 at, thousands of sequences",
            "the paper's figure, learning rate 1e-5",
            "share of that on the plateau",
        ];
        Block::Table(Table { columns: columns.map(Column::new).to_vec(), rows: rows.collect() })
    }

    fn head_table(&self) -> Block {
        let number = |value: f64| Cell::Number { value, digits: 3 };
        let rows = self.strengths.iter().zip(&self.alone).enumerate();
        let rows = rows.map(|(h, (s, a))| vec![Cell::count(h), number(*s), number(*a)]);
        let columns = ["head of layer 1", "induction strength", "accuracy with it alone"];
        Block::Table(Table { columns: columns.map(Column::new).to_vec(), rows: rows.collect() })
    }

    fn evaluation_table(&self) -> Block {
        let names = ["training sequences", "held-out label pairs", "held-out exemplars", "held-out classes"];
        let number = |value: f64| Cell::Number { value, digits: 3 };
        let rows = names.iter().zip(&self.evaluations);
        let rows = rows.map(|(n, e)| vec![Cell::text(*n), number(e.loss), number(e.accuracy), number(e.in_context)]);
        let columns = ["all heads, on", "loss", "accuracy", "accuracy among the two labels in context"];
        Block::Table(Table { columns: columns.map(Column::new).to_vec(), rows: rows.collect() })
    }

    fn scaling_table(&self) -> Block {
        let rows = self.scaling.iter().map(|t| {
            let part = if t.condition == Condition::Match { "C (match clamped)" } else { "B (layer 1 + copy clamped)" };
            let at = t.learnt().map_or(Cell::text("not learnt"), |v| Cell::Number { value: v / 1000.0, digits: 1 });
            vec![Cell::text(part), Cell::count(t.classes), Cell::count(t.labels), at]
        });
        let columns = ["what is learnt", "classes", "labels", "loss 0.25 at, thousands of sequences"];
        Block::Table(Table { columns: columns.map(Column::new).to_vec(), rows: rows.collect() })
    }
}

/// A curve with its name.
fn own(t: &Trained) -> (String, &Curve) {
    (t.condition.name().to_string(), &t.curve)
}

fn lines(title: &str, caption: &str, x: &str, y: &str, series: Vec<(String, Vec<(f64, f64)>)>) -> Block {
    let series = series.into_iter().map(|(name, points)| Line { name, points, band: Vec::new(), reference: false });
    Block::Chart(Chart {
        title: title.to_string(),
        caption: caption.to_string(),
        plot: Plot::Lines { x: Axis::new(x), y: Axis::new(y), series: series.collect() },
    })
}

impl Figures for Experiment {
    fn figures(&self) -> Vec<(String, f64)> {
        let mut figures = Vec::new();
        for condition in Condition::CLAMPS {
            let at = self.learnt(condition).unwrap_or(f64::INFINITY);
            figures.push((format!("learnt.{}", condition.figure()), at));
        }
        figures.push(("learnt.free".into(), self.free.learnt().unwrap_or(f64::INFINITY)));
        figures.push(("strength.max".into(), self.strengths.iter().copied().fold(f64::NEG_INFINITY, f64::max)));
        for (name, e) in ["train", "relabel", "exemplars", "classes"].iter().zip(&self.evaluations) {
            figures.push((format!("loss.{name}"), e.loss));
        }
        figures
    }
}

impl Report for Experiment {
    fn blocks(&self) -> Vec<Block> {
        let first = self.plan.seeds.first().copied().unwrap_or(0);
        let clamps = self.clamps.iter().filter(|t| t.seed == first).map(own);
        let on_the_way = |of: fn(&Moment) -> f64| self.moments.iter().map(|m| (m.sequences, of(m))).collect();
        let toys = self.toys.iter().zip(["nothing clamped", "c clamped", "b and c clamped"]);
        let toys =
            toys.map(|(t, name)| (name.to_string(), t.loss.iter().enumerate().map(|(i, l)| (i as f64, *l)).collect()));
        let added = self.added.iter().enumerate().map(|(n, l)| ((n + 1) as f64, *l)).collect();
        vec![
            Block::text(format!(
                "A two-layer network without MLPs learns to give an exemplar the label that its class has in context: Gaussian \
                 classes, Adam at {:e}, batches of 32, {} seed(s) of the clamps. In each condition but \"free\" one head of \
                 the second layer is left.",
                self.plan.rate,
                self.plan.seeds.len()
            )),
            Block::heading("Loss under each clamp"),
            curves("Loss under each clamp", "Means over windows of updates; the first seed.", clamps),
            self.clamp_table(),
            Block::heading("All heads, nothing clamped"),
            curves("Loss with all heads", "", std::iter::once(own(&self.free))),
            strengths_chart(
                "Induction strength of each head of the second layer",
                "Attention of the query to the right label minus that to the other one.",
                &self.moments,
                |m| &m.strengths,
            ),
            strengths_chart(
                "Attention of each head of the first layer to the token before",
                "From the label positions.",
                &self.moments,
                |m| &m.previous,
            ),
            lines(
                "Progress measure",
                "The same network with every head of the second layer attending to the right label: part C by itself.",
                "sequences seen",
                "loss, nats",
                vec![("as it is".into(), on_the_way(|m| m.loss)), ("match given".into(), on_the_way(|m| m.matched))],
            ),
            self.evaluation_table(),
            self.head_table(),
            lines(
                "Heads added in order of strength",
                "All other heads of the second layer ablated, after training.",
                "heads",
                "loss, nats",
                vec![("loss".into(), added)],
            ),
            Block::heading("More classes, more labels"),
            self.scaling_table(),
            Block::heading("A toy of three factors"),
            lines(
                "Gradient descent on a (x) b (x) c",
                "20 dimensions each, learning rate 1; the truth is Gaussian, the start a tenth of it.",
                "step",
                "loss",
                toys.collect(),
            ),
        ]
    }
}
