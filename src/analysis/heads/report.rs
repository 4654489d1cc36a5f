//! What the heads look like.

use super::{Head, Heads, INDUCTION, PREVIOUS, Reader, STRONG};
use crate::analysis::{Estimate, Figures};
use crate::report::chart::{Labels, Plot, Scale};
use crate::report::{Block, Cell, Chart, Column, Report, Table};

/// Heads that the table shows besides those that score high; the charts show all.
const SHOWN: usize = 24;

impl Heads {
    /// Heads that match prefixes and copy, strongest first.
    pub fn induction_heads(&self) -> Vec<&Head> {
        self.sorted(|h| h.induction.value, Head::is_induction)
    }

    /// Heads that attend to the previous token with more than `bar`, strongest first.
    pub fn previous_token_heads(&self, bar: f64) -> Vec<&Head> {
        self.sorted(|h| h.previous.value, |h| h.previous.value > bar)
    }

    fn sorted(&self, by: fn(&Head) -> f64, keep: impl Fn(&Head) -> bool) -> Vec<&Head> {
        let mut heads: Vec<&Head> = self.heads.iter().filter(|h| keep(h)).collect();
        heads.sort_by(|a, b| by(b).total_cmp(&by(a)));
        heads
    }

    fn most(&self, of: impl Fn(&Head) -> f64) -> f64 {
        self.heads.iter().map(of).fold(f64::NEG_INFINITY, f64::max)
    }
}

impl Figures for Heads {
    fn figures(&self) -> Vec<(String, f64)> {
        let copying: Vec<f64> = self.heads.iter().filter_map(|h| h.copying).collect();
        let positive = copying.iter().filter(|c| **c > 0.0).count() as f64 / copying.len().max(1) as f64;
        let best = self.induction_heads().first().map_or(0.0, |h| h.induction.value);
        let mut figures = vec![
            ("induction.max", self.most(|h| h.induction.value)),
            ("induction.max_copying", best),
            ("induction.heads", self.induction_heads().len() as f64),
            ("induction.uniform", self.uniform.induction),
            ("induction.unrepeated.max", self.most(|h| h.induction_unrepeated.value)),
            ("previous.max", self.most(|h| h.previous.value)),
            ("previous.heads", self.previous_token_heads(PREVIOUS).len() as f64),
            ("previous.strong_heads", self.previous_token_heads(STRONG).len() as f64),
            ("previous.uniform", self.uniform.previous),
            ("duplicate.max", self.most(|h| h.duplicate.value)),
            ("duplicate.uniform", self.uniform.duplicate),
            ("duplicate.unrepeated.max", self.most(|h| h.duplicate_unrepeated.value)),
            ("copying.max", copying.iter().copied().fold(f64::NAN, f64::max)),
            ("copying.positive.share", positive),
            ("loss.first", self.loss.first.value),
            ("loss.second", self.loss.second.value),
            ("loss.drop", self.loss.drop.value),
            ("loss.gain", self.loss.gain.value),
            ("template.mul.previous.max", self.most(|h| h.mul.previous)),
            ("template.mul.duplicate.max", self.most(|h| h.mul.duplicate)),
            ("template.mul.induction.max", self.most(|h| h.mul.induction)),
            ("template.abs.previous.max", self.most(|h| h.abs.previous)),
            ("template.abs.duplicate.max", self.most(|h| h.abs.duplicate)),
            ("template.abs.induction.max", self.most(|h| h.abs.induction)),
            ("template.shuffled.induction.max", self.most(|h| h.mul_shuffled.induction)),
            ("composition.random", self.composition.random),
        ];
        for reader in Reader::ALL {
            let name = match reader {
                Reader::Q => "composition.q.max",
                Reader::K => "composition.k.max",
                Reader::V => "composition.v.max",
            };
            let own = self.composition.strongest.iter().filter(|l| l.reader == reader);
            figures.push((name, own.map(|l| l.score).fold(0.0, f64::max)));
        }
        if let Some(twin) = &self.untrained {
            figures.extend([
                ("untrained.induction.max", twin.induction),
                ("untrained.previous.max", twin.previous),
                ("untrained.duplicate.max", twin.duplicate),
                ("untrained.loss.drop", twin.drop.value),
            ]);
        }
        figures.into_iter().map(|(name, value)| (name.to_string(), value)).collect()
    }
}

