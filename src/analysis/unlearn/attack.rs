//! Asking in other ways: what an edit hides from the plain question may still be there.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::group::{Group, Material, PARAPHRASE, Parts};
use crate::data::Item;

/// Another way to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Attack {
    /// A question that is kept stands before it, with its answer.
    Prefix,
    /// Two worked examples stand before it.
    FewShot,
    /// It is asked in other words, where the data have them.
    Paraphrase,
    /// The answer is drawn at temperature 1, not taken greedily.
    Sampling,
}

impl Attack {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Prefix, Self::FewShot, Self::Paraphrase, Self::Sampling];

    /// For tables.
    pub fn word(self) -> &'static str {
        match self {
            Self::Prefix => "after a kept question with its answer",
            Self::FewShot => "after two worked examples",
            Self::Paraphrase => "in other words",
            Self::Sampling => "sampled at temperature 1",
        }
    }

    /// The questions of `group` asked in this way; `kept` gives what stands before them. `None` where either is no task,
    /// or has too few questions.
    pub fn on(self, group: &Group, kept: Option<&Group>) -> Option<Group> {
        let Material::Task(task, parts) = &group.material else { return None };
        let test = match (self, kept.map(|k| &k.material)) {
            (Self::FewShot, _) => preceded(&parts.test, &parts.fit, 2)?,
            (Self::Prefix, Some(Material::Task(_, kept))) => preceded(&parts.test, &kept.fit, 1)?,
            (Self::Prefix, _) => return None,
            (Self::Paraphrase, _) => parts.test.iter().map(paraphrased).collect::<Option<_>>()?,
            (Self::Sampling, _) => parts.test.clone(),
        };
        let parts = Parts { fit: Vec::new(), validation: Vec::new(), test };
        Some(Group { name: group.name.clone(), material: Material::Task(task.clone(), parts), general: group.general })
    }
}

/// The questions after `many` others with their answers, if there are so many.
fn preceded(questions: &[Item], before: &[Item], many: usize) -> Option<Vec<Item>> {
    let asked = |(i, item): (usize, &Item)| {
        let examples = (0..many).map(|k| answered(&before[(many * i + k) % before.len()]));
        Item { prompt: examples.collect::<String>() + &item.prompt, ..item.clone() }
    };
    (before.len() >= many).then(|| questions.iter().enumerate().map(asked).collect())
}

/// A question with its answer, on a line.
fn answered(item: &Item) -> String {
    format!("{}{}\n", item.prompt, item.answer())
}

/// A question in other words, if its document has them.
fn paraphrased(item: &Item) -> Option<Item> {
    let prompt = item.doc.get(PARAPHRASE)?.as_str()?.to_string();
    Some(Item { prompt, ..item.clone() })
}
