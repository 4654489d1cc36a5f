//! The steps that scripts can use, one file each.

mod doctor;
mod facts;

use super::step::Step;

/// Every step, in the order of `optrode run --steps`.
pub static ALL: &[&dyn Step] = &[&facts::Facts, &doctor::Doctor];

/// The step of this name.
pub fn find(name: &str) -> Option<&'static dyn Step> {
    ALL.iter().copied().find(|step| step.name() == name)
}
