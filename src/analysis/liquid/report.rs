//! What the experiment shows.

use super::{Arm, Found, Kind, gain};
use crate::analysis::measure::{Estimate, Figures};
use crate::report::chart::{Axis, Bars, Line, Plot};
use crate::report::{Better, Block, Cell, Chart, Column, Judged, Report, Table};

/// Between these branching factors the paper finds accuracy flat at its best.
const EDGE: (f64, f64) = (1.1, 1.3);

impl Found {
    fn arm(&self, kind: Kind) -> Option<&Arm> {
        self.arms.iter().find(|arm| arm.kind == kind)
    }

    /// The arms with an astrocyte, by w_astro.
    fn modulated(&self) -> Vec<(f64, &Arm)> {
        let mut arms: Vec<(f64, &Arm)> = Vec::new();
        for arm in &self.arms {
            if let Kind::Astrocyte(w) = arm.kind {
                arms.push((w, arm));
            }
        }
        arms.sort_by(|a, b| a.0.total_cmp(&b.0));
        arms
    }

    /// The static weights that are read out best, on the test images themselves.
    fn still(&self) -> Option<&Arm> {
        let still = self.arms.iter().filter(|arm| matches!(arm.kind, Kind::Static(_)));
        still.max_by(|a, b| accuracy(a).total_cmp(&accuracy(b)))
    }

    /// The arm with the w_astro of the plan.
    fn own(&self) -> Option<&Arm> {
        self.arm(Kind::Astrocyte(self.plan.config.astrocyte))
    }

    fn gain(&self, a: Option<&Arm>, b: Option<&Arm>) -> Estimate {
        match (a, b) {
            (Some(a), Some(b)) => gain(a, b, self.plan.images[2]),
            _ => Estimate::exact(f64::NAN),
        }
    }

    /// The parts of the claim.
    pub fn verdicts(&self) -> Vec<Judged> {
        let modulated = self.modulated();
        let factors: Vec<f64> = modulated.iter().map(|(_, arm)| branching(arm)).collect();
        let named: Vec<(String, f64)> =
            modulated.iter().zip(&factors).map(|((w, _), b)| (format!("w_astro {w}"), *b)).collect();
        let mut verdicts = vec![Judged::claim(
            "the branching factor falls as w_astro grows",
            factors.windows(2).all(|pair| pair[1] < pair[0]),
            3,
            &named.iter().map(|(name, b)| (name.as_str(), *b)).collect::<Vec<_>>(),
        )];
        let (own, stdp, still) = (self.own(), self.arm(Kind::Stdp), self.still());
        verdicts.push(more("the astrocyte is read out better than plain STDP", self.gain(own, stdp)));
        verdicts.push(more("the astrocyte is read out better than the best static weights", self.gain(own, still)));
        verdicts.push(more("the best static weights are read out better than plain STDP", self.gain(still, stdp)));
        verdicts.push(self.edge(&modulated));
        let held = self.arm(Kind::HeldAtRest);
        verdicts.push(more("with the astrocyte held at its resting value accuracy is lost", self.gain(own, held)));
        let same = |a: &Arm, b: &Arm| a.measured == b.measured;
        verdicts.push(Judged::claim(
            "control: with the astrocyte held at its resting value the liquid is plain STDP, in every figure",
            held.zip(stdp)
                .is_some_and(|(held, stdp)| plain(held) == plain(stdp) && !own.is_some_and(|own| same(own, held))),
            3,
            &[("held", held.map_or(f64::NAN, branching)), ("plain STDP", stdp.map_or(f64::NAN, branching))],
        ));
        verdicts.push(more(
            "it is the astrocyte's feedback and not its level: held at its mean accuracy is lost too",
            self.gain(own, self.arm(Kind::HeldAtMean)),
        ));
        verdicts
    }

