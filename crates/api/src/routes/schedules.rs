//! Schedules: pushes that recur, and the log of their runs.

use std::pin::Pin;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use contract::store::ScheduleRun;
use futures_util::future::try_join_all;
use model::{PushId, UnixMs};
use schedule::{Carrier, NewSchedule, ScheduleEdit, ScheduleError, View};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::push::{New as NewPush, check_recurring, take};
use crate::auth::{Operator, Viewer};
use crate::openapi::shape;
use crate::problem::Problem;
use crate::shown::List;
use crate::{Api, in_use, input};

/// Runs that are shown with a schedule; all of them have a list of their own.
const RUNS_SHOWN: usize = 20;

/// Moments of a preview.
const MOMENTS_SHOWN: usize = 5;

/// A push that is to recur.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewSchedule")]
pub(crate) struct New {
    name: String,
    /// The push, without `wait_ms`, `at` and `idempotency_key`; its audience is chosen anew at each run.
    // As they were written: they are read again at each run.
    #[schemars(with = "NewPush")]
    push: Box<RawValue>,
    #[schemars(with = "shape::When")]
    when: Box<RawValue>,
    /// How late a run may be that was missed while the program was down; an hour unless said.
    grace_s: Option<u64>,
}

/// What became of a moment of a schedule.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ScheduleRun")]
pub(crate) struct Run {
    /// When it was due.
    #[schemars(with = "shape::Time")]
    at: UnixMs,
    /// When it ran, or was seen to be missed.
    #[schemars(with = "shape::Time")]
    ran: UnixMs,
    /// `pushed`, `failed` or `missed`.
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<u64>")]
    push: Option<PushId>,
    /// How many moments, from `at` on.
    #[serde(skip_serializing_if = "Option::is_none")]
    missed: Option<u64>,
    #[serde(skip_serializing_if = "String::is_empty")]
    detail: String,
}

impl From<ScheduleRun> for Run {
    fn from(run: ScheduleRun) -> Run {
        let ScheduleRun { at, ran, push, missed, detail } = run;
        let outcome = match (push, missed) {
            (Some(_), _) => "pushed",
            (None, 0) => "failed",
            (None, _) => "missed",
        };
        Run { at, ran, outcome, push, missed: (missed > 0).then_some(missed), detail }
    }
}

/// A push that recurs.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Schedule {
    id: u64,
    name: String,
    /// The push as it was written.
    #[schemars(with = "shape::Any")]
    push: serde_json::Value,
    #[schemars(with = "shape::When")]
    when: serde_json::Value,
    grace_s: u64,
    paused: bool,
    /// Who made it.
    sender: String,
    #[schemars(with = "shape::Time")]
    created: UnixMs,
    /// `null` while it is paused, and when no moment is left.
    #[schemars(with = "Option<shape::Time>")]
    next: Option<UnixMs>,
    /// Newest first.
    runs: Vec<Run>,
}

impl Schedule {
    async fn of(api: &Api, view: View, runs: usize) -> Result<Schedule, Problem> {
        let View { schedule, next } = view;
        let runs = match api.schedules.runs(schedule.id, None, runs).await {
            // Removed in this very moment.
            Err(ScheduleError::Missing(_)) => Vec::new(),
            runs => runs?.items,
        };
        Ok(Schedule {
            id: schedule.id,
            name: schedule.name,
            push: serde_json::from_str(&schedule.push).unwrap_or_default(),
            when: serde_json::from_str(&schedule.when).unwrap_or_default(),
            grace_s: schedule.grace_s,
            paused: schedule.paused,
            sender: schedule.sender,
            created: schedule.created,
            next,
            runs: runs.into_iter().map(Run::from).collect(),
        })
    }
}

pub(crate) async fn create(
    State(api): State<Api>,
    Operator(caller): Operator,
    input::Json(new): input::Json<New>,
) -> Result<Json<Schedule>, Problem> {
    let _turn = in_use::TURN.lock().await;
    check(&api, &new.push).await?;
    let new = NewSchedule {
        name: new.name,
        push: new.push.get().to_owned(),
        when: new.when.get().to_owned(),
        grace_s: new.grace_s,
        sender: caller.name.to_string(),
    };
    let view = api.schedules.create(new).await?;
    Ok(Json(Schedule::of(&api, view, RUNS_SHOWN).await?))
}

/// Whether it can be pushed again and again.
async fn check(api: &Api, push: &RawValue) -> Result<(), Problem> {
    let push: NewPush = input::json(push.get().as_bytes()).map_err(|problem| in_push(problem, "push: "))?;
    check_recurring(api, push).await.map_err(|problem| in_push(problem, "push: "))
}

