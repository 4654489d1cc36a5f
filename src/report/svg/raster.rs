//! Events of units over time: a dot where a unit fired.

use std::fmt::Write;

use maud::html;

use super::axis::Scale;
use super::frame::{Frame, Room};
use super::legend::{draw_notes, notes_height};
use super::sheet::{Length, Sheet, text};
use super::{check, plural};
use crate::Result;
use crate::report::chart::Axis;
use crate::report::visible::Shown;

/// Height of the sheet without remarks.
const HEIGHT: f64 = 320.0;
/// Dots of a sheet; of more, every second, third, ... is drawn.
const DOTS: usize = 20_000;

pub(super) fn draw(title: &str, x: &Axis, unit: &str, units: usize, dots: &[(f64, usize)]) -> Result<String> {
    check(dots.iter().all(|(t, i)| t.is_finite() && *i < units), || {
        format!("an event of a unit beyond {}, or at no time", plural(units, "unit"))
    })?;
    let across = Scale::fit(x, dots.iter().map(|d| d.0), false, 9)?;
    // The first unit at the bottom, as rasters are drawn.
    let up = Axis { name: unit.to_string(), log: false, range: Some((-0.5, units.max(1) as f64 - 0.5)) };
    let up = Scale::fit(&up, std::iter::empty(), false, 6)?;
    let every = dots.len().div_ceil(DOTS).max(1);
    let notes: Vec<String> = match every {
        1 => Vec::new(),
        _ => vec![format!("One event in {every} of {} is drawn.", dots.len())],
    };
    let height = HEIGHT + notes_height(&notes);
    let sheet = Sheet::new(height);
    let room = Room { top: 10.0, bottom: 22.0 + notes_height(&notes) };
    let frame = Frame::draw(&sheet, &across, &up, &room)?;
    let (left, top, right, bottom) = frame.area();
    let tall = ((bottom - top) / units.max(1) as f64).clamp(1.2, 9.0) * 0.8;
    let mut path = String::new();
    for (t, i) in dots.iter().step_by(every) {
        if let (Some(t), Some(i)) = (across.place(*t), up.place(*i as f64)) {
            let (px, py) = frame.at(t, i);
            let _ = write!(path, "M{} {}v{}", Length(px), Length(py - tall / 2.0), Length(tall));
        }
    }
    let words = format!("{} of {}", plural(dots.len(), "event"), plural(units, "unit"));
    sheet.put(html! { path class="raster s0" d=(path) { title { (Shown(&words)) } } });
    if dots.is_empty() {
        sheet.put(text("note", ((left + right) / 2.0, (top + bottom) / 2.0), "middle", 0.0, "no event"));
    }
    draw_notes(&sheet, &notes, height);
    Ok(sheet.finish(&format!("{title}: raster of {words}")))
}
