//! Atlases: what a scan of a corpus found out about every unit of a network, as a folder.
//!
//! | file | what |
//! | --- | --- |
//! | `atlas.db` | SQLite: what people query; the schema is [`SCHEMA`], version [`VERSION`] |
//! | `arrays.safetensors` | the states of all reducers: histograms, samples, everything that merges |
//! | `manifest.json` | what it takes to repeat the scan |
//! | `checkpoint.safetensors` | while a scan runs: the states so far, and how far that is |
//!
//! An atlas may come from anybody: the database is opened only if its schema is the one of this version, word
//! for word, so that it holds no views, triggers or functions of a stranger, and read-only unless labels are written; states are checked as they are read.

mod arrays;
mod browse;
mod database;
mod labels;
mod rows;
mod writer;

pub use arrays::{Arrays, write_arrays};
pub use browse::{Listed, Statistic, Wanted};
pub use database::Database;
pub use labels::{Labeller, NewLabel};
pub use rows::{ContextRow, ExampleRow, GroupRow, LabelRow, ProfileRow, QUANTILES, RunRow, SiteRow, UnitRow};
pub use writer::{Writer, write_database};

/// The schema of `atlas.db`, with what every column means.
pub const SCHEMA: &str = include_str!("schema.sql");

/// The version of the schema, of the names of arrays and of the manifest.
pub const VERSION: u32 = 1;

/// `PRAGMA application_id` of the database: "opta".
const APPLICATION: i32 = 0x6f70_7461;

/// The database in an atlas.
pub const DATABASE: &str = "atlas.db";
/// The states of the reducers in an atlas.
pub const ARRAYS: &str = "arrays.safetensors";
/// What it takes to repeat the scan.
pub const MANIFEST: &str = "manifest.json";
/// The states so far, while a scan runs.
pub const CHECKPOINT: &str = "checkpoint.safetensors";

/// Every file that the folder of an atlas may hold.
pub const NAMES: &[&str] = &[DATABASE, ARRAYS, MANIFEST, CHECKPOINT];
