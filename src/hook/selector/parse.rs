//! From text to [`Selector`]: one pass from left to right, without recursion.

use std::num::NonZeroUsize;

use super::index::{IndexItem, IndexList};
use super::pattern::{Pattern, Token};
use super::{MAX_TEXT, Phase, Positions, Selector, Times};
use crate::hook::Axis;
use crate::{Error, Result};

/// Numbers have at most this many digits, so that sums with lengths stay far inside `i64`.
const MAX_DIGITS: usize = 15;
const MAX_NUMBER: i64 = 999_999_999_999_999;

pub(super) fn selector(text: &str) -> Result<Selector> {
    let mut r = Reader::new(text)?;
    let pattern = r.pattern()?;
    let mut indices: Vec<(Axis, IndexList)> = Vec::new();
    while r.eat("[") {
        let at = r.at;
        let axis = r.axis()?;
        if indices.iter().any(|(a, _)| *a == axis) {
            return Err(r.wrong(at, format!("the axis `{}` is given twice; join the two lists", axis.name())));
        }
        r.need("=")?;
        let list = r.list()?;
        r.need("]")?;
        indices.push((axis, list));
    }
    indices.sort_by_key(|(axis, _)| axis.name());
    let mut scopes = Scopes::default();
    while r.eat("@") {
        r.scope(&mut scopes)?;
    }
    let ends = if scopes == Scopes::default() { "`[`, `@` or the end" } else { "`@` or the end" };
    r.end(ends)?;
    let selector = Selector {
        pattern,
        indices,
        positions: scopes.positions.unwrap_or_default(),
        phase: scopes.phase.unwrap_or_default(),
        raw: scopes.raw.is_some(),
        times: Times { steps: scopes.steps, every: scopes.every },
        rows: scopes.rows,
    };
    r.short_enough(&selector)?;
    Ok(selector)
}

pub(super) fn index_list(text: &str) -> Result<IndexList> {
    let mut r = Reader::new(text)?;
    let list = r.list()?;
    r.end("`,` or the end")?;
    r.short_enough(&list)?;
    Ok(list)
}

pub(super) fn positions(text: &str) -> Result<Positions> {
    match text {
        "all" => Ok(Positions::All),
        "last" => Ok(Positions::Last),
        _ => index_list(text).map(Positions::List),
    }
}

/// What stands after the name, as far as it was given.
#[derive(Default, PartialEq)]
struct Scopes {
    positions: Option<Positions>,
    phase: Option<Phase>,
    raw: Option<()>,
    steps: Option<IndexList>,
    every: Option<NonZeroUsize>,
    rows: Option<IndexList>,
}

fn too_long(text: &str, form: &str, length: usize) -> Error {
    Error::Syntax {
        text: text.chars().take(40).chain("...".chars()).collect(),
        at: 0,
        what: format!("expected at most {MAX_TEXT} bytes{form}, found {length}"),
    }
}

