//! Edits baked into weights, so that the edited model runs anywhere.
//!
//! Only what the family has a parameter for. With W the map that reads the edited values, b its bias, per input j the
//! change x_j := a_j x_j + c_j, and a unit direction r that is removed from what W writes (Arditi et al. 2024):
//!
//! ```text
//! W' = W diag(a)         b' = b + W c            neurons and heads: zeroed, scaled, set to a value (needs a bias)
//! W' = (I - r r^T) W     b' = b - r (r . b)      directions
//! W' = W + u v^T                                 rank-one updates (Meng et al. 2022)
//! E' = E (I - r r^T)                             token and position embeddings; a tied unembedding is untied first
//! ```
//!
//! Arithmetic is in f64; the result is stored in the type that the file has, so that zeroing is exact and anything else
//! is rounded once.

mod card;
mod export;
mod steps;
mod verify;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use serde::Serialize;
use serde_json::Value;

use crate::hook::Edit;
use crate::models::Model;
use crate::models::transformer::writers::{Writer, Writers};
use crate::nn::Layout;
use crate::store::rewrite::{float_type, rewrite};
use crate::store::{Bundle, Storage, Weights};
use crate::{Error, Result};

use card::card;
use steps::{Step, Target, Unit, cannot, steps};

pub use export::{Exported, export};
pub use verify::{Texts, Verified, verify};

/// Weights with edits baked in.
#[derive(Clone, Debug)]
pub struct Baked {
    /// Changed and new tensors, f64, with the type that they are stored as.
    tensors: BTreeMap<String, (Tensor, DType)>,
    /// What changed, by tensor.
    pub changes: Vec<Change>,
    /// Whether the unembedding had to be untied from the embeddings.
    pub untied: bool,
}

/// What became of one tensor.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// Its name.
    pub tensor: String,
    /// Values that differ from the file's after rounding to its type.
    pub changed: usize,
    /// Its values.
    pub of: usize,
    /// The largest difference.
    pub largest: f64,
    /// The largest error of rounding to the file's type.
    pub rounding: f64,
}

/// Why an edit cannot be baked into a model; `None` where it can.
pub fn reason(edit: &Edit, bundle: &Bundle, model: &Model) -> Option<String> {
    use crate::models::Network;
    steps(edit, bundle, model.decoder.sites(), model.decoder.facts()).err().map(|e| e.to_string())
}

/// Bakes all edits of a bundle.
///
/// # Errors
/// An edit that cannot be baked (see [`reason`]), a shift where the family has no bias, a direction removed from a part
/// of what writes to the stream, and edits that change nothing.
pub fn bake(model: &Model, bundle: &Bundle) -> Result<Baked> {
    use crate::models::Network;
    let weights = model.folder.weights()?;
    let writers = Writers::of(model.folder.settings()?, &|name| weights.contains(name))?;
    let mut work = Work { weights: &weights, writers: &writers, matrices: BTreeMap::new(), untied: false };
    let mut inputs: BTreeMap<Target, BTreeMap<usize, Unit>> = BTreeMap::new();
    let mut projections: Vec<(Target, Vec<f64>)> = Vec::new();
    let (mut streams, mut updates) = (Vec::new(), Vec::new());
    for edit in &bundle.file.edits {
        for step in steps(edit, bundle, model.decoder.sites(), model.decoder.facts())? {
            match step {
                Step::Inputs { target, units } => {
                    let of_target = inputs.entry(target).or_default();
                    units.into_iter().for_each(|unit| then(of_target.entry(unit.index), unit));
                }
                Step::RankOne { target, left, right } => updates.push((target, left, right)),
                Step::Project { target, direction } => projections.push((target, direction)),
                Step::Stream { layer: 0, direction } => {
                    projections.push((Target::Embed, direction.clone()));
                    if writers.positions.is_some() {
                        projections.push((Target::Positions, direction));
                    }
                }
                Step::Stream { layer, direction } => streams.push((layer, direction, edit)),
            }
        }
    }
    for (layer, direction, edit) in streams {
        check_stream(layer, &direction, edit, &projections, writers.positions.is_some())?;
    }
    for (target, units) in inputs {
        work.read(target, units.into_values())?;
    }
    for (target, left, right) in updates {
        work.add(target, &left, &right)?;
    }
    projections.dedup();
    for (target, direction) in &projections {
        work.project(*target, direction)?;
    }
    work.finish()
}

/// A later change of the same input: a(a' x + c') + c.
fn then(entry: Entry<usize, Unit>, unit: Unit) {
    entry
        .and_modify(|u| *u = Unit { factor: unit.factor * u.factor, shift: unit.factor * u.shift + unit.shift, ..*u })
        .or_insert(unit);
}

