//! Who changed what. Owners only.

use axum::Json;
use axum::extract::State;
use contract::store::{AuditEntry, AuditQuery};
use model::{Role, UnixMs};
use serde::{Deserialize, Serialize};

use crate::auth::Owner;
use crate::problem::Problem;
use crate::shown::List;
use crate::{Api, input};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    who: Option<String>,
    target: Option<String>,
    call: Option<String>,
    failed: Option<bool>,
    from: Option<String>,
    to: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct Entry {
    id: u64,
    at: UnixMs,
    who: String,
    token: Option<u64>,
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
