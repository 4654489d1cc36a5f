//! What the experiment shows.

use super::{Arm, Found, Kind, Swum};
use crate::analysis::measure::{Estimate, Figures};
use crate::report::chart::{Axis, Bars, Labels, Line, Plot, Scale};
use crate::report::{Better, Block, Cell, Chart, Column, Judged, Report, Table};

impl Found {
    fn arm(&self, kind: Kind) -> Option<&Arm> {
        self.arms.iter().find(|arm| arm.kind == kind)
    }

    /// Speed of an arm; NaN where it was not run.
    fn speed(&self, kind: Kind) -> Estimate {
        self.of(kind, |s| s.speed)
    }

    fn of(&self, kind: Kind, of: impl Fn(&Swum) -> f64) -> Estimate {
        self.arm(kind).map_or(Estimate::exact(f64::NAN), |arm| arm.estimate(of))
    }

    /// Speeds under the other fifteen patterns of signs, ascending.
    fn other_signs(&self) -> Vec<f64> {
        let mut speeds: Vec<f64> = (1..16).map(|signs| self.speed(Kind::Signs(signs)).value).collect();
        speeds.sort_by(f64::total_cmp);
        speeds
    }

    /// The parts of the claim.
    pub fn verdicts(&self) -> Vec<Judged> {
        let intact = self.speed(Kind::Intact);
        let [no_prop, no_osc] = [Kind::NoProprioception, Kind::NoOscillator].map(|k| self.speed(k));
        let others = self.other_signs();
        let middle = others[others.len() / 2];
        let periods: Vec<f64> = self.plan.periods.iter().map(|p| self.speed(Kind::Period(*p)).value).collect();
        let links: Vec<Estimate> = self.plan.links.iter().map(|n| self.speed(Kind::Links(*n))).collect();
        let soft: Vec<f64> = self.plan.stiffness.iter().map(|k| self.speed(Kind::Stiffness(*k)).value).collect();
        let least = |x: &[f64]| x.iter().copied().fold(f64::INFINITY, f64::min);
        let most = |x: &[f64]| x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let even = self.speed(Kind::EvenDrag);
        let [turning, circling] = [Kind::Intact, Kind::OneSide].map(|k| self.of(k, |s| s.turning));
        let [lost, swum] = [Kind::OscillatorLost, Kind::Intact].map(|k| self.of(k, |s| s.late));
        vec![
            judged(
                "it swims forward before any training, at 0.06 m/s or more",
                intact.ends().0 > 0.06,
                &[("m/s", intact.value), ("lower end", intact.ends().0)],
            ),
            judged(
                "neither proprioception nor the oscillator can be left out (below a quarter of the speed)",
                no_prop.ends().1 < intact.value / 4.0 && no_osc.ends().1 < intact.value / 4.0,
                &[("without proprioception", no_prop.value), ("without oscillator", no_osc.value)],
            ),
            judged(
                "the signs make it swim: the median of the other 15 patterns is below a quarter of the speed",
                middle < intact.value / 4.0,
                &[("median", middle), ("least", least(&others)), ("most", most(&others))],
            ),
            judged(
                "slow oscillators swim faster than fast ones: speed rises from the shortest period to the best by twice or more",
                most(&periods) > 2.0 * periods[0],
                &[("shortest", periods[0]), ("best", most(&periods))],
            ),
            judged(
                "the same four weights swim in every body",
                links.iter().all(|e| e.ends().0 > 0.01),
                &[("slowest body", least(&links.iter().map(|e| e.value).collect::<Vec<_>>()))],
            ),
            judged(
                "speed does not hang on the joint limits' stiffness, a stand-in: within 25 % over two decades",
                least(&soft) > 0.75 * intact.value && most(&soft) < 1.25 * intact.value,
                &[("least", least(&soft)), ("most", most(&soft))],
            ),
            judged(
                "thrust is drag across the links: with no more of it than along them a quarter of the speed is left at most",
                even.ends().1 < intact.value / 4.0,
                &[("m/s", even.value)],
            ),
            judged(
                "one side silenced: it circles, turning more than twice as fast",
                circling.ends().0 > 2.0 * turning.value,
                &[("rad/s", circling.value), ("lower end", circling.ends().0), ("intact", turning.value)],
            ),
            judged(
                "the oscillator silenced in mid-run: the wave does not keep itself going",
                lost.ends().1 < swum.value / 4.0,
                &[("last quarter, m/s", lost.value), ("intact", swum.value)],
            ),
        ]
    }
}

