//! From a tree to a graph: types and parameters are checked, subgraphs taken in.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::super::npy::Array;
use super::super::text::nearest;
use super::tree::Tree;
use super::types::{Kind, Need, TYPES};
use super::{Graph, MAX_EDGES, MAX_NODES, Node};

/// What is wrong, in words.
type Checked<T> = Result<T, String>;

/// Subgraphs inside subgraphs.
const MAX_DEPTH: usize = 16;
/// Characters of a name.
const MAX_NAME: usize = 200;

/// A node before subgraphs have been taken in.
enum Part {
    Node(Node),
    /// Where values enter or leave a subgraph.
    Gate,
}

#[derive(Default)]
struct Parts {
    parts: Vec<Part>,
    edges: Vec<(usize, usize)>,
}

/// The graph of a tree.
pub(super) fn graph(tree: &Tree) -> Checked<Graph> {
    if text(tree.get("type")) != Some("NIRGraph") {
        return Err("the outermost node is no NIRGraph".to_string());
    }
    let mut all = Parts::default();
    all.take_in(tree, "", 0)?;
    all.contract()
}

fn text(tree: Option<&Tree>) -> Option<&str> {
    match tree {
        Some(Tree::Text(text)) => Some(text),
        _ => None,
    }
}

/// The places where edges to and from a name of one graph end.
#[derive(Clone, Copy)]
struct Ends {
    into: Option<usize>,
    out: Option<usize>,
}

impl Parts {
    /// Adds the nodes of a graph; returns where values enter and leave it.
    fn take_in(&mut self, tree: &Tree, prefix: &str, depth: usize) -> Checked<Ends> {
        if depth == MAX_DEPTH {
            return Err(format!("subgraphs nested deeper than {MAX_DEPTH}"));
        }
        let whole = if prefix.is_empty() { "the graph" } else { prefix };
        let Tree::Group(own) = tree else { return Err(format!("{whole} is {}, expected a group", tree.word())) };
        known(whole, own, &["nodes", "edges"])?;
        let Some(Tree::Group(members)) = tree.get("nodes") else {
            return Err(format!("{whole} has no `nodes`"));
        };
        let mut ends: HashMap<&str, Ends> = HashMap::new();
        let mut gates = Ends { into: None, out: None };
        for (name, member) in members {
            let full = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
            let kind = text(member.get("type"));
            let at = self.parts.len();
            if at >= MAX_NODES {
                return Err(format!("more than {MAX_NODES} nodes"));
            }
            let own = match kind {
                Some("NIRGraph") => self.take_in(member, &checked(&full)?, depth + 1)?,
                Some(word @ ("Input" | "Output")) if depth > 0 => {
                    let gate = if word == "Input" { &mut gates.into } else { &mut gates.out };
                    if gate.replace(at).is_some() {
                        return Err(format!("{whole} has several nodes of type {word}, so edges to it are ambiguous"));
                    }
                    self.parts.push(Part::Gate);
                    Ends { into: Some(at), out: Some(at) }
                }
                Some(word) => {
                    let kind = Kind::named(word).ok_or_else(|| unknown(&full, word))?;
                    let Tree::Group(fields) = member else { return Err(format!("node `{full}` is {}", member.word())) };
                    self.parts.push(Part::Node(node(&full, kind, fields)?));
                    Ends { into: Some(at), out: Some(at) }
                }
                None => return Err(format!("node `{full}` has no `type`")),
            };
            if ends.insert(name, own).is_some() {
                return Err(format!("two nodes are named `{full}`"));
            }
        }
        self.connect(tree.get("edges"), whole, &ends)?;
        Ok(gates)
    }

    fn connect(&mut self, edges: Option<&Tree>, whole: &str, ends: &HashMap<&str, Ends>) -> Checked<()> {
        let pairs = match edges {
            Some(Tree::Texts(shape, texts)) if shape.len() == 2 && shape[1] == 2 => texts.as_slice(),
            None | Some(Tree::Nothing) => &[],
            Some(Tree::Array(array)) if array.values.is_empty() => &[],
            Some(other) => return Err(format!("the edges of {whole} are {}, expected pairs of names", other.word())),
        };
        // An edge that is given twice is one edge.
        let mut seen = HashSet::new();
        for pair in pairs.chunks_exact(2).filter(|pair| seen.insert((&pair[0], &pair[1]))) {
            let end = |name: &String| {
                ends.get(name.as_str()).ok_or_else(|| {
                    let near = nearest(name, ends.keys().copied(), 3);
                    format!("an edge of {whole} names `{name}`, which is no node; nearest: {near}")
                })
            };
            let gate = |at: Option<usize>, name: &str, what: &str| {
                at.ok_or_else(|| format!("an edge of {whole} ends at the subgraph `{name}`, which has no {what}"))
            };
            let from = gate(end(&pair[0])?.out, &pair[0], "Output")?;
            let to = gate(end(&pair[1])?.into, &pair[1], "Input")?;
            if self.edges.len() >= MAX_EDGES {
                return Err(format!("more than {MAX_EDGES} edges"));
            }
            self.edges.push((from, to));
        }
        Ok(())
    }

