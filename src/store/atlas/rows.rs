//! The rows of an atlas's tables.

use serde::Serialize;

/// The quantiles that the table of units has, in the order of its columns.
pub const QUANTILES: [f64; 7] = [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99];

/// What was scanned, with what.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunRow {
    /// Version of the program.
    pub optrode: String,
    /// What the model is called.
    pub model: String,
    /// sha256 over its files.
    pub model_sha256: String,
    /// All parameters as JSON.
    pub job: String,
    /// Documents.
    pub documents: u64,
    /// Tokens that the statistics count.
    pub tokens: u64,
}

/// A place of the network whose units were scanned.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SiteRow {
    /// Its name.
    pub name: String,
    /// Its block.
    pub layer: Option<usize>,
    /// `neuron`, `head` or `direction`.
    pub unit: String,
    /// What the number of a unit is, in words.
    pub value: String,
    /// When a unit fires, in words.
    pub fires: String,
    /// How many units it has.
    pub units: usize,
}

/// Statistics of a unit; `None` where there is no such number.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct UnitRow {
    /// Finite values.
    pub count: u64,
    /// Infinite and NaN values.
    pub non_finite: u64,
    /// Mean.
    pub mean: Option<f64>,
    /// Population standard deviation.
    pub std: Option<f64>,
    /// Asymmetry.
    pub skewness: Option<f64>,
    /// Excess kurtosis.
    pub kurtosis: Option<f64>,
    /// Smallest value.
    pub min: Option<f64>,
    /// Largest value.
    pub max: Option<f64>,
    /// Tokens at which it fired; `None` for units that have no such thing.
    pub fired: Option<u64>,
    /// Share of tokens at which it fired.
    pub rate: Option<f64>,
    /// [`QUANTILES`].
    pub quantiles: [Option<f64>; 7],
}

/// A group of documents.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GroupRow {
    /// Its name.
    pub name: String,
    /// Documents.
    pub documents: u64,
    /// Tokens that the statistics count.
    pub tokens: u64,
}

/// What a unit does in a group.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProfileRow {
    /// Index of the group, from 0.
    pub group: usize,
    /// Finite values.
    pub count: u64,
    /// Mean.
    pub mean: Option<f64>,
    /// Population standard deviation.
    pub std: Option<f64>,
    /// Tokens at which it fired.
    pub fired: Option<u64>,
    /// Share of tokens at which it fired.
    pub rate: Option<f64>,
}

/// A place in a document with its neighbours.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ContextRow {
    /// The document's number.
    pub document: u64,
    /// Position in the document.
    pub position: u32,
    /// Index of the document's group.
    pub group: usize,
    /// Token ids, the place's own among them.
    pub tokens: Vec<u32>,
    /// Which of them is its own.
    pub focus: usize,
    /// A printable form of each.
    pub words: Vec<String>,
    /// The same as text.
    pub text: String,
}

/// An example of a unit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExampleRow {
    /// `top`, `bottom`, or a band of quantiles such as `q75-95`.
    pub kind: String,
    /// Its place among those of its kind, from 0.
    pub rank: usize,
    /// The unit's value.
    pub value: f64,
    /// Where it is.
    pub context: ContextRow,
}

/// A label of a unit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LabelRow {
    /// The unit's id.
    pub unit: i64,
    /// Its site.
    pub site: String,
    /// Its number within the site.
    pub number: usize,
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
