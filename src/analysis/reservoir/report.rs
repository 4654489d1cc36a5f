//! What the experiment shows.

use super::{Arm, Found, Kind, Lesion, Measured, over_networks};
use crate::analysis::measure::{Estimate, Figures};
use crate::report::chart::{Axis, Bars, Line, Plot};
use crate::report::{Better, Block, Cell, Chart, Column, Judged, Report, Table};

/// A number of a lesion, with its name.
type NamedOf = (&'static str, fn(&Lesion) -> f64);

/// How much less than the best gain's counts as as much.
const MARGIN: f64 = 0.1;

impl Found {
    fn at(&self, scale: f64) -> impl Iterator<Item = &Arm> {
        self.arms.iter().filter(move |arm| arm.input_scale == scale)
    }

    fn arm(&self, scale: f64, kind: Kind) -> Option<&Arm> {
        self.at(scale).find(|arm| arm.kind == kind)
    }

    /// For each network the best value over the arms that `takes` says.
    fn best(&self, scale: f64, takes: impl Fn(Kind) -> bool, of: impl Fn(&Measured) -> f64) -> Vec<f64> {
        let arms: Vec<&Arm> = self.at(scale).filter(|arm| takes(arm.kind)).collect();
        let best = |seed: usize| arms.iter().map(|arm| of(&arm.measured[seed])).fold(f64::NEG_INFINITY, f64::max);
        (0..self.plan.seeds).map(best).collect()
    }

    /// For each network 1 - least/largest memory over the arms that `takes` says.
    fn spread(&self, scale: f64, takes: impl Fn(Kind) -> bool) -> Vec<f64> {
        let largest = self.best(scale, &takes, memory);
        let least = self.best(scale, &takes, |m| -memory(m));
        largest.iter().zip(least).map(|(most, least)| 1.0 + least / most).collect()
    }

    fn lesioned(&self, of: impl Fn(&Lesion) -> f64) -> Estimate {
        over_networks(&self.lesions.iter().map(of).collect::<Vec<_>>())
    }

    /// The parts of the claim.
    pub fn verdicts(&self) -> Vec<Judged> {
        let mut verdicts = Vec::new();
        for scale in self.plan.input_scales.iter().copied() {
            let excited = self.plan.gains.iter().copied().fold(f64::INFINITY, f64::min);
            let cliff = self.arm(scale, Kind::Gain(excited)).map(|arm| arm.estimate(memory));
            let global = self.best(scale, is_gain, memory);
            let adapted = self.best(scale, is_adapted, memory);
            let best = over_networks(&global);
            let (low, high) = (cliff.map_or(f64::NAN, |c| c.value), best.value);
            verdicts.push(judged(
                format!("sigma_in {scale}: with excitation in excess (g_I {excited}) memory is below 60 % of the best gain's"),
                low < 0.6 * high,
                &[("memory", low), ("best gain", high)],
            ));
            let gain: Vec<f64> = adapted.iter().zip(&global).map(|(a, g)| a / g - 1.0).collect();
            let gain = over_networks(&gain);
            verdicts.push(judged(
                format!("sigma_in {scale}: adapted inhibition remembers as much as the best global gain or more (margin 10 %)"),
                gain.ends().0 > -MARGIN,
                &[("gain of memory", gain.value), ("lower end", gain.ends().0), ("upper end", gain.ends().1)],
            ));
            let [spread_gain, spread_adapted] =
                [is_gain as fn(Kind) -> bool, is_uniform].map(|takes| over_networks(&self.spread(scale, takes)));
            verdicts.push(judged(
                format!("sigma_in {scale}: memory depends less on the target rate than on the global gain"),
                spread_adapted.value < spread_gain.value,
                &[("over rates", spread_adapted.value), ("over gains", spread_gain.value)],
            ));
        }
        let off = self.arms.iter().filter(|arm| is_adapted(arm.kind)).map(|arm| arm.estimate(|m| m.off_target).value);
        let off = off.fold(0.0, f64::max);
        verdicts.push(judged(
            "adaptation brings neurons to their targets, within 0.02 on average, in every arm".to_string(),
            off < 0.02,
            &[("largest distance", off)],
        ));
        verdicts.push(self.heterogeneity());
        let (intact, silenced) = (self.lesioned(|l| memory(&l.intact)), self.lesioned(|l| memory(&l.silenced)));
        let lost = self.lesioned(|l| memory(&l.intact) - memory(&l.silenced));
        let regained = self.lesioned(|l| memory(&l.adapted_again) - memory(&l.silenced));
        verdicts.push(judged(
            "half of the inhibitory units silenced: memory is lost, and adaptation brings it back".to_string(),
            lost.ends().0 > 0.0 && regained.ends().0 > 0.0,
            &[
                ("intact", intact.value),
                ("silenced", silenced.value),
                ("lost, lower end", lost.ends().0),
                ("regained, lower end", regained.ends().0),
            ],
        ));
        let (radius, theory) = (self.lesioned(|l| l.radius), self.lesioned(|l| l.radius_theory));
        verdicts.push(judged(
            "the spectral radius at the targets is random matrix theory's, within 10 %".to_string(),
            (radius.value / theory.value - 1.0).abs() < 0.1,
            &[("computed", radius.value), ("theory", theory.value)],
        ));
        verdicts
    }

    /// Rates from a broad distribution against the best single rate: linear and non-linear capacity.
    fn heterogeneity(&self) -> Judged {
        let scale = self.plan.input_scales.last().copied().unwrap_or(f64::NAN);
        let ratio = |of: &dyn Fn(&Measured) -> f64| {
            let broad = self.best(scale, |kind| kind == Kind::Heterogeneous, of);
            let single = self.best(scale, is_uniform, of);
            over_networks(&broad.iter().zip(single).map(|(b, s)| b / s).collect::<Vec<_>>())
        };
        let (linear, mixed) = (ratio(&memory), ratio(&|m| m.capacity.iter().sum()));
        judged(
            format!(
                "sigma_in {scale}: beside the best single rate broad target rates do better on the mixed suite than on linear memory"
            ),
            mixed.value > linear.value,
            &[("mixed, of best single rate", mixed.value), ("linear, of best single rate", linear.value)],
        )
    }
}

fn memory(m: &Measured) -> f64 {
    m.capacity[0]
}

fn is_gain(kind: Kind) -> bool {
    matches!(kind, Kind::Gain(_))
}

fn is_uniform(kind: Kind) -> bool {
    matches!(kind, Kind::Adapted(_))
}

fn is_adapted(kind: Kind) -> bool {
    !is_gain(kind)
}

fn judged(name: String, holds: bool, figures: &[(&str, f64)]) -> Judged {
    Judged::claim(name, holds, 3, figures)
}

impl Figures for Found {
    fn figures(&self) -> Vec<(String, f64)> {
        let mut figures = Vec::new();
        for scale in &self.plan.input_scales {
            let name = format!("sigma_{}", scale.to_string().replace('.', "_"));
            let global = self.best(*scale, is_gain, memory);
            let adapted = self.best(*scale, is_adapted, memory);
            figures.push((format!("{name}.memory.global"), over_networks(&global).value));
            figures.push((format!("{name}.memory.adapted"), over_networks(&adapted).value));
            let gain: Vec<f64> = adapted.iter().zip(&global).map(|(a, g)| a / g - 1.0).collect();
            figures.push((format!("{name}.memory.gain"), over_networks(&gain).value));
        }
        let lesion: [NamedOf; 5] = [
            ("intact", |l| memory(&l.intact)),
            ("silenced", |l| memory(&l.silenced)),
            ("adapted_again", |l| memory(&l.adapted_again)),
            ("control", |l| memory(&l.control)),
            ("control_adapted", |l| memory(&l.control_adapted)),
        ];
        figures.extend(lesion.map(|(name, of)| (format!("lesion.memory.{name}"), self.lesioned(of).value)));
        figures.push(("radius".to_string(), self.lesioned(|l| l.radius).value));
        figures
    }
}

impl Report for Found {
    fn blocks(&self) -> Vec<Block> {
        let plan = &self.plan;
        let networks = if plan.seeds == 1 { "one network".to_string() } else { format!("{} networks", plan.seeds) };
        let mut blocks = vec![Block::text(format!(
            "Reservoirs of {} units, {networks}; {} steps to learn from and {} to be tested on after a washout of 500, lags to \
             {}, ridge 1e-6; inhibition adapts for {} steps and is then frozen. Intervals are Student's, 95 %, over networks.",
            plan.config.neurons,
            plan.steps[0],
            plan.steps[1],
            plan.lags,
            plan.adaptation.iter().map(|a| a.0).sum::<usize>()
        ))];
        blocks.extend(plan.input_scales.iter().map(|scale| self.against_gain(*scale)));
        blocks.push(Block::text(
            "The paper speaks of up to 130 % more memory than a globally tuned reservoir, for tasks and lengths that it does \
             not state; here the best gain is chosen for each network on the same test data, and adaptation is compared with \
             that.",
        ));
        blocks.push(Block::Table(self.table()));
        blocks.push(Block::heading("Silenced while it runs"));
        blocks.push(Block::text(
            "In reservoirs adapted to a rate of 0.5 half of the inhibitory units are held at 0 by an edit of \
             reservoir.hook_state, in training and test of the readouts alike; then inhibition adapts with the edit at work. \
             The control is as many excitatory units.",
        ));
        blocks.push(self.lesion_chart());
        blocks.push(self.trace());
        blocks
    }
}

impl Found {
    /// Memory against the global gain, with what adaptation reaches.
    fn against_gain(&self, scale: f64) -> Block {
        let line = |name: &str, points: Vec<(f64, Estimate)>, reference| Line {
            name: name.to_string(),
            points: points.iter().map(|(x, e)| (*x, e.value)).collect(),
            band: if reference { Vec::new() } else { points.iter().map(|(_, e)| e.ends()).collect() },
            reference,
        };
        let gains: Vec<(f64, Estimate)> = (self.at(scale))
            .filter_map(|arm| match arm.kind {
                Kind::Gain(g) => Some((g, arm.estimate(memory))),
                _ => None,
            })
            .collect();
        let ends = [gains.first(), gains.last()].map(|p| p.map_or(0.0, |p| p.0));
        let level = |name: String, e: Estimate| line(&name, ends.map(|x| (x, e)).to_vec(), true);
        let mut series = vec![line("global gain", gains, false)];
        series.push(level("best adapted".into(), over_networks(&self.best(scale, is_adapted, memory))));
        if let Some(arm) = self.arm(scale, Kind::Heterogeneous) {
            series.push(level("adapted, broad rates".into(), arm.estimate(memory)));
        }
        Block::Chart(Chart {
            title: format!("Memory against the gain of inhibition, sigma_in {scale}"),
            caption: "Memory capacity (steps); g_I below 1 is excess of excitation. Levels: adapted inhibition, which has no \
                      gain to tune."
                .to_string(),
            plot: Plot::Lines { x: Axis::new("g_I"), y: Axis::new("memory capacity"), series },
        })
    }

    fn table(&self) -> Table {
        let more = |name: &str| Column::new(name).better(Better::More);
        let columns = vec![
            Column::new("sigma_in"),
            Column::new("inhibition"),
            more("memory"),
            more("degree 2"),
            more("degree 3"),
            Column::new("NARMA10 NRMSE").better(Better::Less),
            Column::new("mean rate"),
        ];
        let row = |arm: &Arm| {
            let name = match arm.kind {
                Kind::Gain(g) => format!("gain {g}"),
                Kind::Adapted(rate) => format!("adapted to {rate}"),
                Kind::Heterogeneous => "adapted to Beta(2, 2)".to_string(),
            };
            vec![
                Cell::Number { value: arm.input_scale, digits: 1 },
                Cell::text(name),
                arm.estimate(memory).cell(2),
                arm.estimate(|m| m.capacity[1]).cell(2),
                arm.estimate(|m| m.capacity[2]).cell(2),
                arm.estimate(|m| m.narma).cell(3),
                arm.estimate(|m| m.rate).cell(3),
            ]
        };
        Table { columns, rows: self.arms.iter().map(row).collect() }
    }

    fn lesion_chart(&self) -> Block {
        let of: [NamedOf; 5] = [
            ("intact", |l| memory(&l.intact)),
            ("inhibitory silenced", |l| memory(&l.silenced)),
            ("inhibitory, adapted", |l| memory(&l.adapted_again)),
            ("excitatory silenced", |l| memory(&l.control)),
            ("excitatory, adapted", |l| memory(&l.control_adapted)),
        ];
        let estimates: Vec<Estimate> = of.iter().map(|(_, f)| self.lesioned(f)).collect();
        let bars = Bars {
            name: "memory capacity".to_string(),
            values: estimates.iter().map(|e| e.value).collect(),
            intervals: estimates.iter().map(Estimate::ends).collect(),
        };
        Block::Chart(Chart {
            title: "Memory with units silenced, before and after adaptation".to_string(),
            caption: "Mean over networks with 95 % intervals; adaptation changes inhibitory weights alone.".to_string(),
            plot: Plot::Bars {
                y: Axis::new("memory capacity"),
                categories: of.iter().map(|(name, _)| (*name).to_string()).collect(),
                series: vec![bars],
            },
        })
    }

    fn trace(&self) -> Block {
        let line = |(seed, lesion): (usize, &Lesion)| Line {
            name: format!("network {}", seed + 1),
            points: lesion.trace.iter().enumerate().map(|(i, r)| (10.0 * i as f64, *r)).collect(),
            band: Vec::new(),
            reference: false,
        };
        Block::Chart(Chart {
            title: "All inhibitory units silenced in mid-run".to_string(),
            caption: "Mean rate of the excitatory units; the edit acts from step 100 to 300 (`@t=100..300`)."
                .to_string(),
            plot: Plot::Lines {
                x: Axis::new("step"),
                y: Axis::new("mean excitatory rate").range(0.0, 1.0),
                series: self.lesions.iter().take(3).enumerate().map(line).collect(),
            },
        })
    }
}
