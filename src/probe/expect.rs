//! What a script expects: `figure OP expression`.
//!
//! ```text
//! expectation  figure (>= | <= | > | < | == | !=) sum
//! sum          product ((+ | -) product)*
//! product      factor ((* | /) factor)*
//! factor       number | figure | base | base.figure | - factor | ( sum )
//! ```
//!
//! A figure is named by its step and its own name (`heads.induction.max`); `base` is the figure on the left in the
//! comparison, `base.NAME` another one there.

use std::cmp::Ordering;

use crate::report::figures::cell;
use crate::report::{Figure, Judged, Verdict};
use crate::{Error, Result};

/// Longest expectation and deepest nesting that is read.
const LONGEST: usize = 1000;
const DEEPEST: usize = 50;

const COMPARISONS: [(&str, Comparison); 6] = [
    (">=", Comparison::AtLeast),
    ("<=", Comparison::AtMost),
    ("==", Comparison::Equal),
    ("!=", Comparison::Unequal),
    (">", Comparison::Above),
    ("<", Comparison::Below),
];

/// One expectation.
#[derive(Clone, Debug, PartialEq)]
pub struct Expectation {
    /// As it was written.
    pub text: String,
    /// The figure on the left.
    pub figure: String,
    comparison: Comparison,
    bound: Expression,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    AtLeast,
    AtMost,
    Equal,
    Unequal,
    Above,
    Below,
}

impl Comparison {
    /// NaN on either side never holds.
    fn holds(self, value: f64, bound: f64) -> bool {
        match self {
            Self::AtLeast => value >= bound,
            Self::AtMost => value <= bound,
            Self::Equal => value == bound,
            Self::Unequal => value.partial_cmp(&bound).is_some_and(Ordering::is_ne),
            Self::Above => value > bound,
            Self::Below => value < bound,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Expression {
    Number(f64),
    Figure(Name),
    Negated(Box<Expression>),
    Joined(Box<Expression>, char, Box<Expression>),
}

/// A figure that an expectation speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// Of this run.
    Here(String),
    /// Of the comparison.
    Base(String),
}

impl Expectation {
    /// Reads an expectation.
    ///
    /// # Errors
    /// [`Error::Syntax`] with the character where reading stopped.
    pub fn parse(text: &str) -> Result<Self> {
        let mut reader = Reader { text, at: 0, depth: 0, left: String::new() };
        if text.len() > LONGEST {
            return Err(Error::invalid(
                format!("an expectation has {} bytes, expected at most {LONGEST}", text.len()),
                "split it into several",
            ));
        }
        let figure = match reader.word() {
            Some(word) if word != "base" && !word.starts_with("base.") => word.to_string(),
            _ => {
                reader.at = 0;
                return Err(reader.stopped("expected the name of a figure of this run, such as doctor.failed"));
            }
        };
        reader.left.clone_from(&figure);
        let comparison = reader.comparison()?;
        let bound = reader.sum()?;
        reader.skip_space();
        match reader.rest() {
            "" => Ok(Self { text: text.to_string(), figure, comparison, bound }),
            _ => Err(reader.stopped("expected + - * / or the end")),
        }
    }

    /// Every figure that it speaks of, the left one first.
    pub fn names(&self) -> Vec<Name> {
        fn collect(expression: &Expression, out: &mut Vec<Name>) {
            match expression {
                Expression::Number(_) => {}
                Expression::Figure(name) => out.push(name.clone()),
                Expression::Negated(inner) => collect(inner, out),
                Expression::Joined(a, _, b) => {
                    collect(a, out);
                    collect(b, out);
                }
            }
        }
        let mut out = vec![Name::Here(self.figure.clone())];
        collect(&self.bound, &mut out);
        out
    }

    /// Whether it needs a comparison.
    pub fn needs_base(&self) -> bool {
        self.names().iter().any(|name| matches!(name, Name::Base(_)))
    }

    /// The verdict, from the values of its figures; a figure that was not measured gives its reason instead.
    pub fn judge(&self, value_of: &dyn Fn(&Name) -> std::result::Result<f64, String>) -> Judged {
        let left = Name::Here(self.figure.clone());
        let values = value_of(&left).and_then(|value| Ok((value, evaluate(&self.bound, value_of)?)));
        let (verdict, reason, figures) = match values {
            Err(reason) => (Verdict::Skipped, reason, Vec::new()),
            Ok((value, bound)) => {
                let held = self.comparison.holds(value, bound);
                let verdict = if held { Verdict::Passed } else { Verdict::Failed };
                let figures = vec![Figure::new(&self.figure, cell(value)), Figure::new("bound", cell(bound))];
                (verdict, if held { String::new() } else { self.miss(value, bound) }, figures)
            }
        };
        Judged { name: self.text.clone(), verdict, reason, figures }
    }

    fn miss(&self, value: f64, bound: f64) -> String {
        match (value.is_nan(), bound.is_nan()) {
            (true, _) => format!("{} is not a number", self.figure),
            (_, true) => "the bound is not a number".to_string(),
            _ if value == bound => format!("{} equals the bound", self.figure),
            _ => format!("missed by {}", cell((value - bound).abs())),
        }
    }
}

fn evaluate(
    expression: &Expression,
    value_of: &dyn Fn(&Name) -> std::result::Result<f64, String>,
) -> std::result::Result<f64, String> {
    Ok(match expression {
        Expression::Number(number) => *number,
        Expression::Figure(name) => value_of(name)?,
        Expression::Negated(inner) => -evaluate(inner, value_of)?,
        Expression::Joined(a, operator, b) => {
            let (a, b) = (evaluate(a, value_of)?, evaluate(b, value_of)?);
            match operator {
                '+' => a + b,
                '-' => a - b,
                '*' => a * b,
                _ => a / b,
            }
        }
    })
}

/// Whether expectations can name it: words of letters, digits and `_`, joined by points, the first not with a digit.
pub fn is_name(text: &str) -> bool {
    !text.starts_with(|c: char| c.is_ascii_digit())
        && text.split('.').all(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
}

struct Reader<'a> {
    text: &'a str,
    /// In bytes; always at the start of a character.
    at: usize,
    depth: usize,
    left: String,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn stopped(&self, what: &str) -> Error {
        let at = self.text[..self.at].chars().count();
        Error::Syntax { text: self.text.to_string(), at, what: what.to_string() }
    }

    fn skip_space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    /// Takes the next character if it is one of these.
    fn take(&mut self, wanted: &[char]) -> Option<char> {
        self.skip_space();
        let found = self.rest().chars().next().filter(|c| wanted.contains(c))?;
        self.at += found.len_utf8();
        Some(found)
    }

    /// Takes a name; a trailing point stays.
    fn word(&mut self) -> Option<&'a str> {
        self.skip_space();
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '.').unwrap_or(rest.len());
        let word = rest[..end].trim_end_matches('.');
        if !is_name(word) {
            return None;
        }
        self.at += word.len();
        Some(word)
    }

