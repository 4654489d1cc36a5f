//! Writing the SQLite database of an atlas: once, in one transaction.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, Statement, params};

use super::database::failed;
use super::rows::{ContextRow, GroupRow, ProfileRow, RunRow, SiteRow, UnitRow};
use super::{APPLICATION, SCHEMA, VERSION};
use crate::Result;

/// A database that is being written.
pub struct Writer<'c> {
    path: PathBuf,
    run: Statement<'c>,
    group: Statement<'c>,
    site: Statement<'c>,
    unit: Statement<'c>,
    profile: Statement<'c>,
    context: Statement<'c>,
    example: Statement<'c>,
    /// Ids of the contexts that are there, by document and position.
    contexts: HashMap<(u64, u32), i64>,
    units: i64,
}

/// Makes a new database of what `fill` adds.
///
/// # Errors
/// What `fill` returns, and when the file cannot be written.
pub fn write_database(path: &Path, fill: impl FnOnce(&mut Writer) -> Result<()>) -> Result<()> {
    let failed = failed(path);
    let connection = Connection::open(path).map_err(failed)?;
    // The folder appears as a whole when it is done; until then nothing has to survive.
    let pragmas = format!(
        "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA application_id = {APPLICATION}; \
         PRAGMA user_version = {VERSION}; PRAGMA foreign_keys = OFF;"
    );
    connection.execute_batch(&pragmas).map_err(failed)?;
    connection.execute_batch(SCHEMA).and_then(|()| connection.execute_batch("BEGIN")).map_err(failed)?;
    fill(&mut Writer::new(path, &connection).map_err(failed)?)?;
    let end = "INSERT INTO contexts_text (contexts_text) VALUES ('rebuild'); \
               INSERT INTO contexts_text (contexts_text) VALUES ('optimize'); COMMIT;";
    connection.execute_batch(end).map_err(failed)?;
    connection.close().map_err(|(_, e)| failed(e))
}

impl<'c> Writer<'c> {
    fn new(path: &Path, connection: &'c Connection) -> rusqlite::Result<Self> {
        let insert = |what: &str, columns: usize| {
            connection.prepare(&format!("INSERT INTO {what} VALUES ({})", vec!["?"; columns].join(", ")))
        };
        Ok(Self {
            path: path.to_path_buf(),
            run: insert("runs (optrode, model, model_sha256, job, documents, tokens)", 6)?,
            group: insert("groups", 4)?,
            site: insert("sites", 7)?,
            unit: insert("units", 20)?,
            profile: insert("profiles", 7)?,
            context: insert("contexts", 8)?,
            example: insert("examples", 5)?,
            contexts: HashMap::new(),
            units: 0,
        })
    }

    /// Adds the run.
    ///
    /// # Errors
    /// When it cannot be written, as everywhere here.
    pub fn run(&mut self, r: &RunRow) -> Result<()> {
        let row = params![r.optrode, r.model, r.model_sha256, r.job, r.documents, r.tokens];
        done(&self.path, self.run.execute(row))
    }

    /// Adds the group of this index.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn group(&mut self, index: usize, g: &GroupRow) -> Result<()> {
        done(&self.path, self.group.execute(params![index, g.name, g.documents, g.tokens]))
    }

    /// Adds the site of this index.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn site(&mut self, index: usize, s: &SiteRow) -> Result<()> {
        done(&self.path, self.site.execute(params![index, s.name, s.layer, s.unit, s.value, s.fires, s.units]))
    }

    /// Adds a unit with its profile; returns its id.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn unit(&mut self, site: usize, number: usize, u: &UnitRow, profile: &[ProfileRow]) -> Result<i64> {
        let id = self.units;
        self.units += 1;
        let [q01, q05, q25, q50, q75, q95, q99] = u.quantiles;
        let row = params![
            id,
            site,
            number,
            u.count,
            u.non_finite,
            u.mean,
            u.std,
            u.skewness,
            u.kurtosis,
            u.min,
            u.max,
            u.fired,
            u.rate,
            q01,
            q05,
            q25,
            q50,
            q75,
            q95,
            q99,
        ];
        done(&self.path, self.unit.execute(row))?;
        for p in profile {
            let row = params![id, p.group, p.count, p.mean, p.std, p.fired, p.rate];
            done(&self.path, self.profile.execute(row))?;
        }
        Ok(id)
    }

    /// The id of the context at a place; made by `make` unless it is there.
    ///
    /// # Errors
    /// When it cannot be written, or made.
    pub fn context(&mut self, document: u64, position: u32, make: impl FnOnce() -> Result<ContextRow>) -> Result<i64> {
        if let Some(id) = self.contexts.get(&(document, position)) {
            return Ok(*id);
        }
        let id = self.contexts.len() as i64;
        let c = make()?;
        let list = |values: serde_json::Value| values.to_string();
        let (tokens, words) = (list(c.tokens.as_slice().into()), list(c.words.as_slice().into()));
        let row = params![id, document, position, c.group, tokens, c.focus, words, c.text];
        done(&self.path, self.context.execute(row))?;
        self.contexts.insert((document, position), id);
        Ok(id)
    }

    /// Adds an example.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn example(&mut self, unit: i64, kind: &str, rank: usize, value: f64, context: i64) -> Result<()> {
        done(&self.path, self.example.execute(params![unit, kind, rank, value, context]))
    }
}

fn done(path: &Path, inserted: rusqlite::Result<usize>) -> Result<()> {
    inserted.map(|_| ()).map_err(failed(path))
}
