//! What patching looks like.

use super::{Columns, Direction, Map, Patching};
use crate::analysis::Figures;
use crate::report::chart::{Labels, Plot, Scale};
use crate::report::{Block, Chart, Report};

impl Figures for Patching {
    fn figures(&self) -> Vec<(String, f64)> {
        let mut figures = vec![
            ("clean".to_string(), self.clean),
            ("corrupted".to_string(), self.corrupted),
            ("corrupted_kl".to_string(), self.corrupted_kl),
        ];
        for map in &self.maps {
            let largest = map.effect.iter().flatten().copied().fold(f64::NEG_INFINITY, f64::max);
            figures.push((format!("{}.max", map.component.name()), largest));
        }
        figures
    }
}

impl Report for Patching {
    fn blocks(&self) -> Vec<Block> {
        let (run, put, all) = match self.direction {
            Direction::Denoise => ("corrupted", "clean", "the clean answer is back"),
            Direction::Noise => ("clean", "corrupted", "the clean answer is gone"),
        };
        let mut blocks = vec![Block::text(format!(
            "The {run} run with one {put} value put in, {} pair(s) of prompts. The logit difference is {:.3} clean and \
             {:.3} corrupted; an effect of 0 changes nothing, at 1 {all}. KL(clean || corrupted) is {:.3} nats. \
             {} patched runs, {} more that could change nothing; {:.1} % of the work of whole runs.",
            self.pairs,
            self.clean,
            self.corrupted,
            self.corrupted_kl,
            self.work.ran,
            self.work.skipped,
            100.0 * self.work.tokens as f64 / self.work.naive.max(1) as f64
        ))];
        for map in &self.maps {
            blocks.push(map.chart("effect on the logit difference", &map.effect, Scale::Diverging));
            blocks.push(map.chart("KL from the clean run", &map.kl, Scale::Sequential));
        }
        blocks
    }
}

impl Map {
    /// The last block on top.
    fn chart(&self, what: &str, values: &[Vec<f64>], scale: Scale) -> Block {
        let columns = match self.component.columns() {
            Columns::Positions => "position",
            Columns::Heads => "head",
            Columns::KeyHeads => "key head",
        };
        let count = values.first().map_or(0, Vec::len);
        let unit = if scale == Scale::Sequential { "nats" } else { "effect" };
        Block::Chart(Chart {
            title: format!("Patching {}: {what}, by block and {columns}", self.component.site()),
            caption: "One patch at a time.".to_string(),
            plot: Plot::Heat {
                rows: Labels {
                    name: "block".to_string(),
                    items: (0..values.len()).rev().map(|b| b.to_string()).collect(),
                },
                columns: Labels { name: columns.to_string(), items: (0..count).map(|c| c.to_string()).collect() },
                values: values.iter().rev().cloned().collect(),
                unit: unit.to_string(),
                scale,
            },
        })
    }
}
