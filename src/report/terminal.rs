//! Blocks as text for a terminal: aligned columns, no line longer than the window, colour only where it is wanted.
//!
//! Text may come from files and models. Control characters are shown as `\u{..}`, so that no escape sequence reaches
//! the terminal.

mod chart;

use std::io::IsTerminal;

use super::visible::{char_columns, columns, visible};
use super::{Better, Block, Cell, Judged, Table, Verdict};

/// Columns of a window whose width is not known.
const WIDTH: usize = 120;
/// Between two columns.
const GAP: usize = 2;
/// A column of words is never made narrower than this.
const NARROWEST: usize = 12;

/// How to draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Columns of the window.
    pub width: usize,
    /// Whether to use colour.
    pub colour: bool,
}

impl Style {
    /// Without colour.
    pub fn plain(width: usize) -> Self {
        Self { width, colour: false }
    }

    /// For stdout: the width of the terminal (or `COLUMNS`), colour on a terminal unless `NO_COLOR` is set (and not empty).
    pub fn stdout() -> Self {
        let columns = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok());
        let window = terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
        let refused = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        Self {
            width: columns.filter(|c| *c > 0).or(window).unwrap_or(WIDTH),
            colour: std::io::stdout().is_terminal() && !refused,
        }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_string() }
    }
}

fn colour(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "32",
        Verdict::Failed => "1;31",
        Verdict::Skipped => "33",
    }
}

/// The blocks as text, with an empty line between two of them.
pub fn render(blocks: &[Block], style: &Style) -> String {
    let drawn: Vec<String> = blocks.iter().map(|block| draw(block, *style)).collect();
    drawn.join("\n")
}

fn draw(block: &Block, style: Style) -> String {
    match block {
        Block::Heading { text } => lines(wrap(&visible(text), style.width).iter().map(|line| style.paint("1", line))),
        Block::Text { text } => lines(text.split('\n').flat_map(|line| wrap(&visible(line), style.width))),
        Block::Table(table) => draw_table(table, style),
        Block::Chart(chart) => lines(chart::draw(chart, style).into_iter()),
        Block::Verdicts { verdicts } => lines(verdicts.iter().flat_map(|v| draw_verdict(v, style))),
    }
}

fn lines(lines: impl Iterator<Item = String>) -> String {
    lines.fold(String::new(), |all, line| all + line.trim_end() + "\n")
}

/// `FAILED   name: reason (figure 1.0e-3, figure 2)`, later lines indented.
fn draw_verdict(judged: &Judged, style: Style) -> Vec<String> {
    let word = judged.verdict.word();
    let indent = Verdict::Skipped.word().len() + GAP;
    let mut text = visible(&judged.name);
    if !judged.reason.is_empty() {
        text += &format!(": {}", visible(&judged.reason));
    }
    if !judged.figures.is_empty() {
        let figures: Vec<String> = judged.figures.iter().map(|f| format!("{} {}", f.name, f.value)).collect();
        text += &format!(" ({})", visible(&figures.join(", ")));
    }
    let wrapped = wrap(&text, style.width.saturating_sub(indent).max(NARROWEST));
    wrapped
        .iter()
        .enumerate()
        .map(|(i, line)| match i {
            0 => format!("{}{}{line}", style.paint(colour(judged.verdict), word), " ".repeat(indent - word.len())),
            _ => format!("{}{line}", " ".repeat(indent)),
        })
        .collect()
}

