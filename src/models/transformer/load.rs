//! From named weights to modules. Every weight of the file is used, known to be a buffer, or refused.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use candle_core::{DType, Tensor};

use crate::nn::{Layout, Linear, Norm};
use crate::{Error, Result};

use super::facts::NormFacts;

/// Where weights come from: a model folder, or tensors (and variables) in memory.
pub trait WeightSource {
    /// All names.
    fn names(&self) -> Vec<String>;

    /// One weight, its shape checked.
    ///
    /// # Errors
    /// Whatever is wrong with the weight, naming it.
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor>;
}

impl WeightSource for BTreeMap<String, Tensor> {
    fn names(&self) -> Vec<String> {
        self.keys().cloned().collect()
    }

    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let tensor = self.get(name).ok_or_else(|| {
            Error::invalid(format!("the weight `{name}` is missing"), "give every weight that the config asks for")
        })?;
        if tensor.dims() != shape {
            return Err(Error::invalid(
                format!("the weight `{name}` has shape {:?}, expected {shape:?}", tensor.dims()),
                "use the config that belongs to the weights",
            ));
        }
        Ok(tensor.clone())
    }
}

/// Buffers that old checkpoints carry: recomputed here, never read.
const BUFFERS: &[&str] = &[
    ".attn.bias",
    ".attn.masked_bias",
    ".attention.bias",
    ".attention.masked_bias",
    ".attn.attention.bias",
    ".attn.attention.masked_bias",
    ".rotary_emb.inv_freq",
    "rotary_emb.inv_freq",
];

/// Hands out weights by name and remembers what it handed out.
pub(super) struct Loader<'a> {
    source: &'a dyn WeightSource,
    base: &'static str,
    names: BTreeSet<String>,
    taken: RefCell<Vec<(String, Tensor)>>,
    transposed: bool,
}

impl<'a> Loader<'a> {
    /// Files of a bare model lack the first parts of `base`; `probe`, a weight that every file has, tells how many.
    pub fn new(source: &'a dyn WeightSource, base: &'static str, probe: &str, transposed: bool) -> Self {
        let names: BTreeSet<String> = source.names().into_iter().collect();
        let mut bases = vec![base];
        while let Some((_, rest)) = bases.last().and_then(|b| b.split_once('.')) {
            bases.push(rest);
        }
        let found = bases.iter().find(|b| names.contains(&format!("{b}{probe}.weight")));
        Self { source, base: found.copied().unwrap_or(base), names, taken: RefCell::new(Vec::new()), transposed }
    }

    /// A weight of the model without its head.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        self.exact(&format!("{}{name}", self.base), shape)
    }

    /// A weight by its whole name.
    pub fn exact(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let tensor = self.source.tensor(name, shape)?;
        self.taken.borrow_mut().push((name.to_string(), tensor.clone()));
        Ok(tensor)
    }

    /// A linear map `inputs -> outputs`.
    pub fn linear(&self, name: &str, inputs: usize, outputs: usize, bias: bool) -> Result<Linear> {
        let name_of = |part: &str| format!("{name}.{part}");
        let (weight, layout) = match self.transposed {
            true => self.turned(&name_of("weight"), &[inputs, outputs])?,
            false => (self.tensor(&name_of("weight"), &[outputs, inputs])?, Layout::OutIn),
        };
        let bias = bias.then(|| self.vector(&name_of("bias"), &[outputs])).transpose()?;
        Ok(Linear { weight, bias, layout })
    }

    /// A weight that is stored `[in, out]`, laid out once for the product that it serves. What is handed out as the
    /// parameter shares its memory. A variable stays what it is, so that it can be changed.
    fn turned(&self, name: &str, shape: &[usize]) -> Result<(Tensor, Layout)> {
        let name = format!("{}{name}", self.base);
        let stored = self.source.tensor(&name, shape)?;
        if stored.is_variable() {
            self.taken.borrow_mut().push((name, stored.clone()));
            return Ok((stored, Layout::InOut));
        }
        let weight = stored.t()?.contiguous()?;
        self.taken.borrow_mut().push((name, weight.t()?));
        Ok((weight, Layout::OutIn))
    }

    /// Norms and biases are small and enter sums: always f32 (or whatever wider type they have).
    fn vector(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let tensor = self.tensor(name, shape)?;
        Ok(match tensor.dtype() {
            DType::BF16 | DType::F16 => tensor.to_dtype(DType::F32)?,
            _ => tensor,
        })
    }

    /// A norm whose gain has the shape `shape`.
    pub fn norm(&self, name: &str, facts: &NormFacts, shape: &[usize]) -> Result<Norm> {
        let vector = |part: &str| self.vector(&format!("{name}.{part}"), shape);
        Ok(Norm {
            kind: facts.kind,
            weight: facts.weight.then(|| vector("weight")).transpose()?,
            bias: facts.bias.then(|| vector("bias")).transpose()?,
            eps: facts.eps,
            offset: facts.offset,
        })
    }

    /// Ends the loading: every parameter in the order of use.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the file holds a weight that this architecture has no use for.
    pub fn finish(self, tied_head: Option<&str>) -> Result<Vec<(String, Tensor)>> {
        let taken = self.taken.into_inner();
        let used: BTreeSet<&str> = taken.iter().map(|(n, _)| n.as_str()).collect();
        let stray = self.names.iter().find(|name| {
            let head = tied_head.is_some_and(|h| name.strip_suffix(".weight") == Some(h));
            !used.contains(name.as_str()) && !head && !BUFFERS.iter().any(|b| name.ends_with(b))
        });
        if let Some(stray) = stray {
            return Err(Error::invalid(
                format!("the weights hold `{stray}`, which the architecture in config.json does not use"),
                "the config does not belong to these weights",
            ));
        }
        Ok(taken)
    }
}
