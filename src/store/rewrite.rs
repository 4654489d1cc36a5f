//! A model folder written anew with some weights replaced: every other tensor is copied byte for byte, every file of the
//! model that says something about it goes along.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use candle_core::{DType, Tensor};
use serde_json::{Value, json};

use super::atomic::write_atomic;
use super::folder::{INDEX, ModelFolder, SIDE_FILES, SINGLE};
use super::safetensors::{ElementType, WeightFile};
use super::write::{Source, write_safetensors};
use crate::{Error, Result};

/// Writes `from` to the folder `to` with `config` and with `tensors` in the place of those of the same names, each in
/// the element type that the files have for it; one of a new name goes to the last file.
///
/// # Errors
/// A replacement for a tensor that is not of floats, and files that cannot be read or written.
pub fn rewrite(
    from: &ModelFolder,
    to: &Path,
    tensors: &BTreeMap<String, (Tensor, DType)>,
    config: &Value,
) -> Result<()> {
    let weights = from.weights()?;
    let mut fresh: Vec<&String> = tensors.keys().filter(|name| !weights.contains(name)).collect();
    let mut map = BTreeMap::new();
    let files = weights.files();
    for (i, file) in files.iter().enumerate() {
        let name = match files.len() {
            1 => SINGLE.to_string(),
            _ => file_name(file.path()),
        };
        let added = if i + 1 == files.len() { std::mem::take(&mut fresh) } else { Vec::new() };
        let names = file.names().map(str::to_string).chain(added.into_iter().cloned());
        let names: Vec<String> = names.inspect(|tensor| drop(map.insert(tensor.clone(), name.clone()))).collect();
        let sources = names.into_iter().map(|tensor| {
            let source = match tensors.get(&tensor) {
                Some((new, dtype)) => Source::Tensor(new.to_dtype(*dtype)?),
                None => Source::Copy(file, copied(file, &tensor)?),
            };
            Ok((tensor, source))
        });
        write_safetensors(to.join(&name), &sources.collect::<Result<Vec<_>>>()?, file.metadata())?;
    }
    if files.len() > 1 {
        write_json(&to.join(INDEX), &json!({ "metadata": {}, "weight_map": map }))?;
    }
    write_json(&to.join("config.json"), config)?;
    for name in SIDE_FILES.iter().filter(|name| **name != "config.json") {
        if let Some(path) = from.file(name) {
            let target = to.join(name);
            std::fs::copy(&path, &target).map_err(Error::io(&target))?;
        }
    }
    Ok(())
}

/// The element type that arithmetic has for what a file holds.
///
/// # Errors
/// A tensor that is missing or not of floats.
pub fn float_type(file: &WeightFile, name: &str) -> Result<DType> {
    match file.info(name).map(|info| info.element) {
        Some(ElementType::F32) => Ok(DType::F32),
        Some(ElementType::F16) => Ok(DType::F16),
        Some(ElementType::BF16) => Ok(DType::BF16),
        Some(ElementType::F64) => Ok(DType::F64),
        other => Err(Error::file(
            file.path(),
            format!("tensor `{name}` has the element type {other:?}, expected floats"),
            "edits are baked into models of f32, f16, bf16 or f64; convert the model first",
        )),
    }
}

/// The name as the file has it, for as long as the file lives.
fn copied<'a>(file: &'a WeightFile, name: &str) -> Result<&'a str> {
    file.names().find(|n| *n == name).ok_or_else(|| {
        Error::file(file.path(), format!("tensor `{name}` is neither here nor new"), "report this as a defect")
    })
}

fn file_name(path: &Path) -> String {
    let name = PathBuf::from(path);
    name.file_name().map_or_else(|| SINGLE.to_string(), |n| n.to_string_lossy().into_owned())
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    write_atomic(path, |file| file.write_all(format!("{value:#}\n").as_bytes()).map_err(Error::io(path)))
}