impl Report for Heads {
    fn blocks(&self) -> Vec<Block> {
        let start = if self.start { "a start token, " } else { "" };
        let mut blocks = vec![
            Block::text(format!(
                "{} rows of {start}{} distinct random tokens (of {}) and the same again. Scores are mean attention of the \
                 second half's tokens: to the token before, to the same token's first occurrence, to what followed that \
                 one (induction). Uniform attention would score {:.3}, {:.3} and {:.3}; \"unrepeated\" is the same place where \
                 other tokens came before. In brackets the 95 % interval over rows. {}",
                self.rows,
                self.n,
                self.pool,
                self.uniform.previous,
                self.uniform.duplicate,
                self.uniform.induction,
                self.notes.join(" ")
            )),
            Block::text(self.summary()),
            self.table(),
            self.losses(),
        ];
        if let Some(twin) = &self.untrained {
            blocks.push(Block::text(format!(
                "The same architecture with random weights scores at most {:.3} (previous), {:.3} (duplicate) and {:.3} (induction).",
                twin.previous, twin.duplicate, twin.induction
            )));
        }
        blocks.extend([
            self.map("Attention to what followed the token's first occurrence (induction)", |h| h.induction.value),
            self.map("Attention to the previous token", |h| h.previous.value),
            self.map("Attention to the token's first occurrence (duplicate)", |h| h.duplicate.value),
            self.map("Copying score of each head's OV circuit", |h| h.copying.unwrap_or(f64::NAN)),
            Block::text(self.templates()),
            self.map("Share of attention on the previous-token template (mul)", |h| h.mul.previous),
            self.map("Share of attention on the duplicate-token template (mul)", |h| h.mul.duplicate),
            self.map("Share of attention on the induction template (mul)", |h| h.mul.induction),
            self.map("Share on the induction template of shuffled tokens (control)", |h| h.mul_shuffled.induction),
            self.map("Agreement with the previous-token template (abs)", |h| h.abs.previous),
            self.map("Agreement with the duplicate-token template (abs)", |h| h.abs.duplicate),
            self.map("Agreement with the induction template (abs)", |h| h.abs.induction),
            self.links(),
            self.reading(),
        ]);
        blocks
    }
}

impl Heads {
    fn summary(&self) -> String {
        let list = |heads: Vec<&Head>| {
            let names: Vec<String> = heads.iter().map(|h| h.name()).collect();
            if names.is_empty() { "none".to_string() } else { names.join(", ") }
        };
        format!(
            "Induction heads (induction > {INDUCTION}, copying > 0): {}. Previous-token heads (> {PREVIOUS}): {}; strong \
             ones (> {STRONG}): {}.",
            list(self.induction_heads()),
            list(self.previous_token_heads(PREVIOUS)),
            list(self.previous_token_heads(STRONG))
        )
    }

    fn table(&self) -> Block {
        let columns = [
            "layer.head",
            "induction",
            "induction, unrepeated",
            "previous",
            "duplicate",
            "duplicate, unrepeated",
            "copying",
        ];
        let row = |h: &Head| {
            vec![
                Cell::text(h.name()),
                h.induction.cell(3),
                h.induction_unrepeated.cell(3),
                h.previous.cell(3),
                h.duplicate.cell(3),
                h.duplicate_unrepeated.cell(3),
                h.copying.map_or(Cell::Empty, |value| Cell::Number { value, digits: 3 }),
            ]
        };
        let high = |h: &Head| [h.induction, h.previous, h.duplicate].iter().any(|score| score.value > PREVIOUS);
        let sorted = self.sorted(|h| h.induction.value, |_| true).into_iter().enumerate();
        let shown = sorted.filter(|(rank, h)| *rank < SHOWN || high(h)).map(|(_, h)| row(h));
        Block::Table(Table { columns: columns.map(Column::new).to_vec(), rows: shown.collect() })
    }

