//! Charts as data: what is drawn, not how. The renderers of the HTML report and of the dashboard draw the same values.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::number;

/// A chart with its words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Chart {
    /// What it shows, as a short sentence.
    pub title: String,
    /// What a reader should know: units, the control, how many items.
    pub caption: String,
    /// The marks.
    pub plot: Plot,
}

/// The marks of a chart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "plot", rename_all = "snake_case")]
pub enum Plot {
    /// Curves over a numeric axis.
    Lines {
        /// Horizontal axis.
        x: Axis,
        /// Vertical axis.
        y: Axis,
        /// The curves.
        series: Vec<Line>,
    },
    /// Bars side by side, group by group.
    Bars {
        /// Vertical axis.
        y: Axis,
        /// One name per group of bars.
        categories: Vec<String>,
        /// One bar per category.
        series: Vec<Bars>,
    },
    /// A matrix of coloured cells, first row on top.
    Heat {
        /// What the rows are, and one name per row.
        rows: Labels,
        /// What the columns are, and one name per column.
        columns: Labels,
        /// Row by row; NaN where nothing was measured.
        #[serde(with = "number::nested")]
        #[schemars(with = "Vec<Vec<number::Number>>")]
        values: Vec<Vec<f64>>,
        /// What the values are.
        unit: String,
        /// How values become colours.
        scale: Scale,
    },
    /// Counts between edges.
    Histogram {
        /// The axis of the edges.
        x: Axis,
        /// One more than there are counts, ascending.
        #[serde(with = "number::nested")]
        #[schemars(with = "Vec<number::Number>")]
        edges: Vec<f64>,
        /// How many values lie in each bin.
        counts: Vec<u64>,
    },
    /// Events of units over time.
    Raster {
        /// The axis of time.
        x: Axis,
        /// What the units are.
        unit: String,
        /// How many there are.
        units: usize,
        /// Time and unit of every event.
        dots: Vec<(f64, usize)>,
    },
    /// Texts with a value at every token.
    Tokens {
        /// What the values are.
        unit: String,
        /// One text per row.
        rows: Vec<TokenRow>,
    },
    /// Small pictures side by side.
    Pictures {
        /// The rows, from the top.
        rows: Vec<PictureRow>,
    },
}

/// An axis with numbers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Axis {
    /// What it measures, with the unit.
    pub name: String,
    /// Whether it is logarithmic.
    pub log: bool,
    /// The first and the last value; chosen from the data if `None`.
    pub range: Option<(f64, f64)>,
}

impl Axis {
    /// A linear axis that fits the data.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// The same axis from `low` to `high`.
    pub fn range(mut self, low: f64, high: f64) -> Self {
        self.range = Some((low, high));
        self
    }
}

/// A curve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Line {
    /// Its name in the legend.
    pub name: String,
    /// (x, y), in the order in which they are joined.
    #[serde(with = "number::nested")]
    #[schemars(with = "Vec<(number::Number, number::Number)>")]
    pub points: Vec<(f64, f64)>,
    /// (low, high) around each point; empty if there is no interval.
    #[serde(with = "number::nested")]
    #[schemars(with = "Vec<(number::Number, number::Number)>")]
    pub band: Vec<(f64, f64)>,
    /// Whether it is a reference (a control, a chance level): drawn thin and dashed.
    pub reference: bool,
}

/// One bar per category.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Bars {
    /// Its name in the legend.
    pub name: String,
    /// Heights; NaN where nothing was measured.
    #[serde(with = "number::nested")]
    #[schemars(with = "Vec<number::Number>")]
    pub values: Vec<f64>,
    /// (low, high) of each bar; empty if there is no interval.
    #[serde(with = "number::nested")]
    #[schemars(with = "Vec<(number::Number, number::Number)>")]
    pub intervals: Vec<(f64, f64)>,
}

/// Names along one side of a matrix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Labels {
    /// What they are, such as "layer".
    pub name: String,
    /// One per row or column.
    pub items: Vec<String>,
}

/// How values become colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// From the least value to the largest, light to dark.
    Sequential,
    /// Around zero, two hues.
    Diverging,
}

/// A text, token by token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TokenRow {
    /// Where it comes from: a document, a rank.
    pub name: String,
    /// The tokens' texts.
    pub tokens: Vec<String>,
    /// One value per token.
    #[serde(with = "number::nested")]
    #[schemars(with = "Vec<number::Number>")]
    pub values: Vec<f64>,
    /// The token that the row is about, if any.
    pub focus: Option<usize>,
}

/// Pictures of one thing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PictureRow {
    /// What they show.
    pub name: String,
    /// From the left.
    pub pictures: Vec<Framed>,
}

/// A picture with its words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Framed {
    /// A PNG file in base64.
    pub png: String,
    /// What a reader sees when pointing at it, and who cannot see it hears.
    pub note: String,
}