    fn comparison(&mut self) -> Result<Comparison> {
        self.skip_space();
        let found = COMPARISONS.iter().find(|(sign, _)| self.rest().starts_with(sign));
        let (sign, comparison) = found.ok_or_else(|| self.stopped("expected >= <= > < == or !="))?;
        self.at += sign.len();
        Ok(*comparison)
    }

    fn sum(&mut self) -> Result<Expression> {
        let mut left = self.product()?;
        while let Some(operator) = self.take(&['+', '-']) {
            left = Expression::Joined(Box::new(left), operator, Box::new(self.product()?));
        }
        Ok(left)
    }

    fn product(&mut self) -> Result<Expression> {
        let mut left = self.factor()?;
        while let Some(operator) = self.take(&['*', '/']) {
            left = Expression::Joined(Box::new(left), operator, Box::new(self.factor()?));
        }
        Ok(left)
    }

    fn factor(&mut self) -> Result<Expression> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.stopped("this is nested too deeply"));
        }
        let factor = if self.take(&['-']).is_some() {
            Expression::Negated(Box::new(self.factor()?))
        } else if self.take(&['(']).is_some() {
            let inner = self.sum()?;
            self.take(&[')']).ok_or_else(|| self.stopped("expected + - * / or )"))?;
            inner
        } else if let Some(number) = self.number() {
            Expression::Number(number)
        } else {
            let word = self.word().ok_or_else(|| self.stopped("expected a number, a figure, base or ("))?;
            Expression::Figure(match word.strip_prefix("base.") {
                Some(name) => Name::Base(name.to_string()),
                None if word == "base" => Name::Base(self.left.clone()),
                None => Name::Here(word.to_string()),
            })
        };
        self.depth -= 1;
        Ok(factor)
    }

    /// Takes digits, a point with digits, an exponent.
    fn number(&mut self) -> Option<f64> {
        self.skip_space();
        let bytes = self.rest().as_bytes();
        let digits = |from: usize| bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
        let mut end = digits(0);
        if end == 0 {
            return None;
        }
        if bytes.get(end) == Some(&b'.') && digits(end + 1) > 0 {
            end += 1 + digits(end + 1);
        }
        if matches!(bytes.get(end), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
            match digits((end + 1 + sign).min(bytes.len())) {
                0 => {}
                count => end += 1 + sign + count,
            }
        }
        let number = self.rest()[..end].parse().ok()?;
        self.at += end;
        Some(number)
    }
}
