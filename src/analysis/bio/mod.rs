//! Simulated networks by name: what there is, and runs of them with records and edits.

mod arrays;
mod examine;
mod report;
mod subject;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::Device;
use serde::{Deserialize, Serialize};

use super::liquid::{chances, events};
use super::memory::{self, Needs};
use super::registry;
use super::standing::take_in;
use super::timescales::Task;
use crate::data::{series, strokes};
use crate::hook::{Edit, Moment, Pass, Plan, Record, Records, Selector, Standing, Tap, Values, random};
use crate::models::dendrites::Learning;
use crate::models::spiking::{balanced_currents, balanced_lif, izhikevich_population, thalamic_noise};
use crate::models::{
    Dendrites, DendritesConfig, EiConfig, EiReservoir, Elm, ElmConfig, Input, Liquid, LiquidConfig, Series, Simulation,
    State, Swimmer, SwimmerConfig, TimescaleConfig, TimescaleRnn,
};
use crate::nn::spiking::Poisson;
use crate::report::{Block, Cell, Column, Table};
use crate::store::Bundle;
use crate::store::text::nearest;
use crate::{Error, Result};

pub use arrays::arrays;
pub use examine::{Substrate, examine};
pub use subject::{GraphFile, Subject, is_graph, open};

/// A network that the program can build.
#[derive(Clone, Copy)]
pub struct Named {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub meaning: &'static str,
    /// The paper that `optrode reproduce` tests it by.
    pub paper: Option<u8>,
    /// Steps of a run where none are asked for.
    pub steps: usize,
    /// The network of a seed.
    pub build: fn(u64) -> Result<Box<dyn Simulation>>,
    /// Its input for so many steps.
    pub input: fn(usize, u64) -> Input,
}

/// Every network, by name.
pub static NETWORKS: &[Named] = &[
    Named {
        name: "active-dendrites",
        meaning: "a neuron of 500 dendritic segments, each of which knows a pattern of 128 of 6000 cells; shown one a step",
        paper: Some(39),
        steps: 500,
        build: |seed| {
            let config = DendritesConfig { seed, learning: Some(Learning::default()), ..DendritesConfig::default() };
            Ok(Box::new(Dendrites::new(config)?))
        },
        input: |steps, _| Input::None { rows: 1, steps },
    },
    Named {
        name: "ei-reservoir",
        meaning: "500 rate units, four fifths excitatory, balanced; uniform noise in [-1, 1) as the signal",
        paper: Some(5),
        steps: 500,
        build: |seed| Ok(Box::new(EiReservoir::new(EiConfig { seed, ..EiConfig::default() })?)),
        input: signal,
    },
    Named {
        name: "ei-reservoir-adapting",
        meaning: "the same, too excited (g_I 0.8), while its inhibition adapts to rates of 0.5 (delta 2e-3)",
        paper: Some(5),
        steps: 2000,
        build: |seed| {
            let config = EiConfig { seed, inhibition: 0.8, ..EiConfig::default() };
            Ok(Box::new(EiReservoir::new(config)?.adapting(2e-3)))
        },
        input: signal,
    },
    Named {
        name: "elm-neuron",
        meaning: "an expressive leaky memory neuron, untrained: 45 branches of 100 synapses, 20 memory units; a step is 1 ms",
        paper: Some(14),
        steps: 500,
        build: |seed| Ok(Box::new(Elm::untrained(ElmConfig::default(), seed)?)),
        input: |steps, seed| Input::Series(signed_spikes(ElmConfig::default().inputs, steps, seed)),
    },
    Named {
        name: "izhikevich",
        meaning: "1000 spiking neurons (Izhikevich 2003), 800 excitatory, all connected, under thalamic noise",
        paper: None,
        steps: 1000,
        build: |seed| Ok(Box::new(izhikevich_population(seed)?)),
        input: |steps, seed| Input::Series(thalamic_noise(1, steps, seed)),
    },
    Named {
        name: "lif-balanced",
        meaning: "100 leaky integrate-and-fire neurons, 80 excitatory, that `bio export` writes as a NIR graph; noise currents",
        paper: None,
        steps: 500,
        build: |seed| Ok(Box::new(balanced_lif(seed)?)),
        input: |steps, seed| Input::Series(balanced_currents(steps, seed)),
    },
    Named {
        name: "nalsm",
        meaning: "1000 spiking neurons and an astrocyte that sets the depression of STDP, on a drawn digit; a step is 1 ms",
        paper: Some(24),
        steps: 250,
        build: |seed| Ok(Box::new(Liquid::new(LiquidConfig { seed, decay: 0.99, ..LiquidConfig::default() })?)),
        input: |steps, seed| Input::Series(events(&chances(&strokes::digits(1, seed), 1), steps, seed)),
    },
    Named {
        name: "ncap-swimmer",
        meaning: "the locomotion circuit of C. elegans in a body of six links in water; a step is 2 ms",
        paper: Some(4),
        steps: 5000,
        build: |seed| Ok(Box::new(Swimmer::new(SwimmerConfig { seed, ..SwimmerConfig::default() })?)),
        input: |steps, _| Input::None { rows: 1, steps },
    },
    Named {
        name: "timescale-rnn",
        meaning: "500 leaky units with time constants of their own and 100 heads, untrained; random bits as the input",
        paper: Some(42),
        steps: 500,
        build: |seed| Ok(Box::new(TimescaleRnn::untrained(TimescaleConfig { seed, ..TimescaleConfig::default() })?)),
        input: |steps, seed| {
            let mut stream = random::Stream::new(seed, &[random::name("bits")]);
            Input::Series(Task::Dms.trials(1, steps, 0, &mut stream).series)
        },
    },
];

