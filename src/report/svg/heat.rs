//! Matrices of coloured cells, with their colours beside them.

use maud::{Markup, html};

use super::axis::Scale as Ticks;
use super::digits::{self, value};
use super::legend::{draw_notes, draw_nothing, notes_height};
use super::palette::LEVELS;
use super::sheet::{LETTER, Length, Sheet, WIDTH, rect, text, text_width};
use super::{check, plural};
use crate::Result;
use crate::report::chart::{Axis, Labels, Scale};
use crate::report::visible::{Shown, shorten};

/// Rows and columns that a sheet has room for; more are averaged.
const SIDE: usize = 64;
/// Sides of a cell, in pixels.
const CELL: (f64, f64) = (6.0, 34.0);
/// Highest cell, in pixels.
const TALLEST: f64 = 24.0;
/// Width of the colours beside the matrix, with their labels.
const BESIDE: f64 = 86.0;
/// The longest name of a row or column that is written out.
const LONGEST: usize = 22;
/// How much the columns' names are turned where they do not fit beside each other, in degrees.
const TURN: f64 = -45.0;

/// What is drawn.
pub(super) struct Matrix<'a> {
    pub rows: &'a Labels,
    pub columns: &'a Labels,
    pub values: &'a [Vec<f64>],
    pub unit: &'a str,
    pub scale: Scale,
}

pub(super) fn draw(title: &str, matrix: &Matrix) -> Result<String> {
    let (rows, columns) = (matrix.rows.items.len(), matrix.columns.items.len());
    check(matrix.values.len() == rows && matrix.values.iter().all(|r| r.len() == columns), || {
        format!("the matrix has not {} of {}", plural(rows, "row"), plural(columns, "value"))
    })?;
    let block = (rows.div_ceil(SIDE).max(1), columns.div_ceil(SIDE).max(1));
    let cells = pool(matrix.values, block);
    let colours = Colours::new(matrix.scale, cells.iter().flatten().copied());
    let mut notes = Vec::new();
    if block != (1, 1) {
        notes.push(format!("Every cell is the mean of up to {} × {} values of {rows} × {columns}.", block.0, block.1));
    }
    let names = |labels: &Labels, block: usize| -> Vec<String> {
        let ends = |i: usize| (i * block, ((i + 1) * block).min(labels.items.len()) - 1);
        let name = |(a, b): (usize, usize)| match a == b {
            true => labels.items[a].clone(),
            false => format!("{}–{}", labels.items[a], labels.items[b]),
        };
        (0..labels.items.len().div_ceil(block)).map(|i| name(ends(i))).collect()
    };
    let names = (names(matrix.rows, block.0), names(matrix.columns, block.1));

    let layout = Layout::new(matrix, &names);
    let height = layout.bottom + layout.below + notes_height(&notes);
    let sheet = Sheet::new(height);
    sheet.put(draw_cells(matrix, &cells, &colours, &names, &layout));
    draw_names(&sheet, matrix, &names, &layout);
    draw_colours(&sheet, &colours, matrix.unit, &layout);
    if cells.iter().flatten().all(|v| !v.is_finite()) {
        let middle = (layout.left + layout.right().max(layout.left + 160.0)) / 2.0;
        draw_nothing(&sheet, (middle, (TOP + layout.bottom) / 2.0 + 4.0));
    }
    draw_notes(&sheet, &notes, height);
    Ok(sheet.finish(&format!("{title}: heat map of {rows} × {columns} values")))
}

/// Means of blocks of values, over those that are finite; without any, what the first one is.
pub(in crate::report) fn pool(values: &[Vec<f64>], (high, wide): (usize, usize)) -> Vec<Vec<f64>> {
    let columns = values.first().map_or(0, Vec::len);
    let mean = |rows: &[Vec<f64>], from: usize| {
        let cells = rows.iter().flat_map(|r| &r[from..(from + wide).min(columns)]).filter(|v| v.is_finite());
        let (sum, n) = cells.fold((0.0, 0usize), |(sum, n), v| (sum + v, n + 1));
        if n == 0 { rows[0][from] } else { sum / n as f64 }
    };
    let row = |rows: &[Vec<f64>]| (0..columns).step_by(wide).map(|from| mean(rows, from)).collect();
    values.chunks(high).map(row).collect()
}

/// Which step of which scale a value takes.
pub(super) struct Colours {
    letter: char,
    low: f64,
    high: f64,
    first: usize,
    last: usize,
}