struct Reader<'a> {
    text: &'a str,
    /// In bytes; always on a character boundary.
    at: usize,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Result<Self> {
        if text.len() > MAX_TEXT {
            return Err(too_long(text, "", text.len()));
        }
        Ok(Self { text, at: 0 })
    }

    /// What reads must also write and read back, and canonical text can be longer than what was given.
    fn short_enough(&self, value: &impl ToString) -> Result<()> {
        match value.to_string().len() {
            length if length > MAX_TEXT => Err(too_long(self.text, " in canonical form", length)),
            _ => Ok(()),
        }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn eat(&mut self, what: &str) -> bool {
        let found = self.rest().starts_with(what);
        if found {
            self.at += what.len();
        }
        found
    }

    /// Takes the longest run of characters that pass.
    fn take(&mut self, pass: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let run = &rest[..rest.find(|c| !pass(c)).unwrap_or(rest.len())];
        self.at += run.len();
        run
    }

    fn wrong(&self, at: usize, what: impl Into<String>) -> Error {
        Error::Syntax { text: self.text.to_string(), at: self.text[..at].chars().count(), what: what.into() }
    }

    fn expected(&self, what: &str) -> Error {
        let found = match self.peek() {
            Some(c) => format!("`{}`", c.escape_debug()),
            None => "the end".to_string(),
        };
        self.wrong(self.at, format!("expected {what}, found {found}"))
    }

    fn need(&mut self, what: &str) -> Result<()> {
        if self.eat(what) { Ok(()) } else { Err(self.expected(&format!("`{what}`"))) }
    }

    fn end(&self, what: &str) -> Result<()> {
        if self.rest().is_empty() { Ok(()) } else { Err(self.expected(what)) }
    }

    fn pattern(&mut self) -> Result<Pattern> {
        let mut tokens: Vec<Token> = Vec::new();
        loop {
            match self.peek() {
                None | Some('[' | '@') => break,
                Some('*') => {
                    let stars = self.take(|c| c == '*').len();
                    tokens.push(if stars == 1 { Token::Star } else { Token::DeepStar });
                }
                Some('{') => tokens.push(self.braces(tokens.last())?),
                Some(_) => {
                    let text = self.take(|c| !c.is_whitespace() && !c.is_control() && !"*{}[]@".contains(c));
                    if text.is_empty() {
                        return Err(self.expected("a site name, `*`, `{`, `[` or `@`"));
                    }
                    tokens.push(Token::Text(text.to_string()));
                }
            }
        }
        if tokens.is_empty() {
            return Err(self.expected("a site name"));
        }
        Ok(Pattern(tokens))
    }

    /// `{0,3..6}` or `{q,k,v}`; `before` is the token to the left.
    fn braces(&mut self, before: Option<&Token>) -> Result<Token> {
        let open = self.at;
        self.need("{")?;
        let word_start = |c: char| c.is_ascii_alphabetic() || c == '_';
        if self.peek().is_some_and(word_start) {
            let mut words = Vec::new();
            loop {
                if !self.peek().is_some_and(word_start) {
                    return Err(self.expected("a word"));
                }
                let word = self.take(|c| c.is_ascii_alphanumeric() || c == '_');
                words.push(word.to_string());
                if !self.eat(",") {
                    break;
                }
            }
            if !self.eat("}") {
                return Err(self.expected("`,` or `}`"));
            }
            return Ok(Token::Words(words));
        }
        if self.eat("}") {
            return Err(self.wrong(open + 1, "expected a number, a range or a word, found `}`"));
        }
        let list = self.list()?;
        if !self.eat("}") {
            return Err(self.expected("`,` or `}`"));
        }
        let beside = match before {
            Some(Token::Text(text)) => text.ends_with(|c: char| c.is_ascii_digit()),
            Some(Token::Numbers(_)) => true,
            _ => false,
        };
        if beside || self.peek().is_some_and(|c| c.is_ascii_digit()) {
            let what = "numbers in braces are whole numbers; no digit and no other braced number may stand beside them";
            return Err(self.wrong(open, what));
        }
        Ok(Token::Numbers(list))
    }

    fn list(&mut self) -> Result<IndexList> {
        let mut items = vec![self.item()?];
        while self.eat(",") {
            items.push(self.item()?);
        }
        Ok(IndexList::new(items))
    }

    /// `7`, `-1`, `2..5`, `2..=5`, `2..`, `..5`.
    fn item(&mut self) -> Result<IndexItem> {
        let at = self.at;
        let start = self.number()?;
        if !self.eat("..") {
            return start.map(IndexItem::One).ok_or_else(|| self.expected("a number or a range"));
        }
        let closed = self.eat("=");
        let end_at = self.at;
        let end = self.number()?;
        if closed && end.is_none() {
            return Err(self.expected("a number"));
        }
        if closed && end == Some(MAX_NUMBER) {
            return Err(self.wrong(end_at, format!("expected a number below {MAX_NUMBER}")));
        }
        let start = start.unwrap_or(0);
        // `..=-1` reaches the last index, which has no half-open spelling but the open one.
        let end = if closed { end.map(|e| e + 1).filter(|e| *e != 0) } else { end };
        match end {
            Some(end) if (start < 0) == (end < 0) && end <= start || end == 0 => {
                Err(self.wrong(at, "expected a range that names something, found an empty one"))
            }
            end => Ok(IndexItem::Range(start, end)),
        }
    }

    fn number(&mut self) -> Result<Option<i64>> {
        let at = self.at;
        let minus = self.eat("-");
        let digits = self.take(|c| c.is_ascii_digit());
        if digits.is_empty() {
            return if minus { Err(self.expected("a digit")) } else { Ok(None) };
        }
        let value: Option<i64> = if digits.len() <= MAX_DIGITS { digits.parse().ok() } else { None };
        match value {
            None => Err(self.wrong(at, format!("expected a number of at most {MAX_DIGITS} digits"))),
            Some(0) if minus => Err(self.wrong(at, "expected a number, found `-0`; the last index is `-1`")),
            Some(value) => Ok(Some(if minus { -value } else { value })),
        }
    }

    /// The axis of a bracket; those that scopes select are refused with the scope to use.
    fn axis(&mut self) -> Result<Axis> {
        let at = self.at;
        let name = self.take(|c| c.is_ascii_alphanumeric() || c == '_');
        let scope = match Axis::named(name) {
            Some(Axis::Batch) => "rows are a scope: write `@rows=0,2..4`",
            Some(Axis::Pos) => "positions are a scope: write `@3`, `@0..5` or `@last`",
            Some(Axis::Time) => "time is a scope: write `@t=0..500`",
            Some(axis) => return Ok(axis),
            None => {
                let names = Axis::ALL.iter().filter(|a| !matches!(a, Axis::Batch | Axis::Pos | Axis::Time));
                let names: Vec<&str> = names.map(|a| a.name()).collect();
                let what = format!("expected an axis ({}), found `{name}`", names.join(", "));
                return Err(self.wrong(at, what));
            }
        };
        Err(self.wrong(at, format!("`{name}` cannot stand in brackets; {scope}")))
    }

    /// One scope, after its `@`.
    fn scope(&mut self, scopes: &mut Scopes) -> Result<()> {
        let at = self.at;
        let word = self.take(|c| c.is_ascii_alphabetic() || c == '_');
        let fresh = match word {
            "" if self.peek().is_some_and(|c| c.is_ascii_digit() || c == '-' || c == '.') => {
                let list = self.list()?;
                scopes.positions.replace(Positions::List(list)).is_none()
            }
            "all" => scopes.positions.replace(Positions::All).is_none(),
            "last" => scopes.positions.replace(Positions::Last).is_none(),
            "prompt" => scopes.phase.replace(Phase::Prompt).is_none(),
            "generated" => scopes.phase.replace(Phase::Generated).is_none(),
            "raw" => scopes.raw.replace(()).is_none(),
            "t" => {
                self.need("=")?;
                scopes.steps.replace(self.list()?).is_none()
            }
            "rows" => {
                self.need("=")?;
                scopes.rows.replace(self.list()?).is_none()
            }
            "every" => {
                self.need("=")?;
                let at = self.at;
                let every = self.number()?.and_then(|n| usize::try_from(n).ok()).and_then(NonZeroUsize::new);
                let every = every.ok_or_else(|| self.wrong(at, "expected a number of steps, at least 1"))?;
                scopes.every.replace(every).is_none()
            }
            _ => {
                let what = "expected positions (`last`, `all`, `3`, `0..5`, `-1`), `prompt`, `generated`, `raw`, \
                            `t=`, `every=` or `rows=`";
                let found = if word.is_empty() { String::new() } else { format!(", found `{word}`") };
                return Err(self.wrong(at, format!("{what}{found}")));
            }
        };
        if fresh { Ok(()) } else { Err(self.wrong(at, "a scope of this kind is given already")) }
    }
}
