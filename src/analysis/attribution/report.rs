//! What attributions look like.

use super::{Attribution, Direct, PathForm, Paths};
use crate::analysis::Figures;
use crate::report::chart::{Axis, Labels, Line, Plot, Scale};
use crate::report::{Block, Cell, Chart, Column, Report, Table};

/// Points of a scatter that are drawn for each component: those with the largest exact effects.
const DRAWN: usize = 20;

/// A map by layer and head.
fn by_head(title: String, caption: String, values: &[Vec<f64>], unit: &str) -> Block {
    let columns = values.first().map_or(0, Vec::len);
    Block::Chart(Chart {
        title,
        caption,
        plot: Plot::Heat {
            rows: Labels { name: "layer".into(), items: (0..values.len()).map(|l| l.to_string()).collect() },
            columns: Labels { name: "head".into(), items: (0..columns).map(|h| h.to_string()).collect() },
            values: values.to_vec(),
            unit: unit.to_string(),
            scale: Scale::Diverging,
        },
    })
}

impl Figures for Direct {
    fn figures(&self) -> Vec<(String, f64)> {
        vec![
            ("logits".to_string(), self.logits),
            ("attn".to_string(), self.attn.iter().sum()),
            ("mlp".to_string(), self.mlp.iter().sum()),
            ("error".to_string(), self.error),
        ]
    }
}

impl Report for Direct {
    fn blocks(&self) -> Vec<Block> {
        let number = |value: f64| Cell::Number { value, digits: 3 };
        let mut rows = vec![vec![Cell::text("token embedding"), number(self.embed)]];
        rows.extend(self.positions.map(|p| vec![Cell::text("position embedding"), number(p)]));
        for (layer, (attn, mlp)) in self.attn.iter().zip(&self.mlp).enumerate() {
            rows.push(vec![Cell::text(format!("attention {layer}")), number(*attn)]);
            rows.push(vec![Cell::text(format!("MLP {layer}")), number(*mlp)]);
        }
        rows.push(vec![Cell::text("biases of the last norm and the unembedding"), number(self.bias)]);
        rows.push(vec![Cell::text("all: the logit difference"), number(self.logits)]);
        let mut blocks = vec![
            Block::text(format!(
                "What each component adds to the logit difference at the last position, mean over {} prompt(s), through \
                 the last norm at the scale of the run, before any softcap. The parts add up to the difference to {:.1e}.",
                self.prompts, self.error
            )),
            Block::Table(Table { columns: vec![Column::new("component"), Column::new("adds")], rows }),
        ];
        match &self.heads {
            Some(heads) => {
                blocks.push(by_head("What each head adds to the logit difference".into(), String::new(), heads, "logits"));
                let rows = self.neurons.iter().map(|n| vec![Cell::text(format!("{}.{}", n.layer, n.neuron)), number(n.value)]);
                let columns = vec![Column::new("neuron"), Column::new("adds")];
                blocks.push(Block::Table(Table { columns, rows: rows.collect() }));
            }
            None => blocks.push(Block::text(
                "Contributions of this architecture pass a norm before they are added: heads and neurons are not told apart.",
            )),
        }
        blocks
    }
}

impl Figures for Attribution {
    fn figures(&self) -> Vec<(String, f64)> {
        let mut figures =
            vec![("clean".to_string(), self.exact.clean), ("corrupted".to_string(), self.exact.corrupted)];
        for scatter in &self.estimated {
            let name = scatter.component.site().replace("attn.", "").replace("hook_", "");
            figures.push((format!("{name}.correlation"), scatter.correlation));
        }
        figures
    }
}

impl Report for Attribution {
    fn blocks(&self) -> Vec<Block> {
        let mut series = Vec::new();
        let (mut low, mut high) = (0f64, 0f64);
        let mut rows = Vec::new();
        for (scatter, map) in self.estimated.iter().zip(&self.exact.maps) {
            let mut points: Vec<(f64, f64)> =
                map.effect.iter().flatten().copied().zip(scatter.effect.iter().flatten().copied()).collect();
            points.sort_by(|a, b| b.0.abs().total_cmp(&a.0.abs()));
            points.truncate(DRAWN);
            points.iter().for_each(|p| (low, high) = (low.min(p.0), high.max(p.0)));
            // A gap after every point: dots, not a curve.
            let points = points.into_iter().flat_map(|p| [p, (p.0, f64::NAN)]).collect();
            let name = scatter.component.site().to_string();
            let patches = map.effect.iter().map(Vec::len).sum::<usize>();
            let correlation = Cell::Number { value: scatter.correlation, digits: 3 };
            rows.push(vec![Cell::text(&name), Cell::count(patches), correlation]);
            series.push(Line { name, points, band: Vec::new(), reference: false });
        }
        let line = vec![(low, low), (high, high)];
        series.push(Line { name: "exact".into(), points: line, band: Vec::new(), reference: true });
        let columns =
            vec![Column::new("patched"), Column::new("patches"), Column::new("correlation with exact effects")];
        let mut blocks = vec![
            Block::text(
                "Attribution patching estimates the effect of every patch from one backward pass per prompt; below, the \
                 estimates beside the exact effects.",
            ),
            Block::Table(Table { columns, rows }),
            Block::Chart(Chart {
                title: "Estimated against exact effects".to_string(),
                caption: format!("The {DRAWN} patches of each kind with the largest exact effects."),
                plot: Plot::Lines {
                    x: Axis::new("exact effect on the logit difference"),
                    y: Axis::new("estimated effect"),
                    series,
                },
            }),
        ];
        blocks.extend(self.exact.blocks());
        blocks
    }
}

impl Figures for Paths {
    fn figures(&self) -> Vec<(String, f64)> {
        let most = self.effect.iter().flatten().copied().fold(f64::NEG_INFINITY, f64::max);
        vec![
            ("effect.max".to_string(), most),
            ("clean".to_string(), self.clean),
            ("corrupted".to_string(), self.corrupted),
        ]
    }
}

impl Report for Paths {
    fn blocks(&self) -> Vec<Block> {
        let held = if self.strict { "every other head and every MLP" } else { "every other head" };
        let how = match self.form {
            PathForm::Replace => "replaced",
            PathForm::Edge => "changed by addition",
        };
        vec![
            Block::text(format!(
                "One head's corrupted value reaches {} directly, {held} held at its clean value, and the receiver's input \
                 is {how}. The logit difference is {:.3} clean and {:.3} corrupted; an effect of 1 takes all of it.",
                self.receiver, self.clean, self.corrupted
            )),
            by_head(
                format!("Path patching: what each head does through {}", self.receiver),
                "Share of the logit difference that goes.".into(),
                &self.effect,
                "effect",
            ),
        ]
    }
}
