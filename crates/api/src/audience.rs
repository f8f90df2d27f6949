//! Who is meant: the `audience` of a push and the `where` of a list, from JSON and text to what the fleet
//! can select. All that an audience can say but ids, an app and everybody is a query.

use std::sync::Arc;

use axum::http::StatusCode;
use fleet::{Asked, Audience};
use model::query::{Latest, NoPoints, quoted};
use model::{AppId, DeviceNumber, Query, QueryError, limits, text};
use serde::Deserialize;
use serde_json::Value;
use telemetry::NewestError;
use twin::ValuesError;

use crate::Api;
use crate::problem::Problem;

/// An audience as it was written.
pub(crate) enum Wanted {
    /// One device by its id.
    Device(String),
    /// Any number.
    Many(Audience),
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Tags {
    all: Vec<String>,
    any: Vec<String>,
    none: Vec<String>,
}

/// Reads the `audience` of a push.
pub(crate) async fn read(api: &Api, audience: &Value) -> Result<Wanted, Problem> {
    if audience == "all" {
        return Ok(Wanted::Many(Audience::All));
    }
    let Some((word, value)) =
        audience.as_object().filter(|audience| audience.len() == 1).and_then(|audience| audience.iter().next())
    else {
        return Err(bad("an audience says one thing"));
    };
    let text = || value.as_str().ok_or_else(|| bad(format!("{word} is a text")));
    Ok(match word.as_str() {
        "device" => Wanted::Device(text()?.to_owned()),
        "devices" => {
            let ids = Vec::<String>::deserialize(value).map_err(|_| bad("devices is a list of ids"))?;
            if ids.len() > limits::AUDIENCE_IDS_MAX {
                let detail = format!("an audience names at most {} devices", limits::AUDIENCE_IDS_MAX);
                return Err(Problem::bad("audience_too_long", detail).hint("give them a tag, or write a query"));
            }
            Wanted::Many(Audience::Devices(ids))
        }
        "app" => Wanted::Many(Audience::App(AppId::deserialize(value).map_err(|_| bad("app is a number"))?)),
        "alias" => {
            let alias = text()?;
            if alias.is_empty() {
                return Err(bad("alias is a text"));
            }
            Wanted::Many(Audience::Query(asked(api, &format!("alias = {}", quoted(alias))).await?))
        }
        "group" => Wanted::Many(Audience::Query(asked(api, &of_group(text()?)).await?)),
        "tags" => {
            let tags = Tags::deserialize(value).map_err(|error| bad(format!("tags: {error}")))?;
            let query = of_tags(&tags).ok_or_else(|| bad("tags has all, any or none, each a list of tags"))?;
            // What is wrong with it is its length alone, and there is no place in it to point to.
            let query = Query::parse(&query).map_err(|error| bad(format!("too many tags: {}", error.what)))?;
            Wanted::Many(Audience::Query(with_points(api, query).await?))
        }
        "where" | "query" => Wanted::Many(Audience::Query(asked(api, text()?).await?)),
        _ => return Err(bad(format!("{word} is no audience"))),
    })
}

/// A query with what it takes to carry it out.
pub(crate) async fn asked(api: &Api, text: &str) -> Result<Asked, Problem> {
    with_points(api, Query::parse(text)?).await
}

async fn with_points(api: &Api, query: Query) -> Result<Asked, Problem> {
    let query = api.fleet.expand(query)?;
    let points: Arc<dyn Latest> =
        if query.streams().is_empty() { Arc::new(NoPoints) } else { api.telemetry.newest_of(query.streams()).await? };
    let points = match query.twins() {
        [] => points,
        paths => Arc::new(Both { points, twins: api.twins.values_of(paths).await? }),
    };
    Ok(Asked { query: Arc::new(query), points })
}

/// Points and twins, each from the room that has them.
struct Both {
    points: Arc<dyn Latest>,
    twins: Arc<dyn Latest>,
}

impl Latest for Both {
    fn latest(&self, device: DeviceNumber, place: usize) -> Option<model::Value> {
        self.points.latest(device, place)
    }

    fn twin(&self, device: DeviceNumber, place: usize) -> Option<model::Value> {
        self.twins.twin(device, place)
    }
}

/// The query for a group.
pub(crate) fn of_group(name: &str) -> String {
    format!("group = {}", quoted(name))
}

/// The query that says the same; `None` if the tags say nothing or are none.
fn of_tags(tags: &Tags) -> Option<String> {
    let mut all = tags.all.iter().chain(&tags.any).chain(&tags.none);
    if !all.all(|tag| text::is_name(tag)) {
        return None;
    }
    let has = |tag: &String| format!("tags has {}", quoted(tag));
    let mut parts: Vec<String> = tags.all.iter().map(has).collect();
    if !tags.any.is_empty() {
        parts.push(format!("({})", tags.any.iter().map(has).collect::<Vec<_>>().join(" or ")));
    }
    parts.extend(tags.none.iter().map(|tag| format!("not {}", has(tag))));
    (!parts.is_empty()).then(|| parts.join(" and "))
}

fn bad(detail: impl Into<String>) -> Problem {
    Problem::bad("bad_audience", detail).hint(
        r#"write "all", or one of {"device": ID}, {"devices": [ID]}, {"alias": NAME}, {"app": NUMBER}, {"group": NAME}, {"tags": {"all": [TAG]}}, {"where": QUERY}; a query joins them: {"where": "app = 7 and tags has \"kitchen\""}"#,
    )
}

impl From<QueryError> for Problem {
    fn from(error: QueryError) -> Problem {
        let problem = Problem { position: Some(error.position), ..Problem::bad("bad_where", error.to_string()) };
        match error.hint {
            Some(hint) => problem.hint(hint),
            None => problem,
        }
    }
}

impl From<NewestError> for Problem {
    fn from(error: NewestError) -> Problem {
        match error {
            NewestError::Store(error) => error.into(),
            NewestError::TooMuch(_) => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "where_too_heavy", error.to_string())
                .hint("name fewer streams at once"),
        }
    }
}

impl From<ValuesError> for Problem {
    fn from(error: ValuesError) -> Problem {
        match error {
            ValuesError::Store(error) => error.into(),
            ValuesError::TooMuch(_) => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "where_too_heavy", error.to_string())
                .hint("name fewer of them at once"),
        }
    }
}
