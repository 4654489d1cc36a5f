//! What the experiments of paper 31 look like.

use super::cuts::Curve;
use super::spurious::Mended;
use super::study::{Described, Recovered, Silenced, Study};
use crate::analysis::Figures;
use crate::report::chart::{Axis, Chart, Line, Plot};
use crate::report::{Better, Block, Cell, Column, Report, Table};

fn number(value: f64) -> Cell {
    Cell::Number { value, digits: 3 }
}

/// Curves of accuracy against units silenced.
pub(super) fn lines(title: &str, caption: &str, x: &str, y: &str, curves: &[Curve]) -> Block {
    let line = |curve: &Curve| Line {
        name: curve.name.clone(),
        points: curve.points.iter().map(|(n, a)| (*n as f64, *a)).collect(),
        band: Vec::new(),
        reference: curve.name.starts_with("random"),
    };
    Block::Chart(Chart {
        title: title.into(),
        caption: caption.into(),
        plot: Plot::Lines { x: Axis::new(x), y: Axis::new(y), series: curves.iter().map(line).collect() },
    })
}

impl Report for Study {
    fn blocks(&self) -> Vec<Block> {
        let mut blocks = vec![
            Block::text(format!(
                "A small convolutional network learns to say what scenes show (shape, colour, texture of one to three \
                 objects); mean balanced accuracy over 14 classes on held-out scenes is {:.3}.",
                self.accuracy
            )),
            Block::heading("Labels of its channels"),
        ];
        blocks.extend(self.labels.blocks());
        blocks.push(Block::heading("Units that were made up"));
        blocks.extend(self.recovered.blocks());
        if let Some(described) = &self.described {
            blocks.push(Block::heading("Descriptions in words"));
            blocks.extend(described.blocks());
        }
        blocks.push(Block::heading("Silenced units"));
        blocks.extend(self.silenced.blocks());
        blocks
    }
}

impl Report for Recovered {
    fn blocks(&self) -> Vec<Block> {
        let columns =
            vec![Column::new("of units that were made up"), Column::new("share or area").better(Better::More)];
        let rows = vec![
            vec![Cell::text("given a formula that holds at the same pixels"), self.same.cell(3)],
            vec![Cell::text("area under the ROC curve on held-out images"), number(self.auroc)],
            vec![Cell::text("the same, the concepts that they were made of"), number(self.ceiling)],
            vec![Cell::text("the same, labels permuted"), number(self.permuted)],
            vec![Cell::text("single concepts that soft WPMI names"), self.wpmi.cell(3)],
            vec![Cell::text("single concepts that WPMI names"), self.hard_wpmi.cell(3)],
        ];
        vec![
            Block::text(format!(
                "{} units are the mask of a concept, of two together or of one of two, with normal noise of 0.2. WPMI sees \
                 whole images only: how large a share of what is there each concept is.",
                self.units
            )),
            Block::Table(Table { columns, rows }),
        ]
    }
}

impl Report for Described {
    fn blocks(&self) -> Vec<Block> {
        let columns = vec![
            Column::new("lambda"),
            Column::new("F1 of the words").better(Better::More),
            Column::new("entropy of descriptions, nats"),
            Column::new("words"),
            Column::new("says nothing").better(Better::Less),
        ];
        let row = |at: &super::study::AtLambda| {
            vec![
                Cell::Number { value: at.lambda, digits: 1 },
                at.f1.cell(3),
                number(at.entropy),
                Cell::Number { value: at.words, digits: 2 },
                number(at.empty),
            ]
        };
        let line = |name: &str, of: &dyn Fn(&super::study::AtLambda) -> f64, reference| Line {
            name: name.into(),
            points: self.lambdas.iter().map(|at| (at.lambda, of(at))).collect(),
            band: if reference { Vec::new() } else { self.lambdas.iter().map(|at| at.f1.ends()).collect() },
            reference,
        };
        let words = |name: [&str; 3], rows: &[[String; 3]]| {
            let rows = rows.iter().map(|row| row.iter().map(Cell::text).collect()).collect();
            Block::Table(Table { columns: name.map(Column::new).to_vec(), rows })
        };
        vec![
            Block::text(format!(
                "A describer trained on other exemplar sets says what {} new ones show; of 50 descriptions by likelihood \
                 the one with the largest log p(d|E) - lambda log p(d) is taken. F1 counts the words that say something.",
                self.sets
            )),
            Block::Table(Table { columns, rows: self.lambdas.iter().map(row).collect() }),
            Block::Chart(Chart {
                title: "Words of descriptions against what sets show".into(),
                caption: "Bands: 95 % over sets.".into(),
                plot: Plot::Lines {
                    x: Axis::new("lambda"),
                    y: Axis::new("F1"),
                    series: vec![
                        line("descriptions", &|at| at.f1.value, false),
                        line("another set's description", &|_| self.chance, true),
                    ],
                },
            }),
            words(["set", "lambda 0", "lambda 0.2"], &self.examples),
            words(["unit of the classifier", "formula", "description at lambda 0.2"], &self.units),
        ]
    }
}

