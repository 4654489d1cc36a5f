//! What the neurons look like.

use super::{Example, Layer, Neurons, Shares, Shown, Why};
use crate::analysis::{Estimate, Figures};
use crate::report::chart::{Axis, Labels, Line, Plot, Scale, TokenRow};
use crate::report::{Block, Cell, Chart, Column, Report, Table};

impl Figures for Neurons {
    fn figures(&self) -> Vec<(String, f64)> {
        let most = |of: fn(&Shares) -> f64| self.layers.iter().map(|l| of(&l.shares)).fold(f64::NAN, f64::max);
        let mut figures = vec![
            ("dead.share".to_string(), self.all.dead.value),
            ("dense.share".to_string(), self.all.dense.value),
            ("rate.mean".to_string(), self.all.rate.value),
            ("dead.worst_layer".to_string(), most(|s| s.dead.value)),
            ("dense.worst_layer".to_string(), most(|s| s.dense.value)),
            ("tokens".to_string(), self.tokens as f64),
        ];
        if let Some(twin) = &self.untrained {
            figures.push(("untrained.dead.share".to_string(), twin.dead.value));
            figures.push(("untrained.dense.share".to_string(), twin.dense.value));
            figures.push(("untrained.rate.mean".to_string(), twin.rate.value));
        }
        for layer in &self.layers {
            let measured = [("dead", layer.shares.dead), ("dense", layer.shares.dense), ("rate", layer.shares.rate)];
            figures.extend(measured.map(|(name, x)| (format!("layer.{}.{name}", layer.layer), x.value)));
        }
        figures
    }
}

impl Report for Neurons {
    fn blocks(&self) -> Vec<Block> {
        let mut blocks = vec![
            Block::text(format!(
                "{} tokens of {} texts; padding and special tokens are skipped. A neuron fires where hook_pre > 0; dead \
                 ones never fire here, dense ones at more than half of the tokens. In brackets the 95 % interval \
                 (jackknife over groups of texts); more text can only lower the dead share.{}",
                self.tokens,
                self.texts,
                self.notes.iter().map(|n| format!(" {n}")).collect::<String>()
            )),
            self.table(),
            self.curves(),
            self.rates(),
        ];
        if !self.shown.is_empty() {
            blocks.push(Block::text(
                "Tokens at which some neurons are largest and smallest (hook_post), at most one per window of text. Random \
                 ones are drawn layer by layer; selective ones have the largest excess kurtosis among neurons that fire at \
                 ten tokens or more. The control is the extreme on the same texts with their tokens shuffled.",
            ));
            blocks.push(self.table_of_shown());
            blocks.extend(self.shown.iter().map(Shown::block));
        }
        blocks
    }
}

impl Neurons {
    fn table(&self) -> Block {
        let columns = ["layer", "neurons", "dead", "dense", "mean rate", "rate: 5 %", "25 %", "median", "75 %", "95 %"];
        let shares = |s: &Shares| [s.dead, s.dense, s.rate].map(|x| x.cell(3));
        let number = |value: &f64| Cell::Number { value: *value, digits: 3 };
        let row = |layer: &Layer| {
            let mut row = vec![Cell::text(layer.layer.to_string()), Cell::count(layer.neurons)];
            row.extend(shares(&layer.shares));
            row.extend(layer.quantiles.iter().map(number));
            row
        };
        let summary = |name: &str, s: &Shares| {
            let neurons: usize = self.layers.iter().map(|l| l.neurons).sum();
            let mut row = vec![Cell::text(name), Cell::count(neurons)];
            row.extend(shares(s));
            row.resize(columns.len(), Cell::Empty);
            row
        };
        let mut rows: Vec<Vec<Cell>> = self.layers.iter().map(row).collect();
        rows.push(summary("all", &self.all));
        rows.extend(self.untrained.iter().map(|s| summary("all, untrained network", s)));
        Block::Table(Table { columns: columns.map(Column::new).to_vec(), rows })
    }