fn draw_table(table: &Table, style: Style) -> String {
    let heads: Vec<String> = table
        .columns
        .iter()
        .map(|c| visible(&c.name) + &c.better.map_or(String::new(), |b| format!(" {}", b.arrow().0)))
        .collect();
    let cells: Vec<Vec<String>> =
        table.rows.iter().map(|row| row.iter().map(|c| visible(&c.to_string())).collect()).collect();
    let right: Vec<bool> = (0..heads.len()).map(|column| table.is_numeric(column)).collect();
    let widths = widths(&heads, &cells, &right, style.width);

    let bold = |_: usize, text: String| style.paint("1", &text);
    let mut out = draw_row(&heads, &widths, &right, bold);
    out.push("-".repeat(widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1)));
    for (row, texts) in table.rows.iter().zip(&cells) {
        out.extend(draw_row(texts, &widths, &right, |column, text| match row.get(column) {
            Some(Cell::Verdict(verdict)) => style.paint(colour(*verdict), &text),
            _ => text,
        }));
    }
    let used = [Better::Less, Better::More].into_iter().filter(|b| table.columns.iter().any(|c| c.better == Some(*b)));
    let legend: Vec<String> = used.map(|b| format!("{} {}", b.arrow().0, b.arrow().1)).collect();
    if !legend.is_empty() {
        out.push(style.paint("2", &legend.join(", ")));
    }
    lines(out.into_iter())
}

/// Natural widths, with the widest columns of words narrowed until the row fits: to their longest word if that is
/// enough, else further.
fn widths(heads: &[String], cells: &[Vec<String>], right: &[bool], window: usize) -> Vec<usize> {
    let texts = |column: usize| cells.iter().filter_map(move |row| row.get(column)).chain(heads.get(column));
    let widest = |column: usize| texts(column).map(|t| columns(t)).max().unwrap_or(0);
    let word = |column: usize| texts(column).flat_map(|t| t.split(' ')).map(columns).max().unwrap_or(0);
    // Numbers stay whole; an interval may stand below its value.
    let narrows: Vec<bool> = (0..heads.len())
        .map(|c| !right[c] || cells.iter().any(|row| row.get(c).is_some_and(|t| t.contains(' '))))
        .collect();
    let mut widths: Vec<usize> = (0..heads.len()).map(widest).collect();
    let gaps = GAP * widths.len().saturating_sub(1);
    let whole: Vec<usize> = (0..heads.len()).map(|c| word(c).max(NARROWEST)).collect();
    for floors in [whole, vec![NARROWEST; heads.len()]] {
        while widths.iter().sum::<usize>() + gaps > window {
            let words = (0..widths.len()).filter(|c| narrows[*c] && widths[*c] > floors[*c]);
            match words.max_by_key(|c| widths[*c]) {
                Some(column) => widths[column] -= 1,
                None => break,
            }
        }
    }
    widths
}

/// One row, on as many lines as its longest cell needs; `paint` colours the text of a column.
fn draw_row(
    cells: &[String],
    widths: &[usize],
    right: &[bool],
    paint: impl Fn(usize, String) -> String,
) -> Vec<String> {
    let wrapped: Vec<Vec<String>> = cells.iter().zip(widths).map(|(cell, w)| wrap(cell, *w)).collect();
    let height = wrapped.iter().map(Vec::len).max().unwrap_or(0);
    let line = |i: usize| {
        let parts = wrapped.iter().zip(widths).zip(right).enumerate().map(|(column, ((cell, w), right))| {
            let text = cell.get(i).map_or("", String::as_str);
            let fill = " ".repeat(w.saturating_sub(columns(text)));
            let text = if text.is_empty() { String::new() } else { paint(column, text.to_string()) };
            if *right { fill + &text } else { text + &fill }
        });
        parts.collect::<Vec<_>>().join(&" ".repeat(GAP))
    };
    (0..height).map(line).collect()
}

/// Breaks at spaces; a word that is too long is cut. Leading spaces of the text stay.
fn wrap(text: &str, limit: usize) -> Vec<String> {
    let limit = limit.max(1);
    let mut out = Vec::new();
    let mut line = String::new();
    let mut used = 0;
    for word in text.split_inclusive(' ') {
        let bare = columns(word.trim_end_matches(' '));
        if used > 0 && used + bare > limit {
            out.push(std::mem::take(&mut line).trim_end().to_string());
            used = 0;
        }
        for c in word.chars() {
            let w = char_columns(c);
            if used + w > limit && c != ' ' {
                out.push(std::mem::take(&mut line));
                used = 0;
            }
            line.push(c);
            used += w;
        }
    }
    if !line.is_empty() || out.is_empty() {
        out.push(line);
    }
    out
}
