//! Masks on disk: the neurons of every language, for edits and for other tools.
//!
//! ```json
//! {"version": 1, "model": "sha256", "languages": ["en", "de"], "neurons": 704, "masks": [[[3, 17], []], [[5], [2, 9]]]}
//! ```
//!
//! `masks[k][l]` are the neurons of language k in block l. The bare list of lists, which others publish as a pickled
//! `List[language][layer]`, is read and written too; pickles are not opened.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Languages;
use crate::hook::Selector;
use crate::store::text::read_json;
use crate::{Error, Result};

/// Neurons of one selector: its text has a bounded length.
const PER_SELECTOR: usize = 400;

/// The neurons of every language.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Masks {
    /// 1.
    pub version: u32,
    /// Identity (sha256) of the model; `None` where it is not known.
    pub model: Option<String>,
    /// Names of the languages.
    pub languages: Vec<String>,
    /// Neurons of a layer; `None` where it is not known.
    pub neurons: Option<usize>,
    /// By language and layer: its neurons, ascending.
    pub masks: Vec<Vec<Vec<u32>>>,
}

impl Masks {
    /// Those that were chosen.
    pub fn of(found: &Languages, model: Option<String>) -> Self {
        let masks = found.chosen().masks.clone();
        Self { version: 1, model, languages: found.names.clone(), neurons: Some(found.neurons), masks }
    }

    /// Reads a file of masks, or a bare list of lists, whose languages are then called by their numbers.
    ///
    /// # Errors
    /// A file that is missing or holds something else.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let wrong = |what: String| {
            Error::file(
                path,
                what,
                "expected what `optrode languages` writes, or JSON lists [language][layer] of neurons",
            )
        };
        let value = read_json(path)?;
        let masks = match &value {
            Value::Array(_) => {
                let masks: Vec<Vec<Vec<u32>>> =
                    serde_json::from_value(value).map_err(|e| wrong(format!("these are no masks: {e}")))?;
                let languages = (0..masks.len()).map(|k| k.to_string()).collect();
                Self { version: 1, model: None, languages, neurons: None, masks }
            }
            _ => serde_json::from_value(value).map_err(|e| wrong(format!("these are no masks: {e}")))?,
        };
        masks.sorted(path)
    }

    /// Sorted, each neuron once, one list per language and as many layers in all.
    fn sorted(mut self, path: &Path) -> Result<Self> {
        let wrong = |what: String| Error::file(path, what, "make the masks anew");
        if self.version != 1 {
            return Err(wrong(format!("version {} of masks, expected 1", self.version)));
        }
        if self.masks.len() != self.languages.len() || self.masks.is_empty() {
            return Err(wrong(format!("{} languages have {} masks", self.languages.len(), self.masks.len())));
        }
        let layers = self.masks[0].len();
        if let Some(k) = self.masks.iter().position(|mask| mask.len() != layers) {
            let what =
                format!("the mask of `{}` has {} layers, others have {layers}", self.languages[k], self.masks[k].len());
            return Err(wrong(what));
        }
        for layer in self.masks.iter_mut().flatten() {
            layer.sort_unstable();
            layer.dedup();
        }
        Ok(self)
    }

    /// Refuses the masks of another model.
    ///
    /// # Errors
    /// Another identity where it is known, other sizes.
    pub fn check_model(&self, layers: usize, neurons: usize, sha256: &str) -> Result<()> {
        let hint = "name the model that the masks were made for, or make masks for this one";
        if let Some(model) = self.model.as_ref().filter(|model| *model != sha256) {
            return Err(Error::invalid(format!("the masks are of the model {model}, this one is {sha256}"), hint));
        }
        let there = self.masks.first().map_or(0, Vec::len);
        if there != layers || self.neurons.is_some_and(|n| n != neurons) {
            let width = self.neurons.map_or(String::new(), |n| format!(" of {n} neurons"));
            let what = format!("the masks are of {there} layers{width}, the model has {layers} of {neurons}");
            return Err(Error::invalid(what, hint));
        }
        match self.masks.iter().flatten().flatten().find(|neuron| **neuron as usize >= neurons) {
            Some(neuron) => {
                Err(Error::invalid(format!("the masks name neuron {neuron}, but a layer has {neurons}"), hint))
            }
            None => Ok(()),
        }
    }

    /// The masks of these languages, in this order. A bare list's languages are taken as they come.
    ///
    /// # Errors
    /// Other languages than the masks'.
    pub fn in_order(&self, languages: &[String]) -> Result<Vec<Vec<Vec<u32>>>> {
        if self.languages.len() != languages.len() {
            let what = format!("the masks are of {} languages, the texts of {}", self.languages.len(), languages.len());
            return Err(Error::invalid(what, format!("the masks' languages are {}", self.languages.join(", "))));
        }
        if self.neurons.is_none() && self.model.is_none() {
            return Ok(self.masks.clone());
        }
        languages.iter().map(|name| Ok(self.masks[self.index(name)?].clone())).collect()
    }

    /// The language of this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn index(&self, language: &str) -> Result<usize> {
        self.languages.iter().position(|name| name == language).ok_or_else(|| {
            let what = format!("there is no language `{language}`");
            Error::invalid(what, format!("the languages are {}", self.languages.join(", ")))
        })
    }
}

/// What picks the neurons of a mask, with the neurons that each selector picks.
///
/// # Errors
/// None for masks that fit the network.
pub fn selectors(mask: &[Vec<u32>]) -> Result<Vec<(Selector, usize, Vec<u32>)>> {
    let mut out = Vec::new();
    for (layer, neurons) in mask.iter().enumerate() {
        for some in neurons.chunks(PER_SELECTOR) {
            let list: Vec<String> = some.iter().map(u32::to_string).collect();
            out.push((
                format!("blocks.{layer}.mlp.hook_post[neuron={}]", list.join(",")).parse()?,
                layer,
                some.to_vec(),
            ));
        }
    }
    Ok(out)
}
