//! Whether the circuit of C. elegans swims before it has learned anything ([`Swimmer`]), what of it is needed, and what
//! happens when parts are taken out while it swims.
//!
//! Every arm runs the same postures to begin with, one per row; parts are taken out by edits at the circuit's sites.

mod report;

use candle_core::Tensor;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::measure::Estimate;
use super::measure::mean;
use super::registry;
use crate::hook::{Edit, Pass, Plan as Compiled, Record, Recorded, Tap, Values};
use crate::models::swimmer::body::Body;
use crate::models::swimmer::{CONTROL, Weights};
use crate::models::{Input, Network, State, Swimmer, SwimmerConfig};
use crate::{Error, Result};

/// Share of a run after which the transient is over.
const TRANSIENT: f64 = 0.2;
/// Speed at which the reward is 1, m/s.
const FULL: f64 = 0.1;
/// Recorded steps are this many physics steps apart.
const EVERY: usize = 75;

/// What is run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The swimmer; period, body and weights are set arm by arm.
    pub config: SwimmerConfig,
    /// Control steps of a run, 30 ms each.
    pub control_steps: usize,
    /// Postures to begin with.
    pub starts: usize,
    /// Periods of the oscillator, control steps.
    pub periods: Vec<usize>,
    /// Numbers of links.
    pub links: Vec<usize>,
    /// Stiffnesses of the joint limits, which are a stand-in: what comes out must not hang on them.
    pub stiffness: Vec<f64>,
}

impl Plan {
    /// About a minute: episodes of 30 s, ten postures.
    pub fn quick(seed: u64) -> Self {
        Self {
            config: SwimmerConfig { seed, ..SwimmerConfig::default() },
            control_steps: 1000,
            starts: 10,
            periods: vec![20, 30, 40, 60, 80, 120],
            links: vec![4, 6, 8, 12],
            stiffness: vec![2e-4, 2e-3, 2e-2],
        }
    }

    /// Forty postures, finer sweeps.
    pub fn full(seed: u64) -> Self {
        Self {
            starts: 40,
            periods: vec![20, 25, 30, 35, 40, 50, 60, 70, 80, 100, 120, 160],
            links: (3..=16).collect(),
            stiffness: vec![2e-4, 6e-4, 2e-3, 6e-3, 2e-2],
            ..Self::quick(seed)
        }
    }

    fn arms(&self) -> Result<Vec<(Kind, SwimmerConfig, Vec<Edit>)>> {
        let base = self.config;
        let zero = |site: &str| -> Result<Vec<Edit>> { Ok(vec![Edit::new(site.parse()?, "zero")]) };
        let half = self.control_steps * CONTROL / 2;
        let mut arms = vec![
            (Kind::Intact, base, Vec::new()),
            (Kind::NoProprioception, base, zero("ncap.hook_prop")?),
            (Kind::NoOscillator, base, zero("ncap.hook_osc")?),
            (Kind::OneSide, base, zero("ncap.hook_bneuron[side=0]")?),
            (Kind::OscillatorLost, base, zero(&format!("ncap.hook_osc@t={half}.."))?),
            (Kind::JointLost, base, zero(&format!("ncap.hook_bneuron[joint=2]@t={half}.."))?),
        ];
        let even = Body { drag: [base.body.drag[1], base.body.drag[1], base.body.drag[2]], ..base.body };
        arms.push((Kind::EvenDrag, SwimmerConfig { body: even, ..base }, Vec::new()));
        for signs in 0..16u8 {
            let sign = |bit: u8, right: f64| if signs >> bit & 1 == 0 { right } else { -right };
            let w = base.weights;
            let weights = Weights {
                prop: sign(0, w.prop),
                osc: sign(1, w.osc),
                ipsi: sign(2, w.ipsi),
                contra: sign(3, w.contra),
                ..w
            };
            arms.push((Kind::Signs(signs), SwimmerConfig { weights, constrained: false, ..base }, Vec::new()));
        }
        arms.extend(self.periods.iter().map(|p| (Kind::Period(*p), SwimmerConfig { period: *p, ..base }, Vec::new())));
        let body = |links: usize, limit_stiffness: f64| SwimmerConfig {
            body: Body { links, limit_stiffness, ..base.body },
            ..base
        };
        arms.extend(self.links.iter().map(|n| (Kind::Links(*n), body(*n, base.body.limit_stiffness), Vec::new())));
        arms.extend(self.stiffness.iter().map(|k| (Kind::Stiffness(*k), body(base.body.links, *k), Vec::new())));
        Ok(arms)
    }

    /// How many arms are run.
    ///
    /// # Errors
    /// None but defects.
    pub fn jobs(&self) -> Result<usize> {
        Ok(self.arms()?.len())
    }
}

/// An arm.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// As it is.
    Intact,
    /// Bends are not felt.
    NoProprioception,
    /// The head oscillator is silent.
    NoOscillator,
    /// The dorsal B neurons are silent.
    OneSide,
    /// The oscillator falls silent in the middle of the run.
    OscillatorLost,
    /// The B neurons of joint 2 fall silent in the middle of the run.
    JointLost,
    /// Water that resists as little across the links as along them.
    EvenDrag,
    /// Weights whose signs are not held: bit 0 of the number turns that of prop, 1 osc, 2 ipsi, 3 contra.
    Signs(u8),
    /// A period of the oscillator.
    Period(usize),
    /// A number of links.
    Links(usize),
    /// A stiffness of the joint limits.
    Stiffness(f64),
}

