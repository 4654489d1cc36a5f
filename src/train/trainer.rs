//! The training loop: lessons side by side, gradients added in order, clipped, one update.

use std::collections::BTreeMap;

use candle_core::{Tensor, Var};
use serde::{Deserialize, Serialize};

use super::{Optimiser, Schedule};
use crate::hook::{Registry, Run};
use crate::models::{Input, Job, Network, job_gradients};
use crate::{Error, Result};

/// Stack of a worker, in bytes: Candle walks and drops a graph recursively.
const STACK: usize = 256 << 20;

/// A scalar loss of the outputs of a lesson's passes.
pub type Loss = Box<dyn Fn(&[Tensor]) -> Result<Tensor> + Send + Sync>;

/// A share of an update.
pub struct Lesson {
    /// What kind of lesson it is: the loss curve has one line per kind.
    pub kind: String,
    /// The passes, with what they record and edit; usually one that does neither.
    pub run: Run,
    /// One input per pass, or one for all.
    pub inputs: Vec<Input>,
    /// Tensors that edits refer to.
    pub stored: BTreeMap<String, Tensor>,
    /// What to lower. The losses of an update's lessons are added.
    pub loss: Loss,
    /// The share of the update's targets that the lesson holds; `loss / share` is its mean for the curve.
    pub share: f64,
}

/// Where lessons come from.
pub trait Course: Sync {
    /// The lessons of update `step`, from its number alone.
    ///
    /// # Errors
    /// Whatever keeps them from being made.
    fn lessons(&self, step: u64) -> Result<Vec<Lesson>>;
}

/// How to train.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainerOptions {
    /// The learning rate over the updates.
    pub schedule: Schedule,
    /// The largest norm of an update's gradient; longer ones are shortened to it.
    pub clip: Option<f64>,
}

/// What an update was like.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Its number, counted from 0.
    pub step: u64,
    /// Its learning rate.
    pub rate: f64,
    /// The norm of its gradient before clipping.
    pub norm: f64,
    /// Mean loss by kind of lesson, in the unit of the loss.
    pub losses: BTreeMap<String, f64>,
}

/// Looks on while a network learns: evaluates, draws, saves.
pub trait Observer {
    /// After every update.
    ///
    /// # Errors
    /// Ends the training with this error.
    fn updated(&mut self, trainer: &Trainer, point: &Point) -> Result<()>;
}

/// A network in training.
pub struct Trainer<'a> {
    /// The network; its parameters are the variables that the optimiser holds.
    pub net: &'a (dyn Network + Sync),
    /// The optimiser.
    pub optimiser: Optimiser,
    /// How to train.
    pub options: TrainerOptions,
    registry: Registry,
    workers: Vec<rayon::ThreadPool>,
}

/// Gradients by parameter name, with the loss of a lesson.
type Learned = (f64, BTreeMap<String, Tensor>);

