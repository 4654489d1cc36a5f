//! Charts as SVG for a page: the same markup serves the HTML report and the dashboard.
//!
//! [`render`] gives a chart's drawing, [`style`] the style sheet that colours every drawing, light and dark. Marks say
//! their values on hover in `<title>` elements; there is no script and no id, so drawings stand side by side on a page.
//! The same chart gives the same bytes. What could not be drawn (values at or below 0 on a logarithmic axis, more
//! marks than a reader could see) is said below the drawing, never left out in silence.
//!
//! Axes, ticks, labels and the map from values to places are Plotters' work, through a backend of our own
//! (`sheet.rs`) that writes classes in place of colours. Its own SVG backend knows neither classes nor `<title>`. Also
//! tried: Kuva 0.6, which has hover values and a richer layout, but paints missing cells black, ends a curve at its
//! first missing value, numbers its clip paths across the process (so that the same chart gives other bytes) and takes
//! eight times as long to build.

mod axis;
mod bars;
mod digits;
mod frame;
mod heat;
mod histogram;
mod legend;
mod lines;
mod palette;
mod pictures;
mod raster;
mod sheet;
mod tokens;

pub(super) use digits::value;
pub(super) use heat::pool;

use super::chart::{Chart, Plot};
use crate::{Error, Result};

/// The marks of a chart as markup: one `<svg>`, or, for tokens and pictures, which flow like text, one `<div>`. Title and caption
/// are not part of it; [`super::html::figure`] adds them.
///
/// # Errors
/// [`Error::Invalid`] if the parts of the chart do not fit each other: a band of another length than its curve, a row
/// of another length than there are columns, edges that do not ascend, a range without length.
pub fn render(chart: &Chart) -> Result<String> {
    let drawn = match &chart.plot {
        Plot::Lines { x, y, series } => lines::draw(&chart.title, x, y, series),
        Plot::Bars { y, categories, series } => bars::draw(&chart.title, y, categories, series),
        Plot::Heat { rows, columns, values, unit, scale } => {
            heat::draw(&chart.title, &heat::Matrix { rows, columns, values, unit, scale: *scale })
        }
        Plot::Histogram { x, edges, counts } => histogram::draw(&chart.title, x, edges, counts),
        Plot::Raster { x, unit, units, dots } => raster::draw(&chart.title, x, unit, *units, dots),
        Plot::Tokens { unit, rows } => tokens::draw(&chart.title, unit, rows),
        Plot::Pictures { rows } => pictures::draw(&chart.title, rows),
    };
    drawn.map_err(|error| match error {
        Error::Invalid { what, hint } => Error::invalid(format!("the chart \"{}\": {what}", chart.title), hint),
        other => other,
    })
}

/// The style sheet of every drawing: colours by class, in the light and, where the reader prefers it, in the dark.
pub fn style() -> String {
    format!(
        ":root{{{}}}@media screen and (prefers-color-scheme:dark){{:root{{{}}}}}{}{}",
        palette::variables(false),
        palette::variables(true),
        palette::rules(),
        include_str!("chart.css"),
    )
}

/// What must hold of a chart's parts.
fn check(holds: bool, what: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::invalid(what(), "build the chart from parts of equal length")) }
}

/// `1 point`, `3 points`.
fn plural(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}
