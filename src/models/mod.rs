//! Networks. Every one is code that calls [`Tap::at`](crate::hook::Tap::at) once per site and knows nothing else
//! about hooks.

pub mod attention_only;
pub mod captioner;
pub mod convolutional;
pub mod dendrites;
pub mod ei_reservoir;
pub mod elm;
pub mod execute;
pub mod gradient;
mod input;
pub mod liquid;
pub mod lstm;
mod model;
pub mod nir;
mod simulation;
pub mod spiking;
mod state;
pub mod swimmer;
pub mod timescale_rnn;
pub mod transformer;

use candle_core::{Device, Tensor};

use crate::Result;
use crate::hook::{SiteTable, Tap};

pub use attention_only::{AttentionOnly, AttentionOnlyConfig};
pub use captioner::{Captioner, CaptionerConfig};
pub use convolutional::{Convolutional, ConvolutionalConfig};
pub use dendrites::{Dendrites, DendritesConfig};
pub use ei_reservoir::{EiConfig, EiReservoir, Targets};
pub use elm::{Elm, ElmConfig, ElmRouting, ElmVersion};
pub use execute::{Job, Outcome, PassOutcome, execute};
pub use gradient::{Gradients, JobGradients, gradients, job_gradients};
pub use input::{Images, Input, Series, Side, Tokens};
pub use liquid::{Liquid, LiquidConfig};
pub use lstm::{LstmConfig, LstmNetwork};
pub use model::{Model, OpenOptions};
pub use nir::NirNetwork;
pub use simulation::Simulation;
pub use spiking::Spiking;
pub use state::State;
pub use swimmer::{Swimmer, SwimmerConfig};
pub use timescale_rnn::{Leak, TimescaleConfig, TimescaleRnn};
pub use transformer::Decoder;

/// A network that can be run, recorded and edited.
pub trait Network {
    /// Its sites, in the order of the forward pass.
    fn sites(&self) -> &SiteTable;

    /// One forward call. Returns as much of the network's output as [`Tap::output`] says is read: for a decoder the
    /// logits `[batch, pos, vocab]`, those of each row's last token `[batch, 1, vocab]`, or `[batch, 0, vocab]`; for a
    /// classifier of images `[batch, class]`.
    ///
    /// # Errors
    /// Input of a kind or size that the network cannot take, and whatever the edits refuse.
    fn forward(&self, input: &Input, state: &mut State, tap: &mut Tap) -> Result<Tensor>;

    /// Every parameter by name; they never change in a run.
    fn parameters(&self) -> &[(String, Tensor)];

    /// Where the parameters live: on the CPU, where a network says nothing else.
    fn device(&self) -> &Device {
        &Device::Cpu
    }
}
