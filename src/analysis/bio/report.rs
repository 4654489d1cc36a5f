//! What a run shows: activity, courses, weights.

use super::{Ran, Shown};
use crate::hook::Axis as SiteAxis;
use crate::report::chart::{Axis, Labels, Line, Plot, Scale};
use crate::report::{Block, Cell, Chart, Column, Report, Table};

/// Groups of neurons and stretches of time of an activity map.
const MAP: (usize, usize) = (40, 60);
/// Spikes of a raster; of more, means are shown.
const DOTS: usize = 20_000;
/// Bins of a histogram of weights.
const BINS: usize = 40;

impl Report for Ran {
    fn blocks(&self) -> Vec<Block> {
        let time = self.dt.map_or(String::new(), |dt| format!(" of {dt} ms"));
        let mut blocks = vec![Block::heading(format!("{}: {} steps{time}", self.network, self.steps))];
        blocks.push(super::rules(&self.rules));
        for edit in &self.edits {
            blocks.push(Block::text(format!("Edited: `{}` {}", edit.site, edit.op)));
        }
        blocks.push(Block::Table(self.table()));
        for shown in &self.sites {
            let Some(recorded) = self.records.tensors.get(&shown.name) else { continue };
            let Ok(values) = recorded.tensor.flatten_from(1).and_then(|t| t.to_vec2::<f32>()) else { continue };
            let weights = recorded.axes.get(1) == Some(&SiteAxis::Post);
            if weights {
                blocks.extend(histogram(shown, &values));
            } else if shown.shape.len() == 3 && shown.shape[2] > 1 {
                blocks.push(self.raster(shown, &values).unwrap_or_else(|| self.map(shown, &values)));
            }
            if shown.course.len() > 1 {
                blocks.push(self.course(shown));
            }
        }
        blocks.extend(self.phase_plane());
        blocks
    }
}

impl Ran {
    /// Two recorded values against each other, where there are two of one unit each.
    fn phase_plane(&self) -> Option<Block> {
        let single = |s: &&Shown| s.shape[1..].iter().product::<usize>() == 1 && s.course.len() > 1;
        let mut singles = self.sites.iter().filter(single);
        let (a, b) = (singles.next()?, singles.next()?);
        if singles.next().is_some() || a.steps != b.steps {
            return None;
        }
        let line = |name: &str, x: &[f64], y: &[f64], reference| Line {
            name: name.to_string(),
            points: x.iter().copied().zip(y.iter().copied()).collect(),
            band: Vec::new(),
            reference,
        };
        let mut series = vec![line(if self.edits.is_empty() { "run" } else { "edited" }, &a.course, &b.course, false)];
        if let (Some(x), Some(y)) = (&a.unedited_course, &b.unedited_course) {
            series.push(line("without edits", x, y, true));
        }
        Some(Block::Chart(Chart {
            title: format!("{} against {}", b.name, a.name),
            caption: "The phase plane of the two, step after step.".to_string(),
            plot: Plot::Lines { x: Axis::new(&a.name), y: Axis::new(&b.name), series },
        }))
    }

    /// Hz per unit of a mean of spikes; `None` where steps have no length.
    fn hertz(&self, shown: &Shown) -> Option<f64> {
        self.dt.filter(|_| shown.spikes).map(|dt| 1000.0 / dt)
    }

    fn table(&self) -> Table {
        let mut columns = ["site", "shape [time, ..]", "mean"].map(Column::new).to_vec();
        if !self.edits.is_empty() {
            columns.push(Column::new("without edits"));
        }
        columns.push(Column::new("unit"));
        let row = |shown: &Shown| {
            let hertz = self.hertz(shown);
            let number = |x: f64| Cell::Number { value: x * hertz.unwrap_or(1.0), digits: 4 };
            let shape: Vec<String> = shown.shape.iter().map(usize::to_string).collect();
            let mut row = vec![Cell::text(&shown.name), Cell::text(shape.join(", ")), number(shown.mean)];
            if !self.edits.is_empty() {
                row.push(shown.unedited.map_or(Cell::Empty, number));
            }
            row.push(Cell::text(match (hertz, shown.spikes) {
                (Some(_), _) => "Hz",
                (None, true) => "per step",
                _ => "",
            }));
            row
        };
        Table { columns, rows: self.sites.iter().map(row).collect() }
    }

    fn time(&self, step: usize) -> f64 {
        step as f64 * self.dt.unwrap_or(1.0)
    }