/// The stream before a layer has lost a direction if everything that was written to it before has.
fn check_stream(
    layer: usize,
    direction: &[f64],
    edit: &Edit,
    projections: &[(Target, Vec<f64>)],
    positions: bool,
) -> Result<()> {
    let mut before = vec![Target::Embed];
    before.extend(positions.then_some(Target::Positions));
    before.extend((0..layer).flat_map(|l| [Target::Attention(l), Target::Mlp(l)]));
    let lost = |target: &Target| projections.iter().any(|(t, r)| t == target && r == direction);
    match before.iter().all(lost) {
        true => Ok(()),
        false => Err(cannot(
            edit,
            format!(
                "the stream before block {layer} loses a direction that something before it still writes; project it out of \
                 `hook_embed`, and of `hook_attn_out` and `hook_mlp_out` of every block before"
            ),
        )),
    }
}

/// A tensor that is being changed, row-major.
struct Matrix {
    rows: usize,
    columns: usize,
    values: Vec<f64>,
    dtype: DType,
    shape: Vec<usize>,
}

struct Work<'a> {
    weights: &'a Weights,
    writers: &'a Writers,
    matrices: BTreeMap<String, Matrix>,
    untied: bool,
}

impl Work<'_> {
    fn load(&self, name: &str) -> Result<Matrix> {
        let file = self.weights.file(name).ok_or_else(|| {
            Error::invalid(format!("the model has no tensor `{name}`"), "the config belongs to another model")
        })?;
        let dtype = float_type(file, name)?;
        let tensor = file.tensor(name, &Device::Cpu, Storage::F32)?;
        let shape = tensor.dims().to_vec();
        let columns = shape.last().copied().unwrap_or(1).max(1);
        let values: Vec<f64> = tensor.flatten_all()?.to_vec1::<f32>()?.into_iter().map(f64::from).collect();
        Ok(Matrix { rows: values.len() / columns, columns, values, dtype, shape })
    }

    fn matrix(&mut self, name: &str) -> Result<&mut Matrix> {
        if !self.matrices.contains_key(name) {
            let loaded = self.load(name)?;
            self.matrices.insert(name.to_string(), loaded);
        }
        self.matrices
            .get_mut(name)
            .ok_or_else(|| Error::invalid(format!("`{name}` was not loaded"), "report this defect"))
    }

    fn writer(&self, target: Target) -> Option<Writer> {
        match target {
            Target::Attention(l) => self.writers.attention.get(l).cloned(),
            Target::Mlp(l) => self.writers.mlp.get(l).cloned(),
            Target::Embed | Target::Positions => None,
        }
    }

    /// W' = W diag(a), b' = b + W c.
    fn read(&mut self, target: Target, units: impl Iterator<Item = Unit>) -> Result<()> {
        let Some(writer) = self.writer(target) else { return Ok(()) };
        let units: Vec<Unit> = units.collect();
        let shifts = units.iter().any(|u| u.shift != 0.0);
        let bias = match (&writer.bias, shifts) {
            (None, true) => {
                return Err(Error::invalid(
                    format!("`{}` cannot be set to a value: the family has no bias beside it", writer.weight),
                    "set to 0 (op `zero`), or keep the edit as a file and apply it with --edit",
                ));
            }
            (bias, true) => bias.clone(),
            _ => None,
        };
        let w = self.matrix(&writer.weight)?;
        let outputs = if writer.layout == Layout::OutIn { w.rows } else { w.columns };
        let mut written = vec![0.0; outputs];
        for unit in &units {
            for (out, sum) in written.iter_mut().enumerate() {
                let at = match writer.layout {
                    Layout::OutIn => out * w.columns + unit.index,
                    Layout::InOut => unit.index * w.columns + out,
                };
                let Some(x) = w.values.get_mut(at).filter(|_| unit.index < writer.inputs) else {
                    return Err(Error::invalid(
                        format!("`{}` has no input {}", writer.weight, unit.index),
                        "the edit belongs to another model",
                    ));
                };
                *sum += *x * unit.shift;
                *x *= unit.factor;
            }
        }
        if let Some(bias) = bias {
            let b = self.matrix(&bias)?;
            b.values.iter_mut().zip(&written).for_each(|(b, x)| *b += x);
        }
        Ok(())
    }

    /// W' = W + left right^T.
    fn add(&mut self, target: Target, left: &[f64], right: &[f64]) -> Result<()> {
        let Some(writer) = self.writer(target) else { return Ok(()) };
        let w = self.matrix(&writer.weight)?;
        let (rows, columns) = if writer.layout == Layout::OutIn { (left, right) } else { (right, left) };
        if (rows.len(), columns.len()) != (w.rows, w.columns) {
            return Err(Error::invalid(
                format!("left of {} and right of {} numbers for `{}`", left.len(), right.len(), writer.weight),
                "left is as long as what the weight writes, right as what it reads",
            ));
        }
        let outer = rows.iter().flat_map(|r| columns.iter().map(move |c| r * c));
        w.values.iter_mut().zip(outer).for_each(|(w, x)| *w += x);
        Ok(())
    }

    /// Removes a direction from what a weight writes.
    fn project(&mut self, target: Target, r: &[f64]) -> Result<()> {
        let (name, out_in, bias) = match (target, self.writer(target)) {
            (_, Some(writer)) => (writer.weight, writer.layout == Layout::OutIn, writer.bias),
            (Target::Positions, None) => match self.writers.positions.clone() {
                Some(name) => (name, false, None),
                None => return Ok(()),
            },
            _ => {
                self.untie()?;
                (self.writers.embed.clone(), false, None)
            }
        };
        self.matrix(&name)?.project(r, out_in)?;
        bias.map_or(Ok(()), |bias| self.matrix(&bias)?.project(r, false))
    }

    /// Gives a tied unembedding the embeddings as they were.
    fn untie(&mut self) -> Result<()> {
        if self.writers.facts.head.tied && !self.untied {
            let table = self.load(&self.writers.embed)?;
            self.matrices.insert(self.writers.head.clone(), table);
            self.untied = true;
        }
        Ok(())
    }

    fn finish(self) -> Result<Baked> {
        let mut baked = Baked { tensors: BTreeMap::new(), changes: Vec::new(), untied: self.untied };
        for (name, matrix) in self.matrices {
            let tensor = Tensor::from_vec(matrix.values, matrix.shape.as_slice(), &Device::Cpu)?;
            let stored = tensor.to_dtype(matrix.dtype)?.to_dtype(DType::F64)?;
            let change = match self.weights.file(&name) {
                Some(file) => compare(&name, &file.tensor(&name, &Device::Cpu, Storage::F32)?, &tensor, &stored)?,
                None => {
                    Change { tensor: name.clone(), changed: 0, of: tensor.elem_count(), largest: 0.0, rounding: 0.0 }
                }
            };
            baked.changes.push(change);
            baked.tensors.insert(name, (tensor, matrix.dtype));
        }
        if baked.changes.iter().all(|c| c.changed == 0) {
            return Err(Error::invalid(
                "the edits change no weight",
                "check their neurons, heads and values: a model that is exported as it was would pass for an edited one",
            ));
        }
        Ok(baked)
    }
}