    /// Leads edges past the gates and drops them.
    fn contract(mut self) -> Checked<Graph> {
        let gates: Vec<usize> = (0..self.parts.len()).filter(|i| matches!(self.parts[*i], Part::Gate)).collect();
        for gate in gates {
            let out: Vec<usize> = self.edges.iter().filter(|e| e.0 == gate).map(|e| e.1).collect();
            if out.contains(&gate) {
                return Err("the Input or Output of a subgraph is connected with itself".to_string());
            }
            // In the place of the edge that they come from, so that the order of sums stays.
            let past = |edge: &(usize, usize)| -> Vec<(usize, usize)> {
                match *edge {
                    (from, _) if from == gate => Vec::new(),
                    (from, to) if to == gate => out.iter().map(|to| (from, *to)).collect(),
                    other => vec![other],
                }
            };
            self.edges = self.edges.iter().flat_map(past).take(MAX_EDGES + 1).collect();
            if self.edges.len() > MAX_EDGES {
                return Err(format!("more than {MAX_EDGES} edges with those of subgraphs"));
            }
        }
        let mut places = Vec::with_capacity(self.parts.len());
        let mut graph = Graph::default();
        for part in self.parts {
            places.push(graph.nodes.len());
            if let Part::Node(node) = part {
                graph.nodes.push(node);
            }
        }
        graph.edges = self.edges.iter().map(|(from, to)| (places[*from], places[*to])).collect();
        let mut names = HashSet::new();
        match graph.nodes.iter().find(|node| !names.insert(node.name.as_str())) {
            Some(twice) => Err(format!("two nodes are named `{}` once subgraphs are taken in", twice.name)),
            None => Ok(graph),
        }
    }
}

fn unknown(node: &str, word: &str) -> String {
    let names: Vec<&str> = TYPES.iter().map(|t| t.name).collect();
    format!("node `{node}` is of the type `{word}`, which is not known; known are {}, NIRGraph", names.join(", "))
}

/// A name that can begin the names of sites and of files.
fn checked(name: &str) -> Checked<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    match name.len() <= MAX_NAME && !name.is_empty() && name.chars().all(plain) && !name.contains("..") {
        true => Ok(name.to_string()),
        false => {
            let shown: String = name.chars().take(40).collect();
            Err(format!("a node is named `{shown}`, expected letters, digits, `_`, `-` and single dots"))
        }
    }
}

/// Refuses what a node says beyond these.
fn known(whole: &str, members: &[(String, Tree)], fields: &[&str]) -> Checked<()> {
    let passed = ["type", "metadata"];
    let other = members.iter().find(|(key, _)| !passed.contains(&key.as_str()) && !fields.contains(&key.as_str()));
    match other {
        Some((key, _)) => {
            Err(format!("{whole} has a parameter `{key}`, which is not known; known are {}", fields.join(", ")))
        }
        None => Ok(()),
    }
}

/// A node of checked parameters.
pub(super) fn node(name: &str, kind: Kind, members: &[(String, Tree)]) -> Checked<Node> {
    let name = checked(name)?;
    let whole = format!("node `{name}` ({})", kind.name());
    let fields: Vec<&str> = kind.fields().iter().map(|f| f.name).collect();
    known(&whole, members, &fields)?;
    let given = |key: &str| members.iter().find(|(k, _)| k == key).map(|(_, tree)| tree);
    let mut arrays = BTreeMap::new();
    for field in kind.fields() {
        let array = match given(field.name) {
            Some(Tree::Array(array)) => array.clone(),
            Some(Tree::Text(word)) if field.name == "padding" => {
                padding(word, given("weight"), given("dilation"), given("stride"))
                    .map_err(|what| format!("{whole}: `padding` {what}"))?
            }
            None | Some(Tree::Nothing) => match field.need {
                Need::Must => return Err(format!("{whole} has no `{}`", field.name)),
                Need::May => continue,
                Need::Else(value) => Array::scalar(value),
            },
            Some(other) => return Err(format!("{whole}: `{}` is {}, expected numbers", field.name, other.word())),
        };
        field.of.check(&array).map_err(|what| format!("{whole}: `{}` has {what}", field.name))?;
        arrays.insert(field.name, array);
    }
    Ok(Node { name, kind, arrays })
}

/// `valid` and `same` in numbers.
fn padding(word: &str, weight: Option<&Tree>, dilation: Option<&Tree>, stride: Option<&Tree>) -> Checked<Array> {
    let (Some(Tree::Array(weight)), Some(Tree::Array(dilation)), Some(Tree::Array(stride))) =
        (weight, dilation, stride)
    else {
        return Err("has no weight, dilation and stride to go by".to_string());
    };
    let kernel = weight.shape.get(2..).unwrap_or_default();
    match word {
        "valid" => Ok(Array::vector(vec![0.0; kernel.len()])),
        "same" => {
            let reach = |(i, k): (usize, &usize)| {
                let spread = dilation.values.get(i).or(dilation.values.first()).copied().unwrap_or(1.0);
                spread * (k.saturating_sub(1)) as f64 / 2.0
            };
            let values: Vec<f64> = kernel.iter().enumerate().map(reach).collect();
            if stride.values.iter().any(|s| *s != 1.0) || values.iter().any(|p| p.fract() != 0.0) {
                return Err(
                    "is `same` with a stride, or for an even reach, where sides differ; give numbers".to_string()
                );
            }
            Ok(Array::vector(values))
        }
        other => Err(format!("is `{other}`, expected numbers, `valid` or `same`")),
    }
}
