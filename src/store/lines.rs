//! Text files line by line: memory holds one line, whatever the size of the file.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Longest line that is read: a document of some million words.
const MAX_LINE: u64 = 64 << 20;

/// The lines of a UTF-8 file with their numbers from 1, without their ends. Empty lines are passed over.
pub struct Lines {
    path: PathBuf,
    reader: BufReader<File>,
    number: usize,
    buffer: Vec<u8>,
}

impl Lines {
    /// Opens a file.
    ///
    /// # Errors
    /// A file that is missing, cannot be read or is no regular file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        // Before it is opened: opening a pipe waits for its writer.
        if !std::fs::metadata(path).map_err(Error::io(path))?.is_file() {
            return Err(Error::file(path, "this is no regular file", "give a file on disk"));
        }
        let reader = BufReader::with_capacity(1 << 16, File::open(path).map_err(Error::io(path))?);
        Ok(Self { path: path.to_path_buf(), reader, number: 0, buffer: Vec::new() })
    }

    fn read(&mut self) -> Result<Option<(usize, String)>> {
        loop {
            self.buffer.clear();
            let mut part = (&mut self.reader).take(MAX_LINE + 1);
            if part.read_until(b'\n', &mut self.buffer).map_err(Error::io(&self.path))? == 0 {
                return Ok(None);
            }
            self.number += 1;
            let number = self.number;
            if self.buffer.len() as u64 > MAX_LINE {
                return Err(Error::file(
                    &self.path,
                    format!("line {number} has more than {MAX_LINE} bytes"),
                    "this is no file of lines; split it",
                ));
            }
            let line = std::str::from_utf8(&self.buffer).map_err(|e| {
                Error::file(
                    &self.path,
                    format!("line {number} is not UTF-8 at its byte {}", e.valid_up_to()),
                    "save the file as UTF-8",
                )
            })?;
            let line = if number == 1 { line.trim_start_matches('\u{feff}') } else { line };
            let line = line.strip_suffix('\n').unwrap_or(line);
            let line = line.strip_suffix('\r').unwrap_or(line);
            if !line.trim().is_empty() {
                return Ok(Some((number, line.to_string())));
            }
        }
    }
}

impl Iterator for Lines {
    type Item = Result<(usize, String)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}