impl Matrix {
    /// Rows (or, with `columns`, columns) lose what they have along the direction.
    fn project(&mut self, r: &[f64], columns: bool) -> Result<()> {
        let (length, vectors) = if columns { (self.rows, self.columns) } else { (self.columns, self.rows) };
        if r.len() != length {
            return Err(Error::invalid(
                format!("a direction of {} numbers for a weight of shape {:?}", r.len(), self.shape),
                "use a direction of the model's width",
            ));
        }
        let (step, next) = if columns { (self.columns, 1) } else { (1, self.columns) };
        for vector in 0..vectors {
            let along: f64 = r.iter().enumerate().map(|(i, r)| self.values[vector * next + i * step] * r).sum();
            r.iter().enumerate().for_each(|(i, r)| self.values[vector * next + i * step] -= along * r);
        }
        Ok(())
    }
}

fn compare(name: &str, old: &Tensor, new: &Tensor, stored: &Tensor) -> Result<Change> {
    let flat = |x: &Tensor| -> Result<Vec<f64>> { Ok(x.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?) };
    let (old, new, stored) = (flat(old)?, flat(new)?, flat(stored)?);
    let largest = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    Ok(Change {
        tensor: name.to_string(),
        changed: old.iter().zip(&stored).filter(|(a, b)| a != b).count(),
        of: old.len(),
        largest: largest(&old, &stored),
        rounding: largest(&new, &stored),
    })
}

impl Baked {
    /// Whether the stored weights are what the edits ask for, without rounding.
    pub fn is_exact(&self) -> bool {
        self.changes.iter().all(|c| c.rounding == 0.0)
    }

    /// Writes the model with these weights to a folder that exists.
    ///
    /// # Errors
    /// Files that cannot be read or written.
    pub fn write(&self, model: &Model, folder: &Path) -> Result<()> {
        let mut config = model.folder.settings()?.clone();
        if self.untied {
            config.insert("tie_word_embeddings".to_string(), Value::Bool(false));
        }
        rewrite(&model.folder, folder, &self.tensors, &Value::Object(config))
    }
}
