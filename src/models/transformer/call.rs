//! What all layers of one forward call share: masks, rotary tables, biases.

use candle_core::{Device, Tensor};

use super::branch::Packed;
use super::facts::Facts;
use crate::Result;
use crate::hook::{Context, Output, SiteId, Tap};
use crate::nn::{Alibi, AlibiRounding, AttentionMask, CausalMask, Rope, RopeTables};

/// A rotary embedding with its tables for this call.
pub(super) struct CallRope {
    pub rope: Rope,
    pub queries: RopeTables,
    /// Tables for all keys, where cached keys must be turned anew.
    pub keys: Option<RopeTables>,
}

pub(super) struct Call {
    pub context: Context,
    /// Nobody reads the output, nor what a cache would keep for the next call.
    stops: bool,
    masks: Vec<(Option<usize>, AttentionMask)>,
    pub ropes: Vec<CallRope>,
    pub alibi: Option<Tensor>,
    /// Where the tokens are a flat list of rows that go on from an earlier run, whose masks and biases these are.
    pub packed: Option<Packed>,
}

impl Call {
    pub fn new(facts: &Facts, context: Context, keeps: bool, tap: &Tap, device: &Device) -> Result<Self> {
        let rows = context.rows;
        let mut masks: Vec<(Option<usize>, AttentionMask)> = Vec::new();
        for layer in &facts.layers {
            if masks.iter().any(|(window, _)| *window == layer.window) {
                continue;
            }
            let mask = CausalMask {
                batch: rows,
                real: &context.key_real,
                key: &context.key_position,
                query: &context.position,
                window: layer.window,
            };
            masks.push((layer.window, AttentionMask::causal(&mask, device)?));
        }
        let mut ropes = Vec::with_capacity(facts.ropes.len());
        for rope in &facts.ropes {
            let stretches = rope.scaling.depends_on_length();
            ropes.push(CallRope {
                rope: rope.clone(),
                queries: rope.tables(&context.position, rows, device)?,
                keys: stretches.then(|| rope.tables(&context.key_position, rows, device)).transpose()?,
            });
        }
        let alibi = match facts.attn.alibi {
            None => None,
            Some(alibi) => {
                let rounding = if alibi.rounded { AlibiRounding::Bf16 } else { AlibiRounding::F32 };
                let scale = if alibi.scaled { facts.layers.first().map_or(1.0, |l| l.scale as f32) } else { 1.0 };
                let alibi = Alibi::new(facts.n_heads, rounding, scale)?;
                Some(alibi.bias(&context.position, &context.key_position, rows, device)?)
            }
        };
        let stops = tap.output() == Output::Unread && !keeps;
        Ok(Self { context, stops, masks, ropes, alibi, packed: None })
    }

    /// True when nothing from `site` on is worth computing.
    pub fn over(&self, site: SiteId, tap: &Tap) -> bool {
        self.stops && !tap.wants_from(site)
    }

    /// The call of rows that go on from this one.
    pub fn packed(&self, context: Context, ropes: Vec<CallRope>, packed: Packed) -> Self {
        let (masks, alibi) = (self.masks.clone(), self.alibi.clone());
        Self { context, stops: false, masks, ropes, alibi, packed: Some(packed) }
    }

    /// The tokens of `[tokens, ..]` that go on after attention.
    pub fn keep(&self, x: Tensor) -> Result<Tensor> {
        self.packed.as_ref().map_or(Ok(x.clone()), |packed| packed.keep(x))
    }

    /// The mask of layers with this window.
    pub fn mask(&self, window: Option<usize>) -> &AttentionMask {
        let found = self.masks.iter().find(|(w, _)| *w == window);
        &found.unwrap_or(&self.masks[0]).1
    }
}
