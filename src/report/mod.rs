//! Reports: what a result looks like, as blocks of text, tables and verdicts. Knows no method.
//!
//! A result offers [`Report::blocks`]; everything that shows results draws blocks: [`terminal::render`] for people,
//! [`json::render`] for machines, [`html::page`] for a file that opens offline, [`html::figure`] for a dashboard.
//!
//! ```
//! use optrode::report::{Block, Better, Cell, Column, Table, terminal};
//! let table = Table {
//!     columns: vec![Column::new("site"), Column::new("largest error").better(Better::Less)],
//!     rows: vec![vec![Cell::text("logits"), Cell::Error(3.1e-7)]],
//! };
//! let text = terminal::render(&[Block::Table(table)], &terminal::Style::plain(80));
//! assert!(text.contains("3.1e-7"));
//! ```

pub mod chart;
pub mod figures;
pub mod html;
pub mod json;
pub mod number;
mod progress;
pub mod svg;
pub mod terminal;
mod visible;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use chart::Chart;
pub use progress::{Progress, Watcher};
pub use visible::visible;

/// Something that can be shown.
pub trait Report {
    /// Its content, in reading order.
    fn blocks(&self) -> Vec<Block>;
}

/// One piece of a report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "block", rename_all = "snake_case")]
pub enum Block {
    /// A title.
    Heading {
        /// The words.
        text: String,
    },
    /// A paragraph.
    Text {
        /// The words.
        text: String,
    },
    /// Rows of typed cells.
    Table(Table),
    /// A drawing.
    Chart(Chart),
    /// What was expected, and whether it held.
    Verdicts {
        /// One entry per expectation.
        verdicts: Vec<Judged>,
    },
}

impl Block {
    /// A title.
    pub fn heading(text: impl Into<String>) -> Self {
        Self::Heading { text: text.into() }
    }

    /// A paragraph.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into() }
    }
}

/// A table. Every row has one cell per column.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Table {
    /// What the columns hold.
    pub columns: Vec<Column>,
    /// The cells, row after row.
    pub rows: Vec<Vec<Cell>>,
}

impl Table {
    /// Whether a column holds numbers only, so that it is aligned to the right.
    fn is_numeric(&self, column: usize) -> bool {
        let mut filled = self.rows.iter().filter_map(|row| row.get(column)).filter(|c| **c != Cell::Empty).peekable();
        filled.peek().is_some() && filled.all(Cell::is_number)
    }
}

/// The head of a column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Column {
    /// What it holds.
    pub name: String,
    /// Which way is better; `None` where neither is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub better: Option<Better>,
}

impl Column {
    /// A column in which no way is better.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), better: None }
    }

    /// The same column with a better way.
    pub fn better(mut self, better: Better) -> Self {
        self.better = Some(better);
        self
    }
}

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// Small values.
    Less,
    /// Large values.
    More,
}

impl Better {
    /// The sign beside a column's name, and what it says.
    fn arrow(self) -> (&'static str, &'static str) {
        match self {
            Self::Less => ("↓", "less is better"),
            Self::More => ("↑", "more is better"),
        }
    }
}

/// One value of a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cell {
    /// Nothing was measured.
    Empty,
    /// Words.
    Text(String),
    /// A count.
    Integer(i64),
    /// A number, shown with this many digits after the point.
    Number {
        /// The value.
        #[serde(with = "number")]
        #[schemars(with = "number::Number")]
        value: f64,
        /// Digits after the point.
        digits: u8,
    },
    /// A number with its interval.
    Interval {
        /// The value.
        #[serde(with = "number")]
        #[schemars(with = "number::Number")]
        value: f64,
        /// Both ends.
        #[serde(with = "number::nested")]
        #[schemars(with = "(number::Number, number::Number)")]
        ends: (f64, f64),
        /// Digits after the point.
        digits: u8,
    },
    /// An error or a tolerance, shown in scientific form.
    Error(
        #[serde(with = "number")]
        #[schemars(with = "number::Number")]
        f64,
    ),
    /// Whether an expectation held.
    Verdict(Verdict),
}

impl Cell {
    /// Words.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// A count; beyond the range of `i64`, its largest value.
    pub fn count(n: impl TryInto<i64>) -> Self {
        Self::Integer(n.try_into().unwrap_or(i64::MAX))
    }

    /// Whether it is aligned to the right.
    fn is_number(&self) -> bool {
        matches!(self, Self::Integer(_) | Self::Number { .. } | Self::Interval { .. } | Self::Error(_))
    }
}

impl std::fmt::Display for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Self::Empty => f.write_str("-"),
            Self::Text(text) => f.write_str(text),
            Self::Integer(n) => write!(f, "{n}"),
            Self::Number { value, digits } => f.write_str(&fixed(*value, *digits)),
            Self::Interval { value, ends, digits } => {
                write!(f, "{} {}", fixed(*value, *digits), interval(*ends, *digits))
            }
            Self::Error(0.0) => f.write_str("0"),
            Self::Error(value) => write!(f, "{value:.1e}"),
            Self::Verdict(verdict) => f.write_str(verdict.word()),
        }
    }
}

/// `[0.380, 0.447]`.
fn interval((low, high): (f64, f64), digits: u8) -> String {
    format!("[{}, {}]", fixed(low, digits), fixed(high, digits))
}

/// With this many digits; what rounds to zero has no sign.
fn fixed(x: f64, digits: u8) -> String {
    let text = format!("{x:.*}", usize::from(digits));
    match text.strip_prefix('-') {
        Some(rest) if rest.chars().all(|c| c == '0' || c == '.') => rest.to_string(),
        _ => text,
    }
}

/// Whether an expectation held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It held.
    Passed,
    /// It did not.
    Failed,
    /// It could not be asked.
    Skipped,
}

impl Verdict {
    /// The word for people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "FAILED",
            Self::Skipped => "skipped",
        }
    }
}

/// An expectation with its verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Judged {
    /// What was expected.
    pub name: String,
    /// Whether it held.
    pub verdict: Verdict,
    /// Why it failed or was skipped; may be empty.
    pub reason: String,
    /// The numbers behind the verdict.
    pub figures: Vec<Figure>,
}

impl Judged {
    /// A part of a claim that was asked, with the numbers that it rests on, shown with so many digits.
    pub fn claim(name: impl Into<String>, holds: bool, digits: u8, figures: &[(&str, f64)]) -> Self {
        let figure = |(name, value): &(&str, f64)| Figure::new(*name, Cell::Number { value: *value, digits });
        Self {
            name: name.into(),
            verdict: if holds { Verdict::Passed } else { Verdict::Failed },
            reason: String::new(),
            figures: figures.iter().map(figure).collect(),
        }
    }
}

/// A named number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Figure {
    /// What it is.
    pub name: String,
    /// Its value.
    pub value: Cell,
}

impl Figure {
    /// A named number.
    pub fn new(name: impl Into<String>, value: Cell) -> Self {
        Self { name: name.into(), value }
    }
}
