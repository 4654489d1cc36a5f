//! Curves with bands.

use std::fmt::Write;

use maud::{PreEscaped, html};

use super::axis::Scale;
use super::digits::value;
use super::frame::{Frame, Room};
use super::legend::{Legend, Sample, draw_notes, draw_nothing, notes_height, reference_class, series_class};
use super::sheet::{Length, Sheet};
use super::{check, plural};
use crate::Result;
use crate::report::chart::{Axis, Line};
use crate::report::visible::Shown;

/// Height of the plotting area with its axes.
const HEIGHT: f64 = 300.0;
/// Curves that a reader can tell apart.
const CURVES: usize = 24;
/// Points of all curves together; more than one per pixel would not be seen.
const POINTS: usize = 1200;
/// Up to here every point of a curve shows a dot; beyond, dots show under the pointer.
const DOTS: usize = 40;
/// Room around the plotting area in which a mark at its edge may stick out.
const EDGE: f64 = 5.0;

/// A point that can be drawn: its place, and its words.
struct Mark {
    at: (f64, f64),
    band: Option<(f64, f64)>,
    words: String,
}

pub(super) fn draw(title: &str, x: &Axis, y: &Axis, series: &[Line]) -> Result<String> {
    for line in series {
        check(line.band.is_empty() || line.band.len() == line.points.len(), || {
            format!("the curve \"{}\" has {} points and {} intervals", line.name, line.points.len(), line.band.len())
        })?;
    }
    let drawn = &series[..series.len().min(CURVES)];
    let across = drawn.iter().flat_map(|l| l.points.iter().filter(|p| p.1.is_finite()).map(|p| p.0));
    let up = drawn.iter().flat_map(|l| l.points.iter().map(|p| p.1).chain(l.band.iter().flat_map(|b| [b.0, b.1])));
    let scales = (Scale::fit(x, across, false, 9)?, Scale::fit(y, up, false, 7)?);
    let limit = (POINTS / drawn.len().max(1)).max(2);
    let notes = notes(series, &scales, limit);

    let classes = classes(drawn);
    let legend = Legend::new(classes.iter().cloned().zip(drawn.iter().map(|l| l.name.clone())).collect());
    let height = legend.height() + HEIGHT + notes_height(&notes);
    let sheet = Sheet::new(height);
    legend.draw(&sheet, &Sample::Line);
    let room = Room { top: legend.height() + 10.0, bottom: 22.0 + notes_height(&notes) };
    let frame = Frame::draw(&sheet, &scales.0, &scales.1, &room)?;

    let curves: Vec<(Vec<Vec<Mark>>, bool)> = drawn.iter().map(|l| marks(l, &scales, &frame, limit)).collect();
    let (left, top, right, bottom) = frame.area();
    let (w, h) = (right - left + 2.0 * EDGE, bottom - top + 2.0 * EDGE);
    let view = format!("{} {} {} {}", Length(left - EDGE), Length(top - EDGE), Length(w), Length(h));
    sheet.put(html! {
        // A drawing within the drawing cuts off what lies outside, without an id.
        svg x=(Length(left - EDGE)) y=(Length(top - EDGE)) width=(Length(w)) height=(Length(h)) viewBox=(view) {
            @for ((runs, _), class) in curves.iter().zip(&classes) {
                @for run in runs { (PreEscaped(band(run, class))) }
            }
            @for ((runs, _), class) in curves.iter().zip(&classes) {
                @for run in runs { path class=(format!("line {class}")) d=(path(run.iter().map(|m| m.at))) {} }
            }
            @for ((runs, quiet), class) in curves.iter().zip(&classes) {
                g class=(format!("{} {class}", if *quiet { "quiet" } else { "dots" })) {
                    @for mark in runs.iter().flatten() {
                        circle cx=(Length(mark.at.0)) cy=(Length(mark.at.1)) r=(if *quiet { "4" } else { "2.8" }) {
                            title { (Shown(&mark.words)) }
                        }
                    }
                }
            }
        }
    });
    if curves.iter().all(|(runs, _)| runs.is_empty()) {
        draw_nothing(&sheet, ((left + right) / 2.0, (top + bottom) / 2.0));
    }
    draw_notes(&sheet, &notes, height);
    Ok(sheet.finish(&format!("{title}: line chart, {}", plural(series.len(), "curve"))))
}

