//! What can be patched: one map of patches for each kind of site in a block.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::hook::Selector;
use crate::models::{Decoder, Network};
use crate::{Error, Result};

/// A family of patches, one map each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Component {
    /// The stream before each block, by block and position.
    ResidPre,
    /// The stream between attention and MLP, by block and position; parallel blocks have none.
    ResidMid,
    /// The stream after each block, by block and position.
    ResidPost,
    /// What attention adds to the stream, by block and position.
    AttnOut,
    /// What the MLP adds to the stream, by block and position.
    MlpOut,
    /// Each head's queries, by block and head, at all positions.
    Q,
    /// Keys, by block and key head (which several query heads may share), at all positions.
    K,
    /// Values, by block and key head, at all positions.
    V,
    /// Each head's attention, by block and head: all queries over all keys.
    Pattern,
    /// Each head's mixed values, by block and head, at all positions.
    Z,
}

/// What the columns of a map are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Columns {
    /// Positions of the prompt.
    Positions,
    /// Query heads.
    Heads,
    /// Heads of keys and values.
    KeyHeads,
}

impl Component {
    /// All of them, in the order in which a block computes them.
    pub const ALL: [Self; 10] = [
        Self::ResidPre,
        Self::Q,
        Self::K,
        Self::V,
        Self::Pattern,
        Self::Z,
        Self::AttnOut,
        Self::ResidMid,
        Self::MlpOut,
        Self::ResidPost,
    ];

    /// Those that a network's blocks have.
    pub fn of(net: &Decoder) -> Vec<Self> {
        Self::ALL.into_iter().filter(|c| c.check(net).is_ok()).collect()
    }

    /// The site within a block.
    pub fn site(self) -> &'static str {
        match self {
            Self::ResidPre => "hook_resid_pre",
            Self::ResidMid => "hook_resid_mid",
            Self::ResidPost => "hook_resid_post",
            Self::AttnOut => "hook_attn_out",
            Self::MlpOut => "hook_mlp_out",
            Self::Q => "attn.hook_q",
            Self::K => "attn.hook_k",
            Self::V => "attn.hook_v",
            Self::Pattern => "attn.hook_pattern",
            Self::Z => "attn.hook_z",
        }
    }

    /// Its name in figures: `resid_pre`.
    pub fn name(self) -> &'static str {
        self.site().trim_start_matches("attn.").trim_start_matches("hook_")
    }

    /// What its map's columns are.
    pub fn columns(self) -> Columns {
        match self {
            Self::ResidPre | Self::ResidMid | Self::ResidPost | Self::AttnOut | Self::MlpOut => Columns::Positions,
            Self::Q | Self::Pattern | Self::Z => Columns::Heads,
            Self::K | Self::V => Columns::KeyHeads,
        }
    }

    /// How many columns its map has, for prompts of `length` tokens.
    pub fn count(self, net: &Decoder, length: usize) -> usize {
        match self.columns() {
            Columns::Positions => length,
            Columns::Heads => net.facts().n_heads,
            Columns::KeyHeads => net.facts().n_kv_heads,
        }
    }

    /// Refuses a network whose blocks lack the site.
    pub(super) fn check(self, net: &Decoder) -> Result<()> {
        let site = format!("blocks.0.{}", self.site());
        if net.sites().find(&site).is_some() {
            return Ok(());
        }
        let hint = match self {
            Self::ResidMid => "attention and MLP of this architecture read the same stream: patch `resid_pre`",
            _ => "`optrode sites MODEL` lists what there is",
        };
        Err(Error::invalid(format!("this network has no `{site}` to patch"), hint))
    }

    /// The patches of a block, column by column.
    pub(super) fn patches(self, block: usize, columns: usize) -> Result<Vec<Selector>> {
        let place = |column: usize| match self.columns() {
            Columns::Positions => format!("@{column}"),
            Columns::Heads => format!("[head={column}]"),
            Columns::KeyHeads => format!("[kv_head={column}]"),
        };
        (0..columns).map(|column| format!("blocks.{block}.{}{}", self.site(), place(column)).parse()).collect()
    }
}
