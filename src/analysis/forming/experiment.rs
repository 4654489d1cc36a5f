//! The experiment of the paper: all conditions side by side, strengths and progress on the way, heads one by one, more
//! classes and more labels, and the toy model.

use serde::{Deserialize, Serialize};

use super::clamps::Condition;
use super::plan::Plan;
use super::run::{Curve, Evaluation, Formed, Moment, Task, accuracy_by_head, evaluate, side_by_side, strengths};
use super::toy::{Clamped, Toy, toy};
use crate::Result;
use crate::data::Omniglot;
use crate::data::fewshot::{Draw, FewShot, FewShotConfig};
use crate::report::number;

/// The loss at which a condition counts as learnt, nats.
pub const LEARNT: f64 = 0.25;
/// The plateau: around ln 2, guessing among the two labels in context.
pub const PLATEAU: (f64, f64) = (0.6, 0.8);
/// Sequences that trained networks are judged on.
const JUDGED: usize = 2048;

/// One trained condition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trained {
    /// What was clamped.
    pub condition: Condition,
    /// Classes of the data.
    pub classes: usize,
    /// Labels of the data.
    pub labels: usize,
    /// Seed.
    pub seed: u64,
    /// Its loss.
    pub curve: Curve,
}

impl Trained {
    /// Sequences until the loss was [`LEARNT`].
    pub fn learnt(&self) -> Option<f64> {
        self.curve.reached(LEARNT)
    }

    /// The share of these sequences that the loss spent on the plateau.
    pub fn plateau(&self) -> Option<f64> {
        self.learnt().map(|at| self.curve.stay(PLATEAU.0, PLATEAU.1) / at)
    }
}

/// What the experiment found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Experiment {
    /// What was done.
    pub plan: Plan,
    /// With all heads and nothing clamped.
    pub free: Trained,
    /// Looks at that network on the way.
    pub moments: Vec<Moment>,
    /// Its evaluations: training sequences, held-out label pairs, exemplars and classes.
    pub evaluations: [Evaluation; 4],
    /// Its heads' induction strengths.
    #[serde(with = "number::nested")]
    pub strengths: Vec<f64>,
    /// Its accuracy with one head of layer 1 alone.
    #[serde(with = "number::nested")]
    pub alone: Vec<f64>,
    /// Its loss with the strongest head alone, the two strongest, and so on.
    #[serde(with = "number::nested")]
    pub added: Vec<f64>,
    /// The clamps, seed by seed, in the order of [`Condition::CLAMPS`].
    pub clamps: Vec<Trained>,
    /// B alone (layer 1 + copy) and C alone (match) with more classes and more labels, and as in the paper's main task.
    pub scaling: Vec<Trained>,
    /// The clamps with handwritten characters for exemplars; empty without their images.
    pub pictures: Vec<Trained>,
    /// The toy model with nothing, one and two factors clamped.
    pub toys: Vec<Toy>,
}

