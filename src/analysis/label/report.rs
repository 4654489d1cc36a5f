//! What labels look like.

use super::ablation::Ablation;
use super::run::{Labelled, Sheet};
use super::text::{Label, Layer, RULES, Told, Unit, median};
use crate::analysis::Figures;
use crate::report::chart::{Axis, Bars, Plot};
use crate::report::{Better, Block, Cell, Chart, Column, Report, Table};

/// Labels of a site that the table of best labels shows.
const BEST: usize = 4;
/// Labels in words that are shown.
const WORDS: usize = 40;

impl Report for Labelled {
    fn blocks(&self) -> Vec<Block> {
        let [selection, calibration, validation, test] = self.documents;
        let mut blocks = vec![
            Block::text(format!(
                "{} tokens of {} documents: {selection} for selection, {calibration} for calibration, {validation} for \
                 validation, {test} for test. A unit is active above the 0.99 quantile of its values; + and - are its \
                 large and its small values. Labels are chosen by IoU on selection documents and scored on test documents.",
                self.tokens,
                selection + calibration + validation + test
            )),
            Block::text(format!(
                "A label is above chance where its AUROC exceeds that of other units' labels (at least 0.5) with p < \
                 0.05 after Holm's correction for all units, and its 95 % interval lies above it. Units with fewer than \
                 {} active windows are too rare. AUROC, IoU and coverage are medians; 3/12 + is neuron 12 of layer 3, large \
                 values.",
                self.least
            )),
            self.layers_table(),
        ];
        blocks.extend(self.charts());
        let best = self.best();
        if !best.is_empty() {
            blocks.push(Block::heading("Best labels"));
            blocks.push(labels_table(&best));
        }
        blocks.extend(self.words());
        blocks.extend(self.ablation.iter().flat_map(Ablation::blocks));
        for sheet in &self.sheets {
            blocks.extend(sheet.blocks());
        }
        blocks
    }
}

impl Labelled {
    fn layers_table(&self) -> Block {
        let share = |x: f64| number(100.0 * x, 1);
        let row = |l: &Layer| {
            vec![
                Cell::text(place(l)),
                Cell::text(l.explainer.trim_start_matches("optrode ")),
                Cell::count(l.units),
                Cell::count(l.too_rare),
                share(l.share),
                share(l.permuted_share),
                number(l.auroc, 3),
                number(l.permuted_auroc, 3),
                number(l.iou, 3),
                share(l.coverage),
            ]
        };
        let columns = vec![
            Column::new("layer"),
            Column::new("explainer"),
            Column::new("units"),
            Column::new("too rare"),
            Column::new("above chance, %").better(Better::More),
            Column::new("permuted, %").better(Better::Less),
            Column::new("AUROC").better(Better::More),
            Column::new("permuted"),
            Column::new("IoU").better(Better::More),
            Column::new("coverage, %").better(Better::More),
        ];
        Block::Table(Table { columns, rows: self.layers.iter().map(row).collect() })
    }

    /// Shares and areas by layer, with the control beside them.
    fn charts(&self) -> Vec<Block> {
        let rules: Vec<&Layer> = self.layers.iter().filter(|l| l.explainer == RULES).collect();
        if rules.is_empty() {
            return Vec::new();
        }
        let bars = |name: &str, value: &dyn Fn(&Layer) -> f64| Bars {
            name: name.to_string(),
            values: rules.iter().map(|l| value(l)).collect(),
            intervals: Vec::new(),
        };
        let chart = |title: &str, caption: &str, y: Axis, series: Vec<Bars>| {
            let categories = rules.iter().map(|l| place(l)).collect();
            let plot = Plot::Bars { y, categories, series };
            Block::Chart(Chart { title: title.to_string(), caption: caption.to_string(), plot })
        };
        vec![
            chart(
                "Units with a label above chance, by layer",
                "Of the units that are not too rare. Permuted: each unit with the label of another unit of its layer.",
                Axis::new("% of units").range(0.0, 100.0),
                vec![bars("own labels", &|l| 100.0 * l.share), bars("permuted labels", &|l| 100.0 * l.permuted_share)],
            ),
            chart(
                "AUROC on test documents, by layer",
                "Active tokens against the others; 0.5 is chance. Median of own labels, mean of permuted ones.",
                Axis::new("AUROC").range(0.4, 1.0),
                vec![bars("own labels", &|l| l.auroc), bars("permuted labels", &|l| l.permuted_auroc)],
            ),
        ]
    }

