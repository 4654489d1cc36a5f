//! Comparison with activations that were made elsewhere (`fixtures/reference_activations.py` makes them for any
//! Hugging Face model).
//!
//! A reference has `input_ids` and, where rows are padded, `attention_mask` (integers, `[batch, pos]`), and one float
//! tensor per site under the site's name, batch first. Hidden scores are -inf. Pad positions are not compared.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};

use super::compare::{Equality, compare};
use super::runs::{Batch, wrong_shape};
use crate::hook::{Axis, Pass, Plan, Record, Registry, Values};
use crate::models::{Decoder, Network, Tokens};
use crate::report::number;
use crate::store::WeightFile;
use crate::{Error, Result};

/// Largest absolute difference of f32 activations that were computed by two programs: what published ports of
/// TransformerLens sites are held to. Both round at 1e-6 to 1e-5 where activations are of the order of 1 to 10.
pub const REFERENCE: f64 = 5e-5;

/// Tensors that are no sites.
const INPUTS: [&str; 2] = ["input_ids", "attention_mask"];

/// Activations that were made elsewhere.
#[derive(Clone, Debug)]
pub struct Reference {
    /// What the network was given.
    pub tokens: Tokens,
    /// By site name, f32.
    pub sites: BTreeMap<String, Tensor>,
}

impl Reference {
    /// Reads a safetensors file.
    ///
    /// # Errors
    /// A damaged file, or what [`Reference::from_tensors`] refuses.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::read(&WeightFile::open(path)?)
    }

    /// Reads an open safetensors file.
    ///
    /// # Errors
    /// A damaged file, or what [`Reference::from_tensors`] refuses.
    pub fn read(file: &WeightFile) -> Result<Self> {
        let mut tensors = BTreeMap::new();
        for name in file.names() {
            tensors.insert(name.to_string(), file.activation(name, &Device::Cpu)?);
        }
        Self::from_tensors(tensors)
    }

    /// Takes tensors by name, `input_ids` and optionally `attention_mask` among them.
    ///
    /// # Errors
    /// No `input_ids`, ids or a mask that are no `[batch, pos]` of whole numbers, a mask with holes, no site at all.
    pub fn from_tensors(mut tensors: BTreeMap<String, Tensor>) -> Result<Self> {
        let Some(ids) = tensors.remove(INPUTS[0]) else {
            return Err(Error::invalid(
                "the reference has no tensor `input_ids`",
                "make it with fixtures/reference_activations.py, which stores the tokens beside the activations",
            ));
        };
        let ids = whole_numbers(INPUTS[0], &ids)?;
        let mask = match tensors.remove(INPUTS[1]) {
            Some(mask) => whole_numbers(INPUTS[1], &mask)?,
            None => ids.iter().map(|row| vec![1; row.len()]).collect(),
        };
        if tensors.is_empty() {
            return Err(Error::invalid(
                "the reference has no activations",
                "give at least one tensor named after a site",
            ));
        }
        Ok(Self { tokens: Tokens::from_mask(&ids, &mask)?, sites: tensors })
    }
}

fn whole_numbers(name: &str, tensor: &Tensor) -> Result<Vec<Vec<u32>>> {
    let wrong =
        |what: String| Error::invalid(format!("`{name}` of the reference {what}"), "give whole numbers, [batch, pos]");
    if tensor.rank() != 2 {
        return Err(wrong(format!("has shape {:?}", tensor.dims())));
    }
    if tensor.dtype().is_float() {
        return Err(wrong(format!("has elements of type {:?}", tensor.dtype())));
    }
    let rows = tensor.to_dtype(DType::I64)?.to_vec2::<i64>()?;
    let number = |n: i64| u32::try_from(n).map_err(|_| wrong(format!("holds {n}")));
    rows.into_iter().map(|row| row.into_iter().map(number).collect()).collect()
}

