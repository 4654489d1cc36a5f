//! Pieces of forms, and where a job's progress and result appear.

use maud::{Markup, html};

/// A labelled line of text.
pub fn line(name: &str, label: &str, value: &str, hint: &str) -> Markup {
    html! {
        label { span { (label) } input type="text" name=(name) value=(value) placeholder=(hint) autocomplete="off" spellcheck="false"; }
    }
}

/// A labelled text of several lines.
pub fn area(name: &str, label: &str, value: &str, rows: usize) -> Markup {
    html! { label class="wide" { span { (label) } textarea name=(name) rows=(rows) spellcheck="false" { (value) } } }
}

/// A labelled whole number.
pub fn number(name: &str, label: &str, value: i64, (least, most): (i64, i64)) -> Markup {
    html! {
        label { span { (label) } input type="number" name=(name) value=(value) min=(least) max=(most) data-type="number"; }
    }
}

/// A labelled choice: (value, words).
pub fn choice(name: &str, label: &str, options: &[(String, String)], chosen: &str) -> Markup {
    html! {
        label {
            span { (label) }
            select name=(name) {
                @for (value, words) in options { option value=(value) selected[value == chosen] { (words) } }
            }
        }
    }
}

/// A form whose fields become the body of a `POST`; the job that it starts shows itself below.
pub fn job(action: &str, button: &str, fields: &Markup) -> Markup {
    html! {
        form class="job" data-post=(action) {
            div class="fields" { (fields) }
            button type="submit" class="go" { (button) }
        }
        div class="outcome" aria-live="polite" {}
    }
}

/// A job that runs already: it shows itself, and the page is loaded again when it has ended.
pub fn underway(id: u64, title: &str) -> Markup {
    html! { div class="outcome" aria-live="polite" data-job=(id) data-reload="true" { p { (title) } } }
}
