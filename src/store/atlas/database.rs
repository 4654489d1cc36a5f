//! The SQLite database of an atlas, opened as a stranger's.

use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};

use super::rows::{ContextRow, ExampleRow, GroupRow, LabelRow, ProfileRow, RunRow, SiteRow, UnitRow};
use super::{APPLICATION, SCHEMA, VERSION};
use crate::{Error, Result};

/// Bytes of the longest text or list in a row: more is damage.
const LONGEST: i32 = 64 << 20;

/// The database of an atlas, opened to be read.
pub struct Database {
    path: PathBuf,
    connection: Connection,
}

impl Database {
    /// Opens a database.
    ///
    /// # Errors
    /// A file that is missing, no database, damaged, of another version, or with another schema than [`SCHEMA`].
    pub fn open(path: &Path) -> Result<Self> {
        let connection = guarded(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        Ok(Self { path: path.to_path_buf(), connection })
    }

    /// What was scanned.
    ///
    /// # Errors
    /// A database without a run, and damage, as everywhere here.
    pub fn run(&self) -> Result<RunRow> {
        let sql = "SELECT optrode, model, model_sha256, job, documents, tokens FROM runs";
        let row = self.connection.query_row(sql, [], |row| {
            Ok(RunRow {
                optrode: row.get(0)?,
                model: row.get(1)?,
                model_sha256: row.get(2)?,
                job: row.get(3)?,
                documents: row.get(4)?,
                tokens: row.get(5)?,
            })
        });
        row.map_err(failed(&self.path))
    }

    /// All groups.
    ///
    /// # Errors
    /// Damage.
    pub fn groups(&self) -> Result<Vec<GroupRow>> {
        let group = |row: &Row| Ok(GroupRow { name: row.get(0)?, documents: row.get(1)?, tokens: row.get(2)? });
        self.all("SELECT name, documents, tokens FROM groups ORDER BY id", [], group)
    }

    /// All sites, with their indices.
    ///
    /// # Errors
    /// Damage.
    pub fn sites(&self) -> Result<Vec<SiteRow>> {
        let site = |row: &Row| {
            Ok(SiteRow {
                name: row.get(0)?,
                layer: row.get(1)?,
                unit: row.get(2)?,
                value: row.get(3)?,
                fires: row.get(4)?,
                units: row.get(5)?,
            })
        };
        self.all("SELECT name, layer, unit, value, fires, units FROM sites ORDER BY id", [], site)
    }

    /// Id and statistics of a unit of the site with this index.
    ///
    /// # Errors
    /// A unit that is not there; damage.
    pub fn unit(&self, site: usize, number: usize) -> Result<(i64, UnitRow)> {
        let sql = "SELECT id, count, non_finite, mean, std, skewness, kurtosis, min, max, fired, rate, \
                   q01, q05, q25, q50, q75, q95, q99 FROM units WHERE site = ? AND number = ?";
        let unit = self.connection.query_row(sql, params![site as i64, number as i64], |row| {
            let mut quantiles = [None; 7];
            for (i, q) in quantiles.iter_mut().enumerate() {
                *q = row.get(11 + i)?;
            }
            let unit = UnitRow {
                count: row.get(1)?,
                non_finite: row.get(2)?,
                mean: row.get(3)?,
                std: row.get(4)?,
                skewness: row.get(5)?,
                kurtosis: row.get(6)?,
                min: row.get(7)?,
                max: row.get(8)?,
                fired: row.get(9)?,
                rate: row.get(10)?,
                quantiles,
            };
            Ok((row.get(0)?, unit))
        });
        unit.optional().map_err(failed(&self.path))?.ok_or_else(|| {
            Error::file(
                &self.path,
                format!("there is no unit {number} of site {site}"),
                "the file is damaged: scan again",
            )
        })
    }

    /// What a unit does in each group.
    ///
    /// # Errors
    /// Damage.
    pub fn profile(&self, unit: i64) -> Result<Vec<ProfileRow>> {
        let sql = "SELECT \"group\", count, mean, std, fired, rate FROM profiles WHERE unit = ? ORDER BY \"group\"";
        self.all(sql, [unit], |row| {
            Ok(ProfileRow {
                group: row.get(0)?,
                count: row.get(1)?,
                mean: row.get(2)?,
                std: row.get(3)?,
                fired: row.get(4)?,
                rate: row.get(5)?,
            })
        })
    }

    /// The examples of a unit, by kind and rank.
    ///
    /// # Errors
    /// Damage.
    pub fn examples(&self, unit: i64) -> Result<Vec<ExampleRow>> {
        let sql = "SELECT kind, rank, value, document, position, \"group\", tokens, focus, words, text FROM examples \
                   JOIN contexts ON contexts.id = examples.context WHERE unit = ? ORDER BY kind, rank";
        let rows = self.all(sql, [unit], |row| {
            let (kind, rank, value) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok((kind, rank, value, context(row, 3)?))
        })?;
        let example = |(kind, rank, value, context): (String, usize, f64, RawContext)| {
            Ok(ExampleRow { kind, rank, value, context: self.checked(context)? })
        };
        rows.into_iter().map(example).collect()
    }

    /// The context at a place, if it is an example of some unit or was sampled.
    ///
    /// # Errors
    /// Damage.
    pub fn context(&self, document: u64, position: u32) -> Result<Option<ContextRow>> {
        let sql = "SELECT document, position, \"group\", tokens, focus, words, text FROM contexts \
                   WHERE document = ? AND position = ?";
        let mut found = self.all(sql, params![document as i64, position], |row| context(row, 0))?;
        found.pop().map(|raw| self.checked(raw)).transpose()
    }

    /// The labels of a unit, or of all units, by unit, explainer and age.
    ///
    /// # Errors
    /// Damage.
    pub fn labels(&self, unit: Option<i64>) -> Result<Vec<LabelRow>> {
        let sql = "SELECT labels.unit, sites.name, units.number, explainer, text, score, coverage, provenance FROM labels \
                   JOIN units ON units.id = labels.unit JOIN sites ON sites.id = units.site \
                   WHERE ?1 IS NULL OR labels.unit = ?1 ORDER BY labels.unit, explainer, labels.id";
        self.all(sql, params![unit], |row| {
            Ok(LabelRow {
                unit: row.get(0)?,
                site: row.get(1)?,
                number: row.get(2)?,
                explainer: row.get(3)?,
                text: row.get(4)?,
                score: row.get(5)?,
                coverage: row.get(6)?,
                provenance: row.get(7)?,
            })
        })
    }

    /// The ids of a site's units, in the order of their numbers.
    ///
    /// # Errors
    /// Damage.
    pub fn unit_ids(&self, site: usize) -> Result<Vec<i64>> {
        self.all("SELECT id FROM units WHERE site = ? ORDER BY number", params![site as i64], |row| row.get(0))
    }

    /// Calls `f` with the unit and the text of the context of every example of these kinds.
    ///
    /// # Errors
    /// Damage.
    pub fn each_example(&self, kinds: &[&str], mut f: impl FnMut(i64, &str)) -> Result<()> {
        let marks = vec!["?"; kinds.len()].join(", ");
        let sql = format!(
            "SELECT unit, text FROM examples JOIN contexts ON contexts.id = examples.context WHERE kind IN ({marks})"
        );
        let mut query = || {
            let mut statement = self.connection.prepare(&sql)?;
            let mut rows = statement.query(rusqlite::params_from_iter(kinds))?;
            while let Some(row) = rows.next()? {
                let text: String = row.get(1)?;
                f(row.get(0)?, &text);
            }
            Ok(())
        };
        query().map_err(failed(&self.path))
    }

    pub(super) fn all<T>(
        &self,
        sql: &str,
        parameters: impl rusqlite::Params,
        read: impl FnMut(&Row) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>> {
        let query = || {
            let mut statement = self.connection.prepare(sql)?;
            let rows = statement.query_map(parameters, read)?;
            rows.collect::<rusqlite::Result<Vec<T>>>()
        };
        query().map_err(failed(&self.path))
    }

    /// A context whose lists belong together.
    fn checked(&self, raw: RawContext) -> Result<ContextRow> {
        let RawContext { row, tokens, words } = raw;
        let tokens: Option<Vec<u32>> = serde_json::from_str(&tokens).ok();
        let words: Option<Vec<String>> = serde_json::from_str(&words).ok();
        match tokens.zip(words) {
            Some((tokens, words)) if tokens.len() == words.len() && row.focus < tokens.len() => {
                Ok(ContextRow { tokens, words, ..row })
            }
            _ => Err(Error::file(
                &self.path,
                format!("the context at document {}, position {} is impossible", row.document, row.position),
                "the file is damaged: scan again",
            )),
        }
    }
}

/// A context with its lists still as JSON.
struct RawContext {
    row: ContextRow,
    tokens: String,
    words: String,
}

fn context(row: &Row, first: usize) -> rusqlite::Result<RawContext> {
    let context = ContextRow {
        document: row.get(first)?,
        position: row.get(first + 1)?,
        group: row.get(first + 2)?,
        tokens: Vec::new(),
        focus: row.get(first + 4)?,
        words: Vec::new(),
        text: row.get(first + 6)?,
    };
    Ok(RawContext { row: context, tokens: row.get(first + 3)?, words: row.get(first + 5)? })
}

/// Opens a database as a stranger's: bounded, without functions or views of its own, of this schema word for word.
pub(super) fn guarded(path: &Path, access: OpenFlags) -> Result<Connection> {
    // SQLite's own message does not tell a missing file from one that it may not read.
    std::fs::File::open(path).map_err(Error::io(path))?;
    let connection =
        Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(failed(path))?;
    let read = || {
        connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, LONGEST)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        connection.pragma_update(None, "cell_size_check", true)?;
        let application: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
        let version: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        Ok((application, version, schema(&connection)?))
    };
    let (application, version, found) = read().map_err(failed(path))?;
    if application != APPLICATION {
        return Err(Error::file(path, "this is a database of another program", "name a folder that a scan wrote"));
    }
    if version != VERSION {
        return Err(Error::file(
            path,
            format!("version {version} of the atlas format, expected {VERSION}"),
            "scan again, or read it with the version of optrode that wrote it",
        ));
    }
    let own = Connection::open_in_memory().and_then(|c| c.execute_batch(SCHEMA).and_then(|()| schema(&c)));
    if own.map_err(failed(path))? != found {
        return Err(Error::file(path, "its tables are not those of an atlas", "the file was changed: scan again"));
    }
    Ok(connection)
}

/// Everything that a database is made of, word for word.
fn schema(connection: &Connection) -> rusqlite::Result<Vec<(String, String, Option<String>)>> {
    let mut statement = connection.prepare("SELECT type, name, sql FROM sqlite_schema ORDER BY type, name")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    rows.collect()
}

/// SQLite's errors in this crate's words.
pub(super) fn failed(path: &Path) -> impl Fn(rusqlite::Error) -> Error + Copy + '_ {
    move |error| {
        use rusqlite::ErrorCode::{DatabaseCorrupt, DiskFull, NotADatabase, SystemIoFailure};
        let hint = match error.sqlite_error_code() {
            Some(NotADatabase) => "this is no atlas: name a folder that a scan wrote",
            Some(DatabaseCorrupt) => "the file is damaged: restore it, or scan again",
            Some(DiskFull) => "free some space",
            Some(SystemIoFailure) => "check the disk",
            _ => "the file is damaged, or of another program: scan again",
        };
        Error::file(path, format!("the database cannot be used: {error}"), hint)
    }
}