impl Report for Silenced {
    fn blocks(&self) -> Vec<Block> {
        let columns = vec![Column::new("silencing"), Column::new("loss of balanced accuracy")];
        let rows = vec![
            vec![Cell::text("units named after a class: that class"), self.own.cell(3)],
            vec![Cell::text("units named after a class: the other classes"), self.others.cell(3)],
            vec![Cell::text("as many random units of the same layers: that class"), self.random.cell(3)],
            vec![Cell::text("that class over the others, class by class"), self.over_others.cell(3)],
            vec![Cell::text("that class over random units, class by class"), self.over_random.cell(3)],
        ];
        let named: Vec<String> = self.named.iter().map(|(name, n)| format!("{name} {n}")).collect();
        vec![
            lines(
                "Accuracy with units silenced",
                "Mean balanced accuracy over classes; random units: mean of five draws.",
                "units silenced",
                "balanced accuracy",
                &self.curves,
            ),
            Block::Table(Table { columns, rows }),
            Block::text(format!("Units whose label holds and names a class: {}.", named.join(", "))),
        ]
    }
}

impl Figures for Study {
    fn figures(&self) -> Vec<(String, f64)> {
        let mut figures = vec![
            ("accuracy".into(), self.accuracy),
            ("planted.same".into(), self.recovered.same.value),
            ("planted.auroc".into(), self.recovered.auroc),
            ("planted.permuted".into(), self.recovered.permuted),
            ("planted.wpmi".into(), self.recovered.wpmi.value),
            ("silenced.own".into(), self.silenced.own.value),
            ("silenced.others".into(), self.silenced.others.value),
            ("silenced.random".into(), self.silenced.random.value),
        ];
        let labels = self.labels.figures().into_iter().map(|(name, x)| (format!("labels.{name}"), x));
        figures.extend(labels);
        for at in self.described.iter().flat_map(|d| &d.lambdas) {
            figures.push((format!("described.{}.f1", at.lambda), at.f1.value));
            figures.push((format!("described.{}.entropy", at.lambda), at.entropy));
        }
        figures
    }
}

impl Report for Mended {
    fn blocks(&self) -> Vec<Block> {
        let mut blocks = vec![Block::text(format!(
            "A network of {} units learns to tell four shapes apart where half of the images carry a sign in a corner that \
             tells the shape; it is right about {} of such images. In all that follows every image carries a random sign. \
             Searching all units without labels finds what is right about {}.",
            self.units,
            self.as_trained.cell(3),
            self.searched.cell(3)
        ))];
        blocks.extend(self.repair.blocks());
        let curves: Vec<Curve> = self.repair.curves.iter().chain([&self.curve]).cloned().collect();
        blocks.push(lines(
            "Accuracy where signs lie, with units silenced",
            "On test images; units in the order of their effect on validation images.",
            "units silenced",
            "accuracy",
            &curves,
        ));
        blocks
    }
}

impl Figures for Mended {
    fn figures(&self) -> Vec<(String, f64)> {
        let mut figures = self.repair.figures();
        figures.push(("searched".into(), self.searched.value));
        figures.push(("as_trained".into(), self.as_trained.value));
        figures
    }
}
