//! A unit's value at every token of a text.

use candle_core::DType;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::single;
use crate::Result;
use crate::analysis::Corpus;
use crate::hook::{Output, Pass, Record, Registry, Selector};
use crate::models::execute::observe;
use crate::models::{Input, Model, Network, Side, Tokens};
use crate::report::chart::TokenRow;
use crate::report::number;

/// A unit along a text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Along {
    /// The tokens' texts.
    pub tokens: Vec<String>,
    /// The unit's value at each: its activation, or for a head the norm of what it adds.
    #[serde(with = "number::nested")]
    #[schemars(with = "Vec<number::Number>")]
    pub values: Vec<f64>,
}

impl Along {
    /// The same as a row of a figure.
    pub fn row(&self, name: &str) -> TokenRow {
        TokenRow { name: name.to_string(), tokens: self.tokens.clone(), values: self.values.clone(), focus: None }
    }
}

/// The values of the unit that `selector` names along `text`, the first `window` tokens of it.
///
/// # Errors
/// A selector that does not name exactly one unit, and a text without a token.
pub fn along(model: &Model, selector: &Selector, text: &str, window: usize) -> Result<Along> {
    let net = &model.decoder;
    let (site, _, name) = single(net.sites(), selector)?;
    let corpus = Corpus::of_texts(model, &[text.to_string()], window)?;
    let ids = &corpus.windows[0].ids;
    let records = vec![Record::whole(name.parse()?)];
    let pass = Pass { records, output: Output::Unread, ..Pass::default() };
    let input = Input::Tokens(Tokens::from_rows(std::slice::from_ref(ids), Side::Right, model.pad())?);
    let outcome = observe(net, &input, &pass, &Registry::elementary())?;
    let record = outcome.records.get(&site)?.squeeze(0)?.flatten_from(1)?; // [t, values of the unit]
    let value = |row: Vec<f32>| match row.as_slice() {
        [one] => f64::from(*one),
        several => several.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt(),
    };
    Ok(Along {
        tokens: ids.iter().map(|id| corpus.word(*id)).collect(),
        values: record.to_dtype(DType::F32)?.to_vec2::<f32>()?.into_iter().map(value).collect(),
    })
}
