//! Who changed what: every call that changes something is written down with its outcome, before it is answered.
//! Of what was sent only the names of the members are kept, and of truth values what they were: never a text,
//! because it might be a secret. Pushes, messages and points are not changes: they are kept as what they are.

use std::cell::RefCell;
use std::net::SocketAddr;

use axum::body::Body;
use axum::extract::{ConnectInfo, MatchedPath, RawPathParams, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use axum::{RequestExt, body};
use contract::store::AuditEntry;
use model::{Role, limits};
use serde_json::Value;

use crate::{Api, auth};

tokio::task_local! {
    /// What the call that is being carried out has sent.
    static SENT: RefCell<Vec<String>>;
    /// Who makes it, and what is known of it before its outcome.
    static BEGUN: AuditEntry;
}

/// Calls that change nothing of the fleet, or are kept as what they are: pushes and points.
const NO_CHANGES: [&str; 6] =
    ["/push", "/push/preview", "/send", "/schedules/preview", "/pushes/{id}/resend", "/devices/{id}/points"];

/// A call that goes on after its answer has begun, and is written down once more when it is over.
pub(crate) struct GoesOn(Option<AuditEntry>);

impl GoesOn {
    /// The call that is being carried out.
    pub fn this() -> GoesOn {
        GoesOn(BEGUN.try_with(AuditEntry::clone).ok())
    }

    /// It is over. `fields` says what has become of it, in figures.
    pub async fn ends(self, api: &Api, fields: Vec<String>) {
        let Some(begun) = self.0 else { return };
        keep(api, AuditEntry { at: api.clock.unix(), fields, status: StatusCode::OK.as_u16(), ..begun }).await;
    }
}

/// Takes note of what a call without a JSON body was asked.
pub(crate) fn asked(fields: Vec<String>) {
    let _ = SENT.try_with(|sent| *sent.borrow_mut() = fields);
}

/// The code of a problem, beside its body.
#[derive(Clone, Copy)]
pub(crate) struct Code(pub &'static str);

/// Takes note of what a JSON body has.
pub(crate) fn sent(body: &[u8]) {
    // Outside of a call that is written down there is nowhere to note it.
    let _ = SENT.try_with(|sent| {
        let Ok(Value::Object(members)) = serde_json::from_slice(body) else { return };
        let named = |(name, value): (String, Value)| match value {
            Value::Bool(truth) => format!("{name}={truth}"),
            _ => name,
        };
        let kept = members.into_iter().map(named).filter(|name| name.len() <= limits::NAME_BYTES_MAX);
        *sent.borrow_mut() = kept.take(limits::AUDIT_FIELDS_MAX).collect();
    });
}

/// Writes down what a call has changed, or has not.
pub(crate) async fn write_down(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let path = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let Some(path) = path.filter(|path| is_change(&method, path)) else { return next.run(request).await };
    let caller = auth::caller(request.headers(), &method, &api, Role::Viewer).ok();
    let remote = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|remote| remote.0.to_string()).unwrap_or_default();
    let target = match request.extract_parts::<RawPathParams>().await {
        Ok(params) => params.iter().next().map(|(_, value)| value.to_owned()),
        Err(_) => None,
    };
    let begun = AuditEntry {
        id: 0,
        at: api.clock.unix(),
        who: caller.as_ref().map(|caller| caller.name.to_string()).unwrap_or_default(),
        token: caller.as_ref().and_then(|caller| caller.token),
        role: caller.as_ref().map_or(Role::Viewer, |caller| caller.role),
        remote,
        call: format!("{method} {path}"),
        target: String::new(),
        fields: Vec::new(),
        status: 0,
        code: String::new(),
    };
    let carried_out = SENT.scope(RefCell::default(), async {
        let response = next.run(request).await;
        (response, SENT.with(RefCell::take))
    });
    let (mut response, fields) = BEGUN.scope(begun.clone(), carried_out).await;
    let status = response.status();
    let (who, role) = match caller {
        Some(_) => (begun.who, begun.role),
        None if method == Method::POST && path.ends_with("/session") && status.is_success() => {
            let shown = shown(&mut response).await;
            let role = shown["role"].as_str().and_then(Role::parse).unwrap_or(Role::Viewer);
            (shown["name"].as_str().unwrap_or_default().to_owned(), role)
        }
        // Strangers change nothing, and could write here as much as they like.
        None => return response,
    };
    let target = match target {
        Some(target) => target,
        None if status == StatusCode::CREATED => {
            let shown = shown(&mut response).await;
            // What was made, by its id or name.
            match (&shown["id"], &shown["name"]) {
                (Value::String(id), _) => id.clone(),
                (Value::Number(id), _) => id.to_string(),
                (_, Value::String(name)) => name.clone(),
                _ => String::new(),
            }
        }
        None => String::new(),
    };
    let entry = AuditEntry {
        at: api.clock.unix(),
        who,
        role,
        target: target[..target.floor_char_boundary(limits::AUDIT_TARGET_BYTES_MAX)].to_owned(),
        fields,
        status: status.as_u16(),
        code: response.extensions().get::<Code>().map_or(String::new(), |code| code.0.to_owned()),
        ..begun
    };
    keep(&api, entry).await;
    response
}

async fn keep(api: &Api, entry: AuditEntry) {
    if let Err(error) = api.audit.record(entry).await {
        tracing::warn!(%error, "a change could not be written down in the audit log");
    }
}

fn is_change(method: &Method, path: &str) -> bool {
    !method.is_safe() && !NO_CHANGES.iter().any(|other| path.ends_with(other))
}

/// What an answer shows, if that is JSON.
async fn shown(response: &mut Response) -> Value {
    if response.headers().get(header::CONTENT_TYPE).is_none_or(|kind| kind != "application/json") {
        return Value::Null;
    }
    let whole = std::mem::replace(response.body_mut(), Body::empty());
    // It lies in memory already.
    let Ok(bytes) = body::to_bytes(whole, usize::MAX).await else { return Value::Null };
    let shown = serde_json::from_slice(&bytes).unwrap_or_default();
    *response.body_mut() = Body::from(bytes);
    shown
}