fn signal(steps: usize, seed: u64) -> Input {
    let u = series::uniform(steps, -1.0, 1.0, random::key(seed, &[random::name("signal")]));
    Input::Series(Series::of(u.into_iter().map(|x| x as f32).collect()))
}

/// Spikes at 2 Hz per input and step of 1 ms: +1 at the first half of the inputs, which excites, -1 at the second.
fn signed_spikes(channels: usize, steps: usize, seed: u64) -> Series {
    let trains = Poisson { dt: 1.0, seed: random::key(seed, &[random::name("poisson")]) };
    let rates = vec![2.0; channels];
    let signs = (0..channels).map(|i| if i < channels / 2 { 1.0 } else { -1.0 });
    let step = |t| trains.step(&rates, 0, t).into_iter().zip(signs.clone()).map(|(spike, sign)| sign * spike);
    Series { rows: 1, steps, channels, values: (0..steps as u64).flat_map(step).collect() }
}

/// The word for the substrate alone.
pub const SUBSTRATE: &str = "bio";

/// Whether a model's name means a simulated network, or the substrate; a folder of that name comes first.
pub fn is_named(model: &str) -> bool {
    (model == SUBSTRATE || NETWORKS.iter().any(|n| n.name == model)) && !Path::new(model).exists()
}

/// The network of this name.
///
/// # Errors
/// No such network; the message names the nearest.
pub fn find(name: &str) -> Result<&'static Named> {
    NETWORKS.iter().find(|n| n.name == name).ok_or_else(|| {
        let near = nearest(name, NETWORKS.iter().map(|n| n.name), 3);
        Error::invalid(
            format!("there is no network `{name}`"),
            format!("`optrode bio list` shows all; nearest: {near}"),
        )
    })
}

/// What to run.
#[derive(Clone, Debug)]
pub struct Request {
    /// Steps; the network's own number if `None`.
    pub steps: Option<usize>,
    /// What to record; what neurons hand to each other if empty.
    pub records: Vec<Selector>,
    /// Files and folders of edits.
    pub edits: Vec<PathBuf>,
    /// A file of what it is given, in place of its own input: `[time, channels]` or `[rows, time, channels]`.
    pub input: Option<PathBuf>,
    /// Seed of the network, its input and of stochastic edits.
    pub seed: u64,
}

/// The longest run.
const STEPS: usize = 10_000_000;

/// A run, beside the same run without edits where there are any.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ran {
    /// The network.
    pub network: String,
    /// What a step computes.
    pub rules: Vec<String>,
    /// Length of a step, ms.
    pub dt: Option<f64>,
    /// Steps.
    pub steps: usize,
    /// The edits.
    pub edits: Vec<Edit>,
    /// What was recorded, as it is shown.
    pub sites: Vec<Shown>,
    /// The records themselves.
    #[serde(skip)]
    pub records: Records,
}

