//! The API: every answer is a value of the library, converted.

pub mod atlas;
pub mod bio;
pub mod edits;
pub mod generate;
pub mod jobs;
pub mod lab;
pub mod models;
pub mod reports;
pub mod sweeps;
pub mod unit;

use axum::Router;

use super::app::App;
use super::route::Api;

/// All routes under `/api/v1`.
pub fn routes() -> Router<App> {
    let mut api = Api::default();
    models::routes(&mut api);
    lab::routes(&mut api);
    generate::routes(&mut api);
    unit::routes(&mut api);
    atlas::routes(&mut api);
    edits::routes(&mut api);
    sweeps::routes(&mut api);
    bio::routes(&mut api);
    reports::routes(&mut api);
    jobs::routes(&mut api);
    api.finish()
}
