//! What each condition clamps, as edits of named passes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::Result;
use crate::data::fewshot::LABEL_POSITIONS;
use crate::hook::{Edit, Output, Pass, Run};

/// What is clamped. In all but [`Condition::Free`] and [`Condition::Matched`] one head of layer 1 is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Nothing; all heads live.
    Free,
    /// Nothing but the other heads' ablation.
    None,
    /// A head of layer 0 attends to the token before.
    Step1,
    /// Every head of layer 0 does: what the others did for the values is lost.
    Step1All,
    /// Keys of layer 1 read the embedding of the token before, values the token's own: part A is given.
    Layer1,
    /// The live head attends to the right label: A and B are given, C is learnt.
    Match,
    /// The live head's scores are the logits of the labels: C is given, A and B are learnt.
    Copy,
    /// A and C are given, B is learnt.
    Layer1Copy,
    /// For evaluation: every head of layer 1 attends to the right label.
    Matched,
}

impl Condition {
    /// The conditions of the paper's figure, in the order in which the loss falls there, last first.
    pub const CLAMPS: [Self; 6] = [Self::None, Self::Step1, Self::Layer1, Self::Copy, Self::Match, Self::Layer1Copy];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::None => "none",
            Self::Step1 => "step 1",
            Self::Step1All => "step 1, all heads",
            Self::Layer1 => "layer 1",
            Self::Match => "match",
            Self::Copy => "copy",
            Self::Layer1Copy => "layer 1 + copy",
            Self::Matched => "matched",
        }
    }

    /// Its name in figures.
    pub fn figure(self) -> String {
        self.name().replace([',', '+'], "").split_whitespace().collect::<Vec<_>>().join("_")
    }

    /// The passes on one input; the loss is of the last one's output. `live` is the head of layer 1 that is left.
    ///
    /// # Errors
    /// None, as the tests show.
    pub fn run(self, heads: usize, live: usize) -> Result<Run> {
        let others = |pass: &mut Vec<Edit>| -> Result<()> {
            let list: Vec<String> = (0..heads).filter(|h| *h != live).map(|h| h.to_string()).collect();
            if !list.is_empty() {
                pass.push(Edit::new(format!("blocks.1.attn.hook_z[head={}]", list.join(",")).parse()?, "zero"));
            }
            Ok(())
        };
        let ideal = |site: &str, template: &str| -> Result<Edit> {
            Ok(Edit::new(site.parse()?, "attend").with("template", template))
        };
        let perfect =
            |site: &str| -> Result<Edit> { Ok(ideal(site, "induction")?.with("candidates", json!(LABEL_POSITIONS))) };
        let stream = |value: serde_json::Value| -> Result<Edit> {
            Ok(Edit::new("blocks.0.hook_resid_post".parse()?, "replace").with("value", value))
        };
        // The gradient must flow into the embedding through both passes, or layer 1's keys would never learn.
        let shifted = || stream(json!({ "site": "hook_embed", "positions": [0, 0, 1, 2, 4], "detach": false }));
        let copied = || -> Result<Edit> {
            let scores = json!({ "site": "blocks.1.attn.hook_attn_scores", "detach": false });
            let edit = Edit::new("logits@last".parse()?, "copy_attended").with("value", scores).with("head", live);
            Ok(edit.with("candidates", json!(LABEL_POSITIONS)))
        };
        let mut edits = Vec::new();
        let mut passes = Vec::new();
        match self {
            Self::Free => {}
            Self::Matched => edits.push(perfect("blocks.1.attn.hook_pattern@last")?),
            Self::None => others(&mut edits)?,
            Self::Step1 => {
                edits.push(ideal("blocks.0.attn.hook_pattern[head=0]", "previous")?);
                others(&mut edits)?;
            }
            Self::Step1All => {
                edits.push(ideal("blocks.0.attn.hook_pattern", "previous")?);
                others(&mut edits)?;
            }
            Self::Layer1 => {
                passes.push(Pass {
                    name: "patterns".into(),
                    edits: vec![shifted()?],
                    output: Output::Unread,
                    ..Pass::default()
                });
                edits.push(stream(json!({ "site": "hook_embed", "detach": false }))?);
                let pattern = "blocks.1.attn.hook_pattern";
                let value = json!({ "pass": "patterns", "site": pattern, "detach": false });
                edits.push(Edit::new(pattern.parse()?, "replace").with("value", value));
                others(&mut edits)?;
            }
            Self::Match => {
                edits.push(perfect(&format!("blocks.1.attn.hook_pattern[head={live}]@last"))?);
                others(&mut edits)?;
            }
            Self::Copy => edits.push(copied()?),
            Self::Layer1Copy => edits.extend([shifted()?, copied()?]),
        }
        passes.push(Pass { name: "learn".into(), edits, ..Pass::default() });
        Ok(Run { passes })
    }
}
