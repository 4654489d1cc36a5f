//! What must hold for every network, whatever its weights.

mod algebra;
mod declared;
mod edits;
mod growing;
mod keys;
mod layouts;
mod observing;
mod order;
mod patching;
mod placement;
mod references;
mod repeatable;
mod standing;
mod wanted;
