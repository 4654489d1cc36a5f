//! Labels of a whole network's units on a set of images: chosen on one half, scored on the other.

use serde::{Deserialize, Serialize};

use super::concepts::Concepts;
use super::names::{Named, Naming, Seen, name_units};
use super::sheets::sheet;
use super::units::{EXEMPLARS, NetworkMaps, active_places, units};
use crate::analysis::{Estimate, Figures};
use crate::data::ImageSet;
use crate::models::Convolutional;
use crate::report::chart::{Bars, Chart, PictureRow, Plot};
use crate::report::{Better, Block, Cell, Column, Progress, Report, Table};
use crate::{Error, Result};

/// Units whose exemplars are shown.
const SHOWN: usize = 24;
/// Exemplars of each.
const PICTURES: usize = 8;
/// Units listed in a table.
const LISTED: usize = 30;

/// The labels of a network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Labels {
    /// Images that labels were chosen on.
    pub selection: usize,
    /// Images that they were scored on.
    pub test: usize,
    /// Every unit.
    pub units: Vec<Named>,
    /// Exemplars of the units whose labels fit best.
    #[serde(skip)]
    pub sheets: Vec<PictureRow>,
}

/// Labels the units of a network: chosen on `selection`, scored on `test`, with the concepts there.
///
/// # Errors
/// Images of another size than the network's, too few of them.
pub fn labels(
    net: &Convolutional,
    selection: (&ImageSet, &Concepts),
    test: (&ImageSet, &Concepts),
    naming: Naming,
    progress: &Progress,
) -> Result<Labels> {
    if selection.0.len() < EXEMPLARS || test.0.len() < EXEMPLARS {
        return Err(Error::invalid(
            format!("{} images to choose labels on and {} to score them", selection.0.len(), test.0.len()),
            format!("give at least {EXEMPLARS} of each"),
        ));
    }
    let [_, height, width] = selection.0.shape;
    let (chosen, scored) = (NetworkMaps { net, set: selection.0 }, NetworkMaps { net, set: test.0 });
    progress.task("exemplars");
    let found = units(&chosen, EXEMPLARS, progress)?;
    progress.task("active places");
    let active = active_places(&chosen, &found, progress)?;
    let held_out = active_places(&scored, &found, progress)?;
    progress.task("formulas");
    let area = height * width;
    let seen = Seen { concepts: selection.1, active: &active, area };
    let named = name_units(&found, &seen, &Seen { concepts: test.1, active: &held_out, area }, naming);
    let mut best: Vec<&Named> = named.iter().filter(|n| n.formula.is_some()).collect();
    best.sort_by(|a, b| b.iou.total_cmp(&a.iou));
    let sheets =
        best.iter().take(SHOWN).map(|n| sheet(&chosen, selection.0, n, PICTURES)).collect::<Result<Vec<_>>>()?;
    Ok(Labels { selection: selection.0.len(), test: test.0.len(), units: named, sheets })
}

/// What a layer's labels are worth.
struct Layer {
    units: usize,
    holding: usize,
    iou: f64,
    auroc: f64,
    permuted: f64,
}

impl Labels {
    fn layers(&self) -> Vec<Layer> {
        let last = self.units.iter().map(|n| n.unit.layer).max().map_or(0, |l| l + 1);
        let layer = |l: usize| {
            let own: Vec<&Named> = self.units.iter().filter(|n| n.unit.layer == l).collect();
            let median = |of: &dyn Fn(&Named) -> f64| {
                let mut values: Vec<f64> = own.iter().map(|n| of(n)).filter(|x| !x.is_nan()).collect();
                values.sort_by(f64::total_cmp);
                values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
            };
            Layer {
                units: own.len(),
                holding: own.iter().filter(|n| n.holds()).count(),
                iou: median(&|n| n.iou),
                auroc: median(&|n| n.auroc.value),
                permuted: median(&|n| n.permuted),
            }
        };
        (0..last).map(layer).collect()
    }