/// Carries the experiment out, on `characters` too if there are any; `done` hears how many trainings of how many are over.
///
/// # Errors
/// A training whose loss is no finite number, too few characters.
pub fn experiment(
    plan: &Plan,
    characters: Option<&Omniglot>,
    done: &(dyn Fn(usize, usize) + Sync),
) -> Result<Experiment> {
    let first = plan.seeds.first().copied().unwrap_or(0);
    let task = |condition, classes, labels, seed| {
        let data = FewShotConfig { held_out: 50, ..FewShotConfig::paper(classes, labels, seed) };
        Task { data, pictures: false, condition, live: 0 }
    };
    let mut tasks = vec![(task(Condition::Free, 50, 5, first), plan.whole(first))];
    for seed in &plan.seeds {
        for condition in Condition::CLAMPS {
            tasks.push((task(condition, 50, 5, *seed), plan.until_learnt(plan.clamps, *seed)));
        }
    }
    let clamps_end = tasks.len();
    let sizes = [(50, 5)].into_iter();
    let sizes = sizes.chain(plan.classes.iter().map(|c| (*c, 5))).chain(plan.labels.iter().map(|l| (50, *l)));
    for (classes, labels) in sizes {
        for condition in &plan.scaled {
            tasks.push((task(*condition, classes, labels, first), plan.until_learnt(plan.scaling, first)));
        }
    }
    let scaling_end = tasks.len();
    if let Some(characters) = characters {
        for condition in Condition::CLAMPS {
            let data = characters.sizes(50, 50, 5, first);
            let task = Task { data, pictures: true, ..task(condition, 50, 5, first) };
            tasks.push((task, plan.until_learnt(plan.clamps, first)));
        }
    }
    let data = |task: &Task| match characters.filter(|_| task.pictures) {
        Some(characters) => characters.few_shot(task.data),
        None => FewShot::new(task.data),
    };
    let all = tasks.len();
    let formed = side_by_side(&tasks, &data, &|n| done(n, all))?;
    let trained = |f: &Formed| Trained {
        condition: f.task.condition,
        classes: f.task.data.classes,
        labels: f.task.data.labels,
        seed: f.task.data.seed,
        curve: f.curve.clone(),
    };
    let free = &formed[0];
    let net = free.network()?;
    let heads = net.config().n_heads;
    let as_it_is = Condition::Free.run(heads, 0)?;
    let judge = |draw: Draw| evaluate(&net, &as_it_is, &free.data.batch(draw, u64::MAX - 1, JUDGED));
    let episodes = free.data.batch(Draw::Train, u64::MAX - 1, JUDGED);
    let (alone, added) = accuracy_by_head(&net, &episodes)?;
    Ok(Experiment {
        plan: plan.clone(),
        free: trained(free),
        moments: free.moments.clone(),
        evaluations: [judge(Draw::Train)?, judge(Draw::Relabel)?, judge(Draw::Exemplars)?, judge(Draw::Classes)?],
        strengths: strengths(&net, &episodes)?.0,
        alone,
        added,
        clamps: formed[1..clamps_end].iter().map(trained).collect(),
        scaling: formed[clamps_end..scaling_end].iter().map(trained).collect(),
        pictures: formed[scaling_end..].iter().map(trained).collect(),
        toys: [Clamped::None, Clamped::C, Clamped::BAndC].map(|c| toy(c, 20, 1.0, 0.1, 1000, first)).to_vec(),
    })
}

impl Experiment {
    /// Sequences until a clamp was learnt, seed by seed; `None` if it was not with one of them.
    pub fn learnt_by_seed(&self, condition: Condition) -> Option<Vec<f64>> {
        let own: Vec<f64> = self.of(condition).map(Trained::learnt).collect::<Option<_>>()?;
        (!own.is_empty()).then_some(own)
    }

    /// Their mean.
    pub fn learnt(&self, condition: Condition) -> Option<f64> {
        self.learnt_by_seed(condition).map(|own| own.iter().sum::<f64>() / own.len() as f64)
    }

    /// Share of these on the plateau, mean over seeds.
    pub fn plateau(&self, condition: Condition) -> Option<f64> {
        let own: Vec<f64> = self.of(condition).map(Trained::plateau).collect::<Option<_>>()?;
        (!own.is_empty()).then(|| own.iter().sum::<f64>() / own.len() as f64)
    }

    /// How the last third of the way compares with the middle one ([`Curve::late_speed`]), mean over seeds.
    pub fn late_speed(&self, condition: Condition) -> Option<f64> {
        let own: Vec<f64> = self.of(condition).map(|t| t.curve.late_speed(LEARNT)).collect::<Option<_>>()?;
        (!own.is_empty()).then(|| own.iter().sum::<f64>() / own.len() as f64)
    }

    fn of(&self, condition: Condition) -> impl Iterator<Item = &Trained> {
        self.clamps.iter().filter(move |t| t.condition == condition)
    }

    /// Sequences until a condition was learnt with so many classes and labels.
    pub(super) fn scaled(&self, condition: Condition, classes: usize, labels: usize) -> Option<f64> {
        let found = |t: &&Trained| t.condition == condition && t.classes == classes && t.labels == labels;
        self.scaling.iter().find(found).and_then(Trained::learnt)
    }
}
