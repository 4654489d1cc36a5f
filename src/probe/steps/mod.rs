//! The steps that scripts can use, one file each.

mod doctor;
mod facts;
mod heads;
mod induction;
mod labels;
mod languages;
mod lens;
mod neurons;
mod perplexity;
mod skills;
mod tasks;

use super::step::{Context, Step};
use crate::Result;
use crate::analysis::Corpus;
use crate::data::TextSet;
use crate::data::organism::embedded;

/// Every step, in the order of `optrode run --steps`.
pub static ALL: &[&dyn Step] = &[
    &facts::Facts,
    &doctor::Doctor,
    &skills::Skills,
    &tasks::Tasks,
    &perplexity::Perplexity,
    &lens::Lens,
    &heads::Heads,
    &induction::Induction,
    &neurons::Neurons,
    &languages::Languages,
    &labels::Labels,
];

/// The step of this name.
pub fn find(name: &str) -> Option<&'static dyn Step> {
    ALL.iter().copied().find(|step| step.name() == name)
}

/// The script's texts, or those that the program carries: paragraphs that the organism never saw, by language.
fn texts(context: &Context) -> Vec<TextSet> {
    if context.texts.is_empty() { embedded::texts() } else { context.texts.to_vec() }
}

/// Windows of the first `documents` texts of every set.
fn corpus<'a>(context: &Context<'a>, sets: &[TextSet], window: usize, documents: usize) -> Result<Corpus<'a>> {
    let texts: Vec<String> = sets.iter().flat_map(|set| set.texts.iter().take(documents).cloned()).collect();
    Corpus::of_texts(context.model, &texts, window)
}