/// A recorded site in numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shown {
    /// Its name (`NAME@raw` for values before the edits).
    pub name: String,
    /// Shape of the record.
    pub shape: Vec<usize>,
    /// The steps that were recorded.
    pub steps: Vec<usize>,
    /// Mean over all entries.
    pub mean: f64,
    /// The same without edits; `None` where there are none.
    pub unedited: Option<f64>,
    /// Whether all values are 0 or 1.
    pub spikes: bool,
    /// Mean of every recorded step.
    pub course: Vec<f64>,
    /// The same without edits.
    pub unedited_course: Option<Vec<f64>>,
}

/// Runs a network. `watch` hears (steps done, steps in all, those of the control too) and ends the run with an error.
///
/// # Errors
/// Selectors and edits that do not fit it, edits that never act, files that cannot be read.
pub fn run(
    subject: &dyn Subject,
    request: &Request,
    watch: &mut (dyn FnMut(usize, usize) -> Result<()> + Send),
) -> Result<Ran> {
    let net = subject.build(request.seed)?;
    let given = request.input.as_ref().map(|path| subject::given(path, net.channels(), request.steps)).transpose()?;
    let (rows, steps) = given.as_ref().map_or((1, request.steps.unwrap_or(subject.steps())), |s| (s.rows, s.steps));
    if steps == 0 || steps > STEPS {
        return Err(Error::invalid(format!("a run of {steps} steps"), format!("give 1 to {STEPS}")));
    }
    let standing = read_edits(&request.edits)?;
    let selectors = if request.records.is_empty() { emitted(net.as_ref())? } else { request.records.clone() };
    needs(net.as_ref(), &selectors, (rows, steps), !standing.edits.is_empty())?.check(
        memory::available(),
        "record fewer steps (`@every=100`), fewer units (`[neuron=0..10]`), or run for fewer steps",
    )?;
    let input = given.map_or_else(|| subject.input(steps, request.seed), |series| Ok(Input::Series(series)))?;
    let whole = if standing.edits.is_empty() { steps } else { 2 * steps };
    let mut simulate = |edits: &[Edit], selectors: &[Selector], before: usize| -> Result<Records> {
        let tell = |moment: Moment| watch(before + moment.step, whole);
        let records = selectors.iter().cloned().map(Record::whole).collect();
        let pass = Pass { records, edits: edits.to_vec(), seed: request.seed, ..Pass::default() };
        let values = Values { stored: standing.stored.clone(), ..Values::default() };
        let mut plan = Plan::compile(net.sites(), &pass, &standing.registry, values, &[])?;
        net.forward(&input, &mut State::none(), &mut Tap::new(&mut plan).watched(tell))?;
        if let Some(idle) = plan.idle().first() {
            return Err(Error::invalid(
                format!("the edit at `{idle}` acted nowhere in {steps} steps"),
                "its time never comes: run for longer, or edit earlier steps",
            ));
        }
        plan.records(net.sites())
    };
    let records = simulate(&standing.edits, &selectors, 0)?;
    // The control needs no values before edits, for there are none.
    let plain: Vec<Selector> = selectors.iter().filter(|s| !s.raw()).cloned().collect();
    let control = match standing.edits.is_empty() {
        true => None,
        false => Some(simulate(&[], &plain, steps)?),
    };
    let mut sites = Vec::with_capacity(records.tensors.len());
    for (name, recorded) in &records.tensors {
        let selector = selectors.iter().find(|s| {
            let named = |ids: &str| ids == name.trim_end_matches("@raw");
            s.raw() == name.ends_with("@raw")
                && s.resolve(net.sites()).is_ok_and(|found| found.sites.iter().any(|site| named(&site.name)))
        });
        let taken = |t: &usize| selector.is_none_or(|s| s.time().contains(*t, steps));
        let control = control.as_ref().and_then(|c| c.tensors.get(name.trim_end_matches("@raw")));
        sites.push(Shown::of(name, &recorded.tensor, (0..steps).filter(taken).collect(), control.map(|c| &c.tensor))?);
    }
    let edits = standing.edits;
    let (network, rules) = (subject.name().to_string(), net.rules());
    Ok(Ran { network, rules, dt: net.dt(), steps, edits, sites, records })
}

