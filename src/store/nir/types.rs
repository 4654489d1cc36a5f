//! The types of nodes, and what their parameters must be: one table for reading, writing and messages.

use super::super::npy::Array;

/// What a node computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Where values enter the graph.
    Input,
    /// Where values leave it.
    Output,
    /// y = W x.
    Linear,
    /// y = W x + b.
    Affine,
    /// y = s x, number by number.
    Scale,
    /// A convolution over one axis.
    Conv1d,
    /// A convolution over two axes.
    Conv2d,
    /// dv/dt = R I.
    I,
    /// The same, firing.
    If,
    /// tau dv/dt = v_leak - v + R I.
    Li,
    /// The same, firing.
    Lif,
    /// The same as `Li`, with tau_syn dI/dt = -I + w_in S.
    CubaLi,
    /// The same, firing.
    CubaLif,
    /// y(t) = x(t - delay).
    Delay,
    /// Joins axes.
    Flatten,
    /// Sums over windows of a map.
    SumPool2d,
    /// Means over windows of a map.
    AvgPool2d,
    /// 1 where x > threshold.
    Threshold,
}

/// What there must be of a parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Need {
    /// It must be given.
    Must,
    /// It may be left out.
    May,
    /// This, if it is left out.
    Else(f64),
}

/// What the numbers of a parameter must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Of {
    /// Finite.
    Number,
    /// Finite and above 0.
    Positive,
    /// Finite and not below 0.
    NotNegative,
    /// Whole and not negative.
    Size,
    /// Whole and above 0.
    Count,
    /// Whole.
    Whole,
}

/// A parameter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub name: &'static str,
    pub need: Need,
    pub of: Of,
}

/// A type of nodes.
pub(super) struct Type {
    pub kind: Kind,
    pub name: &'static str,
    pub fields: &'static [Field],
}

const fn must(name: &'static str, of: Of) -> Field {
    Field { name, need: Need::Must, of }
}

const fn may(name: &'static str, need: Need, of: Of) -> Field {
    Field { name, need, of }
}

const R: Field = must("r", Of::Number);
const V_LEAK: Field = must("v_leak", Of::Number);
const V_THRESHOLD: Field = must("v_threshold", Of::Number);
const V_RESET: Field = may("v_reset", Need::Else(0.0), Of::Number);
const TAU_MEM: Field = must("tau_mem", Of::Positive);
const TAU_SYN: Field = must("tau_syn", Of::Positive);
const W_IN: Field = may("w_in", Need::Else(1.0), Of::Number);
const CONV: &[Field] = &[
    may("input_shape", Need::May, Of::Count),
    must("weight", Of::Number),
    must("bias", Of::Number),
    must("stride", Of::Count),
    must("padding", Of::Size),
    must("dilation", Of::Count),
    must("groups", Of::Count),
];
const POOL: &[Field] = &[must("kernel_size", Of::Count), must("stride", Of::Count), must("padding", Of::Size)];

/// Every type.
pub(super) static TYPES: &[Type] = &[
    Type { kind: Kind::Input, name: "Input", fields: &[must("shape", Of::Count)] },
    Type { kind: Kind::Output, name: "Output", fields: &[must("shape", Of::Count)] },
    Type { kind: Kind::Linear, name: "Linear", fields: &[must("weight", Of::Number)] },
    Type { kind: Kind::Affine, name: "Affine", fields: &[must("weight", Of::Number), must("bias", Of::Number)] },
    Type { kind: Kind::Scale, name: "Scale", fields: &[must("scale", Of::Number)] },
    Type { kind: Kind::Conv1d, name: "Conv1d", fields: CONV },
    Type { kind: Kind::Conv2d, name: "Conv2d", fields: CONV },
    Type { kind: Kind::I, name: "I", fields: &[R] },
    Type { kind: Kind::If, name: "IF", fields: &[R, V_THRESHOLD, V_RESET] },
    Type { kind: Kind::Li, name: "LI", fields: &[must("tau", Of::Positive), R, V_LEAK] },
    Type { kind: Kind::Lif, name: "LIF", fields: &[must("tau", Of::Positive), R, V_LEAK, V_THRESHOLD, V_RESET] },
    Type { kind: Kind::CubaLi, name: "CubaLI", fields: &[TAU_MEM, TAU_SYN, R, V_LEAK, W_IN] },
    Type { kind: Kind::CubaLif, name: "CubaLIF", fields: &[TAU_MEM, TAU_SYN, R, V_LEAK, V_THRESHOLD, V_RESET, W_IN] },
    Type { kind: Kind::Delay, name: "Delay", fields: &[must("delay", Of::NotNegative)] },
    Type {
        kind: Kind::Flatten,
        name: "Flatten",
        fields: &[
            may("start_dim", Need::Else(1.0), Of::Whole),
            may("end_dim", Need::Else(-1.0), Of::Whole),
            may("input_type", Need::May, Of::Size),
        ],
    },
    Type { kind: Kind::SumPool2d, name: "SumPool2d", fields: POOL },
    Type { kind: Kind::AvgPool2d, name: "AvgPool2d", fields: POOL },
    Type { kind: Kind::Threshold, name: "Threshold", fields: &[must("threshold", Of::Number)] },
];

impl Kind {
    /// Its row of the table.
    pub(super) fn fields(self) -> &'static [Field] {
        TYPES.iter().find(|t| t.kind == self).map_or(&[], |t| t.fields)
    }

    /// Its name in files.
    pub fn name(self) -> &'static str {
        TYPES.iter().find(|t| t.kind == self).map_or("", |t| t.name)
    }

    /// The type of this name.
    pub fn named(name: &str) -> Option<Self> {
        TYPES.iter().find(|t| t.name == name).map(|t| t.kind)
    }

    /// Neurons keep a membrane from step to step.
    pub fn is_neuron(self) -> bool {
        matches!(self, Self::I | Self::If | Self::Li | Self::Lif | Self::CubaLi | Self::CubaLif)
    }

    /// Neurons that fire.
    pub fn fires(self) -> bool {
        matches!(self, Self::If | Self::Lif | Self::CubaLif)
    }

    /// Neurons with a synaptic current of their own.
    pub fn has_current(self) -> bool {
        matches!(self, Self::CubaLi | Self::CubaLif)
    }
}

impl Of {
    /// What is wrong with the numbers of a parameter, in words.
    pub fn check(self, array: &Array) -> Result<(), String> {
        // Sizes beyond this are no sizes, and their products would overflow.
        let whole = |x: f64| x.fract() == 0.0 && x.abs() <= f64::from(u32::MAX);
        let (good, expected): (fn(f64, bool) -> bool, &str) = match self {
            Self::Number => (|_, _| true, "finite numbers"),
            Self::Positive => (|x, _| x > 0.0, "numbers above 0"),
            Self::NotNegative => (|x, _| x >= 0.0, "numbers that are not negative"),
            Self::Size => (|x, whole| whole && x >= 0.0, "whole numbers that are not negative"),
            Self::Count => (|x, whole| whole && x >= 1.0, "whole numbers above 0"),
            Self::Whole => (|_, whole| whole, "whole numbers"),
        };
        match array.values.iter().find(|x| !x.is_finite() || !good(**x, whole(**x))) {
            Some(x) => Err(format!("{x}, expected {expected}")),
            None if array.values.is_empty() => Err("no number at all".to_string()),
            None => Ok(()),
        }
    }
}
