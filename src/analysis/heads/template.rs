//! Template detectors: how much of a head's attention lies where a named kind of head would put it
//! (TransformerLens's `detect_head`).
//!
//! A template is a lower-triangular 0/1 matrix D, `[query, key]`:
//!
//! ```text
//! previous:   D[i, i - 1] = 1
//! duplicate:  D[i, j] = 1    if tok_i = tok_j and j < i
//! induction:  D[i, j] = 1    if tok_i = tok_(j-1) and 1 <= j <= i
//! mul = sum(A D) / sum(A)              the share of attention that lies on D
//! abs = 1 - T mean |A - D|             1 if A is D, down to -1; the mean is over all T x T entries
//! ```
//!
//! TransformerLens leaves out the first column (`exclude_bos`) and the diagonal (`exclude_current_token`) by zeroing A
//! under mul but |A - D| under abs; this module does the same. It rounds abs to three digits, this module does not.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A kind of head, by where it attends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Template {
    /// The token before.
    Previous,
    /// Earlier copies of the token.
    Duplicate,
    /// What followed earlier copies of the token.
    Induction,
}

/// How attention is compared with a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// The share of attention that lies on the template.
    Mul,
    /// One minus the mean difference times the number of tokens.
    Abs,
}

/// Attention that a comparison leaves out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Excluded {
    /// Attention to the first token.
    pub bos: bool,
    /// Attention of every token to itself.
    pub current: bool,
}

impl Template {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Previous, Self::Duplicate, Self::Induction];

    /// Whether the template lets query `i` of `tokens` attend to key `j`.
    pub fn allows(self, tokens: &[u32], i: usize, j: usize) -> bool {
        match self {
            Self::Previous => j + 1 == i,
            Self::Duplicate => j < i && tokens[i] == tokens[j],
            // The roots of TransformerLens's matrix are duplicates j - 1 < i, shifted one column to the right.
            Self::Induction => 1 <= j && j <= i && tokens[i] == tokens[j - 1],
        }
    }

    /// The template of a text: `[query, key]`, row by row.
    pub fn matrix(self, tokens: &[u32]) -> Vec<bool> {
        let t = tokens.len();
        (0..t * t).map(|at| self.allows(tokens, at / t, at % t)).collect()
    }
}

/// How alike a pattern `[query, key]` and a template of the same shape are; NaN where nothing is left to compare.
pub fn similarity(pattern: &[f32], template: &[bool], measure: Measure, excluded: Excluded) -> f64 {
    let t = template.len().isqrt();
    let left_out = |at: usize| excluded.bos && at.is_multiple_of(t) || excluded.current && at / t == at % t;
    let kept = pattern.iter().zip(template).enumerate().filter(|(at, _)| !left_out(*at)).map(|(_, pair)| pair);
    match measure {
        Measure::Mul => {
            let (on, all) = kept.fold((0.0, 0.0), |(on, all), (a, d)| {
                let a = f64::from(*a);
                (if *d { on + a } else { on }, all + a)
            });
            on / all
        }
        Measure::Abs => {
            let difference: f64 = kept.map(|(a, d)| (f64::from(*a) - f64::from(u8::from(*d))).abs()).sum();
            1.0 - difference / t as f64
        }
    }
}
