//! Damage to two trained networks, one head and many, at the largest N that both have passed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::learn::{Arm, Options, Snapshot, Trained, hold, largest};
use super::probe::{fresh_readout, hold_each, lengthened, long_run, perturbed, silence};
use super::task::Task;
use crate::Result;
use crate::analysis::measure::mean;
use crate::hook::Edit;
use crate::hook::random::{self, Stream};
use crate::models::{Network, TimescaleRnn};

/// What is done to trained networks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Damage {
    /// Steps of the long sequences, ten of them, that accuracies are taken over.
    pub steps: usize,
    /// How many units are held at 0, drawn anew each time.
    pub silenced: Vec<usize>,
    /// How many units of the longest, and of the shortest, time constants are held at 0, one after the other.
    pub extremes: usize,
    /// Sizes of perturbations, relative to the norm of what is perturbed.
    pub sizes: Vec<f64>,
    /// Values at which all time constants are frozen.
    pub held: Vec<f64>,
    /// Draws of units and directions.
    pub draws: u64,
    /// Up to how much more than the trained N fresh readouts are asked.
    pub beyond: usize,
    /// Sequences that fresh readouts learn from, and are tested on.
    pub samples: (usize, usize),
}

/// What became of the accuracy of one network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Borne {
    /// Undisturbed.
    pub intact: f64,
    /// (units, accuracy) with as many units at 0; mean over draws.
    pub silenced: Vec<(usize, f64)>,
    /// With a unit of the longest time constants at 0; mean over them.
    pub slow: f64,
    /// With one of the shortest.
    pub fast: f64,
    /// (size, accuracy) with weights moved.
    pub weights: Vec<(f64, f64)>,
    /// (size, accuracy) with time constants lengthened.
    pub tau: Vec<(f64, f64)>,
    /// (value, accuracy) with all time constants frozen at a value.
    pub held: Vec<(f64, f64)>,
    /// Accuracy with time constants frozen at their own mean.
    pub levelled: f64,
    /// (N, accuracy) of fresh readouts of frozen states.
    pub beyond: Vec<(usize, f64)>,
}

/// Two networks at one N.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Damaged {
    /// The task.
    pub task: Task,
    /// The seed.
    pub seed: u64,
    /// N.
    pub n: usize,
    /// One head, then many.
    pub borne: [Borne; 2],
}

impl Damage {
    /// Damages a pair; `None` where they have no N in common.
    ///
    /// # Errors
    /// None but defects.
    pub fn pair(&self, pair: [&Trained; 2], options: &Options) -> Result<Option<Damaged>> {
        let at = |trained: &Trained, n: usize| trained.passed.iter().position(|s| largest(&s.level) == n);
        let common = pair[0].passed.iter().rev().map(|s| largest(&s.level)).find(|n| at(pair[1], *n).is_some());
        let Some(n) = common else { return Ok(None) };
        let mut borne = Vec::with_capacity(2);
        for trained in pair {
            if let Some(place) = at(trained, n) {
                borne.push(self.one(&trained.arm, &trained.passed[place], n, options)?);
            }
        }
        let borne = <[Borne; 2]>::try_from(borne).ok();
        Ok(borne.map(|borne| Damaged { task: pair[0].arm.task, seed: pair[0].arm.seed, n, borne }))
    }

    fn one(&self, arm: &Arm, snapshot: &Snapshot, n: usize, options: &Options) -> Result<Borne> {
        let net = TimescaleRnn::new(arm.config(options), &snapshot.weights)?;
        let (task, units) = (arm.task, options.neurons);
        let head = arm.curriculum.head(n);
        // Both networks of a pair are asked the same sequences under the same draws.
        let right = |net: &TimescaleRnn, edits: &[Edit]| long_run(net, task, (head, n), edits, self.steps, arm.seed);
        let stream = |what: &str, draw: u64| Stream::new(arm.seed, &[random::name(what), draw]);
        let over = |of: &dyn Fn(u64) -> Result<f64>| -> Result<f64> {
            Ok(mean(&(0..self.draws).map(of).collect::<Result<Vec<_>>>()?))
        };
        let mut silenced = Vec::new();
        for count in self.silenced.iter().filter(|count| **count <= units) {
            let lost = |draw: u64| {
                let mut order: Vec<usize> = (0..units).collect();
                stream("silenced", draw).shuffle(&mut order);
                right(&net, &silence(&order[..*count])?)
            };
            silenced.push((*count, over(&lost)?));
        }
        let tau: Vec<f64> = own_tau(&net)?;
        let mut order: Vec<usize> = (0..units).collect();
        order.sort_by(|a, b| tau[*a].total_cmp(&tau[*b]).then(a.cmp(b)));
        let each = |units: &[usize]| -> Result<f64> {
            Ok(mean(&units.iter().map(|unit| right(&net, &silence(&[*unit])?)).collect::<Result<Vec<_>>>()?))
        };
        let extremes = self.extremes.min(units);
        let (mut weights, mut longer) = (Vec::new(), Vec::new());
        for size in &self.sizes {
            weights.push((*size, over(&|draw| right(&perturbed(&net, *size, &mut stream("weights", draw))?, &[]))?));
            let longer_by = |draw: u64| right(&net, &[hold_each(&lengthened(&tau, *size, &mut stream("tau", draw)))?]);
            longer.push((*size, over(&longer_by)?));
        }
        let frozen = |value: f64| -> Result<(f64, f64)> { Ok((value, right(&net, &[hold(value)?])?)) };
        let beyond =
            |n: usize| -> Result<(usize, f64)> { Ok((n, fresh_readout(&net, task, n, &[], self.samples, arm.seed)?)) };
        Ok(Borne {
            intact: right(&net, &[])?,
            silenced,
            slow: each(&order[units - extremes..])?,
            fast: each(&order[..extremes])?,
            weights,
            tau: longer,
            held: self.held.iter().map(|value| frozen(*value)).collect::<Result<_>>()?,
            levelled: frozen(mean(&tau))?.1,
            beyond: (n..=n + self.beyond).map(beyond).collect::<Result<_>>()?,
        })
    }
}

/// Time constants as they act.
fn own_tau(net: &TimescaleRnn) -> Result<Vec<f64>> {
    let own = net.parameters().iter().find(|(name, _)| name == "rnn.tau");
    let values: Vec<f32> = own.map_or_else(|| Ok(Vec::new()), |(_, tau)| tau.to_vec1())?;
    Ok(values.into_iter().map(|tau| f64::from(tau).max(1.0)).collect())
}
