//! The JSON form of a graph, with an archive of its larger arrays.

use std::io::Write;
use std::path::Path;

use candle_core::{Device, Tensor};
use serde_json::{Map, Value, json};

use super::super::npy::Array;
use super::super::{write_atomic, write_npz};
use super::{Graph, Node};
use crate::{Error, Result};

/// Arrays of at most so many numbers stand in the JSON itself.
const INLINE: usize = 16;

pub(super) fn write(graph: &Graph, path: &Path) -> Result<()> {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let Some(stem) = name.strip_suffix(".nir.json").filter(|stem| !stem.is_empty()) else {
        return Err(Error::file(path, "the name does not end in .nir.json", "name the file NAME.nir.json"));
    };
    let archive = format!("{stem}.nir.npz");
    let mut large = Vec::new();
    let mut nodes = Map::new();
    for node in &graph.nodes {
        nodes.insert(node.name.clone(), json_of(node, &mut large)?);
    }
    let edge = |(from, to): &(usize, usize)| json!([graph.nodes[*from].name, graph.nodes[*to].name]);
    let edges: Vec<Value> = graph.edges.iter().map(edge).collect();
    let mut file = Map::new();
    if !large.is_empty() {
        file.insert("arrays".to_string(), json!(archive));
    }
    file.insert("node".to_string(), json!({ "type": "NIRGraph", "nodes": nodes, "edges": edges }));
    // The archive first: the JSON that names it appears when it is there.
    if !large.is_empty() {
        write_npz(path.with_file_name(&archive), &large)?;
    }
    let text = serde_json::to_string_pretty(&Value::Object(file)).map_err(|e| Error::io(path)(e.into()))?;
    write_atomic(path, |out| writeln!(out, "{text}").map_err(Error::io(path)))
}

fn json_of(node: &Node, large: &mut Vec<(String, Tensor)>) -> Result<Value> {
    let mut members = Map::new();
    members.insert("type".to_string(), json!(node.kind.name()));
    for field in node.kind.fields() {
        let Some(array) = node.arrays.get(field.name) else { continue };
        let value = if array.values.len() <= INLINE {
            nested(&array.shape, &array.values)
        } else {
            let name = format!("{}.{}", node.name, field.name);
            large.push((name.clone(), tensor(array)?));
            json!({ "npz": name })
        };
        members.insert(field.name.to_string(), value);
    }
    Ok(Value::Object(members))
}

/// Nested lists; whole numbers without a point.
fn nested(shape: &[usize], values: &[f64]) -> Value {
    match shape {
        [] => match values[0] {
            x if x.fract() == 0.0 && x.abs() < 1e15 && !(x == 0.0 && x.is_sign_negative()) => json!(x as i64),
            x => json!(x),
        },
        [n, deeper @ ..] => {
            let step = (values.len() / (*n).max(1)).max(1);
            Value::Array(values.chunks(step).map(|part| nested(deeper, part)).collect())
        }
    }
}

/// In f32 where that says the same.
fn tensor(array: &Array) -> Result<Tensor> {
    let single: Vec<f32> = array.values.iter().map(|x| *x as f32).collect();
    let same = single.iter().zip(&array.values).all(|(a, b)| f64::from(*a) == *b);
    Ok(match same {
        true => Tensor::from_vec(single, array.shape.as_slice(), &Device::Cpu)?,
        false => Tensor::from_slice(&array.values, array.shape.as_slice(), &Device::Cpu)?,
    })
}
