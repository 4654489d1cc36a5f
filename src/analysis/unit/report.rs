//! What a unit's page looks like.

use super::{Effect, Example, Neighbour, Page};
use crate::report::chart::{Axis, Bars, Plot};
use crate::report::{Block, Cell, Chart, Column, Report, Table};
use crate::store::atlas::QUANTILES;

/// Kinds of examples, in the order in which they are shown.
pub const KINDS: [(&str, &str); 7] = [
    ("top", "largest"),
    ("q99-100", "quantiles 0.99 to 1"),
    ("q95-99", "quantiles 0.95 to 0.99"),
    ("q75-95", "quantiles 0.75 to 0.95"),
    ("q50-75", "quantiles 0.5 to 0.75"),
    ("q00-50", "below the median"),
    ("bottom", "smallest"),
];

impl Report for Page {
    fn blocks(&self) -> Vec<Block> {
        let mut blocks = vec![
            Block::heading(format!("{} of {}", self.name, self.model)),
            Block::text(format!(
                "{} tokens of {} documents; padding and special tokens are skipped. Value: {}. Fires: {}.",
                self.tokens, self.documents, self.site.value, self.site.fires
            )),
            self.statistics(),
        ];
        let (edges, counts) = &self.histogram;
        if !counts.is_empty() {
            blocks.push(Block::Chart(Chart {
                title: "Density of its values".to_string(),
                caption: "Bins are half octaves: each is as wide as a half or a third of its lower end.".to_string(),
                plot: Plot::Histogram { x: Axis::new("value"), edges: edges.clone(), counts: counts.clone() },
            }));
        }
        if !self.groups.is_empty() {
            blocks.push(Block::heading("By group"));
            blocks.push(self.profile());
            blocks.push(self.profile_chart());
        }
        if !self.labels.is_empty() {
            blocks.push(Block::heading("Labels"));
            blocks.push(self.table_of_labels());
        }
        blocks.push(Block::heading("Examples"));
        blocks.push(Block::text(
            "One per document on the sides; the bands are drawn from a random sample of tokens. [[ ]] marks the token.",
        ));
        blocks.push(self.table_of_examples());
        self.weights(&mut blocks);
        if !self.together.is_empty() {
            blocks.push(Block::heading("Units that go with it"));
            blocks.push(Block::text(format!(
                "Pearson's r over a sample of {} tokens. With its values in random order the largest |r| of any unit is \
                 {:.3}.",
                self.sampled, self.together_by_chance
            )));
            blocks.push(neighbours("r", &self.together));
        }
        blocks
    }
}

impl Page {
    fn statistics(&self) -> Block {
        let s = &self.statistics;
        let mut rows = vec![
            ("values", Cell::count(s.count)),
            ("mean", optional(s.mean, 4)),
            ("standard deviation", optional(s.std, 4)),
            ("skewness", optional(s.skewness, 2)),
            ("excess kurtosis", optional(s.kurtosis, 2)),
            ("smallest", optional(s.min, 4)),
            ("largest", optional(s.max, 4)),
            ("fires at % of tokens", optional(s.rate.map(|r| 100.0 * r), 2)),
        ];
        if s.non_finite > 0 {
            rows.push(("infinite or NaN", Cell::count(s.non_finite)));
        }
        let mut rows: Vec<Vec<Cell>> = rows.into_iter().map(|(name, cell)| vec![Cell::text(name), cell]).collect();
        let quantiles = QUANTILES.iter().zip(&s.quantiles);
        rows.extend(quantiles.map(|(q, value)| vec![Cell::text(format!("quantile {q}")), optional(*value, 4)]));
        table(&["statistic", "value"], rows)
    }

    fn table_of_labels(&self) -> Block {
        // The side of the unit, as the label's provenance has it.
        let sign = |provenance: &str| {
            let value: serde_json::Value = serde_json::from_str(provenance).unwrap_or_default();
            value.get("sign").and_then(|s| s.as_str()).map_or(Cell::Empty, Cell::text)
        };
        let row = |l: &crate::store::atlas::LabelRow| {
            vec![
                sign(&l.provenance),
                Cell::text(&l.text),
                Cell::text(&l.explainer),
                optional(l.score, 3),
                optional(l.coverage.map(|c| 100.0 * c), 1),
            ]
        };
        let names = ["side", "label", "explainer", "score on held-out texts", "coverage, %"];
        table(&names, self.labels.iter().map(row).collect())
    }

