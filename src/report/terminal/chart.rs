//! Charts in characters: little, but the shape and the numbers at its ends.

use super::{Style, wrap};
use crate::report::chart::{Bars, Chart, Labels, Line, PictureRow, Plot, Scale, TokenRow};
use crate::report::svg::{pool, value};
use crate::report::visible::{columns, shorten, visible};

/// Heights within a line.
const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Shades of values above the least, or above zero.
const SHADES: [char; 5] = [' ', '░', '▒', '▓', '█'];
/// Shades of values below zero.
const BELOW: [char; 5] = [' ', '.', '-', '=', '≡'];
/// Lines of one chart; what is beyond is counted.
const ROWS: usize = 40;
/// The longest name that is written out.
const LONGEST: usize = 28;

pub(super) fn draw(chart: &Chart, style: Style) -> Vec<String> {
    let mut out: Vec<String> = wrap(&visible(&chart.title), style.width);
    out = out.iter().map(|line| style.paint("1", line)).collect();
    let body = match &chart.plot {
        Plot::Lines { x, y, series } => lines(series, &x.name, &y.name, y.log, style.width),
        Plot::Bars { categories, series, .. } => bars(categories, series, style.width),
        Plot::Heat { rows, columns, values, unit, scale } => heat((rows, columns), values, unit, *scale, style.width),
        Plot::Histogram { x, edges, counts } => histogram(&x.name, edges, counts, style.width),
        Plot::Raster { x, units, dots, .. } => raster(&x.name, *units, dots, style.width),
        Plot::Tokens { rows, .. } => tokens(rows, style.width),
        Plot::Pictures { rows } => pictures(rows),
    };
    out.extend(body);
    out
}

/// How many events there are in each stretch of time.
fn raster(time: &str, units: usize, dots: &[(f64, usize)], width: usize) -> Vec<String> {
    let Some(ends) = range(dots.iter().map(|d| d.0)) else { return vec!["no event".to_string()] };
    let mut counts = vec![0.0; width.clamp(1, 80)];
    let last = counts.len() - 1;
    for (t, _) in dots {
        counts[(share(*t, ends) * last as f64).round() as usize] += 1.0;
    }
    let most = counts.iter().copied().fold(0.0, f64::max);
    let words = format!("{} events of {units} units, {time} {} to {}", dots.len(), value(ends.0), value(ends.1));
    vec![spark(&counts, (0.0, most), width), words]
}

/// The least and the largest finite value.
fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let none = (f64::INFINITY, f64::NEG_INFINITY);
    let seen = values.filter(|v| v.is_finite()).fold(none, |(low, high), v| (low.min(v), high.max(v)));
    (seen.0 <= seen.1).then_some(seen)
}

/// Where a value lies between two others, 0 to 1; halves, because their difference may be infinite.
fn share(v: f64, (low, high): (f64, f64)) -> f64 {
    if high > low { ((v / 2.0 - low / 2.0) / (high / 2.0 - low / 2.0)).clamp(0.0, 1.0) } else { 0.5 }
}

/// One character per value, means of neighbours if there are more than `width`; a blank where nothing was measured.
fn spark(values: &[f64], ends: (f64, f64), width: usize) -> String {
    let cells = pool(&[values.to_vec()], (1, values.len().div_ceil(width.max(1)).max(1)));
    let height = |v: &f64| match v.is_finite() {
        true => HEIGHTS[(share(*v, ends) * (HEIGHTS.len() - 1) as f64).round() as usize],
        false => ' ',
    };
    cells.iter().flatten().map(height).collect()
}

/// A name cut or filled to a width.
fn padded(name: &str, width: usize) -> String {
    let name = shorten(name, width);
    let fill = width.saturating_sub(columns(&name));
    name + &" ".repeat(fill)
}

/// The width of the column of names.
fn name_width<'a>(names: impl Iterator<Item = &'a String>, window: usize) -> usize {
    names.map(|n| columns(&visible(n))).max().unwrap_or(0).min(LONGEST).min(window / 3)
}

fn more(n: usize) -> Option<String> {
    (n > ROWS).then(|| format!("... and {} more", n - ROWS))
}

fn nothing() -> Vec<String> {
    vec!["nothing was measured".to_string()]
}

fn lines(series: &[Line], x: &str, y: &str, log: bool, width: usize) -> Vec<String> {
    let height = |v: f64| if log { v.ln() } else { v };
    let heights = |l: &Line| -> Vec<f64> { l.points.iter().map(|p| height(p.1)).collect() };
    let Some(ends) = range(series.iter().flat_map(heights)) else { return nothing() };
    let names = name_width(series.iter().map(|l| &l.name), width);
    let curve = |l: &Line| {
        let own = range(l.points.iter().map(|p| p.1));
        let own = own.map(|(low, high)| format!("{} to {}", value(low), value(high))).unwrap_or_default();
        let room = width.saturating_sub(names + 2 + columns(&own) + 2).max(1);
        format!("{}  {}  {own}", padded(&l.name, names), spark(&heights(l), ends, room))
    };
    let mut out: Vec<String> = series.iter().take(ROWS).map(curve).collect();
    out.extend(more(series.len()));
    if let Some((first, last)) = range(series.iter().flat_map(|l| l.points.iter().map(|p| p.0))) {
        out.extend(wrap(&visible(&format!("{y}, against {x} from {} to {}", value(first), value(last))), width));
    }
    out
}