/// An upper estimate of the memory that records need; the control has its own.
fn needs(
    net: &dyn Simulation,
    selectors: &[Selector],
    (rows, steps): (usize, usize),
    controlled: bool,
) -> Result<Needs> {
    let mut bytes = 0u64;
    for selector in selectors {
        let taken = (0..steps).filter(|t| selector.time().contains(*t, steps)).count();
        for selected in selector.resolve(net.sites())?.sites {
            let site = net.sites().get(selected.site);
            let chosen = |dim: usize| selected.indices.iter().find(|(d, _)| *d == dim).map(|(_, list)| list.len());
            let sizes = site.sizes.iter().enumerate().map(|(dim, size)| chosen(dim).or(*size).unwrap_or(1) as u64);
            bytes = bytes.saturating_add(sizes.product::<u64>().saturating_mul(4 * (rows * taken) as u64));
        }
    }
    // Once as they come, once stacked.
    let copies = if controlled { 4 } else { 2 };
    Ok(Needs::default().and("records", bytes.saturating_mul(copies)).and("program and libraries", memory::PROGRAM))
}

impl Shown {
    fn of(
        name: &str,
        record: &candle_core::Tensor,
        steps: Vec<usize>,
        control: Option<&candle_core::Tensor>,
    ) -> Result<Self> {
        let course = |tensor: &candle_core::Tensor| -> Result<Vec<f64>> {
            let rows: Vec<Vec<f32>> = tensor.flatten_from(1)?.to_vec2()?; // [time, the rest]
            let mean = |row: &Vec<f32>| row.iter().map(|x| f64::from(*x)).sum::<f64>() / row.len().max(1) as f64;
            Ok(rows.iter().map(mean).collect())
        };
        let spikes = record.flatten_all()?.to_vec1::<f32>()?.iter().all(|x| *x == 0.0 || *x == 1.0);
        let (own, unedited) = (course(record)?, control.map(course).transpose()?);
        Ok(Self {
            name: name.to_string(),
            shape: record.dims().to_vec(),
            steps,
            mean: super::measure::mean(&own),
            unedited: unedited.as_deref().map(super::measure::mean),
            spikes,
            course: own,
            unedited_course: unedited,
        })
    }
}

/// The rules of a network as a table.
fn rules(rules: &[String]) -> Block {
    let row = |rule: &String| vec![Cell::text(rule)];
    Block::Table(Table { columns: vec![Column::new("rules of a step")], rows: rules.iter().map(row).collect() })
}

/// How the sites end at which neurons hand something on, and bodies move.
const EMITTED: [&str; 7] =
    ["hook_spikes", "hook_state", "hook_nmda", "hook_soma", "hook_joint_pos", "hook_speed", "elm.hook_out"];

/// What a graph gives to the outside, which is all there is to see of one without neurons that fire.
const GIVEN: [&str; 1] = ["hook_output"];

/// What neurons hand to each other: spikes, or rates.
fn emitted(net: &dyn Simulation) -> Result<Vec<Selector>> {
    let of = |ends: &[&str]| -> Result<Vec<Selector>> {
        let ends = |name: &str| !name.starts_with("syn.") && ends.iter().any(|end| name.ends_with(end));
        net.sites().iter().filter(|(_, s)| ends(&s.name)).map(|(_, s)| s.name.parse()).collect()
    };
    let found = of(&EMITTED)?;
    if found.is_empty() { of(&GIVEN) } else { Ok(found) }
}

/// The edits of several files, with the tensors that they refer to.
fn read_edits(paths: &[PathBuf]) -> Result<Standing> {
    let mut all = Standing { edits: Vec::new(), registry: registry(), stored: BTreeMap::new() };
    for path in paths {
        let bundle = Bundle::open(path, &Device::Cpu)?;
        if bundle.file.model.is_some() {
            return Err(Error::file(
                path,
                "these edits were fitted on a language model",
                "leave `model` out of edits of a simulated network",
            ));
        }
        take_in(&mut all, path, bundle)?;
    }
    Ok(all)
}
