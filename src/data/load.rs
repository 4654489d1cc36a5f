//! From files to items: documents by group, worked examples, prompts and targets.

use regex::Regex;
use serde_json::Value;

use super::docs::Docs;
use super::item::{Doc, Item, Target};
use super::task::{Choices, OutputType, Sampler, Task};
use super::template::Templates;
use crate::hook::random;
use crate::store::text::nearest;
use crate::store::{DataSet, HubOptions, Lines};
use crate::{Error, Result};

/// The documents of one group.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Split {
    /// The group, if the files have one.
    pub group: Option<String>,
    /// Its documents in order.
    pub docs: Vec<Doc>,
}

impl Task {
    /// The items of this task from a folder, a file or a Hub repository (`hub:org/name`).
    ///
    /// A folder or repository is searched by the patterns of [`Task::data`]. A single file is taken as the documents to
    /// score, and worked examples come from it too.
    ///
    /// # Errors
    /// Files that are missing, broken (with the line) or empty; templates that do not fit the documents; too few documents
    /// for the worked examples.
    pub fn load(&self, spec: &str, hub: &HubOptions) -> Result<Vec<Item>> {
        self.check()?;
        let set = DataSet::open(spec, hub)?;
        let shots = self.fewshot.count;
        let own = set.single().is_some() || self.data.fewshot.is_empty();
        // Examples must not depend on how many items are scored.
        let limit = self.limit.filter(|_| shots == 0 || !own);
        let tests = self.splits(&set, &self.data.test, limit)?;
        let pool = match shots > 0 && !own {
            true => self.splits(&set, &self.data.fewshot, None)?,
            false => Vec::new(),
        };
        self.items(&tests, (!own).then_some(&pool))
    }

    /// The items for documents at hand. `pool` is where worked examples come from: with `None` from `tests`, the item
    /// itself left out.
    ///
    /// # Errors
    /// As [`Task::load`].
    pub fn items(&self, tests: &[Split], pool: Option<&[Split]>) -> Result<Vec<Item>> {
        let builder = Builder { task: self, templates: Templates::new(self)? };
        let mut examples = Vec::new();
        if self.fewshot.count > 0 {
            for split in pool.unwrap_or(tests) {
                let made = split.docs.iter().map(|doc| builder.question(doc, split.group.as_deref()));
                examples.push((split.group.as_deref(), made.collect::<Result<Vec<_>>>()?));
            }
        }
        let mut items = Vec::new();
        for split in tests {
            let group = split.group.as_deref();
            let same = examples.iter().find(|(g, _)| *g == group);
            let common = || examples.iter().find(|(g, _)| g.is_none());
            let examples = same.or_else(common).map_or(&[][..], |(_, e)| e.as_slice());
            for (id, doc) in split.docs.iter().enumerate().take(self.limit.unwrap_or(usize::MAX)) {
                items.push(builder.item(id, doc, group, examples, pool.is_none())?);
            }
        }
        if items.is_empty() {
            return Err(Error::invalid(
                format!("task `{}` has no document to ask about", self.name),
                "give data that is not empty, and a limit of at least 1",
            ));
        }
        Ok(items)
    }

    /// The documents of the files that a pattern picks, group by group.
    fn splits(&self, set: &DataSet, patterns: &[String], limit: Option<usize>) -> Result<Vec<Split>> {
        let mut splits: Vec<Split> = Vec::new();
        for (group, name) in picked(&self.name, set, patterns)? {
            if group.as_ref().is_some_and(|g| self.data.skip_groups.contains(g)) {
                continue;
            }
            let path = set.file(&name)?;
            let at = splits.iter().position(|s| s.group == group).unwrap_or_else(|| {
                splits.push(Split { group: group.clone(), docs: Vec::new() });
                splits.len() - 1
            });
            let split = &mut splits[at];
            let room = limit.map_or(usize::MAX, |l| l.saturating_sub(split.docs.len()));
            for doc in Docs::open(&path, &self.data.columns)?.take(room) {
                split.docs.push(doc?.1);
            }
            if split.docs.is_empty() && limit != Some(0) {
                return Err(Error::file(path, "the file holds no document", "give a file with at least one"));
            }
        }
        for split in &mut splits {
            self.join_lines(set, split)?;
        }
        Ok(splits)
    }

