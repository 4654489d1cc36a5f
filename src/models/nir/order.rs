//! In which order the nodes of a graph act in a step, and what waits for the next.

use std::collections::BTreeSet;

use crate::store::nir::Graph;
use crate::{Error, Result};

/// The order of a step.
pub(super) struct Order {
    /// Delays of at least one step: they emit first and take in last.
    pub delays: Vec<usize>,
    /// All others, each after those whose values it takes in the same step.
    pub sequence: Vec<usize>,
    /// Per edge: whether it carries the value of the step before.
    pub late: Vec<bool>,
}

/// The order of a graph; `waits` says which nodes are delays of at least one step.
///
/// # Errors
/// A loop in which no neuron and no delay stands.
pub(super) fn order(graph: &Graph, waits: &[bool]) -> Result<Order> {
    let n = graph.nodes.len();
    let mut next: Vec<Vec<usize>> = vec![Vec::new(); n];
    for (from, to) in graph.edges.iter().filter(|(from, _)| !waits[*from]) {
        next[*from].push(*to);
    }
    let loops = components(&next);
    let late: Vec<bool> = (graph.edges.iter())
        .map(|(from, to)| !waits[*from] && loops[*from] == loops[*to] && graph.nodes[*from].kind.is_neuron())
        .collect();
    let direct = |i: &usize| !late[*i] && !waits[graph.edges[*i].0] && !waits[graph.edges[*i].1];
    let mut needed = vec![0usize; n];
    let mut after: Vec<Vec<usize>> = vec![Vec::new(); n];
    for i in (0..graph.edges.len()).filter(direct) {
        let (from, to) = graph.edges[i];
        needed[to] += 1;
        after[from].push(to);
    }
    let mut ready: BTreeSet<usize> = (0..n).filter(|i| !waits[*i] && needed[*i] == 0).collect();
    let mut sequence = Vec::with_capacity(n);
    while let Some(at) = ready.pop_first() {
        sequence.push(at);
        for to in &after[at] {
            needed[*to] -= 1;
            if needed[*to] == 0 {
                ready.insert(*to);
            }
        }
    }
    let stuck = |i: &usize| needed[*i] > 0 && graph.edges.iter().any(|(f, t)| loops[*f] == loops[*i] && *t == *i);
    let names: Vec<&str> = (0..n).filter(stuck).map(|i| graph.nodes[i].name.as_str()).take(8).collect();
    if !names.is_empty() {
        return Err(Error::invalid(
            format!("the nodes {} are in a loop without a neuron or a delay", names.join(", ")),
            "put a neuron, or a Delay of at least one step, into the loop: a value cannot need itself",
        ));
    }
    Ok(Order { delays: (0..n).filter(|i| waits[*i]).collect(), sequence, late })
}

/// The number of the strongly connected component of every node (Tarjan 1972, without recursion).
fn components(next: &[Vec<usize>]) -> Vec<usize> {
    const NONE: usize = usize::MAX;
    let n = next.len();
    let (mut index, mut low, mut component) = (vec![NONE; n], vec![0; n], vec![NONE; n]);
    let (mut stack, mut count, mut found) = (Vec::new(), 0, 0);
    for root in 0..n {
        if index[root] != NONE {
            continue;
        }
        let mut path = vec![(root, 0)];
        while let Some((at, child)) = path.pop() {
            if child == 0 {
                (index[at], low[at]) = (count, count);
                count += 1;
                stack.push(at);
            }
            if let Some(to) = next[at].get(child) {
                path.push((at, child + 1));
                if index[*to] == NONE {
                    path.push((*to, 0));
                } else if component[*to] == NONE {
                    low[at] = low[at].min(index[*to]);
                }
                continue;
            }
            if low[at] == index[at] {
                while let Some(member) = stack.pop() {
                    component[member] = found;
                    if member == at {
                        break;
                    }
                }
                found += 1;
            }
            if let Some((parent, _)) = path.last() {
                low[*parent] = low[*parent].min(low[at]);
            }
        }
    }
    component
}
