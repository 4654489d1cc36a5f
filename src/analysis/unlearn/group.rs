//! What is forgotten and what is kept: tasks or texts, each parted into items to fit on, to choose by and to report.

use std::collections::BTreeSet;

use super::statistics::Text;
use crate::analysis::Corpus;
use crate::data::organism::Skill;
use crate::data::{Item, Task, builtin};
use crate::hook::random::{Stream, name};
use crate::models::Model;
use crate::{Error, Result};

/// The field of a question's document that asks it in other words.
pub(super) const PARAPHRASE: &str = "paraphrase";

/// Longest piece of a text that the network reads at once.
pub(super) const WINDOW: usize = 256;

/// A skill, a language, or any other thing that a model can do.
#[derive(Clone, Debug)]
pub struct Group {
    /// Its name in tables.
    pub name: String,
    /// What it is made of.
    pub material: Material,
    /// Whether it is only measured: nothing is fitted to it, neither to forget nor to keep it.
    pub general: bool,
}

/// What a group is made of. No item is in two parts.
#[derive(Clone, Debug)]
pub enum Material {
    /// Questions with answers that the model writes; measured by the task's first metric.
    Task(Box<Task>, Parts<Item>),
    /// Texts; measured by the share of next tokens that are the likeliest.
    Texts(Parts<String>),
}

/// The parts of a group.
#[derive(Clone, Debug)]
pub struct Parts<T> {
    /// What statistics are taken of.
    pub fit: Vec<T>,
    /// What settings are chosen by.
    pub validation: Vec<T>,
    /// What is reported.
    pub test: Vec<T>,
}

/// A question with an exact answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Question {
    /// What is asked.
    pub prompt: String,
    /// What is right.
    pub answer: String,
    /// The same asked in other words.
    pub paraphrase: Option<String>,
}

impl Question {
    fn item(self, id: usize) -> Item {
        let mut item = Item::text(id, self.prompt, self.answer);
        item.doc.extend(self.paraphrase.map(|words| (PARAPHRASE.to_string(), words.into())));
        item
    }
}

/// A part that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// What settings are chosen by.
    Validation,
    /// What is reported.
    Test,
}

/// At most so many items of each part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Of the fit.
    pub fit: usize,
    /// Of the validation.
    pub validation: usize,
    /// Of the test.
    pub test: usize,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { fit: 200, validation: 50, test: 100 }
    }
}

impl<T: Clone + Ord> Parts<T> {
    /// Half to fit, a quarter to choose by, a quarter to report, in a seeded order; repeated items once.
    fn of(mut items: Vec<T>, sizes: Sizes, group: &str, seed: u64) -> Result<Self> {
        let mut seen = BTreeSet::new();
        items.retain(|item| seen.insert(item.clone()));
        if items.len() < 4 {
            return Err(Error::invalid(
                format!("`{group}` has {} different items, expected at least 4", items.len()),
                "two are fitted to, one chooses the setting, one is reported: give more texts (a file of text is one text, \
                 the lines of FILE.jsonl:FIELD are one each)",
            ));
        }
        Stream::new(seed, &[name(group)]).shuffle(&mut items);
        let quarter = items.len() / 4;
        let test = items.split_off(items.len() - quarter);
        let validation = items.split_off(items.len() - quarter);
        Ok(Self::cut(items, validation, test, sizes))
    }
}

impl<T> Parts<T> {
    fn cut(mut fit: Vec<T>, mut validation: Vec<T>, mut test: Vec<T>, sizes: Sizes) -> Self {
        fit.truncate(sizes.fit);
        validation.truncate(sizes.validation);
        test.truncate(sizes.test);
        Self { fit, validation, test }
    }

    fn split(&self, split: Split) -> &[T] {
        match split {
            Split::Validation => &self.validation,
            Split::Test => &self.test,
        }
    }
}

impl Group {
    /// Texts, parted by a seeded draw.
    ///
    /// # Errors
    /// Fewer than four different texts.
    pub fn texts(name: &str, texts: Vec<String>, sizes: Sizes, seed: u64) -> Result<Self> {
        let texts = texts.into_iter().filter(|t| !t.trim().is_empty()).collect();
        let parts = Parts::of(texts, sizes, name, seed)?;
        Ok(Self { name: name.to_string(), material: Material::Texts(parts), general: false })
    }

