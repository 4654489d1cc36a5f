//! The substrate of bio-inspired networks: neurons, synapses, plasticity, coding. Scalars in f64, one step at a time; a
//! network keeps its state in f32 and rounds once per step.
//!
//! Update order, reset rule, reset delay, refractoriness and dt are part of the types, because libraries differ in them
//! and the same words mean other models:
//!
//! | | here (defaults) | snnTorch | Norse | SpikingJelly | Brian2 |
//! | --- | --- | --- | --- | --- | --- |
//! | leak | exact exponential | factor beta | Euler | Euler, tau in steps | as the equation says |
//! | fires at | v >= threshold | v > threshold | v > threshold | v >= threshold | v > threshold |
//! | reset | same step | next step | same step | same step | same step |
//! | kind | to a value | subtract | to a value | to a value, or subtract | as written |
//!
//! One step of a network, in this order: spikes whose delay is over arrive; synapses decay and jump; the membrane
//! integrates; it is compared with the threshold; the spikes pass their site, and what everyone downstream sees (reset,
//! refractoriness, adaptation, traces, plasticity, delays) is the value that came out of it; plasticity.

mod delay;
mod encode;
mod neuron;
mod plasticity;
mod rate;
mod sparse;
mod surrogate;
mod synapse;

pub use delay::DelayRing;
pub use encode::{Latency, Poisson, filtered, first_spikes, regular, threshold_crossings};
pub use neuron::{Adaptation, Crossing, Integration, Izhikevich, IzhikevichRule, Lif, Refractory, Reset, ResetDelay};
pub use plasticity::{
    CalciumGate, Eligibility, PairStdp, Pairing, Reward, Trace, TripletStdp, homeostatic_inhibition, least_mean_squares,
};
pub use rate::{RateUnit, logistic};
pub use sparse::Sparse;
pub use surrogate::Surrogate;
pub use synapse::{Conductance, CurrentSynapse};
