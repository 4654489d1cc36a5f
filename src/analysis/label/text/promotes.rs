//! The output side: the tokens whose logits a neuron raises directly, W_out[u] through the last norm's gain and W_U.

use std::collections::BTreeMap;

use super::pass::{UnitId, Watch};
use super::rule::{Field, Rule};
use super::search::tokens_rule;
use super::trace::Sign;
use crate::Result;
use crate::analysis::scan::Kind;
use crate::models::Model;

/// Tokens of a label.
pub const PROMOTED: usize = 4;

/// The label "promotes ..." of both sides of every neuron among the watched units; special tokens are left out. It holds
/// before the tokens.
///
/// # Errors
/// A model without a tokenizer.
pub fn promoted(model: &Model, watches: &[Watch]) -> Result<BTreeMap<UnitId, Rule>> {
    let (tokenizer, special) = (model.tokenizer()?, model.special());
    let mut rules = BTreeMap::new();
    for (index, watch) in watches.iter().enumerate() {
        let (Kind::Neuron, Some(layer)) = (watch.kind, watch.layer) else { continue };
        let outputs = model.decoder.neuron_outputs(layer)?; // [d_mlp, d_model]
        for number in &watch.numbers {
            let logits =
                model.decoder.direct_logits(&outputs.narrow(0, *number, 1)?)?.flatten_all()?.to_vec1::<f32>()?;
            let known = tokenizer.vocab_size().min(logits.len());
            let ids: Vec<u32> = (0..known as u32).filter(|id| !special.contains(id)).collect();
            for sign in &watch.signs {
                let value = |id: &u32| match sign {
                    Sign::Plus => logits[*id as usize],
                    Sign::Minus => -logits[*id as usize],
                };
                let larger = |a: &u32, b: &u32| value(b).total_cmp(&value(a)).then(a.cmp(b));
                let mut order = ids.clone();
                if order.len() > PROMOTED {
                    order.select_nth_unstable_by(PROMOTED, larger);
                    order.truncate(PROMOTED);
                }
                order.sort_by(larger);
                let id = UnitId { watch: index, number: *number, sign: *sign };
                rules.insert(id, tokens_rule(Field::Before, &order, tokenizer));
            }
        }
    }
    Ok(rules)
}
