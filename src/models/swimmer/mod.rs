//! The locomotion circuit of C. elegans in closed loop with a swimming body (NCAP: Bhattasali, Zador and Engel, NeurIPS
//! 2022, arXiv 2201.05242): a head oscillator, B-type motor neurons that feel the joint in front of theirs, antagonistic
//! muscles, four shared weights.
//!
//! ```text
//! q_i = clip(theta_i / Lim), dorsal max(q, 0), ventral max(-q, 0)                ncap.hook_joint_pos, hook_prop
//! osc = dorsal in the first half of a period, ventral in the second              ncap.hook_osc
//! b_s = clip01(prop of the joint in front w_prop + brake w_speed + turn w_turn + osc w_osc at the head)
//!                                                                   ncap.hook_bneuron_pre, hook_bneuron
//! m_s = clip01(b_s w_ipsi + b_other w_contra)                                    ncap.hook_muscle
//! torque = (m_d - m_v) gear                                                      ncap.hook_torque
//! ```
//!
//! Weights are projected to their sign where they are used (excitatory >= 0, inhibitory <= 0), never where they are stored.
//! A time step is a physics step of 2 ms; the circuit reads the joints at every 15th and holds what it read in between.

pub mod body;

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::simulation::{Call, Outputs, Simulation, keep, site, take, through};
use super::{Input, Network, State};
use crate::hook::random::{self, Stream};
use crate::hook::{Axis, SiteId, SiteTable, Tap};
use crate::nn::spiking::Sparse;
use crate::{Error, Result};
use body::{Body, GEAR, STEP};

/// Physics steps of a control step.
pub const CONTROL: usize = 15;

/// Weights of the circuit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Weights {
    /// Joint in front to B neuron, excitatory.
    pub prop: f64,
    /// Oscillator to the head's B neurons, excitatory.
    pub osc: f64,
    /// B neuron to the muscle of its side, excitatory.
    pub ipsi: f64,
    /// B neuron to the muscle of the other side, inhibitory.
    pub contra: f64,
    /// Brake to B neurons, inhibitory.
    pub speed: f64,
    /// Turn command to the head's B neurons, excitatory.
    pub turn: f64,
}

impl Default for Weights {
    /// All of size 1.
    fn default() -> Self {
        Self { prop: 1.0, osc: 1.0, ipsi: 1.0, contra: -1.0, speed: -1.0, turn: 1.0 }
    }
}

/// Sizes and constants.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SwimmerConfig {
    /// The body and the water.
    pub body: Body,
    /// The circuit.
    pub weights: Weights,
    /// Whether weights are projected to their sign where they are used.
    pub constrained: bool,
    /// P: control steps of a period of the oscillator.
    pub period: usize,
    /// Joints from the head that take the turn command.
    pub turning: usize,
    /// Seed of the posture that a run begins with, together with its row.
    pub seed: u64,
}

impl Default for SwimmerConfig {
    /// Six links, a period of 60.
    fn default() -> Self {
        Self { body: Body::default(), weights: Weights::default(), constrained: true, period: 60, turning: 1, seed: 0 }
    }
}

/// The circuit in its body.
#[derive(Clone)]
pub struct Swimmer {
    config: SwimmerConfig,
    table: SiteTable,
    site: Sites,
    parameters: Vec<(String, Tensor)>,
}

#[derive(Clone, Copy)]
struct Sites {
    command: SiteId,
    joint_pos: SiteId,
    osc: SiteId,
    prop: SiteId,
    bneuron_pre: SiteId,
    bneuron: SiteId,
    muscle: SiteId,
    torque: SiteId,
    fluid_force: SiteId,
    qpos: SiteId,
    qvel: SiteId,
    speed: SiteId,
}

/// What a run carries from step to step.
struct Running {
    rows: usize,
    /// `[rows, links + 2]`.
    qpos: Vec<f32>,
    /// `[rows, links + 2]`.
    qvel: Vec<f32>,
    /// `[rows, joints]`: what the circuit read last.
    held: Vec<f32>,
}

