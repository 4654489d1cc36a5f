//! What an inspection looks like on a terminal and in a report.

use super::{Effect, Inspection, SetEffect, Units};
use crate::analysis::Estimate;
use crate::report::chart::{Labels, Plot, Scale, TokenRow};
use crate::report::{Better, Block, Cell, Chart, Column, Report, Table};

impl Inspection {
    /// The tokens with their places: names of columns that stay apart.
    pub fn places(&self) -> Vec<String> {
        self.tokens.iter().enumerate().map(|(i, t)| format!("{i} {}", t.text)).collect()
    }

    /// The loss of every token.
    pub fn loss_chart(&self) -> Chart {
        Chart {
            title: "Loss token by token".to_string(),
            caption: "-log p of each token after those before it, nats; the first has none.".to_string(),
            plot: Plot::Tokens {
                unit: "nats".to_string(),
                rows: vec![TokenRow {
                    name: "prompt".to_string(),
                    tokens: self.tokens.iter().map(|t| t.text.clone()).collect(),
                    values: self.tokens.iter().map(|t| t.loss.unwrap_or(f64::NAN)).collect(),
                    focus: None,
                }],
            },
        }
    }

    /// Norms of the stream and of what blocks add to it.
    pub fn norm_chart(&self) -> Chart {
        Chart {
            title: "Norms of the stream and of what each block writes".to_string(),
            caption: "Euclidean norm of each token's vector.".to_string(),
            plot: Plot::Heat {
                rows: Labels { name: String::new(), items: self.norms.iter().map(|n| short(&n.site)).collect() },
                columns: Labels { name: "token".to_string(), items: self.places() },
                values: self.norms.iter().map(|n| n.values.clone()).collect(),
                unit: "norm".to_string(),
                scale: Scale::Sequential,
            },
        }
    }

    /// The units of the chosen site.
    pub fn unit_chart(&self, units: &Units) -> Chart {
        Chart {
            title: format!("The {} units of {} that reach farthest", units.numbers.len(), units.site),
            caption: format!("Of {}; the largest magnitude over the prompt decides.", units.of),
            plot: Plot::Heat {
                rows: Labels {
                    name: units.axis.clone().unwrap_or_else(|| "unit".to_string()),
                    items: units.numbers.iter().map(usize::to_string).collect(),
                },
                columns: Labels { name: "token".to_string(), items: self.places() },
                values: units.values.clone(),
                unit: "value".to_string(),
                scale: Scale::Diverging,
            },
        }
    }
}

/// `blocks.3.hook_resid_post` as `3 resid_post`.
fn short(site: &str) -> String {
    let rest = site.strip_prefix("blocks.").and_then(|s| s.split_once('.'));
    rest.map_or_else(|| site.to_string(), |(layer, part)| format!("{layer} {}", part.trim_start_matches("hook_")))
}

impl Report for Inspection {
    fn blocks(&self) -> Vec<Block> {
        let columns = vec![Column::new("next token"), Column::new("id"), Column::new("p"), Column::new("log p")];
        let row = |c: &super::Candidate| {
            vec![
                Cell::text(&c.text),
                Cell::count(c.id),
                Cell::Number { value: c.log_probability.exp(), digits: 4 },
                Cell::Number { value: c.log_probability, digits: 3 },
            ]
        };
        let next = Table { columns, rows: self.next.iter().map(row).collect() };
        let mut blocks = vec![Block::Table(next), Block::Chart(self.loss_chart()), Block::Chart(self.norm_chart())];
        blocks.extend(self.units.as_ref().map(|units| Block::Chart(self.unit_chart(units))));
        blocks
    }
}

impl Report for Effect {
    fn blocks(&self) -> Vec<Block> {
        let mut columns =
            ["texts", "tokens", "loss before", "loss after", "KL, nats per token"].map(Column::new).to_vec();
        columns.push(Column::new("same prediction").better(Better::More));
        let controlled = !self.control.is_empty();
        if controlled {
            columns.extend(["loss, control", "KL, control"].map(Column::new));
        }
        let cell = |e: &Option<Estimate>| e.as_ref().map_or(Cell::Empty, |e| e.cell(3));
        let row = |s: &SetEffect| {
            let mut row = vec![
                Cell::text(&s.name),
                Cell::count(s.tokens),
                s.before.cell(3),
                s.after.cell(3),
                s.kl.cell(4),
                s.agreement.cell(3),
            ];
            if controlled {
                row.extend([cell(&s.after_control), cell(&s.kl_control)]);
            }
            row
        };
        let mut blocks = vec![Block::Table(Table { columns, rows: self.sets.iter().map(row).collect() })];
        if controlled {
            blocks.push(Block::text(format!("Control: {}. Intervals are of 95 % over texts.", self.control)));
        }
        blocks
    }
}
