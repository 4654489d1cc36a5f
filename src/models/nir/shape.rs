//! The shape of what enters and leaves every node, from parameters and along edges.

use crate::store::Array;
use crate::store::nir::{Graph, Kind, Node};
use crate::{Error, Result};

/// Most numbers of one node.
const MAX_WIDTH: usize = 1 << 20;
/// Most numbers of all nodes.
const MAX_TOTAL: usize = 1 << 23;

/// What is wrong, in words.
type Checked<T> = std::result::Result<T, String>;

/// What enters a node and what leaves it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Shapes {
    pub input: Vec<usize>,
    pub output: Vec<usize>,
}

/// Numbers of a shape.
pub(super) fn count(shape: &[usize]) -> usize {
    shape.iter().fold(1, |n: usize, d| n.saturating_mul(*d))
}

/// The shapes of all nodes.
///
/// # Errors
/// Shapes that do not fit, that nothing determines, or that are beyond all use.
pub(super) fn shapes(graph: &Graph) -> Result<Vec<Shapes>> {
    let mut known: Vec<Option<Shapes>> = vec![None; graph.nodes.len()];
    let mut total = 0usize;
    let mut settle = |at: usize, input: Vec<usize>, known: &mut Vec<Option<Shapes>>| -> Result<()> {
        let node = &graph.nodes[at];
        let shapes = through(node, input).map_err(|what| {
            let name = format!("node `{}` ({})", node.name, node.kind.name());
            Error::invalid(format!("{name}: {what}"), "make the shapes of the graph fit")
        })?;
        let width = count(&shapes.input).max(count(&shapes.output));
        total = total.saturating_add(width);
        if width > MAX_WIDTH || total > MAX_TOTAL || width == 0 {
            return Err(Error::invalid(
                format!("node `{}` has {width} numbers, all so far {total}", node.name),
                format!("a node may have 1 to {MAX_WIDTH}, all together {MAX_TOTAL}"),
            ));
        }
        known[at] = Some(shapes);
        Ok(())
    };
    for (at, node) in graph.nodes.iter().enumerate() {
        if let Some(input) = fixed(node) {
            settle(at, input, &mut known)?;
        }
    }
    let mut next = vec![Vec::new(); graph.nodes.len()];
    graph.edges.iter().for_each(|(from, to)| next[*from].push(*to));
    let mut open: Vec<usize> = (0..graph.nodes.len()).filter(|i| known[*i].is_some()).collect();
    loop {
        while let Some(from) = open.pop() {
            let Some(Shapes { output, .. }) = known[from].clone() else { continue };
            for to in &next[from] {
                if known[*to].is_none() {
                    settle(*to, output.clone(), &mut known)?;
                    open.push(*to);
                }
            }
        }
        // Nothing leads to these: what their own parameters say must do.
        let Some(at) = (0..known.len()).find(|i| known[*i].is_none() && own(&graph.nodes[*i]).is_some()) else { break };
        settle(at, own(&graph.nodes[at]).unwrap_or_default(), &mut known)?;
        open.push(at);
    }
    let named = |at: usize| format!("`{}`", graph.nodes[at].name);
    let mut shapes = Vec::with_capacity(known.len());
    for (at, known) in known.into_iter().enumerate() {
        shapes.push(known.ok_or_else(|| {
            Error::invalid(
                format!("nothing determines the shape of node {}", named(at)),
                "connect it with an Input, or give its parameters one number per neuron",
            )
        })?);
    }
    for (from, to) in &graph.edges {
        let (out, input) = (&shapes[*from].output, &shapes[*to].input);
        if graph.nodes[*to].kind == Kind::Input || count(out) != count(input) {
            return Err(Error::invalid(
                format!("node {} gives {out:?} to node {}, which takes {input:?}", named(*from), named(*to)),
                "make the shapes of the graph fit; an Input takes values from outside alone",
            ));
        }
    }
    Ok(shapes)
}

/// Whole numbers of a parameter.
pub(super) fn whole(node: &Node, field: &str) -> Vec<usize> {
    node.arrays.get(field).map_or_else(Vec::new, |a| a.values.iter().map(|x| *x as usize).collect())
}

/// As many numbers as there are axes; a single one stands for all.
pub(super) fn per_axis(node: &Node, field: &str, axes: usize) -> Checked<Vec<usize>> {
    let values = whole(node, field);
    match values.len() {
        1 => Ok(vec![values[0]; axes]),
        n if n == axes => Ok(values),
        n => Err(format!("`{field}` has {n} numbers, expected 1 or {axes}")),
    }
}

/// What enters a node, where the node alone says it.
fn fixed(node: &Node) -> Option<Vec<usize>> {
    let weight = node.arrays.get("weight");
    match node.kind {
        Kind::Input | Kind::Output => Some(whole(node, "shape")),
        Kind::Linear | Kind::Affine => Some(weight?.shape.get(1..).unwrap_or_default().to_vec()),
        _ => None,
    }
}