    /// Labels in words, with the best rule as the baseline to beat.
    fn words(&self) -> Vec<Block> {
        let told = || self.units.iter().flat_map(|u| u.told.iter().map(move |t| (u, t)));
        if told().next().is_none() {
            return Vec::new();
        }
        let mut explainers: Vec<&str> = told().map(|(_, t)| t.explainer.as_str()).collect();
        explainers.sort_unstable();
        explainers.dedup();
        let middle = |explainer: &str, f: &dyn Fn(&Told) -> f64| {
            number(median(told().filter(|(_, t)| t.explainer == explainer).map(|(_, t)| f(t))), 3)
        };
        let simulated = |t: &Told| t.simulation.map_or(f64::NAN, |s| s.correlation);
        let summary = |explainer: &&str| {
            vec![
                Cell::text(*explainer),
                Cell::count(told().filter(|(_, t)| t.explainer == **explainer).count()),
                middle(explainer, &|t| t.reverse),
                middle(explainer, &|t| t.detection),
                middle(explainer, &|t| t.fuzzing),
                middle(explainer, &simulated),
            ]
        };
        let names = ["explainer", "labels", "reverse pmi", "detection", "fuzzing", "simulation, r"];
        let better = |name: &&str| match *name {
            "explainer" | "labels" => Column::new(*name),
            _ => Column::new(*name).better(Better::More),
        };
        let row = |(unit, t): (&Unit, &Told)| {
            vec![
                Cell::text(unit.short()),
                Cell::text(t.explainer.trim_start_matches("optrode ")),
                Cell::text(&t.text),
                t.pmi.map_or(Cell::Empty, |[_, _, pmi]| number(pmi, 2)),
                number(t.reverse, 3),
                number(t.detection, 3),
                number(t.fuzzing, 3),
                number(simulated(t), 3),
                unit.by(RULES).map_or(Cell::Empty, |l| number(l.held.window_auroc, 3)),
            ]
        };
        let columns = ["unit", "explainer", "label", "pmi", "reverse pmi", "detection", "fuzzing", "simulation, r"];
        let columns: Vec<Column> = columns.iter().chain(&["best rule, windows"]).map(|n| Column::new(*n)).collect();
        vec![
            Block::heading("Labels in words"),
            Block::text(
                "Medians of AUROC on test windows, 0.5 by chance: how much likelier a window is after the label, whether the \
                 model sees the label in it, whether it tells right marks from wrong ones; and the correlation of \
                 simulated activations with true ones.",
            ),
            Block::Table(Table {
                columns: names.iter().map(better).collect(),
                rows: explainers.iter().map(summary).collect(),
            }),
            Block::Table(Table { columns, rows: told().take(WORDS).map(row).collect() }),
        ]
    }

    /// The labels of every site and explainer whose intervals begin highest.
    fn best(&self) -> Vec<(&Unit, &Label)> {
        let mut shown = Vec::new();
        for layer in &self.layers {
            let of = self.units.iter().filter(|u| u.site == layer.site);
            let mut labels: Vec<(&Unit, &Label)> =
                of.filter_map(|u| u.by(&layer.explainer).filter(|l| l.holds).map(|l| (u, l))).collect();
            labels.sort_by(|a, b| b.1.held.interval.0.total_cmp(&a.1.held.interval.0));
            // A row for every text: many units of a layer share one.
            let mut texts: Vec<&str> = Vec::new();
            labels.retain(|(_, label)| {
                let new = !texts.contains(&label.text.as_str());
                texts.push(&label.text);
                new
            });
            labels.truncate(BEST);
            shown.extend(labels);
        }
        shown
    }
}