    /// Puts the lines of the file beside in the place of their numbers.
    fn join_lines(&self, set: &DataSet, split: &mut Split) -> Result<()> {
        let Some(join) = &self.data.lines else { return Ok(()) };
        if !split.docs.iter().any(|doc| doc.get(&join.field).is_some_and(Value::is_u64)) {
            return Ok(());
        }
        let name = join.file.replace("{group}", split.group.as_deref().unwrap_or(""));
        let path = set.file(&name)?;
        let lines = Lines::open(&path)?.map(|line| line.map(|(_, text)| text)).collect::<Result<Vec<_>>>()?;
        for doc in &mut split.docs {
            let Some(value) = doc.get_mut(&join.field) else { continue };
            let Some(number) = value.as_u64() else { continue };
            let line = usize::try_from(number).ok().and_then(|n| lines.get(n)).ok_or_else(|| {
                Error::file(
                    &path,
                    format!("a document asks for line {number} (from 0), but there are {}", lines.len()),
                    "use the files that belong together",
                )
            })?;
            *value = Value::String(line.clone());
        }
        Ok(())
    }
}

/// The files that the first fitting pattern picks, each with its group.
fn picked(task: &str, set: &DataSet, patterns: &[String]) -> Result<Vec<(Option<String>, String)>> {
    let files = set.files();
    for pattern in patterns {
        let pattern = matcher(pattern)?;
        let found = files.iter().filter_map(|file| {
            let group = pattern.captures(file)?.name("group").map(|g| g.as_str().to_string());
            Some((group, file.clone()))
        });
        let found: Vec<_> = found.collect();
        if !found.is_empty() {
            return Ok(found);
        }
    }
    match set.single() {
        Some(file) => Ok(vec![(None, file.to_string())]),
        None => Err(Error::invalid(
            format!(
                "task `{task}` finds no file in `{}`, expected {}",
                set.spec(),
                if patterns.is_empty() { "`data.test` in the task".to_string() } else { patterns.join(" or ") }
            ),
            format!(
                "give the folder that holds it, or one file; nearest: {}",
                nearest(patterns.first().map_or("", String::as_str), files.iter().map(String::as_str), 3)
            ),
        )),
    }
}

/// A pattern of file names as a regular expression.
fn matcher(pattern: &str) -> Result<Regex> {
    let escaped = regex::escape(pattern).replace(r"\*", "[^/]*").replace(r"\{group\}", "(?<group>[^/]+?)");
    Regex::new(&format!("^{escaped}$")).map_err(|e| {
        Error::invalid(format!("the file pattern `{pattern}` cannot be used: {e}"), "use `*` and at most one `{group}`")
    })
}

/// A document as a question, before worked examples.
#[derive(Clone, Debug, PartialEq)]
struct Question {
    text: String,
    target: Target,
}

impl Question {
    /// The right answer as text.
    fn answer(&self) -> &str {
        match &self.target {
            Target::Text(text) | Target::Likelihood(text) => text,
            Target::Choice { choices, right } => &choices[*right],
        }
    }
}

struct Builder<'a> {
    task: &'a Task,
    templates: Templates,
}

