//! Writing labels into the database of an atlas, in transactions: a reader sees all labels of one or none.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, params};

use super::database::{failed, guarded};
use crate::Result;

/// A label that is to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct NewLabel {
    /// The unit's id.
    pub unit: i64,
    /// Who or what wrote it.
    pub explainer: String,
    /// The label.
    pub text: String,
    /// Its score on held-out examples against negatives.
    pub score: Option<f64>,
    /// Share of the unit's activity that it accounts for.
    pub coverage: Option<f64>,
    /// How it was made and scored, as JSON.
    pub provenance: String,
}

/// The labels of an atlas, to be written. What a killed writer left half done is undone when it is opened.
pub struct Labeller {
    path: PathBuf,
    connection: Connection,
}

impl Labeller {
    /// Opens a database to write labels.
    ///
    /// # Errors
    /// As [`Database::open`](super::Database::open), and a file that may not be written.
    pub fn open(path: &Path) -> Result<Self> {
        let connection = guarded(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        // Another writer is waited for.
        connection.busy_timeout(std::time::Duration::from_secs(30)).map_err(failed(path))?;
        Ok(Self { path: path.to_path_buf(), connection })
    }

    /// Writes labels in the place of those that the same explainers gave to these units, and to `again`.
    ///
    /// # Errors
    /// A unit that is not there, a full disk.
    pub fn put(&mut self, labels: &[NewLabel], again: &[(i64, String)]) -> Result<()> {
        let mut write = || {
            let transaction = self.connection.transaction()?;
            {
                let mut delete = transaction.prepare("DELETE FROM labels WHERE unit = ? AND explainer = ?")?;
                for (unit, explainer) in again {
                    delete.execute(params![unit, explainer])?;
                }
                for label in labels {
                    delete.execute(params![label.unit, label.explainer])?;
                }
                let mut insert = transaction.prepare(
                    "INSERT INTO labels (unit, explainer, text, score, coverage, provenance) \
                     SELECT id, ?2, ?3, ?4, ?5, ?6 FROM units WHERE id = ?1",
                )?;
                for l in labels {
                    let row = params![l.unit, l.explainer, l.text, l.score, l.coverage, l.provenance];
                    if insert.execute(row)? != 1 {
                        return Err(rusqlite::Error::QueryReturnedNoRows);
                    }
                }
            }
            transaction.commit()
        };
        write().map_err(failed(&self.path))
    }
}