fn labels_table(labels: &[(&Unit, &Label)]) -> Block {
    let row = |(unit, label): &(&Unit, &Label)| {
        let held = &label.held;
        vec![
            Cell::text(unit.short()),
            Cell::text(&label.text),
            Cell::Interval { value: held.auroc, ends: held.interval, digits: 3 },
            number(held.window_auroc, 3),
            number(100.0 * held.overlap.precision(), 1),
            number(100.0 * held.overlap.recall(), 1),
            number(label.permuted, 3),
        ]
    };
    let columns = vec![
        Column::new("unit"),
        Column::new("label"),
        Column::new("AUROC").better(Better::More),
        Column::new("of windows").better(Better::More),
        Column::new("precision, %").better(Better::More),
        Column::new("coverage, %").better(Better::More),
        Column::new("another's label"),
    ];
    Block::Table(Table { columns, rows: labels.iter().map(row).collect() })
}

impl Sheet {
    fn blocks(&self) -> Vec<Block> {
        let held = &self.label.held;
        let covered: Vec<String> = held
            .deciles
            .iter()
            .map(|share| if share.is_nan() { "-".to_string() } else { format!("{:.0}", 100.0 * share) })
            .collect();
        vec![
            Block::heading(format!("{}: {}", self.name, self.label.text)),
            Block::text(format!(
                "AUROC {:.3} on test documents, {:.3} with another unit's label. Of its active tokens the label covers, \
                 weakest tenth to strongest: {} %.",
                held.auroc,
                self.label.permuted,
                covered.join(", ")
            )),
            Block::Chart(Chart {
                title: "Strongest test windows".to_string(),
                caption: "One per document; values above the unit's level.".to_string(),
                plot: Plot::Tokens { unit: "value".to_string(), rows: self.rows.clone() },
            }),
        ]
    }
}

/// A layer's number, or its site where it is not of MLP neurons.
fn place(layer: &Layer) -> String {
    match (layer.layer, layer.site.ends_with(".mlp.hook_post")) {
        (Some(number), true) => number.to_string(),
        _ => layer.site.clone(),
    }
}

fn number(value: f64, digits: u8) -> Cell {
    if value.is_nan() { Cell::Empty } else { Cell::Number { value, digits } }
}

impl Figures for Labelled {
    fn figures(&self) -> Vec<(String, f64)> {
        let mut figures = Vec::new();
        for (name, explainer) in [("", RULES), ("promotes.", super::text::PROMOTES)] {
            let layers: Vec<&Layer> = self.layers.iter().filter(|l| l.explainer == explainer).collect();
            let mut push = |figure: &str, value: f64| figures.push((format!("{name}{figure}"), value));
            let units = |l: &Layer| (l.units - l.too_rare) as f64;
            let all: f64 = layers.iter().map(|l| units(l)).sum();
            let mean = |value: fn(&Layer) -> f64| {
                let weighted = layers.iter().filter(|l| units(l) > 0.0).map(|l| value(l) * units(l));
                weighted.sum::<f64>() / all
            };
            let labels = || self.units.iter().filter_map(|u| u.by(explainer));
            push("share", mean(|l| l.share));
            push("permuted.share", mean(|l| l.permuted_share));
            push("auroc", median(labels().map(|l| l.held.auroc)));
            push("permuted.auroc", mean_of(labels().map(|l| l.permuted)));
            push("coverage", median(labels().map(|l| l.held.overlap.recall())));
            if explainer == RULES {
                push("too_rare", layers.iter().map(|l| l.too_rare as f64).sum());
                push("units", layers.iter().map(|l| l.units as f64).sum());
                for (number, layer) in layers.iter().enumerate() {
                    push(&format!("layer.{number}.share"), layer.share);
                    push(&format!("layer.{number}.auroc"), layer.auroc);
                }
            }
        }
        figures
    }
}

fn mean_of(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = values.filter(|x| !x.is_nan()).fold((0.0, 0u64), |(sum, n), x| (sum + x, n + 1));
    sum / n as f64
}