fn judged(name: &str, holds: bool, figures: &[(&str, f64)]) -> Judged {
    Judged::claim(name, holds, 4, figures)
}

/// Words for an arm.
fn name(kind: Kind) -> String {
    match kind {
        Kind::Intact => "intact".to_string(),
        Kind::NoProprioception => "without proprioception".to_string(),
        Kind::NoOscillator => "without oscillator".to_string(),
        Kind::OneSide => "dorsal side silent".to_string(),
        Kind::OscillatorLost => "oscillator lost at half time".to_string(),
        Kind::JointLost => "joint 2 lost at half time".to_string(),
        Kind::EvenDrag => "even drag".to_string(),
        Kind::Signs(0) => "signs not held, as they are".to_string(),
        Kind::Signs(bits) => {
            let turned = ["prop", "osc", "ipsi", "contra"].iter().enumerate().filter(|(i, _)| bits >> i & 1 == 1);
            format!("turned: {}", turned.map(|(_, n)| *n).collect::<Vec<_>>().join(", "))
        }
        Kind::Period(p) => format!("period {p}"),
        Kind::Links(n) => format!("{n} links"),
        Kind::Stiffness(k) => format!("limit stiffness {k}"),
    }
}

impl Figures for Found {
    fn figures(&self) -> Vec<(String, f64)> {
        let plain = |kind: Kind| crate::report::figures::name_part(&name(kind));
        let speed = |arm: &Arm| (format!("speed.{}", plain(arm.kind)), arm.estimate(|s| s.speed).value);
        let mut figures: Vec<(String, f64)> = self.arms.iter().map(speed).collect();
        figures.push(("reward.intact".to_string(), self.of(Kind::Intact, |s| s.reward).value));
        figures
    }
}

impl Report for Found {
    fn blocks(&self) -> Vec<Block> {
        let plan = &self.plan;
        let text = format!(
            "Episodes of {} s from {} random postures, the same in every arm; speed is that of the head's centre along its axis \
             after a fifth of the episode. No weight is trained. Intervals are Student's, 95 %, over postures. Training by \
             evolution strategies, and the comparison with an MLP, are not carried out.",
            0.03 * plan.control_steps as f64,
            plan.starts
        );
        vec![
            Block::text(text),
            self.bars(),
            self.periods(),
            Block::heading("Taken out while it swims"),
            self.course(),
            self.kymograph(Kind::Intact, "Bends of the intact swimmer"),
            self.kymograph(Kind::OscillatorLost, "Bends with the oscillator silenced at half time"),
            self.kymograph(Kind::JointLost, "Bends with joint 2's B neurons silenced at half time"),
            Block::Table(self.table()),
        ]
    }
}

impl Found {
    fn bars(&self) -> Block {
        let kinds = [Kind::Intact, Kind::NoProprioception, Kind::NoOscillator, Kind::OneSide, Kind::EvenDrag];
        let estimates = kinds.map(|kind| self.speed(kind));
        let mut categories: Vec<String> = kinds.iter().map(|kind| name(*kind)).collect();
        let (mut values, mut intervals): (Vec<f64>, Vec<(f64, f64)>) =
            (estimates.iter().map(|e| e.value).collect(), estimates.iter().map(Estimate::ends).collect());
        let others = self.other_signs();
        categories.push("other signs (median, range)".to_string());
        values.push(others[others.len() / 2]);
        intervals.push((others[0], others[others.len() - 1]));
        Block::Chart(Chart {
            title: "Forward speed of the untrained circuit".to_string(),
            caption: "Metres per second, mean over postures; the last bar is over the 15 other patterns of signs."
                .to_string(),
            plot: Plot::Bars {
                y: Axis::new("forward speed (m/s)"),
                categories,
                series: vec![Bars { name: "speed".to_string(), values, intervals }],
            },
        })
    }

