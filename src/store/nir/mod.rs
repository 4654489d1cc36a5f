//! Graphs of the Neuromorphic Intermediate Representation (NIR): nodes of a type with arrays, and edges.
//!
//! Read are HDF5 files as Python's `nir` package writes them (`NAME.nir`), and their twin in JSON, which is written too:
//!
//! ```json
//! {"arrays": "net.nir.npz", "node": {"type": "NIRGraph",
//!   "nodes": {"input": {"type": "Input", "shape": [2]},
//!             "fc": {"type": "Linear", "weight": {"npz": "fc.weight"}},
//!             "lif": {"type": "LIF", "tau": 0.02, "r": 1.0, "v_leak": 0.0, "v_threshold": [1.0, 0.5]},
//!             "output": {"type": "Output", "shape": [2]}},
//!   "edges": [["input", "fc"], ["fc", "lif"], ["lif", "output"]]}}
//! ```
//!
//! The tree is that of the HDF5 file. An array is nested lists, or the name of one in the archive beside it. Times are
//! seconds. Subgraphs are taken in: the nodes of `block` become `block.lif` and so on, its Input and Output vanish. Whatever
//! a node says that is not known is refused; only `metadata` is passed over, for it may mean nothing.

mod flat;
mod hdf5;
mod tree;
mod types;
mod write;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::npy::Array;
use crate::{Error, Result};

use tree::Tree;
pub use types::Kind;

/// Most nodes of a graph.
const MAX_NODES: usize = 10_000;
/// Most edges of a graph.
const MAX_EDGES: usize = 100_000;

/// How the names of graphs end.
const ENDINGS: [&str; 2] = [".nir.json", ".nir"];

/// A node with its parameters, checked one by one.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Its name, `block.lif` inside a subgraph.
    pub name: String,
    /// What it computes.
    pub kind: Kind,
    /// Its parameters by their names; those with a default are there.
    pub arrays: BTreeMap<&'static str, Array>,
}

/// A graph without subgraphs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    /// The nodes, in the order of the file (HDF5: of their names).
    pub nodes: Vec<Node>,
    /// Places of nodes: from, to. Values that arrive at one node are added, in this order.
    pub edges: Vec<(usize, usize)>,
}

/// The file of a graph that a user names: the file itself, or the only one in a folder. `None` for something else.
pub fn locate(path: impl AsRef<Path>) -> Option<PathBuf> {
    let path = path.as_ref();
    let named =
        |p: &Path| p.file_name().and_then(|n| n.to_str()).is_some_and(|n| ENDINGS.iter().any(|e| n.ends_with(e)));
    if !path.is_dir() {
        return named(path).then(|| path.to_path_buf());
    }
    let inside = std::fs::read_dir(path).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let mut graphs = inside.filter(|p| p.is_file() && named(p));
    graphs.next().filter(|_| graphs.next().is_none())
}

impl Graph {
    /// Reads `NAME.nir.json` with its archive, or `NAME.nir`.
    ///
    /// # Errors
    /// A file that is missing, damaged or too large; an unknown type or parameter; a parameter that is missing, not finite
    /// or out of range; an edge of a node that there is not.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let tree = match path.extension().and_then(|e| e.to_str()) {
            Some("json") => tree::read(path)?,
            _ => hdf5::read(path)?,
        };
        flat::graph(&tree)
            .map_err(|what| Error::file(path, what, "write the graph anew with Python's `nir`, or by hand"))
    }

    /// Writes `NAME.nir.json` and, where an array is not small, `NAME.nir.npz` beside it. The same graph gives the same
    /// bytes.
    ///
    /// # Errors
    /// Another ending, a file that cannot be written.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        write::write(self, path.as_ref())
    }

    /// A node of checked parameters, to be added by hand.
    ///
    /// # Errors
    /// A name that is taken or cannot be one, and what [`Graph::open`] refuses of parameters.
    pub fn add(&mut self, name: &str, kind: Kind, arrays: Vec<(&'static str, Array)>) -> Result<usize> {
        let field = |(name, array): (&str, Array)| (name.to_string(), Tree::Array(array));
        let fields: Vec<(String, Tree)> = arrays.into_iter().map(field).collect();
        let node = flat::node(name, kind, &fields).and_then(|node| match self.place(name) {
            Some(_) => Err(format!("two nodes are named `{name}`")),
            None => Ok(node),
        });
        self.nodes
            .push(node.map_err(|what| Error::invalid(what, "give every node its own name and sound parameters"))?);
        Ok(self.nodes.len() - 1)
    }

    /// The place of a node.
    pub fn place(&self, name: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.name == name)
    }
}
