//! Tables as markup.

use maud::{Markup, html};

use super::blocks::badge;
use crate::report::visible::Shown;
use crate::report::{Better, Cell, Table, fixed, interval};

/// A table about `subject`, which is its caption for those who do not see the page.
pub(super) fn draw(table: &Table, subject: &str) -> Markup {
    let right: Vec<bool> = (0..table.columns.len()).map(|c| table.is_numeric(c)).collect();
    let class = |column: usize| right.get(column).copied().unwrap_or(false).then_some("number");
    let names_rows = table.rows.iter().all(|row| matches!(row.first(), Some(Cell::Text(_))));
    html! {
        div class="scroll" tabindex="0" role="region" aria-label=(Shown(subject)) {
            table {
                caption class="hidden" { (Shown(subject)) }
                thead {
                    tr {
                        @for (i, column) in table.columns.iter().enumerate() {
                            th scope="col" class=[class(i)] {
                                (Shown(&column.name))
                                @if let Some(better) = column.better { (arrow(better)) }
                            }
                        }
                    }
                }
                tbody {
                    @for row in &table.rows {
                        tr {
                            @for (i, value) in row.iter().enumerate() {
                                @if i == 0 && names_rows { th scope="row" { (cell(value)) } }
                                @else { td class=[class(i)] { (cell(value)) } }
                            }
                        }
                    }
                }
            }
        }
        (legend(table))
    }
}

/// A value, with its verdict as a badge and nothing measured as a dash.
pub(super) fn cell(cell: &Cell) -> Markup {
    match cell {
        Cell::Verdict(verdict) => badge(*verdict),
        Cell::Empty => html! { span class="nothing" title="not measured" { "–" } },
        Cell::Text(text) => html! { (Shown(text)) },
        Cell::Interval { value, ends, digits } => html! {
            (signed(&fixed(*value, *digits)))
            " "
            small { (signed(&interval(*ends, *digits))) }
        },
        number => html! { (signed(&number.to_string())) },
    }
}

/// With a true minus.
fn signed(number: &str) -> String {
    number.replace('-', "−")
}

fn arrow(better: Better) -> Markup {
    let (sign, words) = better.arrow();
    html! { span class="better" title=(words) { "\u{a0}" (sign) } }
}

/// What the arrows say, if there are any.
fn legend(table: &Table) -> Markup {
    let used = [Better::Less, Better::More].into_iter().filter(|b| table.columns.iter().any(|c| c.better == Some(*b)));
    let words: Vec<String> = used.map(|b| format!("{} {}", b.arrow().0, b.arrow().1)).collect();
    html! { @if !words.is_empty() { p class="legend" { (words.join(", ")) } } }
}
