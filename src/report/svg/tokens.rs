//! Texts with a value at every token: no drawing, but text on coloured ground, so that it flows and can be selected.

use maud::{Markup, html};

use super::heat::Colours;
use super::{check, digits::value, plural};
use crate::Result;
use crate::report::chart::{Scale, TokenRow};
use crate::report::visible::Shown;

/// Tokens of all rows together.
const TOKENS: usize = 4000;

pub(super) fn draw(title: &str, unit: &str, rows: &[TokenRow]) -> Result<String> {
    for row in rows {
        let (n, m) = (row.tokens.len(), row.values.len());
        check(n == m && row.focus.is_none_or(|f| f < n), || {
            let focus = row.focus.map(|f| format!(" and the focus {f}")).unwrap_or_default();
            format!("the row \"{}\" has {}, {}{focus}", row.name, plural(n, "token"), plural(m, "value"))
        })?;
    }
    let all: usize = rows.iter().map(|r| r.tokens.len()).sum();
    let values = || rows.iter().flat_map(|r| &r.values).copied();
    let scale = if values().any(|v| v < 0.0) { Scale::Diverging } else { Scale::Sequential };
    // From zero, so that a token without activation has no colour.
    let colours = Colours::new(scale, values().chain([0.0])).pale();

    let mut left = TOKENS;
    let drawn = html! {
        div class="tokens" role="group" aria-label=(Shown(title)) {
            (legend(&colours, unit))
            dl {
                @for row in rows {
                    @let shown = row.tokens.len().min(left);
                    @if shown > 0 || row.tokens.is_empty() {
                        dt { (Shown(&row.name)) }
                        dd { @for i in 0..shown { (token(row, i, &colours)) } }
                    }
                    @let () = left -= shown;
                }
            }
            @if all == 0 { p class="note" { "nothing was measured" } }
            @if all > TOKENS { p class="note" { "The first " (TOKENS) " of " (all) " tokens are shown." } }
        }
    };
    Ok(drawn.0)
}

fn legend(colours: &Colours, unit: &str) -> Markup {
    let (low, high) = colours.range();
    html! {
        p class="ramp" {
            span class="label" { (value(low)) }
            span class="steps" aria-hidden="true" { @for class in colours.steps() { span class=(class) {} } }
            span class="label" { (value(high)) " " (Shown(unit)) }
        }
    }
}

fn token(row: &TokenRow, i: usize, colours: &Colours) -> Markup {
    let class = colours.class(row.values[i]).unwrap_or_else(|| "empty".to_string());
    let focus = row.focus == Some(i);
    let words = value(row.values[i]);
    // Line ends are part of some tokens; a reader must see them and still read lines.
    let (text, breaks) = (row.tokens[i].replace('\n', "⏎"), row.tokens[i].contains('\n'));
    html! {
        @if focus { mark class=(class) title=(words) { (Shown(&text)) } }
        @else { span class=(class) title=(words) { (Shown(&text)) } }
        @if breaks { br; } @else { wbr; }
    }
}