impl<'a> Trainer<'a> {
    /// A trainer with one worker per processor.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the system gives no threads.
    pub fn new(
        net: &'a (dyn Network + Sync),
        optimiser: impl Into<Optimiser>,
        options: TrainerOptions,
        registry: Registry,
    ) -> Result<Self> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let one = || rayon::ThreadPoolBuilder::new().num_threads(1).stack_size(STACK).build();
        let workers = (0..processors).map(|_| one()).collect::<std::result::Result<Vec<_>, _>>();
        let workers = workers.map_err(|e| {
            Error::invalid(format!("no threads to train with: {e}"), "lower RAYON_NUM_THREADS, or close other programs")
        })?;
        Ok(Self { net, optimiser: optimiser.into(), options, registry, workers })
    }

    /// The number of the next update.
    pub fn step(&self) -> u64 {
        self.optimiser.updates()
    }

    /// Makes updates until there have been `until` in all.
    ///
    /// # Errors
    /// Those of the course, the network and the observer; a loss that is no finite number.
    pub fn train(&mut self, course: &dyn Course, until: u64, observer: &mut dyn Observer) -> Result<()> {
        while self.step() < until {
            let point = self.update(course)?;
            observer.updated(self, &point)?;
        }
        Ok(())
    }

    /// Makes one update.
    ///
    /// # Errors
    /// Those of the course and the network; a loss that is no finite number (the weights stay as they were).
    pub fn update(&mut self, course: &dyn Course) -> Result<Point> {
        let step = self.step();
        let lessons = course.lessons(step)?;
        if lessons.is_empty() {
            return Err(Error::invalid(format!("update {step} has no lesson"), "give at least one"));
        }
        let learned = self.learn(&lessons)?;
        let mut sums: BTreeMap<String, (f64, f64)> = BTreeMap::new();
        let mut gradients: BTreeMap<String, Tensor> = BTreeMap::new();
        for (lesson, (loss, own)) in lessons.iter().zip(learned) {
            if !loss.is_finite() {
                return Err(Error::invalid(
                    format!("the loss of update {step} is {loss} ({})", lesson.kind),
                    "lower the learning rate, lengthen the warm-up, or clip gradients",
                ));
            }
            let sum = sums.entry(lesson.kind.clone()).or_default();
            *sum = (sum.0 + loss, sum.1 + lesson.share);
            for (name, gradient) in own {
                let total = match gradients.remove(&name) {
                    Some(before) => (before + gradient)?,
                    None => gradient,
                };
                gradients.insert(name, total);
            }
        }
        let norm = norm(&gradients)?;
        if !norm.is_finite() {
            let what = format!("the gradient of update {step} is no finite number");
            return Err(Error::invalid(what, "lower the learning rate, or lengthen the warm-up"));
        }
        let factor = self.options.clip.map_or(1.0, |limit| (limit / norm).min(1.0));
        let rate = self.options.schedule.rate(step);
        self.optimiser.update(&gradients, rate, factor)?;
        let losses = sums.into_iter().map(|(kind, (loss, share))| (kind, loss / share)).collect();
        Ok(Point { step, rate, norm, losses })
    }

    /// Loss and gradients of every lesson, in their order. Worker w takes lessons w, w + n, ...; each lesson runs on
    /// one thread, so that what it gives does not depend on how many there are.
    fn learn(&self, lessons: &[Lesson]) -> Result<Vec<Learned>> {
        let n = self.workers.len();
        let share = |w: usize| -> Vec<Result<Learned>> {
            let own = lessons.iter().skip(w).step_by(n);
            self.workers[w].install(|| own.map(|lesson| self.one(lesson)).collect())
        };
        let shares: Vec<Vec<Result<Learned>>> = std::thread::scope(|scope| {
            let started: Vec<_> = (1..n.min(lessons.len())).map(|w| scope.spawn(move || share(w))).collect();
            let mut shares = vec![share(0)];
            for handle in started {
                shares.push(handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
            shares
        });
        let mut shares: Vec<_> = shares.into_iter().map(Vec::into_iter).collect();
        (0..lessons.len())
            .map(|i| {
                let next = shares[i % n].next();
                next.unwrap_or_else(|| Err(Error::invalid("a lesson was lost", "report this as a defect")))
            })
            .collect()
    }

    fn one(&self, lesson: &Lesson) -> Result<Learned> {
        let job =
            Job { run: &lesson.run, inputs: &lesson.inputs, stored: lesson.stored.clone(), registry: &self.registry };
        let learned = job_gradients(self.net, job, |outputs| (lesson.loss)(outputs))?;
        let loss = learned.value.flatten_all()?.get(0)?.to_dtype(candle_core::DType::F64)?.to_scalar()?;
        Ok((loss, learned.weights))
    }
}

/// The Euclidean norm over all gradients, in f64 and in the order of names.
fn norm(gradients: &BTreeMap<String, Tensor>) -> Result<f64> {
    let mut sum = 0f64;
    for gradient in gradients.values() {
        let values: Vec<f32> = gradient.flatten_all()?.to_vec1()?;
        sum += values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
    }
    Ok(sum.sqrt())
}

/// The parameters of a network that are variables, by name.
///
/// # Errors
/// [`Error::Invalid`] if there is none: a network is trained when it is built from `Var`s.
pub fn variables(net: &dyn Network) -> Result<BTreeMap<String, Var>> {
    let tensors = net.parameters().iter().filter(|(_, parameter)| parameter.is_variable());
    let named = tensors.map(|(name, parameter)| Ok((name.clone(), Var::from_tensor(parameter)?)));
    let variables = named.collect::<Result<BTreeMap<_, _>>>()?;
    if variables.is_empty() {
        return Err(Error::invalid("the network has no variables to train", "build it from `Var`s"));
    }
    Ok(variables)
}
