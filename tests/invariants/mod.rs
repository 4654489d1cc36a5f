//! What must hold for every network, whatever its weights.

mod declared;
mod edits;
mod keys;
mod layouts;
mod observing;
mod placement;
mod repeatable;