/// When something would run.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SchedulePreview")]
pub(crate) struct Wanted {
    #[schemars(with = "shape::When")]
    when: Box<RawValue>,
}

/// The next moments, at most five.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ScheduleMoments")]
pub(crate) struct Moments {
    #[schemars(with = "Vec<shape::Time>")]
    next: Vec<UnixMs>,
}

pub(crate) async fn preview(
    State(api): State<Api>,
    _: Viewer,
    input::Json(wanted): input::Json<Wanted>,
) -> Result<Json<Moments>, Problem> {
    Ok(Json(Moments { next: api.schedules.moments(wanted.when.get(), MOMENTS_SHOWN)? }))
}

/// Says where it is what is wrong.
fn in_push(problem: Problem, place: &str) -> Problem {
    let detail = match problem.detail.strip_prefix(place) {
        Some(_) => problem.detail,
        None => format!("{place}{}", problem.detail),
    };
    Problem { detail, ..problem }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Page {
    /// Rows of a page, 1 to 1000; 100 unless told.
    limit: Option<usize>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// All schedules, each with its last run.
pub(crate) async fn list(
    State(api): State<Api>,
    _: Viewer,
    input::Query(page): input::Query<Page>,
) -> Result<Json<List<Schedule>>, Problem> {
    let after = input::cursor(page.cursor.as_deref())?.unwrap_or(0);
    let page = api.schedules.list(after, input::rows(page.limit)?);
    let items = try_join_all(page.items.into_iter().map(|view| Schedule::of(&api, view, 1))).await?;
    Ok(Json(List { items, next: page.next }))
}

pub(crate) async fn show(
    State(api): State<Api>,
    _: Viewer,
    input::Path(id): input::Path<u64>,
) -> Result<Json<Schedule>, Problem> {
    let view = api.schedules.get(id)?;
    Ok(Json(Schedule::of(&api, view, RUNS_SHOWN).await?))
}

pub(crate) async fn runs(
    State(api): State<Api>,
    _: Viewer,
    input::Path(id): input::Path<u64>,
    input::Query(page): input::Query<Page>,
) -> Result<Json<List<Run>>, Problem> {
    let before = input::cursor(page.cursor.as_deref())?.map(UnixMs);
    let page = api.schedules.runs(id, before, input::rows(page.limit)?).await?;
    Ok(Json(List { items: page.items.into_iter().map(Run::from).collect(), next: page.next }))
}

/// What is to change of a schedule.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ScheduleChange")]
pub(crate) struct Edit {
    name: Option<String>,
    paused: Option<bool>,
    /// In place of the one before. From then on it is pushed in the name of whoever changed it.
    #[schemars(with = "Option<NewPush>")]
    push: Option<Box<RawValue>>,
    /// In place of the one before. What lies behind the change is not made up for.
    #[schemars(with = "Option<shape::When>")]
    when: Option<Box<RawValue>>,
    grace_s: Option<u64>,
}

pub(crate) async fn edit(
    State(api): State<Api>,
    Operator(caller): Operator,
    input::Path(id): input::Path<u64>,
    input::Json(Edit { name, paused, push, when, grace_s }): input::Json<Edit>,
) -> Result<Json<Schedule>, Problem> {
    let _turn = in_use::TURN.lock().await;
    if let Some(push) = &push {
        check(&api, push).await?;
    }
    let push = push.map(|push| (push.get().to_owned(), caller.name.to_string()));
    let when = when.map(|when| when.get().to_owned());
    let view = api.schedules.edit(id, ScheduleEdit { name, paused, push, when, grace_s }).await?;
    Ok(Json(Schedule::of(&api, view, RUNS_SHOWN).await?))
}

/// Removes a schedule with its log. Its pushes stay.
pub(crate) async fn remove(
    State(api): State<Api>,
    _: Operator,
    input::Path(id): input::Path<u64>,
) -> Result<StatusCode, Problem> {
    api.schedules.remove(id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Carries out what schedules are to push, as if it had been sent just now.
pub struct Sender(pub(crate) Api);

impl Carrier for Sender {
    fn carry(&self, order: String, sender: String, key: String) -> Pin<Box<dyn Future<Output = Result<PushId, String>> + Send>> {
        let api = self.0.clone();
        Box::pin(async move {
            let new: NewPush = input::json(order.as_bytes()).map_err(|problem| problem.detail)?;
            take(&api, new, sender, Some(key)).await.map(|(push, _)| push).map_err(|problem| problem.detail)
        })
    }
}
