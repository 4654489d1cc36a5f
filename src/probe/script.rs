//! Scripts: TOML files of steps and expectations.
//!
//! ```toml
//! title = "Release gate"
//! seed = 0
//!
//! [model]
//! path = "models/mine"          # used where the command line names no model
//! control = "models/untrained"  # the same architecture untrained, for steps that compare with it
//!
//! [texts]
//! english = "english.txt"       # or F.jsonl:field; paths start at the script's folder
//!
//! [[step]]
//! step = "doctor"
//! name = "health"               # the step's own name unless given
//! tokens = 24                   # parameters of the step
//! expect = "health.failed == 0" # or a list
//! ```

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use super::expect::{Expectation, Name, is_name};
use super::step::{Bound, Step};
use super::steps;
use crate::store::sha256_bytes;
use crate::store::text::{nearest, read_text};
use crate::{Error, Result};

/// Keys of a step that are not parameters.
const STEP_KEYS: [&str; 3] = ["step", "name", "expect"];

/// A script that was read and checked.
pub struct Script {
    /// Where it was read.
    pub path: PathBuf,
    /// As it was written.
    pub text: String,
    /// For people.
    pub title: String,
    /// Seed of every draw.
    pub seed: u64,
    /// The model to run on, where the request names none.
    pub model: Option<String>,
    /// Its untrained twin.
    pub control: Option<String>,
    /// Names and files of texts (see [`read_texts`](crate::data::read_texts)).
    pub texts: BTreeMap<String, String>,
    /// What to do, in order.
    pub steps: Vec<ScriptStep>,
}

/// A step of a script.
pub struct ScriptStep {
    /// The first part of its figures' names.
    pub name: String,
    /// The method.
    pub kind: &'static dyn Step,
    /// The method with its parameters.
    pub bound: Bound,
    /// What is expected of it.
    pub expectations: Vec<Expectation>,
}

impl ScriptStep {
    /// Whether it may give a figure of this full name.
    pub fn may_give(&self, figure: &str) -> bool {
        let own = figure.strip_prefix(&self.name).and_then(|rest| rest.strip_prefix('.'));
        own.is_some_and(|own| self.declares(own))
    }

    /// Whether it may give a figure of this name (without the step's).
    pub fn declares(&self, figure: &str) -> bool {
        self.bound.figures.iter().any(|pattern| matches(pattern, figure))
    }

    fn full_names(&self) -> impl Iterator<Item = String> {
        self.bound.figures.iter().map(|figure| format!("{}.{figure}", self.name))
    }
}

/// `*` stands for one or more characters.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, tail)) => name.strip_prefix(head).is_some_and(|rest| {
            let cuts = rest.char_indices().map(|(at, c)| at + c.len_utf8());
            cuts.into_iter().any(|at| matches(tail, &rest[at..]))
        }),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    title: String,
    #[serde(default)]
    seed: u64,
    #[serde(default)]
    model: ModelKeys,
    #[serde(default)]
    texts: BTreeMap<String, String>,
    #[serde(default)]
    step: Vec<IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelKeys {
    path: Option<String>,
    control: Option<String>,
}

impl Script {
    /// Reads a script.
    ///
    /// # Errors
    /// A file that cannot be read or is no script; see [`Script::parse`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let mut script = Self::parse(path, read_text(path)?)?;
        // A manifest must find the script's folder again from anywhere.
        script.path = std::path::absolute(path).map_err(Error::io(path))?;
        Ok(script)
    }

    /// Reads a script from its text; `path` is where relative paths start and what errors name.
    ///
    /// # Errors
    /// With line and column: TOML that does not parse, keys, steps, parameters and figures that nobody knows (with the
    /// nearest that somebody does), expectations that do not parse.
    pub fn parse(path: &Path, text: String) -> Result<Self> {
        let parser = Parser { path, text: &text };
        let root = DeTable::parse(&text).map_err(|e| parser.toml(&e, &[]))?;
        let head = Head::deserialize(Deserializer::from(root.clone())).map_err(|e| parser.toml(&e, &[]))?;
        if head.step.is_empty() {
            return Err(parser.wrong(
                0..0,
                "the script has no steps",
                "write at least one [[step]] with step = \"...\"",
            ));
        }
        let mut steps: Vec<ScriptStep> = Vec::new();
        let listed = root.get_ref().get("step").and_then(|list| list.get_ref().as_array());
        for entry in listed.into_iter().flatten() {
            let step = parser.step(entry, &steps)?;
            steps.push(step);
        }
        Ok(Self {
            path: path.to_path_buf(),
            title: head.title,
            seed: head.seed,
            model: head.model.path,
            control: head.model.control,
            texts: head.texts,
            steps,
            text,
        })
    }

    /// The folder where relative paths start.
    pub fn folder(&self) -> &Path {
        match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        }
    }

    /// A model that the script names: a folder beside the script if there is one, else what it is called.
    pub fn locate(&self, model: &str) -> String {
        let beside = self.folder().join(model);
        if beside.is_dir() { beside.display().to_string() } else { model.to_string() }
    }

    /// sha256 of the text.
    pub fn sha256(&self) -> String {
        sha256_bytes(self.text.as_bytes())
    }

    /// Whether an expectation needs a comparison; the first that does.
    pub fn needs_base(&self) -> Option<&Expectation> {
        self.steps.iter().flat_map(|s| &s.expectations).find(|e| e.needs_base())
    }
}

