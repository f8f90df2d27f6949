//! Webhooks: events told to other people's servers. Owners only: whoever makes one learns all that happens.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use contract::webhooks::WebhookDelivery;
use model::UnixMs;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use webhook::{Filter, Fit, Later, NewWebhook, View, WebhookEdit};

use crate::auth::Owner;
use crate::openapi::shape;
use crate::problem::Problem;
use crate::shown::List;
use crate::{Api, audience, input};

/// How long the old secret signs too, unless it is said: a day to bring the new one everywhere.
const OVERLAP_S: u64 = 24 * 3600;

/// A webhook.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Webhook {
    id: u64,
    name: String,
    url: String,
    /// The kinds of events; empty for all but `message`.
    kinds: Vec<String>,
    /// Only of devices that this query fits; empty for all.
    r#where: String,
    active: bool,
    /// Why it is off, if the server switched it off.
    #[serde(skip_serializing_if = "String::is_empty")]
    why_off: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<shape::Time>")]
    off_since: Option<UnixMs>,
    #[schemars(with = "shape::Time")]
    created: UnixMs,
    /// Events that are still to be delivered.
    waiting: u64,
    /// Deliveries that failed for good and can be replayed.
    failed: u64,
    /// Events that could not be kept, and of which it is still to be told.
    lost: u64,
    /// Since when nothing was taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<shape::Time>")]
    failing_since: Option<UnixMs>,
    /// When something was taken last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<shape::Time>")]
    last_ok: Option<UnixMs>,
    /// What went wrong last, if the last attempt did not go well.
    #[serde(skip_serializing_if = "String::is_empty")]
    last_error: String,
    /// Until when events are signed with the secret before, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<shape::Time>")]
    old_secret_until: Option<UnixMs>,
    /// Shown once, to the one who made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

impl Webhook {
    fn of(api: &Api, View { webhook, counts }: View) -> Webhook {
        let now = api.clock.unix();
        Webhook {
            id: webhook.id,
            name: webhook.name,
            url: webhook.url,
            kinds: webhook.kinds,
            r#where: webhook.query,
            active: webhook.active,
            why_off: webhook.why_off,
            off_since: webhook.off_since,
            created: webhook.created,
            waiting: counts.waiting,
            failed: counts.failed,
            lost: webhook.lost,
            failing_since: webhook.health.failing_since,
            last_ok: webhook.health.last_ok,
            last_error: webhook.health.last_error,
            old_secret_until: webhook.old_secret.map(|(_, until)| until).filter(|until| now < *until),
            secret: None,
        }
    }

    fn with_secret(api: &Api, view: View) -> Webhook {
        let secret = view.webhook.secret.clone();
        Webhook { secret: Some(secret), ..Webhook::of(api, view) }
    }
}

/// A webhook to be made.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewWebhook")]
pub(crate) struct New {
    name: String,
    /// `https://…`, or `http://…`.
    url: String,
    /// The kinds of events; left out: all but `message`.
    #[serde(default)]
    kinds: Vec<String>,
    /// Only of devices that this query fits. What concerns no device comes in any case.
    #[serde(default)]
    r#where: String,
}

/// Checks a query, if there is one.
async fn check(api: &Api, query: &str) -> Result<(), Problem> {
    if !query.is_empty() {
        audience::asked(api, query).await?;
    }
    Ok(())
}

