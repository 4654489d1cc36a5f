//! What unlearning looks like: what each method costs, the choice of its setting, and the matrices.

use super::hidden::hidden;
use super::methods::Method;
use super::result::{Before, Chosen, Forgotten, Unlearning};
use crate::analysis::Figures;
use crate::report::chart::{Axis, Labels, Line, Plot, Scale};
use crate::report::figures::name_part;
use crate::report::{Better, Block, Cell, Chart, Column, Report, Table};

impl Figures for Unlearning {
    /// `GROUP.METHOD.forgotten` and `GROUP.METHOD.worst`: relative drops of the forgotten group and of the kept one that
    /// lost most, on test data.
    fn figures(&self) -> Vec<(String, f64)> {
        let mut out = Vec::new();
        for forgotten in &self.forgotten {
            let index = self.index(forgotten);
            for chosen in &forgotten.chosen {
                let name =
                    |what: &str| format!("{}.{}.{what}", name_part(&forgotten.group), chosen.setting.method.word());
                out.push((name("forgotten"), 1.0 - chosen.kept[index].value));
                out.push((name("worst"), chosen.worst(index)));
            }
        }
        out
    }
}

impl Report for Unlearning {
    fn blocks(&self) -> Vec<Block> {
        let mut blocks = vec![Block::text(format!(
            "A drop is 1 - value / value before, with its 95 % interval over items. Settings are chosen on validation data: \
             the one that drops the forgotten group most while nothing else drops by more than {:.0} %; where there is \
             none, the one with the largest difference between both drops. All else is measured on other data. Hiding an \
             answer is not forgetting it: an abstention says nothing of what the weights still hold.",
            100.0 * self.tolerance
        ))];
        blocks.extend(self.warnings.iter().map(|w| Block::text(format!("Warning: {w}."))));
        blocks.push(self.before());
        for forgotten in &self.forgotten {
            blocks.push(Block::heading(format!("Forgetting {}", forgotten.group)));
            blocks.push(self.table(forgotten));
            blocks.extend(hidden(forgotten));
            blocks.push(self.frontier(forgotten));
            blocks.extend(self.inside(forgotten));
        }
        if self.forgotten.len() > 1 {
            blocks.push(Block::heading("Matrices"));
            for method in Method::ALL {
                blocks.extend(self.matrix(method));
            }
        }
        blocks
    }
}

impl Unlearning {
    /// The place of a forgotten group among all groups.
    pub fn index(&self, forgotten: &Forgotten) -> usize {
        self.before.iter().position(|b| b.group == forgotten.group).unwrap_or(0)
    }

    fn before(&self) -> Block {
        let columns = vec![
            Column::new("before any edit"),
            Column::new("items"),
            Column::new("metric"),
            Column::new("value").better(Better::More),
            Column::new("nats per token").better(Better::Less),
        ];
        let row = |b: &Before| {
            let nats = b.nats.map_or(Cell::Empty, |value| Cell::Number { value, digits: 3 });
            vec![Cell::text(&b.group), Cell::count(b.units), Cell::text(&b.metric), b.value.cell(3), nats]
        };
        Block::Table(Table { columns, rows: self.before.iter().map(row).collect() })
    }

    fn table(&self, forgotten: &Forgotten) -> Block {
        let index = self.index(forgotten);
        let columns = vec![
            Column::new("method"),
            Column::new("knob"),
            Column::new("setting"),
            Column::new("layer of the keys"),
            Column::new("neurons"),
            Column::new("harmless on validation"),
            Column::new(format!("drop of {}", forgotten.group)).better(Better::More),
            Column::new("worst drop elsewhere").better(Better::Less),
            Column::new("of"),
            Column::new("abstained at the prompt / later"),
        ];
        let row = |chosen: &Chosen| {
            let others = chosen.kept.iter().enumerate().filter(|(i, k)| *i != index && k.value.is_finite());
            let worst = others.min_by(|a, b| a.1.value.total_cmp(&b.1.value));
            let phases = chosen.abstained.get(index).map_or(Cell::Empty, |(prompt, later)| {
                Cell::text(format!("{:.0} % / {:.0} %", 100.0 * prompt, 100.0 * later))
            });
            vec![
                Cell::text(chosen.setting.method.word()),
                Cell::text(chosen.setting.method.knob()),
                Cell::Number { value: chosen.setting.knob, digits: 3 },
                chosen.setting.layer.map_or(Cell::Empty, Cell::count),
                Cell::count(chosen.neurons),
                Cell::text(if chosen.harmless { "yes" } else { "no" }),
                drop(&chosen.kept[index]).cell(3),
                worst.map_or(Cell::Empty, |(_, kept)| drop(kept).cell(3)),
                worst.map_or(Cell::Empty, |(i, _)| Cell::text(&self.before[i].group)),
                phases,
            ]
        };
        Block::Table(Table { columns, rows: forgotten.chosen.iter().map(row).collect() })
    }