impl Colours {
    /// For these values. A diverging scale reaches as far below zero as above it.
    pub fn new(scale: Scale, values: impl Iterator<Item = f64>) -> Self {
        let none = (f64::INFINITY, f64::NEG_INFINITY);
        let (low, high) = values.filter(|v| v.is_finite()).fold(none, |(l, h), v| (l.min(v), h.max(v)));
        let (low, high) = if low > high { (0.0, 1.0) } else { (low, high) };
        let reach = low.abs().max(high.abs());
        match scale {
            Scale::Sequential => Self { letter: 'q', low, high, first: 0, last: LEVELS - 1 },
            Scale::Diverging => Self { letter: 'd', low: -reach, high: reach, first: 0, last: LEVELS - 1 },
        }
    }

    /// The same with steps near the page's own colour only, so that letters on them stay legible.
    pub fn pale(mut self) -> Self {
        (self.first, self.last) = if self.letter == 'q' { (0, 20) } else { (LEVELS / 2 - 14, LEVELS / 2 + 14) };
        self
    }

    /// The class of a value; `None` for what was not measured.
    pub fn class(&self, value: f64) -> Option<String> {
        if !value.is_finite() {
            return None;
        }
        // Halves, because the difference of two large numbers may be infinite.
        let length = self.high / 2.0 - self.low / 2.0;
        let t = if length > 0.0 { (value / 2.0 - self.low / 2.0) / length } else { 0.5 };
        Some(self.step(t))
    }

    fn step(&self, t: f64) -> String {
        let step = self.first as f64 + t.clamp(0.0, 1.0) * (self.last - self.first) as f64;
        format!("{}{}", self.letter, step.round() as usize)
    }

    /// All classes in use, ascending.
    pub fn steps(&self) -> Vec<String> {
        let n = self.last - self.first;
        (0..=n).map(|i| self.step(i as f64 / n as f64)).collect()
    }

    /// The least and the largest value.
    pub fn range(&self) -> (f64, f64) {
        (self.low, self.high)
    }
}

/// Above the matrix.
const TOP: f64 = 10.0;

/// Where things lie.
struct Layout {
    left: f64,
    cell: (f64, f64),
    bottom: f64,
    below: f64,
    columns: usize,
    turned: bool,
}

impl Layout {
    fn new(matrix: &Matrix, (rows, columns): &(Vec<String>, Vec<String>)) -> Self {
        let widest = |names: &[String]| names.iter().map(|n| text_width(&shorten(n, LONGEST))).fold(0.0, f64::max);
        let left = widest(rows) + 14.0 + if matrix.rows.name.is_empty() { 0.0 } else { 18.0 };
        let width = ((WIDTH - left - BESIDE) / columns.len().max(1) as f64).clamp(CELL.0, CELL.1);
        let height = width.clamp(CELL.0 + 3.0, TALLEST);
        let bottom = TOP + (height * rows.len() as f64).max(110.0);
        let turned = columns.iter().any(|n| n.chars().count() > 5) && widest(columns) + 4.0 > width;
        let names = if turned { widest(columns) * TURN.to_radians().sin().abs() + LETTER + 10.0 } else { 20.0 };
        let below = names + if matrix.columns.name.is_empty() { 4.0 } else { 20.0 };
        Self { left, cell: (width, height), bottom, below, columns: columns.len(), turned }
    }

    fn right(&self) -> f64 {
        self.left + self.cell.0 * self.columns as f64
    }
}

fn draw_cells(
    matrix: &Matrix,
    cells: &[Vec<f64>],
    colours: &Colours,
    (rows, columns): &(Vec<String>, Vec<String>),
    layout: &Layout,
) -> Markup {
    let named = |labels: &Labels, name: &str| match labels.name.is_empty() {
        true => name.to_string(),
        false => format!("{} {name}", labels.name),
    };
    let (w, h) = layout.cell;
    // Neighbours overlap by a hair, or the page would shine through between them.
    let size = (w + if w > 12.0 { -0.8 } else { 0.3 }, h + if w > 12.0 { -0.8 } else { 0.3 });
    html! {
        g class="heat" {
            @for (i, row) in cells.iter().enumerate() {
                @for (j, v) in row.iter().enumerate() {
                    @let at = (layout.left + j as f64 * w, TOP + i as f64 * h);
                    @let place = format!("{}, {}", named(matrix.rows, &rows[i]), named(matrix.columns, &columns[j]));
                    @let words = format!("{place}: {}", value(*v));
                    @match colours.class(*v) {
                        Some(class) => (rect(&class, at, size, &words)),
                        None => g class="void" {
                            (rect("empty", at, size, &words))
                            path d=(format!("M{} {}l{} {}", Length(at.0), Length(at.1 + size.1), Length(size.0), Length(-size.1))) {}
                        },
                    }
                }
            }
        }
    }
}

