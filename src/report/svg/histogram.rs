//! Counts between edges.

use super::axis::Scale;
use super::digits::value;
use super::frame::{Frame, Room};
use super::legend::{draw_notes, draw_nothing, notes_height};
use super::sheet::{Sheet, rect};
use super::{check, plural};
use crate::Result;
use crate::report::chart::Axis;

/// Height of the sheet without remarks.
const HEIGHT: f64 = 280.0;
/// Bins that a sheet has room for; more are joined.
const BINS: usize = 256;

pub(super) fn draw(title: &str, x: &Axis, edges: &[f64], counts: &[u64]) -> Result<String> {
    check(edges.len() == counts.len() + 1, || {
        format!("{} for {}", plural(edges.len(), "edge"), plural(counts.len(), "count"))
    })?;
    check(edges.iter().all(|e| e.is_finite()) && edges.windows(2).all(|w| w[0] < w[1]), || {
        "the edges of the histogram are not finite and ascending".to_string()
    })?;
    let total: u64 = counts.iter().fold(0, |sum, c| sum.saturating_add(*c));
    let join = counts.len().div_ceil(BINS).max(1);
    let bins: Vec<(f64, f64, u64)> = (0..counts.len())
        .step_by(join)
        .map(|i| (i, (i + join).min(counts.len())))
        .map(|(i, end)| (edges[i], edges[end], counts[i..end].iter().fold(0, |sum: u64, c| sum.saturating_add(*c))))
        .collect();

    let across = Scale::fit(x, edges.iter().copied(), false, 9)?;
    let tallest = bins.iter().map(|b| b.2 as f64);
    let up = Scale::fit(&Axis::new("count"), tallest, true, 6)?;
    let mut notes = Vec::new();
    if join > 1 {
        notes.push(format!("Every {join} of {} bins are joined.", counts.len()));
    }
    let refused: u64 = bins.iter().filter(|b| across.refuses(b.0)).map(|b| b.2).sum();
    if bins.iter().any(|b| across.refuses(b.0)) {
        notes.push(format!("{refused} values in bins that begin at or below 0 cannot be drawn on a logarithmic axis."));
    }

    let height = HEIGHT + notes_height(&notes);
    let sheet = Sheet::new(height);
    let room = Room { top: 10.0, bottom: 22.0 + notes_height(&notes) };
    let frame = Frame::draw(&sheet, &across, &up, &room)?;
    let (left, top, right, bottom) = frame.area();
    for (low, high, count) in &bins {
        let (Some(from), Some(to), Some(tip)) = (across.place(*low), across.place(*high), up.place(*count as f64))
        else {
            continue;
        };
        let (from, tip) = frame.at(from, tip);
        let (from, to) = (from.clamp(left, right), frame.at(to, 0.0).0.clamp(left, right));
        let gap = if to - from > 4.0 { 0.8 } else { 0.0 };
        let share = if total > 0 { 100.0 * *count as f64 / total as f64 } else { 0.0 };
        let words = format!("{} to {}: {count} ({share:.1} %)", value(*low), value(*high));
        let class = if *count > 0 { "bar s0" } else { "bar none" };
        let bar = if *count > 0 { (bottom - tip).max(0.6) } else { bottom - top };
        sheet.put(rect(class, (from, bottom - bar), ((to - from - gap).max(0.3), bar), &words));
    }
    if total == 0 {
        draw_nothing(&sheet, ((left + right) / 2.0, (top + bottom) / 2.0));
    }
    draw_notes(&sheet, &notes, height);
    Ok(sheet.finish(&format!("{title}: histogram of {total} values")))
}