    fn curves(&self) -> Block {
        let line = |name: &str, of: fn(&Shares) -> Estimate| Line {
            name: name.to_string(),
            points: self.layers.iter().map(|l| (l.layer as f64, of(&l.shares).value)).collect(),
            band: self.layers.iter().map(|l| of(&l.shares).ends()).collect(),
            reference: false,
        };
        let mut series = vec![line("dead", |s| s.dead), line("dense", |s| s.dense), line("mean rate", |s| s.rate)];
        if let Some(twin) = &self.untrained {
            let level = |name: &str, x: Estimate| Line {
                name: name.to_string(),
                points: self.layers.iter().map(|l| (l.layer as f64, x.value)).collect(),
                band: Vec::new(),
                reference: true,
            };
            series.push(level("dead, untrained", twin.dead));
            series.push(level("dense, untrained", twin.dense));
        }
        Block::Chart(Chart {
            title: "Dead and dense neurons by layer".to_string(),
            caption: format!("{} tokens; bands are 95 % intervals.", self.tokens),
            plot: Plot::Lines { x: Axis::new("layer"), y: Axis::new("share").range(0.0, 1.0), series },
        })
    }

    /// Layer by bin of the firing rate, as shares of the layer's neurons.
    fn rates(&self) -> Block {
        let bins = self.layers.first().map_or(0, |l| l.rates.len());
        let label = |bin: usize| format!("{:.0} %", 100.0 * bin as f64 / bins as f64);
        let share = |l: &Layer| l.rates.iter().map(|n| *n as f64 / l.neurons.max(1) as f64).collect();
        Block::Chart(Chart {
            title: "How often the neurons of each layer fire".to_string(),
            caption: "A column holds the neurons that fire at that share of tokens, up to the next column's."
                .to_string(),
            plot: Plot::Heat {
                rows: Labels {
                    name: "layer".to_string(),
                    items: self.layers.iter().map(|l| l.layer.to_string()).collect(),
                },
                columns: Labels { name: "fires at".to_string(), items: (0..bins).map(label).collect() },
                values: self.layers.iter().map(share).collect(),
                unit: "share of neurons".to_string(),
                scale: Scale::Sequential,
            },
        })
    }

    fn table_of_shown(&self) -> Block {
        let columns =
            ["neuron", "why", "fires", "kurtosis", "largest", "shuffled", "smallest", "shuffled", "largest at"];
        let number = |value: f64| Cell::Number { value, digits: 3 };
        let extreme = |side: &[Example]| side.first().map_or(Cell::Empty, |e| number(f64::from(e.value)));
        let row = |s: &Shown| {
            let words: Vec<&str> = s.top.iter().map(|e| e.tokens[e.focus].as_str()).collect();
            vec![
                Cell::text(s.name()),
                Cell::text(s.why.word()),
                number(s.rate),
                s.kurtosis.map_or(Cell::Empty, number),
                extreme(&s.top),
                number(s.shuffled_max),
                extreme(&s.bottom),
                number(s.shuffled_min),
                Cell::text(words.join(" | ")),
            ]
        };
        Block::Table(Table { columns: columns.map(Column::new).to_vec(), rows: self.shown.iter().map(row).collect() })
    }
}

impl Why {
    fn word(self) -> &'static str {
        match self {
            Self::Asked => "asked for",
            Self::Random => "random",
            Self::Selective => "selective",
        }
    }
}

impl Shown {
    /// `3.120`: layer 3, neuron 120.
    pub fn name(&self) -> String {
        format!("{}.{}", self.layer, self.neuron)
    }

    fn block(&self) -> Block {
        let row = |side: &str, e: &Example| TokenRow {
            name: format!("{side} {:.2}, text {}", e.value, e.text),
            tokens: e.tokens.clone(),
            values: e.values.iter().map(|v| f64::from(*v)).collect(),
            focus: Some(e.focus),
        };
        let rows = self.top.iter().map(|e| row("top", e)).chain(self.bottom.iter().map(|e| row("bottom", e)));
        Block::Chart(Chart {
            title: format!("Neuron {}: largest and smallest ({})", self.name(), self.why.word()),
            caption: format!(
                "Fires at {:.1} % of tokens. On shuffled texts: largest {:.2}, smallest {:.2}.",
                100.0 * self.rate,
                self.shuffled_max,
                self.shuffled_min
            ),
            plot: Plot::Tokens { unit: "hook_post".to_string(), rows: rows.collect() },
        })
    }
}
