//! What a unit's weights say: what it reads and writes, and what that does to the logits.

use candle_core::{Device, Tensor};
use serde::Serialize;

use super::SHOWN;
use crate::models::Decoder;
use crate::store::Tokenizer;
use crate::store::atlas::SiteRow;
use crate::{Error, Result};

/// A logit and how far it is moved.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Effect {
    /// The token.
    pub id: u32,
    /// A printable form of it.
    pub token: String,
    /// The change of its logit per unit of activation, over the last norm's scale.
    pub value: f64,
}

/// What a direction of the stream does to the logits directly; see [`Decoder::direct_logits`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Effects {
    /// Logits that it raises most.
    pub raised: Vec<Effect>,
    /// Logits that it lowers most.
    pub lowered: Vec<Effect>,
    /// Standard deviation over the vocabulary: what an effect must stand out from.
    pub std: f64,
}

/// Another unit, and how like it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Neighbour {
    /// Its site.
    pub site: String,
    /// Its number.
    pub number: usize,
    /// Cosine of the weights, or Pearson's r of the values.
    pub likeness: f64,
}

/// The directions of the stream that a unit reads and writes, `[1, d_model]`.
pub(super) struct Directions {
    /// Site and number.
    own: (String, usize),
    reads: Option<Tensor>,
    writes: Option<Tensor>,
}

impl Directions {
    pub fn of(net: &Decoder, site: &SiteRow, number: usize) -> Result<Self> {
        let own = (site.name.clone(), number);
        match (site.unit.as_str(), site.layer) {
            ("neuron", Some(layer)) => Ok(Self {
                own,
                reads: Some(row(&net.neuron_inputs(layer)?, number)?),
                writes: Some(row(&net.neuron_outputs(layer)?, number)?),
            }),
            ("direction", _) => {
                let mut axis = vec![0f32; net.facts().d_model];
                *axis.get_mut(number).ok_or_else(|| no_unit(number))? = 1.0;
                let axis = Tensor::from_vec(axis, (1, net.facts().d_model), &Device::Cpu)?;
                Ok(Self { own, reads: Some(axis.clone()), writes: Some(axis) })
            }
            // A head writes a space, not a direction.
            _ => Ok(Self { own, reads: None, writes: None }),
        }
    }

    pub fn effects(&self, net: &Decoder, tokenizer: &Tokenizer) -> Result<Option<Effects>> {
        let Some(writes) = &self.writes else { return Ok(None) };
        let logits = net.direct_logits(writes)?.flatten_all()?.to_vec1::<f32>()?;
        let values: Vec<f64> = logits.iter().map(|x| f64::from(*x)).collect();
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|a, b| values[*b].total_cmp(&values[*a]).then(a.cmp(b)));
        let effect = |i: &usize| Effect { id: *i as u32, token: tokenizer.token_text(*i as u32), value: values[*i] };
        let n = values.len().max(1) as f64;
        let mean = values.iter().sum::<f64>() / n;
        Ok(Some(Effects {
            raised: order.iter().take(SHOWN).map(effect).collect(),
            lowered: order.iter().rev().take(SHOWN).map(effect).collect(),
            std: (values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt(),
        }))
    }

    pub fn reads(&self, net: &Decoder) -> Result<Vec<Neighbour>> {
        self.like(net, self.reads.as_ref(), Decoder::neuron_inputs)
    }

    pub fn writes(&self, net: &Decoder) -> Result<Vec<Neighbour>> {
        self.like(net, self.writes.as_ref(), Decoder::neuron_outputs)
    }

    /// The neurons of all layers whose directions, `[d_mlp, d_model]` a layer, are most like this one.
    fn like(
        &self,
        net: &Decoder,
        direction: Option<&Tensor>,
        of_layer: fn(&Decoder, usize) -> Result<Tensor>,
    ) -> Result<Vec<Neighbour>> {
        let Some(direction) = direction else { return Ok(Vec::new()) };
        let length = direction.sqr()?.sum_all()?.sqrt()?.to_scalar::<f32>()?;
        let mut found = Vec::new();
        for layer in 0..net.facts().layers.len() {
            let rows = of_layer(net, layer)?;
            let products = rows.broadcast_mul(direction)?.sum(1)?.to_vec1::<f32>()?; // [d_mlp]
            let lengths = rows.sqr()?.sum(1)?.sqrt()?.to_vec1::<f32>()?;
            let site = format!("blocks.{layer}.mlp.hook_post");
            for (number, (product, other)) in products.iter().zip(&lengths).enumerate() {
                let scale = f64::from(length) * f64::from(*other);
                if (site.as_str(), number) != (self.own.0.as_str(), self.own.1) && scale > 0.0 {
                    let likeness = f64::from(*product) / scale;
                    found.push(Neighbour { site: site.clone(), number, likeness });
                }
            }
        }
        Ok(nearest(found))
    }

    /// The expected largest |cosine| of n random directions with a fixed one, sqrt(2 ln(2 n) / d) for many of them.
    pub fn by_chance(&self, net: &Decoder) -> f64 {
        let facts = net.facts();
        let n = (facts.layers.len() * facts.d_mlp).max(1) as f64;
        (2.0 * (2.0 * n).ln() / facts.d_model.max(1) as f64).sqrt().min(1.0)
    }
}

/// The likest few, whatever the sign.
pub(super) fn nearest(mut found: Vec<Neighbour>) -> Vec<Neighbour> {
    // Stable: equals stay in the order of sites and numbers.
    found.sort_by(|a, b| b.likeness.abs().total_cmp(&a.likeness.abs()));
    found.truncate(SHOWN);
    found
}

fn row(rows: &Tensor, number: usize) -> Result<Tensor> {
    if number >= rows.dim(0)? {
        return Err(no_unit(number));
    }
    Ok(rows.narrow(0, number, 1)?.contiguous()?)
}

fn no_unit(number: usize) -> Error {
    Error::invalid(format!("the network has no unit {number} there"), "see `optrode sites` for the sizes")
}
