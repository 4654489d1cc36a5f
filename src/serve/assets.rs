//! The files of `web/`, embedded.

use axum::extract::RawPathParams;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::failure::Failure;
use super::route::Names;
use crate::report::html;

/// Scripts by name.
const SCRIPTS: [(&str, &str); 6] = [
    ("app.js", include_str!("../../web/app.js")),
    ("job.js", include_str!("../../web/job.js")),
    ("lab.js", include_str!("../../web/lab.js")),
    ("unit.js", include_str!("../../web/unit.js")),
    ("edits.js", include_str!("../../web/edits.js")),
    ("table.js", include_str!("../../web/table.js")),
];

/// One of the files.
pub async fn file(params: RawPathParams) -> Response {
    let names = Names::of(&params);
    let name = names.get("file").unwrap_or_default();
    let (kind, text) = match (name, SCRIPTS.iter().find(|(known, _)| *known == name)) {
        ("style.css", _) => {
            ("text/css; charset=utf-8", format!("{}{}", html::style(), include_str!("../../web/style.css")))
        }
        (_, Some((_, script))) => ("text/javascript; charset=utf-8", (*script).to_string()),
        _ => return Failure::missing("there is no such file").into_response(),
    };
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "private, max-age=60")], text).into_response()
}