impl Swimmer {
    /// The swimmer of this configuration.
    ///
    /// # Errors
    /// Sizes that no swimmer has.
    pub fn new(config: SwimmerConfig) -> Result<Self> {
        let links = config.body.links;
        let good = (2..=100).contains(&links) && config.period >= 2 && config.turning < links;
        if !good || config.body.drag.iter().any(|c| !c.is_finite() || *c < 0.0) {
            return Err(Error::invalid(
                format!("a swimmer of {config:?}"),
                "give 2 to 100 links, a period of at least 2 control steps and drag that is not negative",
            ));
        }
        let w = config.weights;
        let named = [
            ("w_prop", w.prop),
            ("w_osc", w.osc),
            ("w_ipsi", w.ipsi),
            ("w_contra", w.contra),
            ("w_speed", w.speed),
            ("w_turn", w.turn),
        ];
        let tensor =
            |(name, value): (&str, f64)| Ok((format!("ncap.{name}"), Tensor::new(&[value as f32], &Device::Cpu)?));
        let parameters = named.into_iter().map(tensor).collect::<Result<_>>()?;
        let (table, site) = table(links);
        Ok(Self { config, table, site, parameters })
    }

    /// What it was made from.
    pub fn config(&self) -> &SwimmerConfig {
        &self.config
    }

    fn joints(&self) -> usize {
        self.config.body.links - 1
    }

    /// Head at the origin, joints uniform within their limits, heading uniform, at rest.
    fn posture(&self, row: usize) -> Vec<f32> {
        let mut draw = Stream::new(self.config.seed, &[random::name("posture"), row as u64]);
        let limit = self.config.body.limit();
        let mut phi = std::f64::consts::PI * (2.0 * draw.uniform() - 1.0);
        let mut q = vec![0.0, 0.0, phi as f32];
        for _ in 0..self.joints() {
            phi += limit * (2.0 * draw.uniform() - 1.0);
            q.push(phi as f32);
        }
        q
    }

    /// One physics step; gives the forward speed of every row.
    fn step(&self, t: usize, running: &mut Running, commands: &mut [f32], tap: &mut Tap) -> Result<Vec<f32>> {
        let (rows, joints, links) = (running.rows, self.joints(), self.config.body.links);
        let coordinates = links + 2;
        through(tap, self.site.command, commands, &[rows, 3])?;
        if t.is_multiple_of(CONTROL) {
            for row in 0..rows {
                let phi = &running.qpos[row * coordinates + 2..][..links];
                for i in 0..joints {
                    running.held[row * joints + i] = phi[i + 1] - phi[i];
                }
            }
        }
        through(tap, self.site.joint_pos, &mut running.held, &[rows, joints])?;
        let mut torques = self.circuit(t / CONTROL, running, commands, tap)?;
        through(tap, self.site.torque, &mut torques, &[rows, joints])?;

        let wide = |x: &[f32]| -> Vec<f64> { x.iter().map(|x| f64::from(*x)).collect() };
        let span = |row: usize| row * coordinates..(row + 1) * coordinates;
        let mut fluid = Vec::with_capacity(rows * links * 3);
        for row in 0..rows {
            let (q, qd) = (wide(&running.qpos[span(row)]), wide(&running.qvel[span(row)]));
            fluid.extend(self.config.body.fluid(&q, &qd).into_iter().map(|f| f as f32));
        }
        through(tap, self.site.fluid_force, &mut fluid, &[rows, links, 3])?;
        let mut speeds = Vec::with_capacity(rows);
        for row in 0..rows {
            let (mut q, mut qd) = (wide(&running.qpos[span(row)]), wide(&running.qvel[span(row)]));
            let (torques, fluid) =
                (wide(&torques[row * joints..][..joints]), wide(&fluid[row * links * 3..][..links * 3]));
            self.config.body.step(&mut q, &mut qd, &torques, &fluid, STEP)?;
            speeds.push(self.config.body.forward_speed(&q, &qd) as f32);
            let narrow = |into: &mut [f32], from: &[f64]| into.iter_mut().zip(from).for_each(|(a, b)| *a = *b as f32);
            narrow(&mut running.qpos[span(row)], &q);
            narrow(&mut running.qvel[span(row)], &qd);
        }
        through(tap, self.site.qpos, &mut running.qpos, &[rows, coordinates])?;
        through(tap, self.site.qvel, &mut running.qvel, &[rows, coordinates])?;
        through(tap, self.site.speed, &mut speeds, &[rows, 1])?;
        Ok(speeds)
    }

