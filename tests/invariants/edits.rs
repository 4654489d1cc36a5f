//! Edits of every kind that a decoder offers, at places that a number chooses.

use std::collections::BTreeMap;

use candle_core::Tensor;
use optrode::hook::{Edit, Selector};
use optrode::models::{Decoder, Network};
use serde_json::{Value, json};

use crate::common::{edit, normal, stretches};

/// Longest text that position-wise reference sets cover.
const POSITIONS: usize = 12;

/// Positions, phases and their combinations.
pub const SCOPES: [&str; 10] =
    ["", "@last", "@0..3", "@-1", "@prompt", "@generated", "@0", "@1..", "@-2..@prompt", "@2..@generated"];

/// An edit before its scope.
#[derive(Clone, Debug)]
pub struct Kind {
    pub site: String,
    pub op: Value,
}

/// An edit with its scope; `row` limits it to one row of the batch.
#[derive(Clone, Debug)]
pub struct Scoped {
    pub kind: Kind,
    pub scope: &'static str,
    pub row: Option<usize>,
}

impl Scoped {
    pub fn in_batch(&self) -> Edit {
        let rows = self.row.map_or(String::new(), |r| format!("@rows={r}"));
        edit(format!("{}{}{rows}", self.kind.site, self.scope), self.kind.op.clone())
    }

    /// What the edit is for a text that stands alone.
    pub fn alone(&self, row: usize) -> Option<Edit> {
        let acts = self.row.is_none_or(|r| r == row);
        acts.then(|| edit(format!("{}{}", self.kind.site, self.scope), self.kind.op.clone()))
    }
}

/// Every kind of edit that the network takes in the layer and at the unit that `seed` chooses.
pub fn kinds(net: &Decoder, seed: usize) -> Vec<Kind> {
    let facts = net.facts();
    let layer = seed % facts.layers.len();
    let head = seed % facts.n_heads;
    let kv = seed % facts.n_kv_heads;
    let neuron = seed % (facts.d_mlp - 1);
    let vector: Vec<f32> = (0..facts.d_model).map(|i| (i as f32 * 0.7).sin()).collect();
    let reference = |site: &str| json!({ "tensor": site });
    let in_block = [
        (format!("attn.hook_z[head={head}]"), json!({"op": "zero"})),
        (format!("mlp.hook_post[neuron={neuron},{}]", neuron + 1), json!({"op": "clamp", "lower": 0.5, "upper": 0.7})),
        ("hook_resid_pre".into(), json!({"op": "add", "value": vector, "coefficient": 0.7})),
        (format!("attn.hook_q[head={head}]"), json!({"op": "scale", "factor": 1.7})),
        (format!("attn.hook_pattern[head={head}]"), json!({"op": "set", "value": 0.1})),
        (format!("attn.hook_pattern[head={head}][key=0]"), json!({"op": "scale", "factor": 0.0})),
        (format!("attn.hook_attn_scores[head={head}]"), json!({"op": "clamp", "lower": -0.1})),
        ("attn.hook_attn_scores[key=0,2]".into(), json!({"op": "add", "value": 1.5})),
        ("hook_resid_post".into(), json!({"op": "project_out", "direction": reference("direction"), "component": 0.3})),
        ("mlp.hook_post".into(), json!({"op": "mean", "reference": reference("mlp.hook_post")})),
        ("hook_attn_out".into(), json!({"op": "mean", "reference": reference("hook_attn_out"), "per": "position"})),
        (format!("attn.hook_z[head={head}]"), json!({"op": "resample", "reference": reference("attn.hook_z")})),
        ("hook_resid_pre".into(), json!({"op": "noise", "std": 0.3})),
        (format!("attn.hook_k[kv_head={kv}]"), json!({"op": "scale", "factor": -0.5})),
        (format!("attn.hook_v[kv_head={kv}]"), json!({"op": "zero"})),
        (format!("hook_q_input[head={head}]"), json!({"op": "add", "value": vector})),
        ("hook_k_input".into(), json!({"op": "noise", "std": 0.2})),
        (format!("hook_v_input[kv_head={kv}]"), json!({"op": "scale", "factor": 1.4})),
        (format!("attn.hook_result[head={head}]"), json!({"op": "zero"})),
        ("hook_mlp_in".into(), json!({"op": "scale", "factor": 0.6})),
        ("ln1.hook_scale".into(), json!({"op": "scale", "factor": 1.3})),
        ("ln2.hook_normalized".into(), json!({"op": "clamp", "lower": -0.6, "upper": 0.6})),
        ("attn.k_norm.hook_scale".into(), json!({"op": "scale", "factor": 0.8})),
        ("attn.hook_rot_q".into(), json!({"op": "noise", "std": 0.2})),
        ("mlp.hook_out".into(), json!({"op": "replace", "value": {"site": format!("blocks.{layer}.hook_resid_pre")}})),
        ("hook_mlp_out".into(), json!({"op": "add", "value": reference("contribution")})),
    ];
    let mut kinds: Vec<Kind> =
        in_block.into_iter().map(|(part, op)| Kind { site: format!("blocks.{layer}.{part}"), op }).collect();
    let rotated = Kind { site: format!("blocks.{layer}.attn.hook_rot_k"), op: json!({"op": "scale", "factor": 0.8}) };
    kinds.extend((!stretches(net)).then_some(rotated));
    for (site, op) in [
        ("hook_embed", json!({"op": "noise", "std": 0.1})),
        ("ln_final.hook_scale", json!({"op": "scale", "factor": 0.9})),
        ("unembed.hook_out", json!({"op": "scale", "factor": 0.5})),
    ] {
        kinds.push(Kind { site: site.into(), op });
    }
    kinds.retain(|k| k.site.parse::<Selector>().unwrap().resolve(net.sites()).is_ok());
    kinds
}

/// The tensors that [`kinds`] refer to.
pub fn stored(net: &Decoder) -> BTreeMap<String, Tensor> {
    let facts = net.facts();
    let tensors = [
        ("direction", normal(1, &[facts.d_model])),
        ("mlp.hook_post", normal(2, &[3, 5, facts.d_mlp])),
        ("hook_attn_out", normal(3, &[3, POSITIONS, facts.d_model])),
        ("attn.hook_z", normal(4, &[4, POSITIONS, 1, facts.d_head])),
        ("contribution", normal(5, &[POSITIONS, facts.d_model])),
    ];
    tensors.map(|(name, tensor)| (name.to_string(), tensor)).into()
}
