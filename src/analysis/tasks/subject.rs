//! Who is asked: a network with its tokenizer, and the edits under which it runs.

use crate::Result;
use crate::analysis::registry;
use crate::hook::{Pass, Registry, Values};
use crate::models::{Model, Network};
use crate::store::Tokenizer;

/// A network with what scoring needs of its model. Edits of `pass` act in every call, so that an edited model is scored
/// like any other; its documents are the items' numbers, its prompts what an item gives, its generated tokens what is
/// scored. Records of the pass are not kept.
pub struct Subject<'a> {
    /// The network.
    pub net: &'a dyn Network,
    /// Its tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// Most tokens of a text; `None` for no limit.
    pub context: Option<usize>,
    /// What to change while it runs.
    pub pass: Pass,
    /// The known edit operations.
    pub registry: Registry,
    /// Stored tensors that edits refer to.
    pub values: Values,
}

impl<'a> Subject<'a> {
    /// A model as it is.
    ///
    /// # Errors
    /// A model without a tokenizer.
    pub fn new(model: &'a Model) -> Result<Self> {
        Ok(Self::of(&model.decoder, model.tokenizer()?, model.decoder.facts().context))
    }

    /// A network with a tokenizer, as in training.
    pub fn of(net: &'a dyn Network, tokenizer: &'a Tokenizer, context: Option<usize>) -> Self {
        let registry = registry();
        Self { net, tokenizer, context, pass: Pass::default(), registry, values: Values::default() }
    }

    /// The same subject under these edits.
    pub fn edited(mut self, pass: Pass, registry: Registry, values: Values) -> Self {
        let pass = Pass { records: Vec::new(), gradients: Vec::new(), ..pass };
        (self.pass, self.registry, self.values) = (pass, registry, values);
        self
    }

    /// Ids that statistics over tokens skip.
    pub(super) fn special(&self) -> Vec<u32> {
        self.tokenizer.special_ids().iter().copied().collect()
    }
}