    /// From what was read of the joints to torques, `[rows, joints]`.
    fn circuit(&self, control: usize, running: &Running, commands: &[f32], tap: &mut Tap) -> Result<Vec<f32>> {
        let (rows, joints, w) = (running.rows, self.joints(), self.config.weights);
        let (limit, period) = (self.config.body.limit(), self.config.period);
        let sides = [rows, joints, 2];
        let dorsal = control % period < period / 2;
        let mut osc: Vec<f32> =
            (0..rows).flat_map(|_| [f32::from(u8::from(dorsal)), f32::from(u8::from(!dorsal))]).collect();
        through(tap, self.site.osc, &mut osc, &[rows, 2])?;
        let bent = |theta: &f32| (f64::from(*theta) / limit).clamp(-1.0, 1.0) as f32;
        let mut prop: Vec<f32> = running.held.iter().map(bent).flat_map(|q| [q.max(0.0), (-q).max(0.0)]).collect();
        through(tap, self.site.prop, &mut prop, &sides)?;
        let held = self.config.constrained;
        let exc = |w: f64| if held { w.max(0.0) } else { w };
        let inh = |w: f64| if held { w.min(0.0) } else { w };
        let mut b = vec![0.0; rows * joints * 2];
        for at in 0..b.len() {
            let (row, i, s) = (at / (2 * joints), at / 2 % joints, at % 2);
            let command = &commands[row * 3..][..3];
            let brake = 1.0 - f64::from(command[2]).clamp(0.0, 1.0);
            let mut sum = brake * inh(w.speed);
            if i > 0 {
                sum += f64::from(prop[at - 2]) * exc(w.prop);
            } else {
                sum += f64::from(osc[row * 2 + s]) * exc(w.osc);
            }
            if i < self.config.turning {
                sum += f64::from(command[s]) * exc(w.turn);
            }
            b[at] = sum as f32;
        }
        through(tap, self.site.bneuron_pre, &mut b, &sides)?;
        b.iter_mut().for_each(|x| *x = x.clamp(0.0, 1.0));
        through(tap, self.site.bneuron, &mut b, &sides)?;
        let side = |at: usize| f64::from(b[at]) * exc(w.ipsi) + f64::from(b[at ^ 1]) * inh(w.contra);
        let mut muscle: Vec<f32> = (0..b.len()).map(|at| side(at).clamp(0.0, 1.0) as f32).collect();
        through(tap, self.site.muscle, &mut muscle, &sides)?;
        Ok(muscle.chunks_exact(2).map(|m| (GEAR * f64::from(m[0] - m[1])) as f32).collect())
    }
}

impl Network for Swimmer {
    fn sites(&self) -> &SiteTable {
        &self.table
    }

