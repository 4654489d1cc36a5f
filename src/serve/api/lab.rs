//! The prompt lab: one prompt, or two sides compared: two prompts, two models, edited against unedited.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::analysis::inspect::{Inspection, Options, inspect};
use crate::hook::{Edit, Selector};
use crate::serve::app::{App, short};
use crate::serve::failure::{Failure, Reply};
use crate::serve::route::{Api, Names};
use crate::store::Bundle;

/// The longest text of a request, in bytes.
pub const TEXT: usize = 16 << 10;

/// What to look at.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Look {
    /// The prompt.
    #[serde(default)]
    pub text: String,
    /// A second prompt to compare with.
    pub other: Option<String>,
    /// A second model to compare with.
    pub against: Option<String>,
    /// Edits of the second side, as a JSON list.
    pub edits: Option<String>,
    /// The name of a saved edit of the second side.
    pub saved: Option<String>,
    /// The block whose attention and neurons are shown; -1 is the last.
    pub layer: Option<i64>,
    /// Another site whose units are shown.
    pub site: Option<String>,
}

impl Look {
    /// Whether there is a second side.
    pub fn compares(&self) -> bool {
        [&self.other, &self.against, &self.edits, &self.saved].into_iter().any(|f| given(f).is_some())
    }
}

/// A field of a form that is not empty.
pub fn given(field: &Option<String>) -> Option<&str> {
    field.as_deref().filter(|text| !text.trim().is_empty() && text.trim() != "[]")
}

/// One side.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Side {
    /// The model.
    pub model: String,
    /// The prompt.
    pub text: String,
    /// The edits that acted.
    pub edits: Vec<Edit>,
    /// What was seen.
    pub seen: Inspection,
}

/// Both sides.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Looked {
    /// The first side.
    pub left: Side,
    /// The second, if one was asked for.
    pub right: Option<Side>,
}

/// Looks at one prompt or at two sides.
///
/// # Errors
/// What is wrong with the request.
pub async fn look(app: &App, model: &str, look: &Look) -> Reply<Looked> {
    let site = given(&look.site).map(str::parse::<Selector>).transpose()?;
    let options = Options { layer: look.layer.unwrap_or(-1), site, ..Options::default() };
    let left = side(app, model, &look.text, app.edits(None, None)?, options.clone()).await?;
    let right = match look.compares() {
        true => {
            let edits = app.edits(given(&look.edits), given(&look.saved))?;
            let (model, text) = (given(&look.against).unwrap_or(model), given(&look.other).unwrap_or(&look.text));
            Some(side(app, model, text, edits, options).await?)
        }
        false => None,
    };
    Ok(Looked { left, right })
}

async fn side(app: &App, model: &str, text: &str, edits: Bundle, options: Options) -> Reply<Side> {
    check(text)?;
    let (name, text) = (model.to_string(), text.to_string());
    let asked = text.clone();
    let list = edits.file.edits.clone();
    let question = move |desk: &crate::serve::worker::Desk| {
        desk.fits(&edits)?;
        let ids = desk.model.encode(&asked)?;
        Ok(inspect(&desk.model, &ids, &edits.file.edits, &edits.tensors, &options)?)
    };
    let seen = app.model(model)?.worker.ask(question).await?;
    Ok(Side { model: name, text, edits: list, seen })
}

/// Refuses a text that is longer than a prompt may be.
///
/// # Errors
/// Such a text.
pub fn check(text: &str) -> Reply<()> {
    match text.len() > TEXT {
        true => Err(Failure::new(
            axum::http::StatusCode::PAYLOAD_TOO_LARGE,
            format!("a text of {} bytes (`{}`...); give at most {TEXT}", text.len(), short(text)),
        )),
        false => Ok(()),
    }
}

pub(super) fn routes(api: &mut Api) {
    api.get(
        "/models/{model}/inspect",
        "What the model does with a prompt: tokens, next tokens, logit lens, attention, norms, units; two sides if asked.",
        async |app: App, names: Names, asked: Look| look(&app, names.get("model")?, &asked).await,
    );
}