    fn axis(&self) -> &'static str {
        if self.dt.is_some() { "time (ms)" } else { "step" }
    }

    /// Every spike of the first row; `None` where there are no spikes, or more than can be seen.
    fn raster(&self, shown: &Shown, values: &[Vec<f32>]) -> Option<Block> {
        let units = shown.shape[2];
        let of_step = |(row, step): (&Vec<f32>, &usize)| {
            let time = self.time(*step);
            row.iter().take(units).enumerate().filter(|(_, x)| **x != 0.0).map(|(i, _)| (time, i)).collect::<Vec<_>>()
        };
        let dots: Vec<(f64, usize)> = values.iter().zip(&shown.steps).flat_map(of_step).collect();
        (shown.spikes && dots.len() <= DOTS).then(|| {
            Block::Chart(Chart {
                title: format!("{}: spikes", shown.name),
                caption: format!("{} spikes of {units} neurons.", dots.len()),
                plot: Plot::Raster { x: Axis::new(self.axis()), unit: "neuron".to_string(), units, dots },
            })
        })
    }

    /// Neurons in groups against time in stretches, of the first row.
    fn map(&self, shown: &Shown, values: &[Vec<f32>]) -> Block {
        let units = shown.shape[2];
        let (high, wide) = (units.div_ceil(MAP.0), values.len().div_ceil(MAP.1).max(1));
        let scale = self.hertz(shown).unwrap_or(1.0);
        let cell = |from: usize, stretch: &[Vec<f32>]| {
            let to = (from + high).min(units);
            let sum: f64 = stretch.iter().flat_map(|row| &row[from..to]).map(|x| f64::from(*x)).sum();
            scale * sum / (stretch.len() * (to - from)) as f64
        };
        let starts: Vec<usize> = (0..units).step_by(high).collect();
        let rows = starts.iter().map(|from| values.chunks(wide).map(|stretch| cell(*from, stretch)).collect());
        let time = |i: usize| format!("{}", self.time(shown.steps.get(i * wide).copied().unwrap_or(0)));
        let unit = if self.hertz(shown).is_some() { "Hz" } else { "mean" };
        let group = if high == 1 { String::new() } else { format!(" in groups of {high}") };
        Block::Chart(Chart {
            title: format!("{}: neurons{group} against time", shown.name),
            caption: format!("Each cell is a mean over {high} neurons and {wide} steps; neuron 0 on top."),
            plot: Plot::Heat {
                rows: Labels { name: "neuron".to_string(), items: starts.iter().map(usize::to_string).collect() },
                columns: Labels {
                    name: self.axis().to_string(),
                    items: (0..values.len().div_ceil(wide)).map(time).collect(),
                },
                values: rows.collect(),
                unit: unit.to_string(),
                scale: Scale::Sequential,
            },
        })
    }

    /// The mean over units in time, with what it is without edits.
    fn course(&self, shown: &Shown) -> Block {
        let scale = self.hertz(shown).unwrap_or(1.0);
        let line = |name: &str, course: &[f64], reference| Line {
            name: name.to_string(),
            points: shown.steps.iter().zip(course).map(|(t, x)| (self.time(*t), scale * x)).collect(),
            band: Vec::new(),
            reference,
        };
        let mut series = vec![line(if self.edits.is_empty() { "mean" } else { "edited" }, &shown.course, false)];
        if let Some(course) = &shown.unedited_course {
            series.push(line("without edits", course, true));
        }
        let unit = if self.hertz(shown).is_some() { " (Hz)" } else { "" };
        Block::Chart(Chart {
            title: format!("{}: mean in time", shown.name),
            caption: format!(
                "Mean over all of {} units at each recorded step.",
                shown.shape[1..].iter().product::<usize>()
            ),
            plot: Plot::Lines { x: Axis::new(self.axis()), y: Axis::new(format!("mean{unit}")), series },
        })
    }
}

/// Weights at the beginning and at the end; zeros, which are no synapses, are left out.
fn histogram(shown: &Shown, values: &[Vec<f32>]) -> Vec<Block> {
    let (Some(first), Some(last)) = (values.first(), values.last()) else { return Vec::new() };
    let present = || first.iter().chain(last).filter(|w| **w != 0.0 && w.is_finite());
    let (low, high) = present().fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), w| (l.min(*w), h.max(*w)));
    if low >= high {
        return Vec::new();
    }
    let (low, width) = (f64::from(low), (f64::from(high) - f64::from(low)) / BINS as f64);
    let draw = |when: &str, weights: &[f32]| {
        let mut counts = vec![0; BINS];
        for w in weights.iter().filter(|w| **w != 0.0 && w.is_finite()) {
            counts[(((f64::from(*w) - low) / width) as usize).min(BINS - 1)] += 1;
        }
        Block::Chart(Chart {
            title: format!("{}: weights at {when}", shown.name),
            caption: "Zeros are left out.".to_string(),
            plot: Plot::Histogram {
                x: Axis::new("weight"),
                edges: (0..=BINS).map(|i| low + width * i as f64).collect(),
                counts,
            },
        })
    };
    let step = |t: Option<&usize>| format!("step {}", t.copied().unwrap_or(0));
    match values.len() {
        1 => vec![draw(&step(shown.steps.first()), first)],
        _ => vec![draw(&step(shown.steps.first()), first), draw(&step(shown.steps.last()), last)],
    }
}