    /// The share of units whose label holds.
    pub fn holding(&self) -> f64 {
        self.units.iter().filter(|n| n.holds()).count() as f64 / self.units.len().max(1) as f64
    }
}

impl Figures for Labels {
    fn figures(&self) -> Vec<(String, f64)> {
        let mean = |of: &dyn Fn(&Named) -> f64| {
            let values: Vec<f64> = self.units.iter().map(of).filter(|x| !x.is_nan()).collect();
            Estimate::mean(&values, 0).value
        };
        vec![
            ("holding".into(), self.holding()),
            ("auroc.mean".into(), mean(&|n| n.auroc.value)),
            ("auroc.permuted".into(), mean(&|n| n.permuted)),
            ("iou.mean".into(), mean(&|n| n.iou)),
        ]
    }
}

impl Report for Labels {
    fn blocks(&self) -> Vec<Block> {
        let mut blocks = vec![Block::text(format!(
            "Each channel gets the formula of concepts that fits its active places best (IoU) on {} images, and is \
             scored on {} others. A label holds if it tells active places from others better than chance (area under \
             the ROC curve, corrected for all units) and better than the label of another unit.",
            self.selection, self.test
        ))];
        let layers = self.layers();
        let columns = vec![
            Column::new("layer"),
            Column::new("units"),
            Column::new("labels that hold").better(Better::More),
            Column::new("median IoU").better(Better::More),
            Column::new("median area under the ROC curve").better(Better::More),
            Column::new("the same, another unit's label"),
        ];
        let number = |value: f64| if value.is_nan() { Cell::Empty } else { Cell::Number { value, digits: 3 } };
        let row = |(l, layer): (usize, &Layer)| {
            vec![
                Cell::count(l as u64),
                Cell::count(layer.units as u64),
                Cell::count(layer.holding as u64),
                number(layer.iou),
                number(layer.auroc),
                number(layer.permuted),
            ]
        };
        blocks.push(Block::Table(Table { columns, rows: layers.iter().enumerate().map(row).collect() }));
        let bars = |name: &str, of: &dyn Fn(&Layer) -> f64| Bars {
            name: name.into(),
            values: layers.iter().map(of).collect(),
            intervals: Vec::new(),
        };
        blocks.push(Block::Chart(Chart {
            title: "How well labels tell where a layer's units are active".into(),
            caption: "Median over units of the area under the ROC curve on held-out images; 0.5 is chance.".into(),
            plot: Plot::Bars {
                y: crate::report::chart::Axis::new("area under the ROC curve").range(0.0, 1.0),
                categories: (0..layers.len()).map(|l| format!("conv {l}")).collect(),
                series: vec![bars("its own label", &|l| l.auroc), bars("another unit's label", &|l| l.permuted)],
            },
        }));
        if !self.sheets.is_empty() {
            blocks.push(Block::Chart(Chart {
                title: "What excites the units whose labels fit best".into(),
                caption: "The images with the largest activation, bright where the unit is active.".into(),
                plot: Plot::Pictures { rows: self.sheets.clone() },
            }));
        }
        let mut best: Vec<&Named> = self.units.iter().filter(|n| n.formula.is_some()).collect();
        best.sort_by(|a, b| b.iou.total_cmp(&a.iou));
        let columns = vec![
            Column::new("unit"),
            Column::new("label"),
            Column::new("IoU").better(Better::More),
            Column::new("area under the ROC curve").better(Better::More),
            Column::new("another unit's label"),
        ];
        let row = |n: &&Named| {
            vec![
                Cell::text(format!("conv {} channel {}", n.unit.layer, n.unit.channel)),
                Cell::text(&n.label),
                number(n.iou),
                n.auroc.cell(3),
                number(n.permuted),
            ]
        };
        blocks.push(Block::Table(Table { columns, rows: best.iter().take(LISTED).map(row).collect() }));
        blocks
    }
}