struct Parser<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Parser<'_> {
    fn wrong(&self, span: Range<usize>, what: impl std::fmt::Display, hint: impl Into<String>) -> Error {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Error::file(self.path, format!("line {line} column {column}: {what}"), hint)
    }

    /// What serde says, with the nearest of the keys it expected or `more`.
    fn toml(&self, error: &toml::de::Error, more: &[&str]) -> Error {
        let message = error.message().replace('\n', ", ");
        let unknown = message.split_once("unknown field").or_else(|| message.split_once("unknown variant"));
        let mut quoted = unknown.map_or("", |(_, rest)| rest).split('`').skip(1).step_by(2);
        let hint = match quoted.next() {
            Some(given) => did_you_mean(given, quoted.chain(more.iter().copied())),
            None => "repair the script".to_string(),
        };
        self.wrong(error.span().unwrap_or(0..0), message, hint)
    }

    fn step(&self, entry: &Spanned<DeValue>, earlier: &[ScriptStep]) -> Result<ScriptStep> {
        let table = entry
            .get_ref()
            .as_table()
            .ok_or_else(|| self.wrong(entry.span(), "a step is no table", "write it as [[step]]"))?;
        let wanted = table.get("step").ok_or_else(|| {
            self.wrong(entry.span(), "this step has no key `step`", "say what it does: step = \"doctor\"")
        })?;
        let wanted_name = self.string(wanted, "step")?;
        let kind = steps::find(wanted_name).ok_or_else(|| {
            let known = steps::ALL.iter().map(|s| s.name());
            self.wrong(wanted.span(), format!("unknown step `{wanted_name}`"), did_you_mean(wanted_name, known))
        })?;
        let (name, named_at) = match table.get("name") {
            Some(name) => (self.string(name, "name")?, name.span()),
            None => (kind.name(), wanted.span()),
        };
        if !is_name(name) || name.contains('.') || name == "base" {
            let hint = "use letters, digits and _, beginning with a letter; `base` is the comparison";
            return Err(self.wrong(named_at, format!("`{name}` cannot be the name of a step"), hint));
        }
        if earlier.iter().any(|s| s.name == name) {
            let hint = "give each a `name` of its own, which their figures then begin with";
            return Err(self.wrong(named_at, format!("a second step is named `{name}`"), hint));
        }
        let own: DeTable =
            table.iter().filter(|(k, _)| !STEP_KEYS.contains(&k.get_ref().as_ref())).map(clone).collect();
        let bound = kind.bind(Spanned::new(entry.span(), own)).map_err(|e| self.toml(&e, &STEP_KEYS))?;
        let mut step = ScriptStep { name: name.to_string(), kind, bound, expectations: Vec::new() };
        if let Some(expect) = table.get("expect") {
            step.expectations = self.expectations(expect, &step, earlier)?;
        }
        Ok(step)
    }

    fn string<'v>(&self, value: &'v Spanned<DeValue>, key: &str) -> Result<&'v str> {
        value.get_ref().as_str().ok_or_else(|| {
            let kind = value.get_ref().type_str();
            self.wrong(value.span(), format!("`{key}` is of type {kind}, expected a string"), "put it in quotes")
        })
    }

    /// One expectation, or a list.
    fn expectations(
        &self,
        value: &Spanned<DeValue>,
        step: &ScriptStep,
        earlier: &[ScriptStep],
    ) -> Result<Vec<Expectation>> {
        let one = |value: &Spanned<DeValue>| {
            let expectation = Expectation::parse(self.string(value, "expect")?)
                .map_err(|e| self.wrong(value.span(), e, "write FIGURE >= EXPRESSION, such as doctor.failed == 0"))?;
            for name in expectation.names() {
                let (Name::Here(figure) | Name::Base(figure)) = &name;
                let known = || earlier.iter().chain([step]);
                if !known().any(|s| s.may_give(figure)) {
                    let names: Vec<String> = known().flat_map(ScriptStep::full_names).collect();
                    let what = format!("no figure `{figure}` in this or an earlier step");
                    return Err(self.wrong(value.span(), what, nearest_figure(figure, &names)));
                }
            }
            Ok(expectation)
        };
        match value.get_ref().as_array() {
            Some(list) => list.iter().map(one).collect(),
            None => Ok(vec![one(value)?]),
        }
    }
}

fn clone<'a, 'i>(
    (key, value): (&'a Spanned<toml::de::DeString<'i>>, &'a Spanned<DeValue<'i>>),
) -> (Spanned<toml::de::DeString<'i>>, Spanned<DeValue<'i>>) {
    (key.clone(), value.clone())
}

fn did_you_mean<'a>(given: &str, known: impl Iterator<Item = &'a str>) -> String {
    format!("did you mean `{}`?", nearest(given, known, 1))
}

/// The nearest figure; one that only lacks its step's name first.
pub(super) fn nearest_figure(given: &str, known: &[String]) -> String {
    let suffix = format!(".{given}");
    match known.iter().find(|name| name.ends_with(&suffix)) {
        Some(whole) => format!("did you mean `{whole}`?"),
        None => did_you_mean(given, known.iter().map(String::as_str)),
    }
}