/// What came of one posture.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Swum {
    /// Mean forward speed after the transient, m/s.
    pub speed: f64,
    /// Mean forward speed in the last quarter.
    pub late: f64,
    /// Sum over control steps of clip(speed/0.1, 0, 1).
    pub reward: f64,
    /// How far the head's heading turned from the end of the transient to the end, rad/s, either way.
    pub turning: f64,
}

/// One arm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Arm {
    /// Which one.
    pub kind: Kind,
    /// One entry per posture.
    pub swum: Vec<Swum>,
    /// Mean speed over postures, in stretches of 2.4 s.
    pub course: Vec<f64>,
    /// Joint angles of the first posture over their limit, `[time, joint]`, every 0.15 s.
    pub bends: Vec<Vec<f64>>,
}

impl Arm {
    /// A number of every posture, with its mean and 95 % interval over postures.
    pub fn estimate(&self, of: impl Fn(&Swum) -> f64) -> Estimate {
        super::reservoir::over_networks(&self.swum.iter().map(of).collect::<Vec<_>>())
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// What was run.
    pub plan: Plan,
    /// All arms.
    pub arms: Vec<Arm>,
}

/// Runs the plan; `done` is told of every arm that is through.
///
/// # Errors
/// A plan that no swimmer fits.
pub fn experiment(plan: &Plan, done: &(dyn Fn() + Sync)) -> Result<Found> {
    if plan.starts < 2 || plan.control_steps < 20 {
        return Err(Error::invalid(
            format!("{} postures for {} control steps", plan.starts, plan.control_steps),
            "give at least 2 postures and 20 control steps",
        ));
    }
    let run = |(kind, config, edits): &(Kind, SwimmerConfig, Vec<Edit>)| {
        let arm = plan.swim(*kind, *config, edits);
        done();
        arm
    };
    let arms = plan.arms()?.par_iter().map(run).collect::<Result<_>>()?;
    Ok(Found { plan: plan.clone(), arms })
}

impl Plan {
    fn swim(&self, kind: Kind, config: SwimmerConfig, edits: &[Edit]) -> Result<Arm> {
        let net = Swimmer::new(config)?;
        let sites = [format!("ncap.hook_joint_pos@every={EVERY}"), format!("body.hook_qpos[width=2]@every={EVERY}")];
        let records = sites.iter().map(|s| Ok(Record::whole(s.parse()?))).collect::<Result<_>>()?;
        let pass = Pass { records, edits: edits.to_vec(), ..Pass::default() };
        let mut plan = Compiled::compile(net.sites(), &pass, &registry(), Values::default(), &[])?;
        let input = Input::None { rows: self.starts, steps: self.control_steps * CONTROL };
        let speeds = net.forward(&input, &mut State::none(), &mut Tap::new(&mut plan))?;
        let records = plan.records(net.sites())?;
        let headings = rows(&records.tensors["body.hook_qpos"])?; // [row][time]
        let bends: Vec<Vec<f32>> = records.get("ncap.hook_joint_pos")?.narrow(1, 0, 1)?.squeeze(1)?.to_vec2()?;
        let speeds: Vec<Vec<f64>> = {
            let all: Vec<Vec<f32>> = speeds.squeeze(2)?.to_vec2()?;
            all.iter().map(|row| row.iter().map(|v| f64::from(*v)).collect()).collect()
        };
        let limit = config.body.limit();
        let stretch = 80 * CONTROL;
        let among = |from: usize| {
            let all: Vec<f64> = speeds.iter().map(|row| mean(&row[from..(from + stretch).min(row.len())])).collect();
            mean(&all)
        };
        Ok(Arm {
            kind,
            swum: speeds.iter().zip(&headings).map(|(speeds, heading)| swum(speeds, heading)).collect(),
            course: (0..self.control_steps * CONTROL).step_by(stretch).map(among).collect(),
            bends: bends.iter().map(|row| row.iter().map(|q| f64::from(*q) / limit).collect()).collect(),
        })
    }
}

/// The values of a record `[time, row, 1]`, row by row.
fn rows(recorded: &Recorded) -> Result<Vec<Vec<f64>>> {
    let by_row: Tensor = recorded.tensor.squeeze(2)?.t()?;
    let rows: Vec<Vec<f32>> = by_row.to_vec2()?;
    Ok(rows.iter().map(|row| row.iter().map(|x| f64::from(*x)).collect()).collect())
}

fn swum(speeds: &[f64], heading: &[f64]) -> Swum {
    let steps = speeds.len();
    let settled = (TRANSIENT * steps as f64) as usize;
    let control: Vec<f64> =
        speeds.iter().skip(CONTROL - 1).step_by(CONTROL).map(|v| (v / FULL).clamp(0.0, 1.0)).collect();
    let from = (TRANSIENT * heading.len() as f64) as usize;
    // Steps of 2 ms.
    let seconds = 2e-3 * (EVERY * (heading.len() - 1 - from)) as f64;
    Swum {
        speed: mean(&speeds[settled..]),
        late: mean(&speeds[steps - steps / 4..]),
        reward: control.iter().sum(),
        turning: (heading[heading.len() - 1] - heading[from]).abs() / seconds,
    }
}
