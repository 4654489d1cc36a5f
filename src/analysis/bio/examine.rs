//! Proof on the user's machine that simulated networks compute what they should.

use std::collections::BTreeMap;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::Subject;
use crate::Result;
use crate::analysis::doctor::{Finding, closed_forms, finding_rows};
use crate::analysis::registry;
use crate::hook::{Edit, Pass, Plan, Record, Records, Tap, Values};
use crate::models::{Input, Series, Simulation, State};
use crate::report::{Better, Block, Column, Report, Table, Verdict};

/// Steps of the runs that are compared; weights are recorded in every one.
const STEPS: usize = 12;

/// What the doctor found of the substrate, and of a network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Substrate {
    /// The network, if one was examined.
    pub network: Option<String>,
    /// What its steps compute.
    pub rules: Vec<String>,
    /// Closed forms first, then the network's invariants.
    pub findings: Vec<Finding>,
}

impl Substrate {
    /// True when nothing failed.
    pub fn passed(&self) -> bool {
        self.findings.iter().all(|f| f.verdict == Verdict::Passed)
    }
}

/// The closed forms of the substrate, and of a network: rerun = run, recording everything = recording nothing, every site
/// clamped to its own record = untouched, a run in two pieces = the run in one; all bit for bit.
///
/// # Errors
/// None but defects: what does not hold is a finding.
pub fn examine(subject: Option<&dyn Subject>, seed: u64) -> Result<Substrate> {
    let mut findings = closed_forms()?;
    let mut rules = Vec::new();
    if let Some(subject) = subject {
        let net = subject.build(seed)?;
        rules = net.rules();
        findings.extend(invariants(net.as_ref(), &subject.input(STEPS, seed)?)?);
    }
    Ok(Substrate { network: subject.map(|s| s.name().to_string()), rules, findings })
}

struct Ran {
    /// Output and state, bit by bit.
    bits: BTreeMap<String, Vec<u32>>,
    records: Records,
    state: State,
}

fn run(
    net: &dyn Simulation,
    input: &Input,
    from: &State,
    pass: &Pass,
    stored: &BTreeMap<String, Tensor>,
) -> Result<Ran> {
    let values = Values { stored: stored.clone(), ..Values::default() };
    let mut plan = Plan::compile(net.sites(), pass, &registry(), values, &[])?;
    let mut state = from.clone();
    let output = net.forward(input, &mut state, &mut Tap::new(&mut plan))?;
    let mut bits = BTreeMap::new();
    for (name, tensor) in state.tensors.iter().map(|(n, t)| (n.as_str(), t)).chain([("output", &output)]) {
        let values: Vec<f32> = tensor.to_dtype(candle_core::DType::F32)?.flatten_all()?.to_vec1()?;
        bits.insert(name.to_string(), values.into_iter().map(f32::to_bits).collect());
    }
    Ok(Ran { bits, records: plan.records(net.sites())?, state })
}

fn invariants(net: &dyn Simulation, input: &Input) -> Result<Vec<Finding>> {
    let (start, none) = (State::cached(), BTreeMap::new());
    let simple = |input: &Input, from: &State| run(net, input, from, &Pass::default(), &none);
    let plain = simple(input, &start)?;
    let all = Pass { records: vec![Record::whole("**".parse()?)], ..Pass::default() };
    let recorded = run(net, input, &start, &all, &none)?;
    let stored: BTreeMap<String, Tensor> =
        recorded.records.tensors.iter().map(|(name, r)| (name.clone(), r.tensor.clone())).collect();
    let clamp = |name: &String| -> Result<Edit> {
        Ok(Edit::new(name.parse()?, "replace").with("value", serde_json::json!({ "tensor": name })))
    };
    let edits = stored.keys().map(clamp).collect::<Result<Vec<_>>>()?;
    let clamped = run(net, input, &start, &Pass { edits, ..Pass::default() }, &stored)?;
    let (first, second) = halves(input);
    let pieces = simple(&second, &simple(&first, &start)?.state)?;
    let states = |ran: &Ran| -> BTreeMap<String, Vec<u32>> {
        ran.bits.iter().filter(|(name, _)| *name != "output").map(|(n, b)| (n.clone(), b.clone())).collect()
    };
    Ok(vec![
        found("rerun", "a second run gives the same bits", differing(&simple(input, &start)?.bits, &plain.bits)),
        found("recording", "recording every site gives the same bits", differing(&recorded.bits, &plain.bits)),
        found(
            "own records",
            "every site clamped to its own record gives the same bits",
            differing(&clamped.bits, &plain.bits),
        ),
        found("pieces", "two runs that hand the state on are one", differing(&states(&pieces), &states(&plain))),
    ])
}

/// How many numbers differ.
fn differing(a: &BTreeMap<String, Vec<u32>>, b: &BTreeMap<String, Vec<u32>>) -> u64 {
    let own = |(name, values): (&String, &Vec<u32>)| match b.get(name) {
        Some(other) if other.len() == values.len() => values.iter().zip(other).filter(|(x, y)| x != y).count(),
        _ => values.len().max(1),
    };
    let missing = b.keys().filter(|name| !a.contains_key(*name)).count();
    (a.iter().map(own).sum::<usize>() + missing) as u64
}

fn halves(input: &Input) -> (Input, Input) {
    match input {
        Input::Series(series) if series.rows == 1 => {
            let (half, width) = (series.steps / 2, series.channels);
            let part = |from: usize, to: usize| {
                let values = series.values[from * width..to * width].to_vec();
                Input::Series(Series { steps: to - from, values, ..series.clone() })
            };
            (part(0, half), part(half, series.steps))
        }
        Input::None { rows, steps } => {
            (Input::None { rows: *rows, steps: steps / 2 }, Input::None { rows: *rows, steps: steps - steps / 2 })
        }
        other => (other.clone(), other.clone()),
    }
}

fn found(name: &str, meaning: &str, differing: u64) -> Finding {
    Finding {
        name: name.to_string(),
        meaning: meaning.to_string(),
        verdict: if differing == 0 { Verdict::Passed } else { Verdict::Failed },
        reason: (differing > 0).then(|| format!("{differing} numbers differ")),
        tolerance: 0.0,
        relative: differing as f64,
        absolute: differing as f64,
        place: None,
        compared: 1,
    }
}

impl Report for Substrate {
    fn blocks(&self) -> Vec<Block> {
        let title = self.network.as_deref().unwrap_or("the substrate of bio-inspired networks");
        let mut blocks = vec![Block::heading(format!("doctor: {title}"))];
        if !self.rules.is_empty() {
            blocks.push(super::rules(&self.rules));
        }
        let columns = vec![
            Column::new("check"),
            Column::new("verdict"),
            Column::new("error").better(Better::Less),
            Column::new("tolerance"),
            Column::new("what must hold"),
        ];
        blocks.push(Block::Table(Table { columns, rows: finding_rows(&self.findings) }));
        let failed = self.findings.iter().filter(|f| f.verdict == Verdict::Failed).count();
        blocks.push(Block::text(format!("{} passed, {failed} failed.", self.findings.len() - failed)));
        blocks
    }
}
