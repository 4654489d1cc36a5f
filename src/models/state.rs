//! What changes while a network runs: named tensors that can be saved, restored and patched.

use std::collections::BTreeMap;

use candle_core::Tensor;

use crate::hook::Context;

/// Named tensors carried from one forward call to the next.
///
/// For a decoder: the rotated keys and the values of every layer, `blocks.{l}.attn.cache_k|cache_v`
/// `[batch, keys, kv_head, d_head]`, and the rows and positions they belong to.
#[derive(Clone, Debug, Default)]
pub struct State {
    keeps: bool,
    /// The tensors by name.
    pub tensors: BTreeMap<String, Tensor>,
    pub(crate) context: Option<Context>,
}

impl State {
    /// Keeps nothing between calls: every call stands alone.
    pub fn none() -> Self {
        Self::default()
    }

    /// Starts empty and carries keys and values from call to call.
    pub fn cached() -> Self {
        Self { keeps: true, ..Self::default() }
    }

    /// Whether calls leave something for the next one.
    pub fn keeps(&self) -> bool {
        self.keeps
    }

    /// The rows and positions that the kept tensors belong to.
    pub fn context(&self) -> Option<&Context> {
        self.context.as_ref()
    }
}
