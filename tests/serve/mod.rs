//! `optrode serve`: the API and its guard through HTTP, and every screen in a real browser.

mod answers;
mod fuzz;
mod guard;
mod load;
mod screens;
mod server;