    fn periods(&self) -> Block {
        let estimates: Vec<Estimate> = self.plan.periods.iter().map(|p| self.speed(Kind::Period(*p))).collect();
        let line = Line {
            name: "forward speed".to_string(),
            points: self.plan.periods.iter().zip(&estimates).map(|(p, e)| (0.03 * *p as f64, e.value)).collect(),
            band: estimates.iter().map(Estimate::ends).collect(),
            reference: false,
        };
        Block::Chart(Chart {
            title: "Speed against the oscillator's period".to_string(),
            caption: "The circuit's own period is 1.8 s.".to_string(),
            plot: Plot::Lines { x: Axis::new("period (s)"), y: Axis::new("forward speed (m/s)"), series: vec![line] },
        })
    }

    fn course(&self) -> Block {
        let line = |kind: Kind| {
            let course = self.arm(kind).map_or(&[][..], |arm| &arm.course);
            Line {
                name: name(kind),
                points: course.iter().enumerate().map(|(i, v)| (2.4 * (i as f64 + 0.5), *v)).collect(),
                band: Vec::new(),
                reference: kind == Kind::Intact,
            }
        };
        Block::Chart(Chart {
            title: "Speed before and after a lesion".to_string(),
            caption: "Mean over postures in stretches of 2.4 s; the edits act from the middle of the episode on."
                .to_string(),
            plot: Plot::Lines {
                x: Axis::new("time (s)"),
                y: Axis::new("forward speed (m/s)"),
                series: [Kind::Intact, Kind::OscillatorLost, Kind::JointLost].map(line).to_vec(),
            },
        })
    }

    /// Bends of every joint in the 9 s around the middle of the episode.
    fn kymograph(&self, kind: Kind, title: &str) -> Block {
        let bends = self.arm(kind).map_or(&[][..], |arm| &arm.bends);
        let middle = bends.len() / 2;
        let shown = &bends[middle.saturating_sub(30)..(middle + 30).min(bends.len())];
        let first = middle.saturating_sub(30);
        let joints = shown.first().map_or(0, Vec::len);
        Block::Chart(Chart {
            title: title.to_string(),
            caption: "Joint angle over its limit, head on top, in the 9 s around the middle of the episode."
                .to_string(),
            plot: Plot::Heat {
                rows: Labels { name: "joint".to_string(), items: (0..joints).map(|i| i.to_string()).collect() },
                columns: Labels {
                    name: "time (s)".to_string(),
                    items: (0..shown.len()).map(|i| format!("{:.1}", 0.15 * (first + i) as f64)).collect(),
                },
                values: (0..joints).map(|i| shown.iter().map(|row| row[i]).collect()).collect(),
                unit: "bend".to_string(),
                scale: Scale::Diverging,
            },
        })
    }

    fn table(&self) -> Table {
        let columns = vec![
            Column::new("arm"),
            Column::new("speed, m/s").better(Better::More),
            Column::new("reward").better(Better::More),
            Column::new("last quarter, m/s"),
            Column::new("turning, rad/s"),
        ];
        let row = |arm: &Arm| {
            vec![
                Cell::text(name(arm.kind)),
                arm.estimate(|s| s.speed).cell(4),
                arm.estimate(|s| s.reward).cell(0),
                arm.estimate(|s| s.late).cell(4),
                arm.estimate(|s| s.turning).cell(3),
            ]
        };
        Table { columns, rows: self.arms.iter().map(row).collect() }
    }
}
