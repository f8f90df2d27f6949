//! The web console: the files that `web/` was built into, served from memory, and `index.html` for every
//! page address, because the pages are made in the browser. Deliberately absent: data, sessions, the API;
//! the console is a client of the API like any other. Without a build it is one page that says how to make it. The page about
//! the API at `/docs` is written by hand in `docs/`, and needs no build.

mod files;
mod serve;

use axum::Router;
use axum::routing::any;

/// Answers everything that no other route answers.
pub fn router() -> Router {
    Router::new().route("/docs", any(serve::docs)).route("/docs/{*file}", any(serve::docs)).fallback(serve::serve)
}