fn draw_names(sheet: &Sheet, matrix: &Matrix, (rows, columns): &(Vec<String>, Vec<String>), layout: &Layout) {
    let (w, h) = layout.cell;
    let labelled = |at, anchor, turn, name: &str| {
        let short = shorten(name, LONGEST);
        let label = text("label", at, anchor, turn, &short);
        html! { @if short != name { g { (label) title { (Shown(name)) } } } @else { (label) } }
    };
    let every = ((LETTER + 1.0) / h).ceil().max(1.0) as usize;
    for (i, name) in rows.iter().enumerate().step_by(every) {
        let y = TOP + (i as f64 + 0.5) * h + 0.35 * LETTER;
        sheet.put(labelled((layout.left - 7.0, y), "end", 0.0, name));
    }
    let widest = columns.iter().map(|n| text_width(n)).fold(0.0, f64::max);
    let room = if layout.turned { LETTER + 2.0 } else { widest + 5.0 };
    let every = (room / w).ceil().max(1.0) as usize;
    let bottom = TOP + h * rows.len() as f64;
    for (j, name) in columns.iter().enumerate().step_by(every) {
        let x = layout.left + (j as f64 + 0.5) * w;
        sheet.put(match layout.turned {
            true => labelled((x + 4.0, bottom + 12.0), "end", TURN, name),
            false => labelled((x, bottom + 15.0), "middle", 0.0, name),
        });
    }
    let middle = (TOP + bottom) / 2.0;
    if !matrix.rows.name.is_empty() {
        sheet.put(text("name", (12.0, middle), "middle", -90.0, &matrix.rows.name));
    }
    if !matrix.columns.name.is_empty() {
        let at = ((layout.left + layout.right()) / 2.0, bottom + layout.below - 6.0);
        sheet.put(text("name", at, "middle", 0.0, &matrix.columns.name));
    }
}

/// The scale of colours, from the least value at the bottom to the largest on top.
fn draw_colours(sheet: &Sheet, colours: &Colours, unit: &str, layout: &Layout) {
    let x = layout.right() + 20.0;
    let high = (layout.bottom - TOP).min(220.0);
    let steps = colours.steps();
    let one = high / steps.len() as f64;
    let (low, top) = colours.range();
    sheet.put(html! {
        g class="heat" {
            @for (i, class) in steps.iter().enumerate() {
                @let y = TOP + high - (i + 1) as f64 * one;
                rect class=(class) x=(Length(x)) y=(Length(y)) width="12" height=(Length(one + 0.3)) {}
            }
        }
    });
    let label = |y: f64, words: &str| text("label", (x + 17.0, y + 0.35 * LETTER), "start", 0.0, words);
    let ends = if low < top { digits::labels(&[low, top]) } else { vec![value(low)] };
    let widest = ends.iter().map(|l| text_width(l)).fold(30.0, f64::max);
    if let [least, largest] = ends.as_slice() {
        sheet.put(label(TOP + high, least));
        sheet.put(label(TOP, largest));
        let axis = Axis { range: Some((low, top)), ..Axis::default() };
        // A range of finite ascending bounds is always a good one.
        if let Ok(ticks) = Ticks::fit(&axis, std::iter::empty(), false, 6) {
            for (at, words) in ticks.ticks.iter().zip(&ticks.labels) {
                let t = (at - ticks.span.0) / (ticks.span.1 - ticks.span.0);
                if (LETTER..high - LETTER).contains(&(high * t)) {
                    sheet.put(label(TOP + high * (1.0 - t), words));
                }
            }
        }
    } else {
        sheet.put(label(TOP + high / 2.0, &ends[0]));
    }
    if !unit.is_empty() {
        sheet.put(text(
            "name",
            ((x + 17.0 + widest + 14.0).min(WIDTH - 6.0), TOP + high / 2.0),
            "middle",
            -90.0,
            &shorten(unit, 34),
        ));
    }
}
