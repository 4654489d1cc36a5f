//! Clamping attention: a site takes a value of the researcher's, and the rest of the network follows
//! (Singh et al. 2024, arXiv 2404.07129).
//!
//! ```text
//! site := where(mask, cache, computed)
//! ```
//!
//! The mask is a selector (heads, positions, rows); the cache is a constant, a stored record, or another pass or an
//! earlier site of the same one (the elementary `replace`). A clamped entry has no gradient to what would have been
//! computed there. A cache passes gradients on if it says `"detach": false`, which is what the paper's clamps of the first
//! layer need. Everything here is an edit like any other and acts while a network is run and while it is trained:
//!
//! | operation | site | what it does |
//! | --- | --- | --- |
//! | `attend` | `attn.hook_pattern` | puts an ideal pattern: previous token, duplicates, induction |
//! | `forbid` | `attn.hook_attn_scores` | takes that pattern away: scores there become -1e9 |
//! | `match` | `attn.hook_pattern` | attends to what followed the tokens that are most like the query |
//! | `copy_attended` | `logits` | logits are a head's scores, moved to the tokens that it attends to |
//!
//! A head's temperature is `scale` at `attn.hook_attn_scores`; its ablation is `zero` at `attn.hook_z`.

mod ops;
mod plans;

pub use ops::{Attend, CopyAttended, FORBIDDEN, Forbid, Match};
pub use plans::{Preserve, ablation, graft, shared_heads};

use crate::hook::OpKind;

/// The operations of this method.
pub fn kinds() -> Vec<OpKind> {
    vec![
        OpKind::of::<Attend>("attend", "pattern := that of an ideal head: previous token, duplicate or induction"),
        OpKind::of::<Forbid>("forbid", "scores := -1e9 where such a head would attend"),
        OpKind::of::<Match>("match", "pattern := softmax of cosine similarities, one token to the right"),
        OpKind::of::<CopyAttended>("copy_attended", "logits := a head's scores at the tokens it attends to, else -1e9"),
    ]
}
