//! Nodes without a state: weights, convolutions, windows. Silent inputs cost nothing.

use super::shape::{per_axis, whole};
use crate::Result;
use crate::hook::{SiteId, Tap};
use crate::models::simulation::through;
use crate::nn::kernel;
use crate::store::nir::{Kind, Node};

/// y = W x + b, kept by columns: what one input does to all outputs.
pub(super) struct Linear {
    /// `[pre, post]`.
    columns: Vec<f32>,
    pre: usize,
    post: usize,
}

impl Linear {
    pub fn new(weight: &[f32], post: usize, pre: usize) -> Self {
        Self { columns: kernel::transposed(weight, pre), pre, post }
    }

    /// What a row of inputs gives.
    pub fn apply(&self, site: SiteId, input: &[f32], out: &mut [f32], tap: &mut Tap) -> Result<()> {
        let mut edited = Vec::new();
        if tap.wants(site) {
            let mut weight = kernel::transposed(&self.columns, self.post);
            through(tap, site, &mut weight, &[self.post, self.pre])?;
            edited = kernel::transposed(&weight, self.pre);
        }
        let columns = if edited.is_empty() { &self.columns } else { &edited };
        for (x, out) in input.chunks_exact(self.pre).zip(out.chunks_exact_mut(self.post)) {
            out.fill(0.0);
            for (x, column) in x.iter().zip(columns.chunks_exact(self.post)).filter(|(x, _)| **x != 0.0) {
                out.iter_mut().zip(column).for_each(|(y, w)| *y += w * x);
            }
        }
        Ok(())
    }
}

/// A window that slides over maps `[channels, height, width]`; one axis is a map of height 1.
struct Slide {
    input: [usize; 3],
    output: [usize; 3],
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    dilation: [usize; 2],
}

impl Slide {
    fn new(node: &Node, input: &[usize], output: &[usize], kernel: &[usize]) -> Self {
        let axes = kernel.len();
        let pair = |of: &[usize], other: usize| if axes == 1 { [other, of[0]] } else { [of[0], of[1]] };
        let map = |of: &[usize]| {
            let [height, width] = pair(&of[1..], 1);
            [of[0], height, width]
        };
        // Their lengths were checked when shapes were worked out.
        let get =
            |field: &str, other: usize| pair(&per_axis(node, field, axes).unwrap_or_else(|_| vec![other; axes]), other);
        Self {
            input: map(input),
            output: map(output),
            kernel: pair(kernel, 1),
            stride: get("stride", 1),
            padding: get("padding", 0),
            dilation: get("dilation", 1),
        }
    }

    /// Every (place in the kernel, place in the output map) that an input at `y`, `x` has a part in.
    fn reaches(&self, y: usize, x: usize) -> impl Iterator<Item = (usize, usize)> + '_ {
        let along = move |axis: usize, at: usize, k: usize| {
            let from = (at + self.padding[axis]).checked_sub(k * self.dilation[axis])?;
            let place = from / self.stride[axis];
            (from.is_multiple_of(self.stride[axis]) && place < self.output[axis + 1]).then_some(place)
        };
        (0..self.kernel[0]).filter_map(move |i| Some((i, along(0, y, i)?))).flat_map(move |(i, row)| {
            let columns = (0..self.kernel[1]).filter_map(move |j| Some((j, along(1, x, j)?)));
            columns.map(move |(j, column)| (i * self.kernel[1] + j, row * self.output[2] + column))
        })
    }

    /// Every input that is not 0: channel, value, place.
    fn events<'a>(&self, input: &'a [f32]) -> impl Iterator<Item = (usize, f32, usize, usize)> + use<'a> {
        let [_, height, width] = self.input;
        let all = input.iter().enumerate().filter(|(_, x)| **x != 0.0);
        all.map(move |(at, x)| (at / (height * width), *x, at / width % height, at % width))
    }

    fn sizes(&self) -> [usize; 2] {
        [self.input, self.output].map(|[c, h, w]| c * h * w)
    }
}

/// A convolution.
pub(super) struct Conv {
    /// `[out, in of a group, kernel]`.
    weight: Vec<f32>,
    slide: Slide,
    groups: usize,
}

impl Conv {
    pub fn new(node: &Node, weight: Vec<f32>, input: &[usize], output: &[usize]) -> Self {
        let slide = Slide::new(node, input, output, &node.arrays["weight"].shape[2..]);
        Self { weight, slide, groups: whole(node, "groups")[0] }
    }

    /// Outputs and weights of one.
    pub fn weight_shape(&self) -> [usize; 2] {
        [self.slide.output[0], self.weight.len() / self.slide.output[0]]
    }

    /// What rows of inputs give.
    pub fn apply(&self, site: SiteId, input: &[f32], out: &mut [f32], tap: &mut Tap) -> Result<()> {
        let mut edited = Vec::new();
        if tap.wants(site) {
            edited.clone_from(&self.weight);
            through(tap, site, &mut edited, &self.weight_shape())?;
        }
        let weight = if edited.is_empty() { &self.weight } else { &edited };
        let [n_in, n_out] = self.slide.sizes();
        let window = self.slide.kernel[0] * self.slide.kernel[1];
        let map = self.slide.output[1] * self.slide.output[2];
        let (ins, outs) = (self.slide.input[0] / self.groups, self.slide.output[0] / self.groups);
        for (row, out) in input.chunks_exact(n_in).zip(out.chunks_exact_mut(n_out)) {
            out.fill(0.0);
            for (channel, value, y, x) in self.slide.events(row) {
                let (group, inner) = (channel / ins, channel % ins);
                for (k, place) in self.slide.reaches(y, x) {
                    for o in group * outs..(group + 1) * outs {
                        out[o * map + place] += weight[(o * ins + inner) * window + k] * value;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Sums or means over windows; zeros beyond the edges count, as PyTorch has it.
pub(super) struct Pool {
    slide: Slide,
    scale: f32,
}

impl Pool {
    pub fn new(node: &Node, input: &[usize], output: &[usize]) -> Self {
        let kernel = per_axis(node, "kernel_size", 2).unwrap_or_else(|_| vec![1; 2]);
        let scale = if node.kind == Kind::AvgPool2d { 1.0 / (kernel[0] * kernel[1]) as f32 } else { 1.0 };
        Self { slide: Slide::new(node, input, output, &kernel), scale }
    }

    /// What rows of inputs give.
    pub fn apply(&self, input: &[f32], out: &mut [f32]) {
        let [n_in, n_out] = self.slide.sizes();
        let map = self.slide.output[1] * self.slide.output[2];
        for (row, out) in input.chunks_exact(n_in).zip(out.chunks_exact_mut(n_out)) {
            out.fill(0.0);
            for (channel, value, y, x) in self.slide.events(row) {
                self.slide.reaches(y, x).for_each(|(_, place)| out[channel * map + place] += value);
            }
            out.iter_mut().for_each(|y| *y *= self.scale);
        }
    }
}
