//! Bars side by side, with intervals.

use maud::html;

use super::axis::Scale;
use super::digits::value;
use super::frame::{Frame, Room};
use super::legend::{Legend, Sample, draw_notes, draw_nothing, notes_height, series_class};
use super::sheet::{LETTER, Length, Sheet, WIDTH, rect, text, text_width};
use super::{check, plural};
use crate::Result;
use crate::report::chart::{Axis, Bars};
use crate::report::visible::{Shown, shorten};

/// Height of the plotting area with its axes.
const HEIGHT: f64 = 280.0;
/// Bars that a sheet has room for.
const BARS: usize = 300;
/// The widest bar.
const WIDEST: f64 = 46.0;
/// The longest name of a category that is written out.
const LONGEST: usize = 24;
/// How much names are turned where they do not fit beside each other, in degrees.
const TURN: f64 = -35.0;

pub(super) fn draw(title: &str, y: &Axis, categories: &[String], series: &[Bars]) -> Result<String> {
    for bars in series {
        let (n, m) = (bars.values.len(), bars.intervals.len());
        check(n == categories.len() && (m == 0 || m == n), || {
            format!("the bars \"{}\" have {n} values and {m} intervals for {} categories", bars.name, categories.len())
        })?;
    }
    let groups = categories.len().min((BARS / series.len().max(1)).max(1));
    let seen = |b: &Bars| {
        let ends = b.intervals.iter().take(groups).flat_map(|i| [i.0, i.1]);
        b.values.iter().take(groups).copied().chain(ends).collect::<Vec<_>>()
    };
    let scale = Scale::fit(y, series.iter().flat_map(seen), true, 7)?;
    let notes = notes(&scale, series, groups, categories.len());

    let names: Vec<String> = categories[..groups].iter().map(|c| shorten(c, LONGEST)).collect();
    let widest = names.iter().map(|n| text_width(n)).fold(0.0, f64::max);
    let turned = widest + 6.0 > (WIDTH - 90.0) / groups.max(1) as f64;
    let below = if turned { widest * TURN.to_radians().sin().abs() + LETTER + 12.0 } else { 22.0 };

    let entries = series.iter().enumerate().map(|(i, b)| (series_class(i), b.name.clone()));
    let legend = Legend::new(if series.len() > 1 { entries.collect() } else { Vec::new() });
    let height = legend.height() + HEIGHT + below + notes_height(&notes);
    let sheet = Sheet::new(height);
    legend.draw(&sheet, &Sample::Bar);
    let room = Room { top: legend.height() + 10.0, bottom: below + notes_height(&notes) };
    let frame = Frame::draw(&sheet, &Scale::groups(groups), &scale, &room)?;

    let drawn = (0..groups).map(|g| draw_group(&sheet, &frame, &scale, g, &categories[g], series));
    let drawn: usize = drawn.sum();
    draw_names(&sheet, &frame, &names, categories, turned);
    let (left, top, right, bottom) = frame.area();
    let zero = frame.at(0.0, scale.floor()).1;
    sheet.put(html! {
        line class="axis" x1=(Length(left)) x2=(Length(right)) y1=(Length(zero)) y2=(Length(zero)) {}
    });
    if drawn == 0 {
        draw_nothing(&sheet, ((left + right) / 2.0, (top + bottom) / 2.0));
    }
    draw_notes(&sheet, &notes, height);
    Ok(sheet.finish(&format!("{title}: bar chart, {}", plural(categories.len(), "group"))))
}

fn notes(scale: &Scale, series: &[Bars], groups: usize, all: usize) -> Vec<String> {
    let mut notes = Vec::new();
    if groups < all {
        notes.push(format!("The first {groups} of {all} groups are drawn."));
    }
    let refused = series.iter().flat_map(|b| &b.values).filter(|v| scale.refuses(**v)).count();
    if refused > 0 {
        notes.push(format!("{} at or below 0 cannot be drawn on a logarithmic axis.", plural(refused, "value")));
    }
    notes
}

/// The bars of one group; how many there are. A bar that was not measured leaves its place empty, with a cross.
fn draw_group(sheet: &Sheet, frame: &Frame, scale: &Scale, group: usize, category: &str, series: &[Bars]) -> usize {
    let (left, top, right, bottom) = frame.area();
    let inside = |y: f64| y.clamp(top, bottom);
    let full = frame.at(1.0, 0.0).0 - frame.at(0.0, 0.0).0;
    let width = (full * 0.78 / series.len() as f64).min(WIDEST);
    let middle = frame.at(group as f64 + 0.5, 0.0).0.clamp(left, right);
    let floor = frame.at(0.0, scale.floor()).1;
    let mut drawn = 0;
    for (i, bars) in series.iter().enumerate() {
        let x = middle + (i as f64 - series.len() as f64 / 2.0) * width;
        let name = if bars.name.is_empty() { category.to_string() } else { format!("{category}, {}", bars.name) };
        let gap = if width > 6.0 { 1.0 } else { 0.0 };
        let Some(tip) = scale.place(bars.values[group]).map(|at| inside(frame.at(0.0, at).1)) else {
            let (x, words) = (x + width / 2.0, format!("{name}: {}", value(bars.values[group])));
            sheet.put(
                html! { g class="void" { (text("note", (x, floor - 4.0), "middle", 0.0, "×")) title { (words) } } },
            );
            continue;
        };
        let interval = bars.intervals.get(group).filter(|(low, high)| low.is_finite() && high.is_finite());
        let range = interval.map(|(low, high)| format!(" ({} to {})", value(*low), value(*high))).unwrap_or_default();
        let words = format!("{name}: {}{range}", value(bars.values[group]));
        let size = (width - gap, (tip - floor).abs().max(0.6));
        sheet.put(rect(&format!("bar {}", series_class(i)), (x, tip.min(floor)), size, &words));
        if let Some((low, high)) = interval.and_then(|(low, high)| Some((scale.place(*low)?, scale.place(*high)?))) {
            let (low, high) = (inside(frame.at(0.0, low).1), inside(frame.at(0.0, high).1));
            let (m, cap) = (x + (width - gap) / 2.0, (width * 0.2).min(5.0));
            let (l, r) = (Length(m - cap), Length(m + cap));
            let (m, low, high) = (Length(m), Length(low), Length(high));
            sheet.put(html! { path class="interval" d=(format!("M{l} {low}H{r}M{m} {low}V{high}M{l} {high}H{r}")) {} });
        }
        drawn += 1;
    }
    drawn
}

/// The categories' names under their groups: level if all of them fit, else turned, and only as many as fit.
fn draw_names(sheet: &Sheet, frame: &Frame, names: &[String], whole: &[String], turned: bool) {
    let (_, _, _, bottom) = frame.area();
    let full = frame.at(1.0, 0.0).0 - frame.at(0.0, 0.0).0;
    let every = if turned { ((LETTER + 3.0) / full).ceil().max(1.0) as usize } else { 1 };
    for (i, name) in names.iter().enumerate().step_by(every) {
        let x = frame.at(i as f64 + 0.5, 0.0).0;
        let (at, anchor, turn) =
            if turned { ((x + 4.0, bottom + 13.0), "end", TURN) } else { ((x, bottom + 17.0), "middle", 0.0) };
        let label = text("label", at, anchor, turn, name);
        let cut = *name != whole[i];
        sheet.put(html! { @if cut { g { (label) title { (Shown(&whole[i])) } } } @else { (label) } });
    }
}
