//! Honest checks beside the headline: what an edit hides, and what it removes.

use super::attack::Attack;
use super::group::{Group, Material, Split};
use super::methods::Fitted;
use super::probe::{Probed, Questions};
use super::relearn::{Relearned, relearn, row};
use super::result::Attacked;
use super::score::{Unit, measure, subject};
use crate::Result;
use crate::analysis::Estimate;
use crate::generate::Sampler;
use crate::models::Model;

/// A forgotten group, and who is asked.
pub(super) struct Checks<'a> {
    pub model: &'a Model,
    pub groups: &'a [Group],
    /// The forgotten one.
    pub index: usize,
    /// Layers after which the stream is probed.
    pub layers: &'a [usize],
    pub seed: u64,
}

impl Checks<'_> {
    /// The forgotten group asked in other ways, under every chosen setting; nothing of texts.
    ///
    /// # Errors
    /// Whatever the network and the edits refuse.
    pub(super) fn attacks(&self, edits: &[Fitted]) -> Result<Vec<Attacked>> {
        let of = |(i, group): &(usize, &Group)| *i != self.index && group.asked(Split::Test).is_some();
        let kept = self.groups.iter().enumerate().find(of).map(|(_, group)| group);
        let right = |units: &[Unit]| Estimate::mean(&units.iter().map(|u| u.right).collect::<Vec<_>>(), self.seed);
        let mut out = Vec::new();
        for attack in Attack::ALL {
            let Some(group) = attack.on(&self.groups[self.index], kept) else { continue };
            let sampler = match attack {
                Attack::Sampling => Sampler::Random { temperature: 1.0, top_k: None, top_p: None },
                _ => Sampler::Greedy,
            };
            let ask = |fitted: &Fitted| -> Result<Estimate> {
                Ok(right(&measure(&subject(self.model, fitted, self.seed)?, &group, Split::Test, &sampler, self.seed)?))
            };
            let after = edits.iter().map(ask).collect::<Result<_>>()?;
            out.push(Attacked { attack, before: ask(&Fitted::default())?, after });
        }
        Ok(out)
    }

    /// What a linear probe reads from the stream; `None` of texts.
    ///
    /// # Errors
    /// Whatever the network and the edits refuse.
    pub(super) fn probe(&self, edits: &[Fitted]) -> Result<Option<Probed>> {
        let Material::Task(_, parts) = &self.groups[self.index].material else { return Ok(None) };
        let parts = [parts.fit.as_slice(), &parts.validation, &parts.test];
        Questions { model: self.model, parts, layers: self.layers, seed: self.seed }.probe(edits)
    }

    /// How fast the answers come back when the model is trained on them; `None` of texts, and without an update.
    ///
    /// # Errors
    /// A model that cannot be trained; whatever the network and the edits refuse.
    pub(super) fn relearning(&self, edits: &[Fitted], updates: u64) -> Result<Option<Relearned>> {
        let group = &self.groups[self.index];
        let Material::Task(_, parts) = &group.material else { return Ok(None) };
        if updates == 0 {
            return Ok(None);
        }
        let mut rows = Vec::with_capacity(parts.fit.len());
        for item in &parts.fit {
            let ids = self.model.tokenizer()?.encode(item.answer(), false)?;
            rows.push(row(&self.model.encode(&item.prompt)?, &ids, self.model.eos().first().copied()));
        }
        Ok(Some(relearn(self.model, group, &rows, edits, updates, self.seed)?))
    }
}