    /// Forward speed of the head, m/s, `[rows, steps, 1]`. The input's channels are the commands right (dorsal), left
    /// (ventral) and speed; without input it swims straight ahead.
    fn forward(&self, input: &Input, state: &mut State, tap: &mut Tap) -> Result<Tensor> {
        let call = Call::begin(input, 3, state, tap)?;
        let (rows, joints, coordinates) = (call.rows, self.joints(), self.config.body.links + 2);
        let posture = || (0..rows).flat_map(|row| self.posture(row)).collect();
        let mut running = Running {
            rows,
            qpos: take(state, "body.qpos", &[rows, coordinates], posture)?,
            qvel: take(state, "body.qvel", &[rows, coordinates], || vec![0.0; rows * coordinates])?,
            held: take(state, "ncap.held", &[rows, joints], || vec![0.0; rows * joints])?,
        };
        let mut outputs = Outputs::new(&call, 1, tap);
        for t in 0..call.steps {
            call.tick(t, tap)?;
            let mut commands = [0.0, 0.0, 1.0].repeat(rows);
            if let Some(series) = call.series {
                commands = (0..rows).flat_map(|row| series.at(row, t).iter().copied()).collect();
            }
            let speeds = self.step(call.time(t), &mut running, &mut commands, tap)?;
            outputs.push(t, &speeds);
        }
        keep(state, "body.qpos", &[rows, coordinates], &running.qpos)?;
        keep(state, "body.qvel", &[rows, coordinates], &running.qvel)?;
        keep(state, "ncap.held", &[rows, joints], &running.held)?;
        call.end(state)?;
        outputs.tensor(rows)
    }

    fn parameters(&self) -> &[(String, Tensor)] {
        &self.parameters
    }
}

impl Simulation for Swimmer {
    fn rules(&self) -> Vec<String> {
        let body = self.config.body;
        vec![
            "order: command, joints (read at every 15th step and held), oscillator, B neurons, muscles, torques, water, body"
                .to_string(),
            format!("body: {} links, dt 2 ms, semi-implicit Euler; drag {:?} across, along, turning", body.links, body.drag),
            format!(
                "joint limits at {:.4} rad: spring {} N m/rad with damping {} N m s/rad beyond, a stand-in for the engine's",
                body.limit(),
                body.limit_stiffness,
                body.limit_damping
            ),
            format!("oscillator: square, {} control steps of 30 ms; starts with the simulation, not with a call", self.config.period),
        ]
    }

    fn dt(&self) -> Option<f64> {
        Some(1000.0 * STEP)
    }

    fn channels(&self) -> usize {
        3
    }

    fn synapses(&self, _: &str) -> Option<&Sparse> {
        None
    }
}

fn table(links: usize) -> (SiteTable, Sites) {
    let mut table = SiteTable::default();
    let (b, joint, side) = ((Axis::Batch, None), (Axis::Joint, Some(links - 1)), (Axis::Side, Some(2)));
    let (link, wide) = ((Axis::Link, Some(links)), |n| (Axis::Width, Some(n)));
    let mut push = |name: &str, axes: &[(Axis, Option<usize>)], meaning| table.push(site(name.into(), axes, meaning));
    let site = Sites {
        command: push("ncap.hook_command", &[b, wide(3)], "commands: right, left, speed; each 0 to 1"),
        joint_pos: push("ncap.hook_joint_pos", &[b, joint], "joint angles as the circuit holds them, rad"),
        osc: push("ncap.hook_osc", &[b, side], "head oscillator"),
        prop: push("ncap.hook_prop", &[b, joint, side], "bend of each joint over its limit, by side"),
        bneuron_pre: push("ncap.hook_bneuron_pre", &[b, joint, side], "input of B neurons"),
        bneuron: push("ncap.hook_bneuron", &[b, joint, side], "B neurons, 0 to 1"),
        muscle: push("ncap.hook_muscle", &[b, joint, side], "muscles, 0 to 1"),
        torque: push("ncap.hook_torque", &[b, joint], "motor torques, N m"),
        fluid_force: push(
            "body.hook_fluid_force",
            &[b, link, wide(3)],
            "water on a link: across, along (N), torque (N m)",
        ),
        qpos: push(
            "body.hook_qpos",
            &[b, wide(links + 2)],
            "x, y of the free end of the head (m), angles of the links (rad)",
        ),
        qvel: push("body.hook_qvel", &[b, wide(links + 2)], "their rates"),
        speed: push("body.hook_speed", &[b, (Axis::One, Some(1))], "forward speed of the head's centre, m/s"),
    };
    (table, site)
}
