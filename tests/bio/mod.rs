//! Bio-inspired networks: the substrate's closed forms, what must hold of every network, and the commands.

mod commands;
mod dendrites;
mod elm;
mod liquid;
mod networks;
mod nir;
mod reservoir;
mod spiking;
mod substrate;
mod swimmer;
mod timescales;

use std::collections::BTreeMap;

use candle_core::Tensor;
use optrode::hook::{Edit, Pass, Plan, Records, Registry, Tap};
use optrode::models::{Input, Simulation, State};

use crate::common::{bits, edit, pass, values};

/// What a run gave.
pub struct Ran {
    pub output: Tensor,
    pub records: Records,
    pub state: State,
}

/// A run from `state` with records and edits.
pub fn run_from(
    net: &dyn Simulation,
    input: &Input,
    state: &State,
    pass: &Pass,
    stored: &BTreeMap<String, Tensor>,
) -> optrode::Result<Ran> {
    let mut plan = Plan::compile(net.sites(), pass, &Registry::elementary(), values(stored), &[])?;
    let mut state = state.clone();
    let output = net.forward(input, &mut state, &mut Tap::new(&mut plan))?;
    Ok(Ran { output, records: plan.records(net.sites())?, state })
}

pub fn run(net: &dyn Simulation, input: &Input, records: &[&str], edits: &[Edit]) -> Ran {
    run_from(net, input, &State::cached(), &pass(records, edits), &BTreeMap::new()).unwrap()
}

#[track_caller]
pub fn refused(net: &dyn Simulation, input: &Input, records: &[&str], edits: &[Edit], words: &[&str]) {
    let error = run_from(net, input, &State::cached(), &pass(records, edits), &BTreeMap::new()).err().unwrap();
    let text = error.to_string();
    assert!(words.iter().all(|w| text.contains(w)), "{text}");
}

/// The bits of everything that a state holds.
pub fn state_bits(state: &State) -> BTreeMap<String, Vec<u32>> {
    state.tensors.iter().map(|(name, tensor)| (name.clone(), bits(tensor))).collect()
}

#[track_caller]
pub fn assert_same(a: &Ran, b: &Ran) {
    assert!(bits(&a.output) == bits(&b.output));
    assert!(state_bits(&a.state) == state_bits(&b.state));
}

/// The replacement of a site by its record.
pub fn clamped(site: &str, tensor: &str) -> Edit {
    edit(site, serde_json::json!({"op": "replace", "value": {"tensor": tensor}}))
}