    fn templates(&self) -> String {
        let left_out = match (self.excluded.bos, self.excluded.current) {
            (false, false) => "nothing is left out",
            (true, false) => "attention to the first token is left out",
            (false, true) => "attention of a token to itself is left out",
            (true, true) => "attention to the first token and of a token to itself are left out",
        };
        format!(
            "Template scores are TransformerLens's, over whole rows; {left_out}. Composition scores are shares of what an \
             earlier head writes that a later head's queries, keys or values can read; random matrices score {:.3}.",
            self.composition.random
        )
    }

    fn links(&self) -> Block {
        let name = |(layer, head): (usize, usize)| Cell::text(format!("{layer}.{head}"));
        let rows = self.composition.strongest.iter().map(|l| {
            let score = Cell::Number { value: l.score, digits: 3 };
            vec![Cell::text(l.reader.name().to_uppercase()), name(l.from), name(l.to), score]
        });
        let columns = ["composition", "from", "to", "score"];
        Block::Table(Table { columns: columns.map(Column::new).to_vec(), rows: rows.collect() })
    }

    fn reading(&self) -> Block {
        let heads = self.composition.k_by_head.first().map_or(0, Vec::len);
        let layers = 0..self.composition.k_by_head.len();
        Block::Chart(Chart {
            title: "K composition of each head with its strongest earlier head".to_string(),
            caption: format!(
                "Random matrices score {:.3}; the first layer has no earlier head.",
                self.composition.random
            ),
            plot: Plot::Heat {
                rows: Labels { name: "layer".to_string(), items: layers.map(|l| l.to_string()).collect() },
                columns: Labels { name: "head".to_string(), items: (0..heads).map(|h| h.to_string()).collect() },
                values: self.composition.k_by_head.clone(),
                unit: "score".to_string(),
                scale: Scale::Sequential,
            },
        })
    }

    fn losses(&self) -> Block {
        let loss = &self.loss;
        let row = |name: &str, x: Estimate| vec![Cell::text(name), x.cell(3)];
        let mut rows = vec![
            row("first half", loss.first),
            row("second half (induction loss)", loss.second),
            row("second half after other tokens (control)", loss.unrepeated),
            row("first half minus second half", loss.drop),
            row("control minus second half: what the repetition is worth", loss.gain),
            row("guessing among the tokens used", Estimate::exact(loss.guess)),
        ];
        if let Some(twin) = &self.untrained {
            rows.push(row("first half minus second half, random weights", twin.drop));
        }
        let columns = vec![Column::new("tokens"), Column::new("nats a token")];
        Block::Table(Table { columns, rows })
    }

    fn map(&self, title: &str, of: fn(&Head) -> f64) -> Block {
        let layers = self.heads.iter().map(|h| h.layer + 1).max().unwrap_or(0);
        let heads = self.heads.iter().map(|h| h.head + 1).max().unwrap_or(0);
        let signed = self.heads.iter().any(|h| of(h) < 0.0);
        Block::Chart(Chart {
            title: title.to_string(),
            caption: format!("{} rows of 2 x {} tokens.", self.rows, self.n),
            plot: Plot::Heat {
                rows: Labels { name: "layer".to_string(), items: (0..layers).map(|l| l.to_string()).collect() },
                columns: Labels { name: "head".to_string(), items: (0..heads).map(|h| h.to_string()).collect() },
                values: self.heads.chunks(heads.max(1)).map(|layer| layer.iter().map(of).collect()).collect(),
                unit: "score".to_string(),
                scale: if signed { Scale::Diverging } else { Scale::Sequential },
            },
        })
    }
}