    /// Where along the branching factors of the astrocyte's arms accuracy is best.
    fn edge(&self, modulated: &[(f64, &Arm)]) -> Judged {
        let best = modulated.iter().max_by(|a, b| accuracy(a.1).total_cmp(&accuracy(b.1))).map(|m| m.1);
        let ends = [modulated.first(), modulated.last()].map(|end| end.map(|e| e.1));
        let lost = ends.map(|end| self.gain(best, end));
        let at = best.map_or(f64::NAN, branching);
        let holds = (EDGE.0..=EDGE.1).contains(&at) && lost.iter().all(|lost| lost.ends().0 > 0.0);
        let figures = [
            ("branching at the best", at),
            ("best", best.map_or(f64::NAN, accuracy)),
            ("lost at the smallest w_astro", lost[0].value),
            ("lost at the largest w_astro", lost[1].value),
            ("lower end, smallest", lost[0].ends().0),
            ("lower end, largest", lost[1].ends().0),
        ];
        Judged::claim("accuracy is best at branching factors of 1.1 to 1.3 and lower at both ends", holds, 3, &figures)
    }
}

fn accuracy(arm: &Arm) -> f64 {
    arm.mean(|m| m.accuracy)
}

fn branching(arm: &Arm) -> f64 {
    arm.mean(|m| m.branching)
}

/// What must be the same where an edit makes one rule of another: all but the astrocyte's own record, bit by bit.
fn plain(arm: &Arm) -> Vec<(u64, u64, &[u32], &[u32])> {
    let of = arm.measured.iter();
    of.map(|m| (m.branching.to_bits(), m.rate.to_bits(), &m.wrong[..], &m.weights[..])).collect()
}

fn more(name: &str, gain: Estimate) -> Judged {
    let (low, high) = gain.ends();
    Judged::claim(name, low > 0.0, 3, &[("gain", gain.value), ("lower end", low), ("upper end", high)])
}

fn name(kind: Kind) -> String {
    match kind {
        Kind::Static(w) => format!("static, |w| {w}"),
        Kind::Stdp => "plain STDP".to_string(),
        Kind::Astrocyte(w) => format!("astrocyte, w_astro {w}"),
        Kind::HeldAtRest => "astrocyte held at rest".to_string(),
        Kind::HeldAtMean => "astrocyte held at its mean".to_string(),
    }
}

impl Figures for Found {
    fn figures(&self) -> Vec<(String, f64)> {
        let part = |kind| match kind {
            Kind::Static(w) => format!("static_{w}"),
            Kind::Stdp => "stdp".to_string(),
            Kind::Astrocyte(w) => format!("astrocyte_{w}"),
            Kind::HeldAtRest => "held_at_rest".to_string(),
            Kind::HeldAtMean => "held_at_mean".to_string(),
        };
        let of = |arm: &Arm| {
            let name = part(arm.kind).replace('.', "_");
            [(format!("{name}.accuracy"), accuracy(arm)), (format!("{name}.branching"), branching(arm))]
        };
        self.arms.iter().flat_map(of).collect()
    }
}

impl Report for Found {
    fn blocks(&self) -> Vec<Block> {
        let plan = &self.plan;
        let [init, train, test] = plan.images;
        let networks = if plan.seeds == 1 { "one network".to_string() } else { format!("{} networks", plan.seeds) };
        vec![
            Block::text(format!(
                "Liquids of {} neurons, {networks}, on {}: weights form over {init} images of {} ms, then {train} samples of {} \
                 ms to learn from and {test} to be tested on, each from the same weights. Readout: ridge regression on spike \
                 counts. Intervals of gains are 95 %, over test images.",
                plan.config.neurons(),
                self.data,
                plan.steps[0],
                plan.steps[1]
            )),
            Block::Table(self.table()),
            Block::text(
                "The paper's figures (MNIST, 50,000 images for each phase, 1,000 neurons): w_astro 0.002, 0.015, 0.05, 0.2 give \
                 branching factors of 1.424, 1.246, 1.086, 0.885 and accuracies of 95.9, 96.0, 95.9, 95.2 %; plain STDP 89.5 %; \
                 static |w| 0.4, 0.8, 1.4 branching factors of 0.354, 1.013, 1.436 and 94.8, 95.3, 92.4 %.",
            ),
            self.against_branching(),
            Block::heading("The astrocyte held by an edit"),
            Block::text(format!(
                "astro.hook_A of a liquid with w_astro {} is set to a constant in both phases: to eta, where it rests, which must \
                 give plain STDP, and to the mean that it had in the initialisation, which leaves its level and takes its feedback.",
                plan.config.astrocyte
            )),
            self.courses(),
            self.histogram(),
        ]
    }
}

