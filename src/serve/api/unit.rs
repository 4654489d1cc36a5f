//! Units: everything that is known of one, and its values along a text.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::lab;
use crate::analysis::unit::{self, Along, Page};
use crate::hook::{Axis, Selector};
use crate::models::Network;
use crate::serve::app::App;
use crate::serve::failure::{Failure, Reply};
use crate::serve::job::Answer;
use crate::serve::route::{Api, Names, Nothing};
use crate::serve::worker::Desk;

/// Tokens of a text that are looked at.
const WINDOW: usize = 256;

/// A text to test a unit on.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// The text.
    pub text: String,
}

/// The selector of a unit that an address names by its site and number.
///
/// # Errors
/// No such site, or no such unit in it.
pub fn selector(desk: &Desk, site: &str, number: usize) -> Reply<Selector> {
    let table = desk.model.decoder.sites();
    let described = table.get(table.id(site)?);
    let axis = described.axes.get(2).filter(|axis| matches!(axis, Axis::Neuron | Axis::Head | Axis::DModel));
    let size = described.sizes.get(2).copied().flatten().unwrap_or(0);
    match axis {
        Some(axis) if number < size => Ok(format!("{site}[{}={number}]", axis.name()).parse()?),
        Some(axis) => Err(Failure::missing(format!("{site} has no {} {number}, they count to {size}", axis.name()))),
        None => Err(Failure::missing(format!("{site} has no units with a page: neurons, heads and directions have"))),
    }
}

/// The page of a unit.
///
/// # Errors
/// No such unit, no atlas.
pub async fn page(app: &App, model: &str, site: &str, number: usize) -> Reply<Page> {
    let site = site.to_string();
    let question = move |desk: &Desk| {
        let selector = selector(desk, &site, number)?;
        Ok(unit::page(&desk.model, &desk.atlas()?, &selector)?)
    };
    app.model(model)?.worker.ask(question).await
}

/// The values of a unit along a text.
///
/// # Errors
/// No such unit, a text without a token.
pub async fn values(app: &App, model: &str, (site, number): (&str, usize), text: &str) -> Reply<Along> {
    lab::check(text)?;
    let (site, text) = (site.to_string(), text.to_string());
    let question = move |desk: &Desk| Ok(unit::along(&desk.model, &selector(desk, &site, number)?, &text, WINDOW)?);
    app.model(model)?.worker.ask(question).await
}

pub(super) fn routes(api: &mut Api) {
    api.get(
        "/models/{model}/units/{site}/{number}",
        "Everything that an atlas and the weights say of a unit.",
        async |app: App, names: Names, _: Nothing| {
            Answer::of(&page(&app, names.get("model")?, names.get("site")?, names.number("number")?).await?)
        },
    );
    api.get(
        "/models/{model}/units/{site}/{number}/values",
        "A unit's value at every token of a text.",
        async |app: App, names: Names, asked: Text| {
            let unit = (names.get("site")?, names.number("number")?);
            values(&app, names.get("model")?, unit, &asked.text).await
        },
    );
}
