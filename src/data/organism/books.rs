//! The books: one novel after the other in several languages, the last part of each held out.

use std::path::Path;

use crate::store::text::read_text;
use crate::{Error, Result};

/// The languages that the organism learns: four in Latin letters, one in Cyrillic, one in Han characters.
pub const LANGUAGES: [&str; 6] = ["en", "de", "fr", "es", "ru", "zh"];
/// The books, by folder.
const BOOKS: [&str; 3] = ["alice", "gatsby", "moby-dick"];
/// The share of each book that is held out, in percent.
const HELD_OUT: usize = 8;

/// A book in one language: paragraphs in order.
#[derive(Clone, Debug)]
pub struct Book {
    /// Paragraphs to train on.
    pub train: Vec<String>,
    /// The last 8 % of the paragraphs.
    pub held_out: Vec<String>,
}

/// All books of all languages, in the order of [`LANGUAGES`].
#[derive(Clone, Debug)]
pub struct Books {
    /// Books by language.
    pub languages: Vec<(String, Vec<Book>)>,
}

impl Books {
    /// Reads `ROOT/{book}/{language}.txt`, one paragraph a line.
    ///
    /// # Errors
    /// A file that is missing, not UTF-8 or too short to hold out a part of.
    pub fn read(root: &Path) -> Result<Self> {
        let language = |language: &&str| -> Result<(String, Vec<Book>)> {
            let books = BOOKS.iter().map(|book| read(&root.join(book).join(format!("{language}.txt"))));
            Ok(((*language).to_string(), books.collect::<Result<_>>()?))
        };
        Ok(Self { languages: LANGUAGES.iter().map(language).collect::<Result<_>>()? })
    }
}

fn read(path: &Path) -> Result<Book> {
    let text = read_text(path)?;
    let mut paragraphs: Vec<String> = text.lines().filter(|l| !l.trim().is_empty()).map(str::to_string).collect();
    let kept = paragraphs.len() * (100 - HELD_OUT) / 100;
    if kept == 0 || kept == paragraphs.len() {
        let what = format!("{} paragraphs are too few to hold out {HELD_OUT} % of them", paragraphs.len());
        return Err(Error::file(path, what, "give a whole book, one paragraph a line"));
    }
    let held_out = paragraphs.split_off(kept);
    Ok(Book { train: paragraphs, held_out })
}