impl Builder<'_> {
    fn question(&self, doc: &Doc, group: Option<&str>) -> Result<Question> {
        let text = self.templates.render(Templates::TEXT, doc, group)?;
        let target = self.templates.render(Templates::TARGET, doc, group)?;
        let target = match self.task.output_type {
            OutputType::GenerateUntil => Target::Text(target),
            OutputType::Perplexity => Target::Likelihood(target),
            OutputType::MultipleChoice => {
                let choices = self.choices(doc, group)?;
                let right = self.right(&choices, target.trim())?;
                Target::Choice { choices, right }
            }
        };
        Ok(Question { text, target })
    }

    fn choices(&self, doc: &Doc, group: Option<&str>) -> Result<Vec<String>> {
        let wrong = |what: String| {
            let hint = "give `doc_to_choice` as a list of templates, or as the name of a field with a list of texts";
            Error::invalid(format!("task `{}`: {what}", self.task.name), hint)
        };
        let choices: Vec<String> = match &self.task.doc_to_choice {
            Some(Choices::Templates(list)) => {
                let choice = |i| self.templates.render(&Templates::choice(i), doc, group);
                (0..list.len()).map(choice).collect::<Result<_>>()?
            }
            Some(Choices::Field(field)) => {
                let list = doc.get(field).and_then(Value::as_array);
                let list = list.ok_or_else(|| wrong(format!("a document has no list in the field `{field}`")))?;
                let text = |v: &Value| v.as_str().map(str::to_string);
                let texts = list.iter().map(text).collect::<Option<Vec<_>>>();
                texts
                    .ok_or_else(|| wrong(format!("the list in the field `{field}` holds something else than texts")))?
            }
            None => return Err(wrong("it is a multiple choice without choices".to_string())),
        };
        if choices.len() < 2 || choices.iter().any(String::is_empty) {
            return Err(wrong(format!("a document has {} choices, or an empty one", choices.len())));
        }
        Ok(choices)
    }

    /// The right choice by its text, or else by its number.
    fn right(&self, choices: &[String], target: &str) -> Result<usize> {
        let by_text = choices.iter().position(|c| c.trim() == target);
        let by_number = || target.parse().ok().filter(|n: &usize| *n < choices.len());
        by_text.or_else(by_number).ok_or_else(|| {
            Error::invalid(
                format!("task `{}`: the target `{target}` is none of the choices", self.task.name),
                format!("expected one of {choices:?} or a number below {}", choices.len()),
            )
        })
    }

    fn item(&self, id: usize, doc: &Doc, group: Option<&str>, pool: &[Question], from_itself: bool) -> Result<Item> {
        let question = self.question(doc, group)?;
        let mut prompt = self.templates.render(Templates::DESCRIPTION, doc, group)?;
        for at in self.examples(id, &question, group, pool, from_itself)? {
            prompt.push_str(&pool[at].text);
            prompt.push_str(&self.task.target_delimiter);
            prompt.push_str(pool[at].answer());
            prompt.push_str(&self.task.fewshot_delimiter);
        }
        prompt.push_str(&question.text);
        Ok(Item {
            id,
            group: group.map(str::to_string),
            doc: doc.clone(),
            prompt,
            delimiter: self.task.target_delimiter.clone(),
            target: question.target,
        })
    }

    /// Which documents of the pool become examples: never the item, nor a copy of it.
    fn examples(
        &self,
        id: usize,
        question: &Question,
        group: Option<&str>,
        pool: &[Question],
        from_itself: bool,
    ) -> Result<Vec<usize>> {
        let shots = &self.task.fewshot;
        if shots.count == 0 {
            return Ok(Vec::new());
        }
        let others = (0..pool.len()).filter(|at| !(from_itself && *at == id) && pool[*at] != *question);
        let chosen: Vec<usize> = match shots.sampler {
            Sampler::FirstN => others.take(shots.count).collect(),
            Sampler::Random => {
                let item = random::key(shots.seed, &[random::name(group.unwrap_or("")), id as u64]);
                let mut keyed: Vec<(u64, usize)> = others.map(|at| (random::key(item, &[at as u64]), at)).collect();
                keyed.sort_unstable();
                keyed.into_iter().take(shots.count).map(|(_, at)| at).collect()
            }
        };
        if chosen.len() < shots.count {
            return Err(Error::invalid(
                format!(
                    "task `{}` wants {} worked examples{}, but there are {} documents beside the item",
                    self.task.name,
                    shots.count,
                    group.map_or(String::new(), |g| format!(" for `{g}`")),
                    chosen.len()
                ),
                "lower `fewshot.count`, or give more data",
            ));
        }
        Ok(chosen)
    }
}
