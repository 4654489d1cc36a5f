//! Asking in other ways: what an edit hides from the plain question may still be there.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::group::{Group, Material, Parts};
use crate::data::{Item, Target};

/// Another way to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Attack {
    /// A question that is kept stands before it, with its answer.
    Prefix,
    /// Two worked examples stand before it.
    FewShot,
}

impl Attack {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Prefix, Self::FewShot];

    /// For tables.
    pub fn word(self) -> &'static str {
        match self {
            Self::Prefix => "after a kept question with its answer",
            Self::FewShot => "after two worked examples",
        }
    }

    /// The questions of `group` asked in this way; `kept` gives what stands before them. `None` where either is no task,
    /// or has too few questions.
    pub fn on(self, group: &Group, kept: Option<&Group>) -> Option<Group> {
        let Material::Task(task, parts) = &group.material else { return None };
        let before: &[Item] = match (self, kept.map(|k| &k.material)) {
            (Self::FewShot, _) => &parts.fit,
            (Self::Prefix, Some(Material::Task(_, kept))) => &kept.fit,
            (Self::Prefix, _) => return None,
        };
        let many = if self == Self::FewShot { 2 } else { 1 };
        if before.len() < many {
            return None;
        }
        let asked = |(i, item): (usize, &Item)| {
            let examples = (0..many).map(|k| answered(&before[(many * i + k) % before.len()]));
            Item { prompt: examples.collect::<String>() + &item.prompt, ..item.clone() }
        };
        let test = parts.test.iter().enumerate().map(asked).collect();
        let parts = Parts { fit: Vec::new(), validation: Vec::new(), test };
        Some(Group { name: group.name.clone(), material: Material::Task(task.clone(), parts), general: group.general })
    }
}

/// A question with its answer, on a line.
fn answered(item: &Item) -> String {
    let answer = match &item.target {
        Target::Text(answer) | Target::Likelihood(answer) => answer.as_str(),
        Target::Choice { choices, right } => &choices[*right],
    };
    format!("{}{answer}\n", item.prompt)
}
