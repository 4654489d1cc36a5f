//! Runs the liquid of `benches/peers/liquid.py`, once for each line on stdin: our part of that comparison.
//!
//! `bench_liquid FILE.npz` answers each line with the seconds that the run took, the spikes in each step and the mean
//! weight at its end, as JSON.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::time::Instant;

use candle_core::Tensor;
use optrode::hook::Tap;
use optrode::models::spiking::{Neurons, Plasticity, Population, Projection, Spiking, Synapse};
use optrode::models::{Input, Network, Series, State};
use optrode::nn::spiking::{Crossing, CurrentSynapse, Lif, PairStdp, Pairing, Sparse};
use serde_json::json;

#[global_allocator]
static ALLOCATOR: optrode::allocator::Allocator = optrode::allocator::Allocator;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    optrode::allocator::keep_freed();
    let file = std::env::args().nth(1).ok_or("give the file that liquid.py wrote")?;
    let arrays: BTreeMap<String, Tensor> = Tensor::read_npz(file)?.into_iter().collect();
    let net = network(&arrays)?;
    let drive = &arrays["drive"];
    let input = Input::Series(Series {
        rows: 1,
        steps: drive.dim(0)?,
        channels: drive.dim(1)?,
        values: drive.flatten_all()?.to_vec1()?,
    });
    for line in std::io::stdin().lock().lines() {
        line?;
        let start = Instant::now();
        let mut state = State::cached();
        let spikes = net.forward(&input, &mut state, &mut Tap::off())?; // [1, steps, neurons]
        let seconds = start.elapsed().as_secs_f64();
        let counts: Vec<f32> = spikes.sum(2)?.flatten_all()?.to_vec1()?;
        let weight = state.tensors["syn.excitation.weight"].mean_all()?.to_scalar::<f32>()?;
        println!("{}", json!({ "seconds": seconds, "spikes": counts, "weight": weight }));
    }
    Ok(())
}

fn network(arrays: &BTreeMap<String, Tensor>) -> Result<Spiking, Failure> {
    let number =
        |name: &str| -> Result<f64, Failure> { Ok(arrays[name].to_dtype(candle_core::DType::F64)?.to_vec0()?) };
    let cell = Lif { tau_m: number("tau_m")?, crossing: Crossing::Above, ..Lif::default() };
    let stdp = PairStdp {
        a_plus: number("a_plus")?,
        a_minus: number("a_minus")?,
        tau_plus: number("tau_stdp")?,
        tau_minus: number("tau_stdp")?,
        pairing: Pairing::AllToAll,
        bounds: (0.0, number("w_max")?),
        mu: 0.0,
    };
    let synapse = Synapse::Current(CurrentSynapse { tau_s: number("tau_s")? });
    let size = arrays["drive"].dim(1)?;
    let projection = |name: &str, plasticity| -> Result<Projection, Failure> {
        let ids = |end: &str| -> Result<Vec<u32>, Failure> {
            Ok(arrays[&format!("{name}_{end}")].to_dtype(candle_core::DType::U32)?.to_vec1()?)
        };
        let pairs = ids("pre")?.into_iter().zip(ids("post")?).collect();
        let weights = arrays[&format!("{name}_w")].to_vec1()?;
        let synapses = Sparse::new(size, size, pairs)?;
        Ok(Projection { name: name.into(), from: 0, to: 0, synapses, weights, delay: 1, kind: synapse, plasticity })
    };
    let liquid = Population { name: "liquid".into(), size, neurons: Neurons::Lif { cell, adaptation: None } };
    Ok(Spiking::new(
        vec![liquid],
        vec![projection("excitation", Some(Plasticity::Pair(stdp)))?, projection("inhibition", None)?],
    )?)
}