/// A network against a reference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Largest absolute difference that counts as equal.
    #[serde(with = "number")]
    pub tolerance: f64,
    /// Real tokens of each row.
    pub lengths: Vec<usize>,
    /// Every site of the reference, in the order of the forward pass.
    pub sites: Vec<SiteDifference>,
    /// How many sites of the network the reference lacks.
    pub without_reference: usize,
}

impl Comparison {
    /// True when every site is within the tolerance.
    pub fn passed(&self) -> bool {
        self.sites.iter().all(|site| site.passed)
    }

    /// The site with the largest absolute difference.
    pub fn worst(&self) -> Option<&SiteDifference> {
        self.sites.iter().max_by(|a, b| a.absolute.total_cmp(&b.absolute))
    }
}

/// One site against its reference, over real positions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SiteDifference {
    /// The site.
    pub site: String,
    /// Largest absolute difference.
    #[serde(with = "number")]
    pub absolute: f64,
    /// The same over the largest magnitude of the site.
    #[serde(with = "number")]
    pub relative: f64,
    /// The row of the largest difference; `None` if there is none.
    pub row: Option<usize>,
    /// Its position, counted over the row's real tokens.
    pub position: usize,
    /// Within the tolerance.
    pub passed: bool,
    /// How many values were compared.
    pub compared: u64,
}

/// Runs the network on the reference's tokens and compares every site that the reference has.
///
/// # Errors
/// Sites that the network lacks (all are named) or that have another shape, and tokens that it cannot take.
pub fn against_reference(net: &Decoder, reference: &Reference, tolerance: f64) -> Result<Comparison> {
    let table = net.sites();
    let unknown: Vec<&str> = reference.sites.keys().filter(|n| table.find(n).is_none()).map(String::as_str).collect();
    if !unknown.is_empty() {
        return Err(Error::invalid(
            format!("the network lacks {} sites of the reference: {}", unknown.len(), unknown.join(", ")),
            "make the reference from the same model, under the names that `optrode sites` lists",
        ));
    }
    let mut wanted = BTreeMap::new();
    for (name, expected) in &reference.sites {
        let id = table.id(name)?;
        let site = table.get(id);
        if let Some(wrong) = wrong_shape(expected, site, &reference.tokens) {
            let what = wrong.replacen("it has", &format!("`{name}` of the reference has"), 1);
            return Err(Error::invalid(what, "make the reference from the same model and tokens"));
        }
        if let Some((other, _)) = wanted.insert(id, (name, expected)) {
            return Err(Error::invalid(
                format!("the reference has the site `{}` twice, as `{other}` and as `{name}`", site.name),
                "keep one of them",
            ));
        }
    }
    let mut pass = Pass::default();
    for id in wanted.keys() {
        pass.records.push(Record::whole(table.get(*id).name.parse()?));
    }
    let mut plan = Plan::compile(table, &pass, &Registry::elementary(), Values::default(), &[])?;
    let batch = Batch { tokens: reference.tokens.clone(), steps: 0, texts: (0..reference.tokens.rows).collect() };
    batch.forward(net, Some(&mut plan))?;
    let records = plan.records(table)?;
    let compared: BTreeSet<_> = wanted.keys().copied().collect();
    let mut sites = Vec::with_capacity(wanted.len());
    for (id, (_, expected)) in wanted {
        let site = table.get(id);
        let got = batch.rows(records.get(&site.name)?, &site.axes)?;
        let expected = batch.rows(&expected.to_dtype(DType::F32)?, &site.axes)?;
        let dim = site.dim(Axis::Pos).or(site.dim(Axis::Query)).unwrap_or(1);
        let found = compare(&got, &expected, dim, Equality::Close)?;
        sites.push(SiteDifference {
            site: site.name.clone(),
            absolute: found.absolute,
            relative: found.relative(),
            row: found.text,
            position: found.position,
            passed: found.absolute <= tolerance,
            compared: found.compared,
        });
    }
    Ok(Comparison {
        tolerance,
        lengths: super::runs::spans(&reference.tokens).into_iter().map(|(_, length)| length).collect(),
        sites,
        without_reference: table.iter().filter(|(id, _)| !compared.contains(id)).count(),
    })
}