    fn profile(&self) -> Block {
        // How far a group's mean lies from the others, in standard deviations of the unit.
        let (mean, std) = (self.statistics.mean.unwrap_or(0.0), self.statistics.std.unwrap_or(0.0));
        let row = |(group, p): &(crate::store::atlas::GroupRow, crate::store::atlas::ProfileRow)| {
            let shift = p.mean.filter(|_| std > 0.0).map(|m| (m - mean) / std);
            vec![
                Cell::text(&group.name),
                Cell::count(p.count),
                optional(p.mean, 4),
                optional(shift, 2),
                optional(p.rate.map(|r| 100.0 * r), 2),
            ]
        };
        let names = ["group", "values", "mean", "from the mean of all, in std", "fires at % of tokens"];
        table(&names, self.groups.iter().map(row).collect())
    }

    fn profile_chart(&self) -> Block {
        Block::Chart(Chart {
            title: "Mean by group".to_string(),
            caption: format!("{} groups.", self.groups.len()),
            plot: Plot::Bars {
                y: Axis::new("mean"),
                categories: self.groups.iter().map(|(group, _)| group.name.clone()).collect(),
                series: vec![Bars {
                    name: String::new(),
                    values: self.groups.iter().map(|(_, p)| p.mean.unwrap_or(f64::NAN)).collect(),
                    intervals: Vec::new(),
                }],
            },
        })
    }

    fn table_of_examples(&self) -> Block {
        let group = |index: usize| {
            let found = self.groups.iter().find(|(_, p)| p.group == index);
            found.map_or(Cell::Empty, |(group, _)| Cell::text(&group.name))
        };
        let mut rows = Vec::new();
        for (kind, words) in KINDS {
            let mut of_kind: Vec<&Example> = self.examples.iter().filter(|e| e.row.kind == kind).collect();
            of_kind.sort_by_key(|e| e.row.rank);
            rows.extend(of_kind.into_iter().map(|e| {
                let context = &e.row.context;
                vec![
                    Cell::text(words),
                    Cell::Number { value: e.row.value, digits: 3 },
                    group(context.group),
                    Cell::count(context.document),
                    Cell::text(format!("{}[[{}]]{}", e.before, e.token, e.after).trim()),
                ]
            }));
        }
        table(&["kind", "value", "group", "document", "text"], rows)
    }

    fn weights(&self, blocks: &mut Vec<Block>) {
        if let Some(effects) = &self.effects {
            blocks.push(Block::heading("Direct effect on the logits"));
            blocks.push(Block::text(format!(
                "Its output direction through the gain of the last norm and the unembedding as it is: the change of each \
                 logit per unit of activation, over the last norm's scale at the token, before any softcap. Over the \
                 vocabulary the standard deviation is {:.4}.",
                effects.std
            )));
            let cells = |e: Option<&Effect>| match e {
                Some(e) => [Cell::text(&e.token), Cell::Number { value: e.value, digits: 4 }],
                None => [Cell::Empty, Cell::Empty],
            };
            let rows = 0..effects.raised.len().max(effects.lowered.len());
            let rows = rows.map(|i| [cells(effects.raised.get(i)), cells(effects.lowered.get(i))].concat());
            blocks.push(table(&["raises", "by", "lowers", "by"], rows.collect()));
        }
        let sides = [("Neurons that read alike", &self.reads), ("Neurons that write alike", &self.writes)];
        for (title, list) in sides.into_iter().filter(|(_, list)| !list.is_empty()) {
            blocks.push(Block::heading(title));
            blocks.push(Block::text(format!(
                "Cosine of the weights as directions of the stream, gains of norms applied, over all layers. The largest \
                 |cosine| of as many random directions is about {:.2}.",
                self.by_chance
            )));
            blocks.push(neighbours("cosine", list));
        }
    }
}

fn neighbours(what: &str, list: &[Neighbour]) -> Block {
    let row =
        |n: &Neighbour| vec![Cell::text(&n.site), Cell::count(n.number), Cell::Number { value: n.likeness, digits: 3 }];
    table(&["site", "unit", what], list.iter().map(row).collect())
}

fn optional(value: Option<f64>, digits: u8) -> Cell {
    value.map_or(Cell::Empty, |value| Cell::Number { value, digits })
}

fn table(names: &[&str], rows: Vec<Vec<Cell>>) -> Block {
    Block::Table(Table { columns: names.iter().copied().map(Column::new).collect(), rows })
}
