//! Written answers against their targets.

use std::sync::LazyLock;

use regex::Regex;

use crate::Result;
use crate::data::{Metric, Select, Task};

/// What a filter gives where its pattern is not in the answer; never equal to a target.
const INVALID: &str = "[invalid]";

/// Punctuation in any script. `None` cannot be: the pattern is fixed.
static PUNCTUATION: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"[\p{P}\p{S}]").ok());

/// A task's filters and comparison, compiled.
pub(super) struct Judge<'a> {
    task: &'a Task,
    filters: Vec<(Regex, Select)>,
    target: Option<Regex>,
}

impl<'a> Judge<'a> {
    pub fn new(task: &'a Task) -> Result<Self> {
        let filters = task.filters.iter().map(|f| Ok((task.regex(&f.regex)?, f.select)));
        let target = task.compare.target_regex.as_ref().map(|r| task.regex(r)).transpose()?;
        Ok(Self { task, filters: filters.collect::<Result<_>>()?, target })
    }

    /// The names of the filters, `none` where there are none.
    pub fn filters(&self) -> Vec<String> {
        match self.task.filters.is_empty() {
            true => vec!["none".to_string()],
            false => self.task.filters.iter().map(|f| f.name.clone()).collect(),
        }
    }

    /// What each filter leaves of an answer.
    pub fn filtered(&self, answer: &str) -> Vec<String> {
        if self.filters.is_empty() {
            return vec![answer.trim().to_string()];
        }
        let part = |(regex, select): &(Regex, Select)| {
            let found = match select {
                Select::First => regex.captures(answer),
                Select::Last => regex.captures_iter(answer).last(),
            };
            found.map_or(INVALID.to_string(), |c| first_group(&c).trim().to_string())
        };
        self.filters.iter().map(part).collect()
    }

    /// The part of a target that is compared.
    pub fn target(&self, target: &str) -> String {
        let found = self.target.as_ref().and_then(|r| r.captures(target));
        found.map_or(target, |c| first_group(&c)).trim().to_string()
    }

    /// The metric of one answer, between 0 and 1.
    pub fn score(&self, metric: Metric, answer: &str, target: &str) -> f64 {
        let (answer, target) = (self.form(answer), self.form(target));
        match metric {
            Metric::Contains => f64::from(u8::from(!target.is_empty() && answer.contains(&target))),
            Metric::F1 => overlap(&words(&answer), &words(&target)),
            _ => f64::from(u8::from(answer == target)),
        }
    }

    /// The form in which texts are compared.
    fn form(&self, text: &str) -> String {
        let compare = &self.task.compare;
        let mut text = text.trim().to_string();
        if compare.number
            && let Some(number) = number(&text)
        {
            return number;
        }
        if compare.ignore_case {
            text = text.to_lowercase();
        }
        if compare.ignore_punctuation
            && let Some(punctuation) = &*PUNCTUATION
        {
            text = punctuation.replace_all(&text, "").into_owned();
        }
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

/// How a task would score a written answer: each filter's name and what it leaves, with every metric. For trying filters
/// and comparisons without a model.
///
/// # Errors
/// [`crate::Error::Invalid`] for a task with a broken regular expression.
pub fn grade(task: &Task, answer: &str, target: &str) -> Result<Vec<Grade>> {
    let judge = Judge::new(task)?;
    let target = judge.target(target);
    let each = judge.filters().into_iter().zip(judge.filtered(answer));
    let grade = |(filter, kept): (String, String)| {
        let scores = task.metrics().into_iter().map(|m| (m, judge.score(m, &kept, &target))).collect();
        Grade { filter, kept, scores }
    };
    Ok(each.map(grade).collect())
}

/// What one filter makes of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Grade {
    /// The filter's name.
    pub filter: String,
    /// The part of the answer that is compared.
    pub kept: String,
    /// The metrics, between 0 and 1.
    pub scores: Vec<(Metric, f64)>,
}

fn first_group<'t>(captures: &regex::Captures<'t>) -> &'t str {
    let groups = captures.iter().skip(1).flatten().next().or_else(|| captures.get(0));
    groups.map_or("", |m| m.as_str())
}

/// A decimal number in one form: no plus, no thousands commas, no currency sign, no zeros that say nothing.
pub(super) fn number(text: &str) -> Option<String> {
    let bare: String = text.chars().filter(|c| !matches!(c, ',' | '$' | '€' | '£' | '¥' | ' ')).collect();
    let bare = bare.strip_suffix('.').unwrap_or(&bare);
    let (sign, digits) = match bare.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", bare.strip_prefix('+').unwrap_or(bare)),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let numeric = |s: &str| s.chars().all(|c| c.is_ascii_digit());
    if (whole.is_empty() && part.is_empty()) || !numeric(whole) || !numeric(part) {
        return None;
    }
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    let part = part.trim_end_matches('0');
    let sign = if whole == "0" && part.is_empty() { "" } else { sign };
    Some(if part.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{part}") })
}

/// The words of a text; characters of scripts that write no spaces stand alone.
fn words(text: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let mut open = false;
        for c in word.chars() {
            let alone = writes_no_spaces(c);
            match out.last_mut() {
                Some(last) if open && !alone => last.push(c),
                _ => out.push(c.to_string()),
            }
            open = !alone;
        }
    }
    out
}

/// Thai, Lao, Myanmar, Khmer, Japanese and Chinese letters.
fn writes_no_spaces(c: char) -> bool {
    matches!(u32::from(c), 0xe00..=0xeff | 0x1000..=0x109f | 0x1780..=0x17ff | 0x3040..=0x30ff | 0x3400..=0x4dbf
        | 0x4e00..=0x9fff | 0xf900..=0xfaff | 0x20000..=0x3fffd)
}

/// Twice the shared words over all words (Rajpurkar et al. 2016).
fn overlap(a: &[String], b: &[String]) -> f64 {
    if a.is_empty() || b.is_empty() {
        return f64::from(u8::from(a == b));
    }
    let mut left = b.to_vec();
    let shared = a.iter().filter(|word| {
        let found = left.iter().position(|w| w == *word);
        found.map(|at| left.swap_remove(at)).is_some()
    });
    2.0 * shared.count() as f64 / (a.len() + b.len()) as f64
}