fn classes(series: &[Line]) -> Vec<String> {
    let (mut coloured, mut references) = (0, 0);
    let class = |line: &Line| {
        let (count, class): (&mut usize, fn(usize) -> String) =
            if line.reference { (&mut references, reference_class) } else { (&mut coloured, series_class) };
        *count += 1;
        class(*count - 1)
    };
    series.iter().map(class).collect()
}

fn notes(series: &[Line], (x, y): &(Scale, Scale), limit: usize) -> Vec<String> {
    let mut notes = Vec::new();
    if series.len() > CURVES {
        notes.push(format!("{} more are not drawn.", plural(series.len() - CURVES, "curve")));
    }
    let points = || series.iter().take(CURVES).flat_map(|l| &l.points);
    let refused = points().filter(|p| x.refuses(p.0) || y.refuses(p.1)).count();
    if refused > 0 {
        notes.push(format!("{} at or below 0 cannot be drawn on a logarithmic axis.", plural(refused, "point")));
    }
    let longest = series.iter().take(CURVES).map(|l| l.points.len()).max().unwrap_or(0);
    if longest > limit {
        notes.push(format!("Drawn with {limit} of up to {longest} points a curve; least and largest values are kept."));
    }
    notes
}

/// The points of a curve in runs without a gap, and whether they are too many to show dots.
fn marks(line: &Line, (x, y): &(Scale, Scale), frame: &Frame, limit: usize) -> (Vec<Vec<Mark>>, bool) {
    let mut runs: Vec<Vec<Mark>> = Vec::new();
    let mut open = false;
    let kept = thin(&line.points, limit);
    for i in &kept {
        let (a, b) = line.points[*i];
        let (Some(ax), Some(by)) = (x.place(a), y.place(b)) else {
            open = false;
            continue;
        };
        let interval = line.band.get(*i);
        let place = |v: f64| y.place(v).map(|v| frame.at(ax, v).1);
        let band = interval.and_then(|(low, high)| Some((place(*low)?, place(*high)?)));
        let range = interval.map(|(low, high)| format!(" ({} to {})", value(*low), value(*high))).unwrap_or_default();
        let words = format!("{}: {}{range} at {}", line.name, value(b), value(a));
        let mark = Mark { at: frame.at(ax, by), band, words: words.trim_start_matches(": ").to_string() };
        match runs.last_mut().filter(|_| open) {
            Some(run) => run.push(mark),
            None => runs.push(vec![mark]),
        }
        open = true;
    }
    (runs, kept.len() > DOTS)
}

/// At most `limit` indices, ascending. Of every stretch the least and the largest value are kept, so that no peak is
/// lost; a stretch without any value keeps one point, the gap.
fn thin(points: &[(f64, f64)], limit: usize) -> Vec<usize> {
    if points.len() <= limit {
        return (0..points.len()).collect();
    }
    let stretches = (limit / 2).max(1);
    let mut kept = Vec::with_capacity(2 * stretches);
    for stretch in 0..stretches {
        let range = stretch * points.len() / stretches..(stretch + 1) * points.len() / stretches;
        let first = range.start;
        let measured = || range.clone().filter(|i| points[*i].1.is_finite());
        let low = measured().min_by(|a, b| points[*a].1.total_cmp(&points[*b].1)).unwrap_or(first);
        let high = measured().max_by(|a, b| points[*a].1.total_cmp(&points[*b].1)).unwrap_or(first);
        kept.extend([low.min(high), low.max(high)]);
    }
    kept.dedup();
    kept
}

fn path(points: impl Iterator<Item = (f64, f64)>) -> String {
    let mut out = String::new();
    for (i, (x, y)) in points.enumerate() {
        let _ = write!(out, "{}{} {}", if i == 0 { 'M' } else { 'L' }, Length(x), Length(y));
    }
    out
}

/// The bands of a run, one for every stretch of points that have an interval.
fn band(run: &[Mark], class: &str) -> String {
    let stretches = run.split(|mark| mark.band.is_none()).filter(|stretch| !stretch.is_empty());
    let mut out = String::new();
    for stretch in stretches {
        let side = |mark: &Mark, high: bool| mark.band.map(|b| (mark.at.0, if high { b.1 } else { b.0 }));
        let above = stretch.iter().filter_map(|m| side(m, true));
        let below = stretch.iter().rev().filter_map(|m| side(m, false));
        let outline = path(above.chain(below)) + "Z";
        out += &html! { path class=(format!("band {class}")) d=(outline) {} }.0;
    }
    out
}