    /// Forgetting against what it costs, setting by setting.
    fn frontier(&self, forgotten: &Forgotten) -> Block {
        let index = self.index(forgotten);
        let line = |method: Method| {
            let layer = forgotten.chosen.iter().find(|c| c.setting.method == method).and_then(|c| c.setting.layer);
            let own = forgotten.tried.iter().filter(|t| t.setting.method == method && t.setting.layer == layer);
            let points: Vec<(f64, f64)> = own.map(|t| (t.drop(index), t.worst(index))).collect();
            let reference = Method::ALL.into_iter().any(|m| m.control() == Some(method));
            Line { name: method.word().to_string(), points, band: Vec::new(), reference }
        };
        let series = Method::ALL.into_iter().map(line).filter(|l| !l.points.is_empty()).collect();
        Block::Chart(Chart {
            title: format!("What forgetting {} costs", forgotten.group),
            caption: "each point is a setting of a method's knob, on validation data, joined in order of the knob (of Key \
                      Space Detection in the chosen layer); right and low is better; dashed: random neurons, as many in \
                      each layer"
                .to_string(),
            plot: Plot::Lines {
                x: Axis::new(format!("relative drop of {}", forgotten.group)),
                y: Axis::new("largest relative drop elsewhere"),
                series,
            },
        })
    }

    fn inside(&self, forgotten: &Forgotten) -> Option<Block> {
        let within = forgotten.cube.as_ref()?;
        let index = self.index(forgotten);
        let line = |group: usize| Line {
            name: self.before[group].group.clone(),
            points: within.inside.iter().map(|i| (i.alpha, i.shares[group])).collect(),
            band: Vec::new(),
            reference: group != index,
        };
        Some(Block::Chart(Chart {
            title: format!("Who lies in the cube of {}", forgotten.group),
            caption: format!(
                "share of each group's validation items with a key of layer {} within alpha; kappa {:.2} from {} keys; \
                 dashed: what is kept",
                within.layer, within.kappa, within.keys
            ),
            plot: Plot::Lines {
                x: Axis { log: true, ..Axis::new("alpha") },
                y: Axis::new("share inside").range(0.0, 1.0),
                series: (0..self.before.len()).map(line).collect(),
            },
        }))
    }

    /// Relative drops, forgotten groups against all groups.
    fn matrix(&self, method: Method) -> Option<Block> {
        let chosen = |f: &Forgotten| f.chosen.iter().find(|c| c.setting.method == method).cloned();
        let rows: Vec<(String, Chosen)> =
            self.forgotten.iter().filter_map(|f| Some((f.group.clone(), chosen(f)?))).collect();
        if rows.is_empty() {
            return None;
        }
        Some(Block::Chart(Chart {
            title: format!("Relative drops under {}", method.word()),
            caption:
                "rows: what is forgotten; columns: what is measured; test data; the diagonal should be 1, all else 0"
                    .to_string(),
            plot: Plot::Heat {
                rows: Labels { name: "forgotten".into(), items: rows.iter().map(|r| r.0.clone()).collect() },
                columns: Labels {
                    name: "measured".into(),
                    items: self.before.iter().map(|b| b.group.clone()).collect(),
                },
                values: rows.iter().map(|r| r.1.kept.iter().map(|k| 1.0 - k.value).collect()).collect(),
                unit: "relative drop".into(),
                scale: Scale::Diverging,
            },
        }))
    }
}

/// 1 minus a share.
fn drop(kept: &crate::analysis::Estimate) -> crate::analysis::Estimate {
    crate::analysis::Estimate {
        value: 1.0 - kept.value,
        interval: kept.interval.map(|(low, high)| (1.0 - high, 1.0 - low)),
    }
}
