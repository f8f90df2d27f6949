//! The table of routes, and what holds for all of them: the limit on bodies, errors as problem+json, and
//! headers that keep answers out of caches and foreign pages.

pub(crate) mod accounts;
pub(crate) mod apps;
pub(crate) mod audit;
pub(crate) mod devices;
pub(crate) mod direct;
pub(crate) mod events;
pub(crate) mod export;
pub(crate) mod groups;
pub(crate) mod import;
pub(crate) mod knocks;
pub(crate) mod messages;
pub(crate) mod points;
pub(crate) mod preview;
pub(crate) mod push;
pub(crate) mod qr;
pub(crate) mod schedules;
pub(crate) mod send;
pub(crate) mod session;
pub(crate) mod socket;
pub(crate) mod status;
pub(crate) mod tokens;
pub(crate) mod twin;
pub(crate) mod webhooks;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, delete, get, patch, post};
use model::limits;

use crate::audit::write_down;
pub(crate) use crate::openapi;
use crate::problem::Problem;
use crate::rates::{self, Rates};
use crate::{Api, App, metrics};

pub use schedules::Sender;
pub use webhooks::Chooser;

/// What carries out the pushes of schedules.
pub fn sender(app: &Arc<App>) -> Arc<Sender> {
    Arc::new(Sender(app.clone()))
}

/// What tells which devices a webhook is about.
pub fn chooser(app: &Arc<App>) -> Arc<Chooser> {
    Arc::new(Chooser(app.clone()))
}

/// Every route of the API. The console's router can be merged with it.
pub fn router(app: Arc<App>) -> Router {
    let api = Router::new()
        // Strangers sign in: what they send is short.
        .route("/session", post(session::sign_in).layer(DefaultBodyLimit::max(limits::SIGNIN_BODY_BYTES_MAX)))
        .route("/session", get(session::show).delete(session::sign_out))
        .route("/tokens", get(tokens::list).post(tokens::create))
        .route("/tokens/signin", post(tokens::signin))
        .route("/tokens/{id}", delete(tokens::remove))
        .route("/accounts", get(accounts::list).post(accounts::create))
        .route("/accounts/{id}", get(accounts::show).patch(accounts::edit).delete(accounts::remove))
        .route("/accounts/{id}/password", post(accounts::new_password))
        .route("/apps", get(apps::list).post(apps::create))
        .route("/apps/{id}", get(apps::show).patch(apps::edit).delete(apps::remove))
        .route("/apps/{id}/qr", get(qr::of_app))
        .route("/devices", get(devices::list).post(devices::create))
        .route("/devices/import", post(import::import))
        .route("/devices/export", get(export::export))
        .route("/devices/{id}", get(devices::show).patch(devices::edit).delete(devices::remove))
        .route("/devices/{id}/secret", post(devices::new_secret))
        .route("/devices/{id}/qr", get(qr::of_device))
        .route("/devices/{id}/latest", get(points::latest))
        .route("/devices/{id}/points", get(points::list).post(points::upload))
        .route("/devices/{id}/messages", get(messages::list))
        .route("/devices/{id}/twin", get(twin::show))
        .route("/devices/{id}/twin/desired", patch(twin::patch).put(twin::replace))
        .route("/devices/{id}/twin/history", get(twin::history))
        .route("/groups", get(groups::list).post(groups::create))
        .route("/groups/{name}", get(groups::show).patch(groups::edit).delete(groups::remove))
        .route("/devices/{id}/deliveries", get(push::of_device))
        .route("/push", post(push::send))
        .route("/send", post(send::send))
        .route("/push/preview", post(preview::preview))
        .route("/pushes", get(push::list))
        .route("/pushes/{id}", get(push::show).delete(push::cancel))
        .route("/pushes/{id}/deliveries", get(push::deliveries))
        .route("/pushes/{id}/resend", post(push::resend))
        .route("/schedules", get(schedules::list).post(schedules::create))
        .route("/schedules/preview", post(schedules::preview))
        .route("/schedules/{id}", get(schedules::show).patch(schedules::edit).delete(schedules::remove))
        .route("/schedules/{id}/runs", get(schedules::runs))
        .route("/webhooks", get(webhooks::list).post(webhooks::create))
        .route("/webhooks/{id}", get(webhooks::show).patch(webhooks::edit).delete(webhooks::remove))
        .route("/webhooks/{id}/test", post(webhooks::test))
        .route("/webhooks/{id}/failed", get(webhooks::failed))
        .route("/webhooks/{id}/replay", post(webhooks::replay))
        .route("/webhooks/{id}/secret", post(webhooks::new_secret))
        .route("/events", get(events::stream))
        .route("/ws", get(socket::open))
        .route("/knocks", get(knocks::list))
        .route("/knocks/adopt", post(knocks::adopt))
        .route("/status", get(status::show))
        .route("/audit", get(audit::list))
        .route("/openapi.json", get(openapi::show))
        .route_layer(from_fn_with_state(app.clone(), write_down))
        .fallback(not_found)
        .method_not_allowed_fallback(not_allowed);
    Router::new()
        .nest("/api/v1", api)
        // Other versions and misspelt paths: a program gets a problem, not the console's page.
        .route("/api", any(not_found))
        .route("/api/", any(not_found))
        .route("/api/{*rest}", any(not_found))
        .route("/d/{device}", post(direct::push))
        .route("/healthz", get(status::health))
        .route("/metrics", get(show_metrics))
        .layer(DefaultBodyLimit::max(limits::HTTP_BODY_BYTES_MAX))
        .layer(from_fn_with_state(Arc::new(Rates::new(app.clone())), rates::measured))
        .layer(map_response(secure))
        .with_state(app)
}

async fn not_found(request: Request) -> Problem {
    let detail = format!("there is nothing at {} {}", request.method(), request.uri().path());
    Problem::new(StatusCode::NOT_FOUND, "no_such_route", detail)
}

async fn not_allowed(request: Request) -> Problem {
    let detail = format!("{} cannot be done here; the header Allow says what can", request.method());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
}

pub(crate) async fn show_metrics(axum::extract::State(api): axum::extract::State<Api>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics::page(&api)).into_response()
}

async fn secure(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let set = [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    ];
    for (name, value) in set {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
