//! What the lens looks like.

use super::{Grid, Layer, Lens};
use crate::analysis::{Estimate, Figures};
use crate::report::chart::{Axis, Labels, Line, Plot, Scale};
use crate::report::{Better, Block, Cell, Chart, Column, Report, Table};

impl Figures for Lens {
    fn figures(&self) -> Vec<(String, f64)> {
        let mut figures = Vec::new();
        if let Some(last) = self.layers.last() {
            figures.push(("last_layer.accuracy".to_string(), last.accuracy.value));
            figures.push(("last_layer.loss".to_string(), last.loss.value));
            figures.push(("last_layer.kl".to_string(), last.kl.value));
            figures.push(("last_layer.agreement".to_string(), last.agreement.value));
        }
        figures.push(("last_layer.error".to_string(), self.last_error));
        let settled = self.layers.iter().position(|l| l.agreement.value >= 0.5).unwrap_or(self.layers.len());
        figures.push(("half_agreement.layer".to_string(), settled as f64));
        for (i, layer) in self.layers.iter().enumerate() {
            let measured = [
                ("kl", layer.kl),
                ("agreement", layer.agreement),
                ("accuracy", layer.accuracy),
                ("loss", layer.loss),
                ("kl_elsewhere", layer.kl_elsewhere),
                ("agreement_elsewhere", layer.agreement_elsewhere),
            ];
            figures.extend(measured.map(|(name, x)| (format!("layer.{i}.{name}"), x.value)));
        }
        figures
    }
}

impl Report for Lens {
    fn blocks(&self) -> Vec<Block> {
        let columns = vec![
            Column::new("stream"),
            Column::new("KL from final, nats").better(Better::Less),
            Column::new("KL elsewhere"),
            Column::new("agrees with final").better(Better::More),
            Column::new("agrees elsewhere"),
            Column::new("accuracy").better(Better::More),
            Column::new("loss, nats").better(Better::Less),
        ];
        let row = |layer: &Layer| {
            vec![
                Cell::text(&layer.site),
                layer.kl.cell(3),
                layer.kl_elsewhere.cell(3),
                layer.agreement.cell(3),
                layer.agreement_elsewhere.cell(3),
                layer.accuracy.cell(3),
                layer.loss.cell(3),
            ]
        };
        let mut blocks = vec![
            Block::text(format!(
                "Each layer's stream through the final norm and the unembedding, at {} positions of {} texts ({} of them \
                 with a next token to predict); special tokens are skipped. In brackets the 95 % interval over texts. \
                 \"Elsewhere\" is the control: the same layer's prediction at another position of the same text. The last \
                 layer's lens equals the logits to {:.1e}.",
                self.positions, self.texts, self.predicted, self.last_error
            )),
            Block::Table(Table { columns, rows: self.layers.iter().map(row).collect() }),
            self.curves("Predictions settle layer by layer: KL from the final one", "nats", |l| [l.kl, l.kl_elsewhere]),
            self.curves("Share of positions where a layer's likeliest token is the final one", "share", |l| {
                [l.agreement, l.agreement_elsewhere]
            }),
        ];
        if let Some(grid) = &self.grid {
            blocks.extend(grid.blocks());
        }
        blocks
    }
}

impl Lens {
    fn curves(&self, title: &str, unit: &str, of: fn(&Layer) -> [Estimate; 2]) -> Block {
        let series = ["lens", "lens of another position (control)"].into_iter().enumerate().map(|(i, name)| {
            let points = self.layers.iter().enumerate().map(|(l, layer)| (l as f64, of(layer)[i].value));
            Line {
                name: name.to_string(),
                points: points.collect(),
                band: self.layers.iter().map(|layer| of(layer)[i].ends()).collect(),
                reference: i == 1,
            }
        });
        Block::Chart(Chart {
            title: title.to_string(),
            caption: format!("0 is the embedding; bands are 95 % intervals over {} texts.", self.texts),
            plot: Plot::Lines { x: Axis::new("blocks passed"), y: Axis::new(unit), series: series.collect() },
        })
    }
}

impl Grid {
    /// The last layer on top.
    fn blocks(&self) -> Vec<Block> {
        let layers: Vec<String> = (0..self.predictions.len()).rev().map(|l| l.to_string()).collect();
        let columns = std::iter::once("blocks passed").chain(self.tokens.iter().map(String::as_str));
        let rows = layers.iter().zip(self.predictions.iter().rev()).map(|(layer, along)| {
            let words = along.iter().map(|p| Cell::text(format!("{} {:.2}", p.token, p.probability)));
            std::iter::once(Cell::text(layer)).chain(words).collect()
        });
        let numbered = self.tokens.iter().enumerate().map(|(i, token)| format!("{i} {token}"));
        let values = self.predictions.iter().rev().map(|along| along.iter().map(|p| p.probability).collect());
        vec![
            Block::text(format!("Likeliest next token after each token of text {}, and its probability:", self.text)),
            Block::Table(Table { columns: columns.map(Column::new).collect(), rows: rows.collect() }),
            Block::Chart(Chart {
                title: format!("How sure each layer is of its next token, along text {}", self.text),
                caption: "Probability of the layer's likeliest token; the words are in the table.".to_string(),
                plot: Plot::Heat {
                    rows: Labels { name: "blocks passed".to_string(), items: layers },
                    columns: Labels { name: "token".to_string(), items: numbered.collect() },
                    values: values.collect(),
                    unit: "probability".to_string(),
                    scale: Scale::Sequential,
                },
            }),
        ]
    }
}