fn bars(categories: &[String], series: &[Bars], width: usize) -> Vec<String> {
    let mut entries: Vec<(String, f64)> = Vec::new();
    for (i, category) in categories.iter().enumerate() {
        for bars in series {
            let name = if bars.name.is_empty() { category.clone() } else { format!("{category}, {}", bars.name) };
            entries.push((name, bars.values.get(i).copied().unwrap_or(f64::NAN)));
        }
    }
    let Some((low, high)) = range(entries.iter().map(|e| e.1).chain([0.0])) else { return nothing() };
    let names = name_width(entries.iter().map(|e| &e.0), width);
    let reach = low.abs().max(high.abs());
    let numbers = entries.iter().map(|e| columns(&value(e.1))).max().unwrap_or(0);
    let room = width.saturating_sub(names + numbers + 4).max(1);
    let bar = |v: f64| match v.is_finite() && reach > 0.0 {
        true => (if v < 0.0 { "▒" } else { "█" }).repeat(((v.abs() / reach) * room as f64).round() as usize),
        false => String::new(),
    };
    let fill = |v: f64| " ".repeat(numbers.saturating_sub(columns(&value(v))));
    let line = |(name, v): &(String, f64)| format!("{}  {}{}  {}", padded(name, names), fill(*v), value(*v), bar(*v));
    let mut out: Vec<String> = entries.iter().take(ROWS).map(line).collect();
    out.extend(more(entries.len()));
    out
}

fn heat((rows, heads): (&Labels, &Labels), values: &[Vec<f64>], unit: &str, scale: Scale, width: usize) -> Vec<String> {
    let Some((low, high)) = range(values.iter().flatten().copied()) else { return nothing() };
    let names = name_width(rows.items.iter(), width);
    let room = width.saturating_sub(names + 2).max(1);
    let block = (values.len().div_ceil(ROWS).max(1), heads.items.len().div_ceil(room).max(1));
    let wide = if heads.items.len() * 2 <= room { 2 } else { 1 };
    let reach = low.abs().max(high.abs());
    let (ends, lowest) = match scale {
        Scale::Sequential => ((low, high), SHADES[0]),
        Scale::Diverging => ((0.0, reach), BELOW[4]),
    };
    let shade = |v: &f64| {
        let shades = if scale == Scale::Diverging && *v < 0.0 { BELOW } else { SHADES };
        let v = if scale == Scale::Diverging { v.abs() } else { *v };
        let mark = if v.is_finite() { shades[(share(v, ends) * 4.0).round() as usize] } else { '?' };
        mark.to_string().repeat(wide)
    };
    let cells = pool(values, block);
    let line = |(i, row): (usize, &Vec<f64>)| {
        let name = rows.items.get(i * block.0).map_or("", String::as_str);
        format!("{}  {}", padded(name, names), row.iter().map(shade).collect::<String>())
    };
    let mut out: Vec<String> = cells.iter().enumerate().map(line).collect();
    let low = if scale == Scale::Diverging { -reach } else { low };
    let high = if scale == Scale::Diverging { reach } else { high };
    let gaps = if cells.iter().flatten().any(|v| !v.is_finite()) { ", '?' not measured" } else { "" };
    let key = format!(
        "{} down, {} across; {unit} from '{lowest}' {} to '█' {}{gaps}",
        rows.name,
        heads.name,
        value(low),
        value(high)
    );
    out.extend(wrap(&visible(&key), width));
    out
}

fn histogram(x: &str, edges: &[f64], counts: &[u64], width: usize) -> Vec<String> {
    let values: Vec<f64> = counts.iter().map(|c| *c as f64).collect();
    let Some((_, high)) = range(values.iter().copied()) else { return nothing() };
    let (first, last) = (edges.first().copied().unwrap_or(f64::NAN), edges.last().copied().unwrap_or(f64::NAN));
    let key = format!("{x} from {} to {}; tallest bin {}", value(first), value(last), value(high));
    let mut out = vec![spark(&values, (0.0, high), width)];
    out.extend(wrap(&visible(&key), width));
    out
}

/// The texts, with tokens of at least half the largest value in brackets.
fn tokens(rows: &[TokenRow], width: usize) -> Vec<String> {
    let Some((_, high)) = range(rows.iter().flat_map(|r| r.values.iter().map(|v| v.abs()))) else { return nothing() };
    let strong = |v: f64| high > 0.0 && v.abs() >= high / 2.0;
    let text = |row: &TokenRow| {
        let token = |(token, v): (&String, &f64)| if strong(*v) { format!("[{token}]") } else { token.clone() };
        let text: String = row.tokens.iter().zip(&row.values).map(token).collect();
        visible(&format!("{}: {text}", row.name))
    };
    let mut out: Vec<String> = rows.iter().take(ROWS).flat_map(|row| wrap(&text(row), width)).collect();
    out.extend(more(rows.len()));
    out.extend(wrap(&format!("[ ] at least half of the largest value, {}", value(high)), width));
    out
}

/// What the pictures are: a terminal shows none.
fn pictures(rows: &[PictureRow]) -> Vec<String> {
    let line = |row: &PictureRow| visible(&format!("{}: {} pictures", row.name, row.pictures.len()));
    let mut out: Vec<String> = rows.iter().take(ROWS).map(line).collect();
    out.extend(more(rows.len()));
    out.push("the pictures are in the HTML report".into());
    out
}