/// What enters a node by its own parameters, where nothing else says it.
fn own(node: &Node) -> Option<Vec<usize>> {
    match node.kind {
        Kind::Conv1d | Kind::Conv2d => {
            let weight = node.arrays.get("weight")?;
            let channels = weight.shape.get(1)?.checked_mul(*whole(node, "groups").first()?)?;
            let input = node.arrays.get("input_shape")?;
            Some(std::iter::once(channels).chain(input.values.iter().map(|x| *x as usize)).collect())
        }
        Kind::Flatten => Some(whole(node, "input_type")).filter(|s| !s.is_empty() && !s.contains(&0)),
        Kind::SumPool2d | Kind::AvgPool2d => None,
        _ => node.arrays.values().map(|a| &a.shape).find(|shape| count(shape) > 1).cloned().or_else(|| {
            // A single neuron may say so: `[1]`, but a number without a shape stands for any number of them.
            node.arrays.values().map(|a| &a.shape).find(|shape| !shape.is_empty()).cloned()
        }),
    }
}

/// What leaves a node that takes this.
fn through(node: &Node, input: Vec<usize>) -> Checked<Shapes> {
    let mut input = input;
    let output = match node.kind {
        Kind::Input | Kind::Output => input.clone(),
        Kind::Linear | Kind::Affine => {
            let shape = &node.arrays["weight"].shape;
            let [post, pre] = shape[..] else {
                return Err(format!("`weight` has the shape {shape:?}, expected two axes"));
            };
            if let Some(bias) = node.arrays.get("bias") {
                fits("bias", bias, post)?;
            }
            input = vec![pre];
            vec![post]
        }
        Kind::Conv1d => convolved(node, &mut input, 1)?,
        Kind::Conv2d => convolved(node, &mut input, 2)?,
        Kind::SumPool2d | Kind::AvgPool2d => {
            let [channels, height, width] = input[..] else {
                return Err(format!("takes maps [channels, height, width], got {input:?}"));
            };
            let kernel = per_axis(node, "kernel_size", 2)?;
            let (stride, padding) = (per_axis(node, "stride", 2)?, per_axis(node, "padding", 2)?);
            let side = |i: usize, n: usize| {
                slid(n, kernel[i], stride[i], padding[i], 1)
                    .ok_or_else(|| format!("a window of {kernel:?} on {input:?}"))
            };
            vec![channels, side(0, height)?, side(1, width)?]
        }
        Kind::Flatten => flattened(node, &input),
        _ => {
            let n = count(&input);
            node.arrays.iter().try_for_each(|(field, array)| fits(field, array, n))?;
            input.clone()
        }
    };
    Ok(Shapes { input, output })
}

/// One number for all, or one for each.
fn fits(field: &str, array: &Array, n: usize) -> Checked<()> {
    match array.values.len() {
        1 => Ok(()),
        given if given == n => Ok(()),
        given => Err(format!("`{field}` has {given} numbers, expected 1 or {n}")),
    }
}

/// How often a window fits; `None` where it does not.
fn slid(n: usize, kernel: usize, stride: usize, padding: usize, dilation: usize) -> Option<usize> {
    let reach = kernel.checked_sub(1)?.checked_mul(dilation)?.checked_add(1)?;
    Some(n.checked_add(padding.checked_mul(2)?)?.checked_sub(reach)? / stride + 1)
}

fn convolved(node: &Node, input: &mut Vec<usize>, axes: usize) -> Checked<Vec<usize>> {
    let weight = &node.arrays["weight"].shape;
    if weight.len() != axes + 2 || weight.contains(&0) {
        return Err(format!("`weight` has the shape {weight:?}, expected [out, in, one size per axis ({axes})]"));
    }
    let groups = per_axis(node, "groups", 1)?[0];
    let channels = weight[1].saturating_mul(groups);
    if !weight[0].is_multiple_of(groups) {
        return Err(format!("{} channels in {groups} groups", weight[0]));
    }
    fits("bias", &node.arrays["bias"], weight[0])?;
    let given = whole(node, "input_shape");
    if !given.is_empty() {
        // A flat input takes the shape that the node names.
        let named: Vec<usize> = std::iter::once(channels).chain(given).collect();
        if count(&named) != count(input) || named.len() != axes + 1 {
            return Err(format!("is made for {named:?}, got {input:?}"));
        }
        *input = named;
    }
    if input.len() != axes + 1 || input[0] != channels {
        return Err(format!("takes {channels} channels and {axes} axes, got {input:?}"));
    }
    let (stride, padding) = (per_axis(node, "stride", axes)?, per_axis(node, "padding", axes)?);
    let dilation = per_axis(node, "dilation", axes)?;
    let side = |i: usize| {
        slid(input[i + 1], weight[i + 2], stride[i], padding[i], dilation[i])
            .ok_or_else(|| format!("the kernel {:?} does not fit into {input:?}", &weight[2..]))
    };
    std::iter::once(Ok(weight[0])).chain((0..axes).map(side)).collect()
}

/// Axes `start_dim` to `end_dim` become one; the order of numbers stays.
fn flattened(node: &Node, input: &[usize]) -> Vec<usize> {
    let rank = input.len() as i64;
    let dim = |field: &str| {
        let given = node.arrays.get(field).and_then(|a| a.values.first()).map_or(0, |x| *x as i64);
        if given < 0 { given + rank } else { given.min(rank - 1) }
    };
    let (start, end) = (dim("start_dim"), dim("end_dim"));
    if start < 0 || end < start {
        return input.to_vec();
    }
    let (start, end) = (start as usize, end as usize);
    [&input[..start], &[count(&input[start..=end])], &input[end + 1..]].concat()
}
