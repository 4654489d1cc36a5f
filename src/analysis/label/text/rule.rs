//! Executable labels: what says of every place whether it holds there, without any model.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::columns::Columns;
use crate::analysis::label::Bits;
use crate::{Error, Result};

/// What is looked up in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// The token itself.
    Token,
    /// The token before it.
    After,
    /// The token after it.
    Before,
    /// The word that it stands in.
    Word,
    /// The word before that one.
    AfterWord,
}

impl Field {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Token, Self::After, Self::Before, Self::Word, Self::AfterWord];

    /// Whether its values are token ids; they are words otherwise.
    pub fn of_tokens(self) -> bool {
        matches!(self, Self::Token | Self::After | Self::Before)
    }
}

/// An executable label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// One of a list.
    Lexical {
        /// What is looked up.
        field: Field,
        /// The tokens, where the field is of tokens.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tokens: Vec<u32>,
        /// The words, or the tokens in print.
        words: Vec<String>,
    },
    /// A class of places.
    Class {
        /// Its name.
        name: String,
    },
    /// Both hold.
    And(Box<Rule>, Box<Rule>),
    /// One holds at least.
    Or(Box<Rule>, Box<Rule>),
    /// The first holds and the second does not.
    AndNot(Box<Rule>, Box<Rule>),
}

impl Rule {
    /// Lists and classes that it is made of.
    pub fn parts(&self) -> usize {
        match self {
            Self::Lexical { .. } | Self::Class { .. } => 1,
            Self::And(a, b) | Self::Or(a, b) | Self::AndNot(a, b) => a.parts() + b.parts(),
        }
    }

    /// The counted places at which it holds.
    ///
    /// # Errors
    /// A class that these texts do not have.
    pub fn holds(&self, columns: &Columns) -> Result<Bits> {
        Ok(match self {
            Self::Lexical { field, tokens, words } => columns.lexical(*field, tokens, words),
            Self::Class { name } => columns.class(name).cloned().ok_or_else(|| {
                Error::invalid(
                    format!("the texts have no class of places `{name}`"),
                    "apply a label to texts with the groups and languages that it was made on",
                )
            })?,
            Self::And(a, b) => a.holds(columns)?.and(&b.holds(columns)?),
            Self::Or(a, b) => a.holds(columns)?.or(&b.holds(columns)?),
            Self::AndNot(a, b) => a.holds(columns)?.and_not(&b.holds(columns)?),
        })
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Lexical { field, words, .. } => {
                let many = words.len() > 1;
                f.write_str(match (field, many) {
                    (Field::Token, false) => "the token ",
                    (Field::Token, true) => "the tokens ",
                    (Field::After, false) => "after the token ",
                    (Field::After, true) => "after the tokens ",
                    (Field::Before, false) => "before the token ",
                    (Field::Before, true) => "before the tokens ",
                    (Field::Word, false) => "in the word ",
                    (Field::Word, true) => "in the words ",
                    (Field::AfterWord, false) => "after the word ",
                    (Field::AfterWord, true) => "after the words ",
                })?;
                let quoted: Vec<String> = words.iter().map(|w| format!("\"{}\"", shown(w))).collect();
                f.write_str(&quoted.join(", "))
            }
            Self::Class { name } => f.write_str(name),
            Self::And(a, b) => write!(f, "{} AND {}", Part(a), Part(b)),
            Self::Or(a, b) => write!(f, "{} OR {}", Part(a), Part(b)),
            Self::AndNot(a, b) => write!(f, "{} AND NOT {}", Part(a), Part(b)),
        }
    }
}

/// A part of a longer rule: in brackets where it has parts itself.
struct Part<'r>(&'r Rule);

impl fmt::Display for Part<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if self.0.parts() > 1 { write!(f, "({})", self.0) } else { self.0.fmt(f) }
    }
}

/// White space that a reader would not see.
fn shown(word: &str) -> String {
    word.replace('\n', "\\n").replace('\t', "\\t").replace('\r', "\\r")
}
