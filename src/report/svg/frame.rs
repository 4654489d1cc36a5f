//! Axes, grid and labels, drawn by Plotters, and the map from positions on the axes to places on the sheet.

use std::ops::Range;

use plotters::chart::{ChartBuilder, ChartContext};
use plotters::coord::cartesian::Cartesian2d;
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};
use plotters::coord::types::RangedCoordf64;
use plotters::drawing::IntoDrawingArea;
use plotters::style::{Color, IntoFont, TRANSPARENT};

use super::axis::Scale;
use super::sheet::{AXIS, FINE, GRID, LABEL, LETTER, NAME, Pen, Sheet, text_width};
use crate::{Error, Result};

/// A linear axis with marks of our choice.
struct Coordinate {
    span: (f64, f64),
    ticks: Vec<f64>,
}

impl From<&Scale> for Coordinate {
    fn from(scale: &Scale) -> Self {
        Self { span: scale.span, ticks: scale.ticks.clone() }
    }
}

impl Ranged for Coordinate {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        RangedCoordf64::from(self.range()).map(value, limit)
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.span.0..self.span.1
    }
}

/// A drawn pair of axes.
pub(super) struct Frame<'a> {
    chart: ChartContext<'a, Pen<'a>, Cartesian2d<Coordinate, Coordinate>>,
}

/// Room for the words around the plotting area.
pub(super) struct Room {
    /// Above it.
    pub top: f64,
    /// Below it, beside the name of the axis.
    pub bottom: f64,
}

impl<'a> Frame<'a> {
    /// Draws the axes.
    pub fn draw(sheet: &'a Sheet, x: &Scale, y: &Scale, room: &Room) -> Result<Self> {
        let fine = |px: f64| (px * f64::from(FINE)).round() as i32;
        let named = |scale: &Scale, px: f64| if scale.name.is_empty() { 0.0 } else { px };
        let widest = y.labels.iter().map(|l| text_width(l)).fold(0.0, f64::max);
        let root = Pen(sheet).into_drawing_area();
        let mut chart = ChartBuilder::on(&root)
            .margin_top(fine(room.top))
            .margin_right(fine(14.0))
            .margin_left(fine(4.0))
            .x_label_area_size(fine(room.bottom + named(x, 20.0)))
            .y_label_area_size(fine(widest + 12.0 + named(y, 20.0)))
            .build_cartesian_2d(Coordinate::from(x), Coordinate::from(y))
            .map_err(refused)?;
        let letters = |colour| ("sans-serif", LETTER * f64::from(FINE)).into_font().color(colour);
        chart
            .configure_mesh()
            .x_labels(x.ticks.len())
            .y_labels(y.ticks.len())
            .x_label_formatter(&|at| label_at(x, *at))
            .y_label_formatter(&|at| label_at(y, *at))
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID.stroke_width(1))
            .axis_style(AXIS.stroke_width(1))
            .set_all_tick_mark_size(fine(4.0))
            .label_style(letters(&LABEL))
            .axis_desc_style(letters(&NAME))
            .x_desc(x.name.clone())
            .y_desc(y.name.clone())
            .draw()
            .map_err(refused)?;
        Ok(Self { chart })
    }

    /// The place of a point, in pixels.
    pub fn at(&self, x: f64, y: f64) -> (f64, f64) {
        let (x, y) = self.chart.backend_coord(&(x, y));
        (f64::from(x) / f64::from(FINE), f64::from(y) / f64::from(FINE))
    }

    /// Left, top, right and bottom of the plotting area, in pixels.
    pub fn area(&self) -> (f64, f64, f64, f64) {
        let (x, y) = self.chart.plotting_area().get_pixel_range();
        let px = |fine: i32| f64::from(fine) / f64::from(FINE);
        (px(x.start), px(y.start), px(x.end), px(y.end))
    }
}

fn label_at(scale: &Scale, at: f64) -> String {
    let found = scale.ticks.iter().position(|t| *t == at);
    found.and_then(|i| scale.labels.get(i)).cloned().unwrap_or_default()
}

fn refused(error: impl std::fmt::Display) -> Error {
    Error::invalid(format!("a chart cannot be laid out: {error}"), "report this as a defect")
}