impl Found {
    fn table(&self) -> Table {
        let columns = vec![
            Column::new("liquid"),
            Column::new("branching factor"),
            Column::new("rate (Hz)"),
            Column::new("accuracy").better(Better::More),
            Column::new("gain over plain STDP").better(Better::More),
            Column::new("mean A in initialisation"),
        ];
        let number = |value, digits| Cell::Number { value, digits };
        let row = |arm: &Arm| {
            vec![
                Cell::text(name(arm.kind)),
                number(branching(arm), 3),
                number(arm.mean(|m| m.rate), 1),
                number(accuracy(arm), 3),
                self.gain(Some(arm), self.arm(Kind::Stdp)).cell(3),
                number(arm.mean(|m| m.amplitude), 3),
            ]
        };
        Table { columns, rows: self.arms.iter().map(row).collect() }
    }

    fn against_branching(&self) -> Block {
        let line = |name: &str, takes: fn(Kind) -> bool| {
            let arms = self.arms.iter().filter(|arm| takes(arm.kind));
            let mut points: Vec<(f64, f64)> = arms.map(|arm| (branching(arm), accuracy(arm))).collect();
            points.retain(|p| p.0.is_finite());
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            Line { name: name.to_string(), points, band: Vec::new(), reference: false }
        };
        Block::Chart(Chart {
            title: "Accuracy against the branching factor".to_string(),
            caption: "Each point is one size of the static weights, or one w_astro; means over networks.".to_string(),
            plot: Plot::Lines {
                x: Axis::new("branching factor"),
                y: Axis::new("accuracy"),
                series: vec![
                    line("static", |kind| matches!(kind, Kind::Static(_))),
                    line("astrocyte", |kind| matches!(kind, Kind::Astrocyte(_))),
                ],
            },
        })
    }

    fn courses(&self) -> Block {
        let shown = self.modulated().into_iter().map(|m| m.1).chain(self.arm(Kind::HeldAtMean));
        let line = |arm: &Arm| {
            let at = |t: usize| arm.mean(|m| m.course[t]);
            let points = (0..self.plan.steps[1]).step_by(5).map(|t| (t as f64, at(t))).collect();
            Line { name: name(arm.kind), points, band: Vec::new(), reference: arm.kind == Kind::HeldAtMean }
        };
        Block::Chart(Chart {
            title: "The amplitude of depression in a sample".to_string(),
            caption: "Mean of samples; all plasticity is multiplied by 0.99 per ms beside it.".to_string(),
            plot: Plot::Lines { x: Axis::new("ms"), y: Axis::new("A"), series: shown.map(line).collect() },
        })
    }

    fn histogram(&self) -> Block {
        let shown = [self.arm(Kind::Stdp), self.own(), self.arm(Kind::HeldAtMean)];
        let bars = |arm: &Arm| Bars {
            name: name(arm.kind),
            values: (0..10).map(|bin| arm.mean(|m| share(&m.weights, bin))).collect(),
            intervals: Vec::new(),
        };
        Block::Chart(Chart {
            title: "Weights in the liquid after the initialisation".to_string(),
            caption: "Share of the synapses by |w|.".to_string(),
            plot: Plot::Bars {
                y: Axis::new("share"),
                categories: (0..10).map(|bin| format!("{:.1}", 0.3 * f64::from(bin))).collect(),
                series: shown.into_iter().flatten().map(bars).collect(),
            },
        })
    }
}

fn share(counts: &[u32], bin: usize) -> f64 {
    f64::from(counts[bin]) / f64::from(counts.iter().sum::<u32>().max(1))
}
