//! Who changed what. Owners only.

use axum::Json;
use axum::extract::State;
use contract::store::{AuditEntry, AuditQuery};
use model::{Role, UnixMs};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::auth::Owner;
use crate::openapi::shape;
use crate::problem::Problem;
use crate::shown::List;
use crate::{Api, input};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// The name of a token.
    who: Option<String>,
    /// What it was about, such as a device's id.
    target: Option<String>,
    /// A part of the call, such as `DELETE` or `/devices`.
    call: Option<String>,
    failed: Option<bool>,
    from: Option<String>,
    to: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

/// A change, or an attempt at one.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AuditEntry")]
pub(crate) struct Entry {
    id: u64,
    #[schemars(with = "shape::Time")]
    at: UnixMs,
    who: String,
    token: Option<u64>,
    #[schemars(with = "shape::Role")]
    role: Role,
    remote: String,
    call: String,
    target: String,
    fields: Vec<String>,
    status: u16,
    #[serde(skip_serializing_if = "String::is_empty")]
    code: String,
}

impl From<AuditEntry> for Entry {
    fn from(entry: AuditEntry) -> Entry {
        let AuditEntry { id, at, who, token, role, remote, call, target, fields, status, code } = entry;
        Entry { id, at, who, token, role, remote, call, target, fields, status, code }
    }
}

pub(crate) async fn list(
    State(api): State<Api>,
    _: Owner,
    input::Query(wanted): input::Query<Wanted>,
) -> Result<Json<List<Entry>>, Problem> {
    let query = AuditQuery {
        who: wanted.who,
        target: wanted.target,
        call: wanted.call,
        failed: wanted.failed,
        from: input::time("from", wanted.from.as_deref())?,
        to: input::time("to", wanted.to.as_deref())?,
    };
    let before = input::cursor(wanted.cursor.as_deref())?;
    let page = api.audit.entries(query, before, input::rows(wanted.limit)?).await?;
    Ok(Json(List { items: page.items.into_iter().map(Entry::from).collect(), next: page.next }))
}