pub(crate) async fn create(
    State(api): State<Api>,
    _: Owner,
    input::Json(new): input::Json<New>,
) -> Result<(StatusCode, Json<Webhook>), Problem> {
    check(&api, &new.r#where).await?;
    let new = NewWebhook { name: new.name, url: new.url, kinds: new.kinds, query: new.r#where };
    let view = api.webhooks.create(new).await?;
    Ok((StatusCode::CREATED, Json(Webhook::with_secret(&api, view))))
}

pub(crate) async fn list(State(api): State<Api>, _: Owner) -> Json<List<Webhook>> {
    Json(List::whole(api.webhooks.list().into_iter().map(|view| Webhook::of(&api, view))))
}

pub(crate) async fn show(State(api): State<Api>, _: Owner, input::Path(id): input::Path<u64>) -> Result<Json<Webhook>, Problem> {
    Ok(Json(Webhook::of(&api, api.webhooks.get(id)?)))
}

/// What is to change of a webhook.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "WebhookEdit")]
pub(crate) struct Edit {
    name: Option<String>,
    url: Option<String>,
    kinds: Option<Vec<String>>,
    r#where: Option<String>,
    active: Option<bool>,
}

pub(crate) async fn edit(
    State(api): State<Api>,
    _: Owner,
    input::Path(id): input::Path<u64>,
    input::Json(edit): input::Json<Edit>,
) -> Result<Json<Webhook>, Problem> {
    check(&api, edit.r#where.as_deref().unwrap_or_default()).await?;
    let edit = WebhookEdit { name: edit.name, url: edit.url, kinds: edit.kinds, query: edit.r#where, active: edit.active };
    Ok(Json(Webhook::of(&api, api.webhooks.edit(id, edit).await?)))
}

pub(crate) async fn remove(State(api): State<Api>, _: Owner, input::Path(id): input::Path<u64>) -> Result<StatusCode, Problem> {
    api.webhooks.remove(id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// How a test went.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "WebhookTest")]
pub(crate) struct Tested {
    taken: bool,
    /// Why it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

pub(crate) async fn test(State(api): State<Api>, _: Owner, input::Path(id): input::Path<u64>) -> Result<Json<Tested>, Problem> {
    let why = api.webhooks.test(id).await?.err();
    Ok(Json(Tested { taken: why.is_none(), why }))
}

/// An event that could not be delivered.
#[derive(Serialize, JsonSchema)]
pub(crate) struct FailedDelivery {
    id: u64,
    /// The event's kind.
    event: String,
    /// When it happened.
    #[schemars(with = "shape::Time")]
    at: UnixMs,
    /// How often it was tried.
    tries: u32,
    /// When it was tried last.
    #[schemars(with = "Option<shape::Time>")]
    tried: Option<UnixMs>,
    /// What went wrong then.
    error: String,
    /// What was sent.
    #[schemars(with = "shape::Any")]
    body: Value,
}

impl From<WebhookDelivery> for FailedDelivery {
    fn from(delivery: WebhookDelivery) -> FailedDelivery {
        let WebhookDelivery { id, kind, at, body, tries, tried, error, .. } = delivery;
        // Our own JSON: it always is some.
        FailedDelivery { id, event: kind, at, tries, tried, error, body: serde_json::from_str(&body).unwrap_or_default() }
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Page {
    /// Rows of a page, 1 to 1000; 100 unless told.
    limit: Option<usize>,
    /// `next` of the page before.
    cursor: Option<String>,
}

pub(crate) async fn failed(
    State(api): State<Api>,
    _: Owner,
    input::Path(id): input::Path<u64>,
    input::Query(page): input::Query<Page>,
) -> Result<Json<List<FailedDelivery>>, Problem> {
    let before = input::cursor(page.cursor.as_deref())?;
    let page = api.webhooks.failed(id, before, input::rows(page.limit)?).await?;
    Ok(Json(List { items: page.items.into_iter().map(FailedDelivery::from).collect(), next: page.next }))
}

/// What is to be tried anew.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "WebhookReplay")]
pub(crate) struct Replay {
    /// One failed delivery; left out: all.
    delivery: Option<u64>,
}

/// How much is tried anew.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "WebhookReplayed")]
pub(crate) struct Replayed {
    replayed: u64,
}

pub(crate) async fn replay(
    State(api): State<Api>,
    _: Owner,
    input::Path(id): input::Path<u64>,
    input::Json(replay): input::Json<Replay>,
) -> Result<Json<Replayed>, Problem> {
    Ok(Json(Replayed { replayed: api.webhooks.replay(id, replay.delivery).await? }))
}

/// How the secret is replaced.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "WebhookSecret")]
pub(crate) struct Rotation {
    /// For so many seconds events are signed with the old secret, too; a day unless said, 0 to end it now.
    overlap_s: Option<u64>,
}

pub(crate) async fn new_secret(
    State(api): State<Api>,
    _: Owner,
    input::Path(id): input::Path<u64>,
    input::Json(rotation): input::Json<Rotation>,
) -> Result<Json<Webhook>, Problem> {
    let view = api.webhooks.rotate(id, rotation.overlap_s.unwrap_or(OVERLAP_S)).await?;
    Ok(Json(Webhook::with_secret(&api, view)))
}

/// Tells which devices a webhook is about.
pub struct Chooser(pub(crate) Api);

impl Filter for Chooser {
    fn fits(&self, query: Arc<str>, device: Arc<str>) -> Later<Fit> {
        let api = self.0.clone();
        Box::pin(async move {
            // A group of the query may have been removed since.
            let Ok(asked) = audience::asked(&api, &query).await else { return Fit::Unknown };
            match api.fleet.fits(&device, &asked) {
                Some(true) => Fit::Yes,
                Some(false) => Fit::No,
                None => Fit::Gone,
            }
        })
    }
}
