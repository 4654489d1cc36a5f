//! Names of series above a drawing, and remarks below it.

use maud::html;

use super::palette::SERIES;
use super::sheet::{LETTER, Length, Sheet, WIDTH, text, text_width};
use crate::report::visible::shorten;

/// Height of a line of the legend or of the remarks.
const LINE: f64 = 18.0;
/// Length of the sample beside a name.
const SAMPLE: f64 = 22.0;
/// The longest name that is written out.
const LONGEST: usize = 48;

/// How a series looks.
pub(super) enum Sample {
    /// A curve.
    Line,
    /// A bar.
    Bar,
}

/// The class of the nth series: six colours, then the same again with other dashes.
pub(super) fn series_class(n: usize) -> String {
    format!("s{} dash{}", n % SERIES, (n / SERIES).min(3))
}

/// The class of the nth reference: no colour, thin, with dashes.
pub(super) fn reference_class(n: usize) -> String {
    format!("reference dash{}", 1 + n % 3)
}

/// Names with the classes of their series, in lines that fit the sheet.
pub(super) struct Legend {
    lines: Vec<Vec<(f64, String, String)>>,
}

impl Legend {
    /// Lays the names out. A single series without a name needs no legend.
    pub fn new(entries: Vec<(String, String)>) -> Self {
        let mut lines: Vec<Vec<(f64, String, String)>> = Vec::new();
        let mut x = f64::INFINITY;
        for (class, name) in entries.into_iter().filter(|(_, name)| !name.is_empty()) {
            let name = shorten(&name, LONGEST);
            let width = SAMPLE + 6.0 + text_width(&name) + 18.0;
            if x + width > WIDTH - 10.0 {
                lines.push(Vec::new());
                x = 10.0;
            }
            if let Some(line) = lines.last_mut() {
                line.push((x, class, name));
            }
            x += width;
        }
        Self { lines }
    }

    /// How high it is.
    pub fn height(&self) -> f64 {
        self.lines.len() as f64 * LINE
    }

    /// Draws it at the top of the sheet.
    pub fn draw(&self, sheet: &Sheet, sample: &Sample) {
        for (i, line) in self.lines.iter().enumerate() {
            let y = (i as f64 + 0.5) * LINE;
            for (x, class, name) in line {
                sheet.put(match sample {
                    Sample::Line => html! {
                        line class=(format!("line {class}")) x1=(Length(*x)) x2=(Length(x + SAMPLE)) y1=(Length(y)) y2=(Length(y)) {}
                    },
                    Sample::Bar => html! {
                        rect class=(format!("bar {class}")) x=(Length(x + 8.0)) y=(Length(y - 5.0)) width="12" height="10" {}
                    },
                });
                sheet.put(text("label", (x + SAMPLE + 6.0, y + 0.35 * LETTER), "start", 0.0, name));
            }
        }
    }
}

/// How high remarks are.
pub(super) fn notes_height(notes: &[String]) -> f64 {
    notes.len() as f64 * LINE
}

/// Writes remarks so that the last one stands at `bottom`.
pub(super) fn draw_notes(sheet: &Sheet, notes: &[String], bottom: f64) {
    for (i, note) in notes.iter().rev().enumerate() {
        sheet.put(text("note", (10.0, bottom - 5.0 - i as f64 * LINE), "start", 0.0, note));
    }
}

/// Says that there was nothing to draw.
pub(super) fn draw_nothing(sheet: &Sheet, at: (f64, f64)) {
    sheet.put(text("note", at, "middle", 0.0, "nothing was measured"));
}