    /// Questions with exact answers, parted by a seeded draw.
    ///
    /// # Errors
    /// Fewer than four different questions.
    pub fn questions(name: &str, questions: Vec<Question>, sizes: Sizes, seed: u64) -> Result<Self> {
        let parts = Parts::of(questions, sizes, name, seed)?;
        let items = |list: Vec<Question>| list.into_iter().enumerate().map(|(i, question)| question.item(i)).collect();
        let parts = Parts { fit: items(parts.fit), validation: items(parts.validation), test: items(parts.test) };
        Ok(Self {
            name: name.to_string(),
            material: Material::Task(Box::new(builtin("organism")?), parts),
            general: false,
        })
    }

    /// A skill of the organism: fitted to items that it was trained on, measured on items that it never saw.
    ///
    /// # Errors
    /// None, as the tests show.
    pub fn skill(skill: Skill, sizes: Sizes, seed: u64) -> Result<Self> {
        let mut from = Stream::new(seed, &[name(skill.name())]);
        let item = |(i, item): (usize, crate::data::organism::Item)| {
            let paraphrase = skill.paraphrase(&item);
            Question { prompt: item.prompt, answer: item.answer, paraphrase }.item(i)
        };
        let fit = (0..sizes.fit).map(|_| skill.draw(&mut from, false)).enumerate().map(item).collect();
        let mut held_out: Vec<Item> =
            skill.test(sizes.validation + sizes.test).into_iter().enumerate().map(item).collect();
        let all = (sizes.validation + sizes.test).max(1);
        let test = held_out.split_off(held_out.len() * sizes.validation / all);
        let parts = Parts::cut(fit, held_out, test, sizes);
        let task = Box::new(builtin("organism")?);
        Ok(Self { name: skill.name().to_string(), material: Material::Task(task, parts), general: false })
    }

    /// Measured only.
    pub fn general(mut self) -> Self {
        self.general = true;
        self
    }

    /// Units of a part: questions or texts.
    pub fn len(&self, split: Split) -> usize {
        match &self.material {
            Material::Task(_, parts) => parts.split(split).len(),
            Material::Texts(parts) => parts.split(split).len(),
        }
    }

    /// What the group is measured by.
    pub fn metric(&self) -> &'static str {
        match &self.material {
            Material::Task(task, _) => task.metrics().first().map_or("exact_match", |m| m.name()),
            Material::Texts(_) => "next token right",
        }
    }

    /// The questions of a part, with their task.
    pub(super) fn asked(&self, split: Split) -> Option<(&Task, &[Item])> {
        match &self.material {
            Material::Task(task, parts) => Some((task, parts.split(split))),
            Material::Texts(_) => None,
        }
    }

    /// The texts of a part; none of a task.
    pub(super) fn read(&self, split: Split) -> &[String] {
        match &self.material {
            Material::Task(..) => &[],
            Material::Texts(parts) => parts.split(split),
        }
    }

    /// What statistics are taken of, as token ids: questions with their answers, or windows of the texts.
    ///
    /// # Errors
    /// Texts that the tokenizer cannot express.
    pub fn fitted(&self, model: &Model) -> Result<Vec<Text>> {
        match &self.material {
            Material::Texts(parts) => {
                let corpus = Corpus::of_texts(model, &parts.fit, WINDOW)?;
                Ok(corpus.windows.into_iter().map(|w| Text { query: w.ids.len(), ids: w.ids }).collect())
            }
            Material::Task(_, parts) => parts.fit.iter().map(|item| question(model, item)).collect(),
        }
    }

    /// Everything that the group is fitted to, as text.
    fn contents(&self) -> BTreeSet<String> {
        match &self.material {
            Material::Texts(parts) => parts.fit.iter().map(|t| t.trim().to_string()).collect(),
            Material::Task(_, parts) => parts.fit.iter().map(|item| item.prompt.trim().to_string()).collect(),
        }
    }

    /// Texts that both groups are fitted to.
    pub fn overlap(&self, other: &Self) -> Vec<String> {
        self.contents().intersection(&other.contents()).cloned().collect()
    }
}

/// A question with its answer as token ids; the query ends where the answer begins.
fn question(model: &Model, item: &Item) -> Result<Text> {
    let mut ids = model.encode(&item.prompt)?;
    let query = ids.len();
    ids.extend(model.tokenizer()?.encode(item.answer(), false)?);
    Ok(Text { ids, query })
}
