//! What trainings look like.

use super::clamps::Condition;
use super::experiment::{Experiment, LEARNT, Trained};
use super::run::{Curve, Moment};
use crate::report::chart::{Axis, Line, Plot};
use crate::report::{Block, Cell, Chart, Column, Report, Table};

/// The losses of several trainings over the sequences that they saw.
pub fn curves<'a>(title: &str, caption: &str, named: impl Iterator<Item = (String, &'a Curve)>) -> Block {
    let mut longest = 0f64;
    let mut series: Vec<Line> = Vec::new();
    for (name, curve) in named {
        longest = curve.points.last().map_or(longest, |p| longest.max(p.0));
        series.push(Line { name, points: joined(&curve.points), band: Vec::new(), reference: false });
    }
    let guess = std::f64::consts::LN_2;
    series.push(Line {
        name: "guessing among the two labels, ln 2".into(),
        points: vec![(0.0, guess), (longest, guess)],
        band: Vec::new(),
        reference: true,
    });
    Block::Chart(Chart {
        title: title.to_string(),
        caption: caption.to_string(),
        plot: Plot::Lines { x: Axis::new("sequences seen"), y: Axis::new("loss, nats"), series },
    })
}

/// Points of a curve in a figure, at most.
const SHOWN: usize = 120;

/// Neighbouring points joined to their mean, where there are too many to be told apart.
fn joined(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mean = |part: &[(f64, f64)]| {
        let n = part.len() as f64;
        (part.iter().map(|p| p.0).sum::<f64>() / n, part.iter().map(|p| p.1).sum::<f64>() / n)
    };
    points.chunks(points.len().div_ceil(SHOWN).max(1)).map(mean).collect()
}

/// One number per head over training.
pub fn strengths_chart(title: &str, caption: &str, moments: &[Moment], of: impl Fn(&Moment) -> &Vec<f64>) -> Block {
    let heads = moments.first().map_or(0, |m| of(m).len());
    let line = |head: usize| Line {
        name: format!("head {head}"),
        points: moments.iter().map(|m| (m.sequences, of(m)[head])).collect(),
        band: Vec::new(),
        reference: false,
    };
    Block::Chart(Chart {
        title: title.to_string(),
        caption: caption.to_string(),
        plot: Plot::Lines {
            x: Axis::new("sequences seen"),
            y: Axis::new("attention"),
            series: (0..heads).map(line).collect(),
        },
    })
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

impl Experiment {
    fn clamp_table(&self) -> Block {
        let paper = [325, 225, 85, 45, 35, 30];
        let rows = Condition::CLAMPS.iter().zip(paper).map(|(c, paper)| {
            let thousands = |value: f64| Cell::Number { value: value / 1000.0, digits: 1 };
            let at = self.learnt(*c).map_or(Cell::text("not learnt"), thousands);
            let share = self.plateau(*c).map_or(Cell::Empty, |value| Cell::Number { value, digits: 2 });
            let late = self.late_speed(*c).map_or(Cell::Empty, |value| Cell::Number { value, digits: 2 });
            let mut row = vec![Cell::text(c.name()), at, Cell::count(paper), share, late];
            if self.plan.seeds.len() > 1 {
                let own = self.learnt_by_seed(*c).unwrap_or_default();
                let range = |pick: fn(f64, f64) -> f64| own.iter().copied().reduce(pick).map_or(Cell::Empty, thousands);
                row.extend([range(f64::min), range(f64::max)]);
            }
            row
        });
        let mut columns = vec![
            "clamped",
            "loss 0.25 at, thousands of sequences",
            "the paper's figure, learning rate 1e-5",
            "share of that between 0.6 and 0.8",
            "speed of the last third over the middle one",
        ];
        if self.plan.seeds.len() > 1 {
            columns.extend(["earliest seed", "latest seed"]);
        }
        Block::Table(Table { columns: columns.into_iter().map(Column::new).collect(), rows: rows.collect() })
    }

    /// The clamps on handwritten characters, or what became of them.
    fn picture_blocks(&self) -> Vec<Block> {
        if self.pictures.is_empty() {
            let why = "SKIPPED: handwritten characters. They need the images of Omniglot: `reproduce 26 --full --data DIR`, \
                       with `omniglot/background_small1.bits` in the folder.";
            return vec![Block::text(why)];
        }
        let rows = self.pictures.iter().map(|t| {
            let at = t.learnt().map_or(Cell::text("not learnt"), |v| Cell::Number { value: v / 1000.0, digits: 1 });
            let late = t.curve.late_speed(LEARNT).map_or(Cell::Empty, |value| Cell::Number { value, digits: 2 });
            vec![Cell::text(t.condition.name()), at, late]
        });
        let columns =
            ["clamped", "loss 0.25 at, thousands of sequences", "speed of the last third over the middle one"];
        vec![
            curves(
                "Loss under each clamp, handwritten characters",
                "Omniglot, ink in squares of 5 x 5 pixels; the first seed.",
                self.pictures.iter().map(own),
            ),
            Block::Table(Table { columns: columns.map(Column::new).to_vec(), rows: rows.collect() }),
        ]
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
            let part = match t.condition {
                Condition::Match => "C (match clamped)",
                Condition::Layer1Copy => "B (layer 1 + copy clamped)",
                Condition::Layer1 => "B and C (layer 1 clamped)",
                Condition::None => "all (none clamped)",
                other => other.name(),
            };
            let at = t.learnt().map_or(Cell::text("not learnt"), |v| Cell::Number { value: v / 1000.0, digits: 1 });
            vec![Cell::text(part), Cell::count(t.classes), Cell::count(t.labels), at]
        });
        let columns = ["what is learnt", "classes", "labels", "loss 0.25 at, thousands of sequences"];
        Block::Table(Table { columns: columns.map(Column::new).to_vec(), rows: rows.collect() })
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
        let mut blocks = vec![
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
            Block::heading("Handwritten characters"),
        ];
        blocks.extend(self.picture_blocks());
        blocks.extend([
            Block::heading("A toy of three factors"),
            lines(
                "Gradient descent on a (x) b (x) c",
                "20 dimensions each, learning rate 1; the truth is Gaussian, the start a tenth of it.",
                "step",
                "loss",
                toys.collect(),
            ),
        ]);
        blocks
    }
}
