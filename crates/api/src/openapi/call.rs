//! One call of the API as it is described. What a handler takes and gives is read off its signature, so
//! that a field, a parameter or a role cannot be described other than it is; only handlers that take a
//! whole request, or give a whole response, must say in words what is in it.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::{Request, State, WebSocketUpgrade};
use axum::http::{HeaderMap, Method, StatusCode};
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::auth::{Operator, Owner, Viewer};
use crate::problem::Problem;
use crate::routes::twin;
use crate::{Api, input};

/// What a call answers when all is well.
pub(crate) struct Success {
    pub status: u16,
    /// Content type and schema; none for an empty answer.
    pub content: Vec<(&'static str, Value)>,
    /// Names and meanings of headers.
    pub headers: Vec<(&'static str, &'static str)>,
    pub says: &'static str,
}

/// One call.
pub(crate) struct Call {
    pub method: &'static str,
    pub path: &'static str,
    /// Its name for programs.
    pub id: &'static str,
    pub says: &'static str,
    /// Which function of the routes answers.
    #[cfg(test)]
    pub handler: &'static str,
    pub role: Option<&'static str>,
    /// The schema of the part of the path, if it has one.
    pub part: Option<Value>,
    /// The properties of the query, as parameters.
    pub query: Vec<Value>,
    pub headers: Vec<Value>,
    pub body: Option<(&'static str, Value)>,
    pub successes: Vec<Success>,
    pub codes: BTreeSet<&'static str>,
}

/// Makes schemas: those of what is sent and of what is answered differ in what must be there.
pub(crate) struct Makers {
    pub sent: SchemaGenerator,
    pub answered: SchemaGenerator,
}

/// One argument of a handler.
pub(crate) trait Part {
    fn describe(call: &mut Call, makers: &mut Makers);
}

/// What a handler gives back.
pub(crate) trait Reply {
    fn describe(call: &mut Call, makers: &mut Makers);
}

/// A handler.
pub(crate) trait Described<Arguments> {
    fn describe(call: &mut Call, makers: &mut Makers);
}

macro_rules! handlers {
    ($($part:ident)*) => {
        impl<F, Fut, $($part,)*> Described<($($part,)*)> for F
        where
            F: Fn($($part,)*) -> Fut,
            Fut: Future,
            Fut::Output: Reply,
            $($part: Part,)*
        {
            fn describe(call: &mut Call, makers: &mut Makers) {
                $($part::describe(call, makers);)*
                Fut::Output::describe(call, makers);
            }
        }
    };
}

handlers!();
handlers!(A);
handlers!(A B);
handlers!(A B C);
handlers!(A B C D);
handlers!(A B C D E);

impl Part for State<Api> {
    fn describe(_: &mut Call, _: &mut Makers) {}
}

impl Part for HeaderMap {
    fn describe(_: &mut Call, _: &mut Makers) {}
}

impl Part for Method {
    fn describe(_: &mut Call, _: &mut Makers) {}
}

impl<E> Part for Result<WebSocketUpgrade, E> {
    fn describe(call: &mut Call, _: &mut Makers) {
        call.codes.insert("not_a_websocket");
    }
}

impl Part for Request {
    fn describe(call: &mut Call, _: &mut Makers) {
        call.codes.extend(OF_BODY);
    }
}

/// What goes wrong with a body.
const OF_BODY: [&str; 3] = ["bad_body", "body_too_large", "body_too_slow"];

/// What goes wrong with a caller.
pub(crate) const OF_CALLER: [&str; 7] =
    ["bad_authorization", "bad_token", "device_out_of_reach", "no_token", "rate_limited", "scope_missing", "token_expired"];

macro_rules! roles {
    ($($caller:ty = $role:literal;)*) => {$(
        impl Part for $caller {
            fn describe(call: &mut Call, _: &mut Makers) {
                call.needs($role);
            }
        }
    )*};
}

roles! {
    Viewer = "viewer";
    Operator = "operator";
    Owner = "owner";
}

/// What can be a part of a path.
pub(crate) trait InPath {
    fn schema() -> Value;
}

impl InPath for String {
    fn schema() -> Value {
        json!({ "type": "string" })
    }
}

impl InPath for u64 {
    fn schema() -> Value {
        json!({ "type": "integer", "minimum": 0 })
    }
}

impl InPath for model::AppId {
    fn schema() -> Value {
        u64::schema()
    }
}

impl<T: InPath> Part for input::Path<T> {
    fn describe(call: &mut Call, _: &mut Makers) {
        call.part = Some(T::schema());
        call.codes.insert("bad_path");
    }
}

impl<T: JsonSchema> Part for input::Query<T> {
    fn describe(call: &mut Call, makers: &mut Makers) {
        let schema = T::json_schema(&mut makers.sent).to_value();
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let mut schema = property.clone();
            let says = schema.as_object_mut().and_then(|schema| schema.remove("description"));
            let mut parameter = json!({ "name": name, "in": "query", "schema": without_null(schema) });
            if required.contains(&json!(name)) {
                parameter["required"] = json!(true);
            }
            if let Some(says) = says {
                parameter["description"] = says;
            }
            call.query.push(parameter);
        }
        call.codes.insert("bad_query");
    }
}

impl Part for twin::Expected {
    fn describe(call: &mut Call, makers: &mut Makers) {
        input::Query::<twin::Seen>::describe(call, makers);
    }
}

impl<T: JsonSchema> Part for input::Json<T> {
    fn describe(call: &mut Call, makers: &mut Makers) {
        call.body = Some(("application/json", makers.sent.subschema_for::<T>().to_value()));
        call.codes.extend(OF_BODY);
        call.codes.extend(["bad_json", "bad_field"]);
    }
}

impl<P: Part> Part for Result<P, Problem> {
    fn describe(call: &mut Call, makers: &mut Makers) {
        P::describe(call, makers);
    }
}

impl<T: JsonSchema> Reply for Json<T> {
    fn describe(call: &mut Call, makers: &mut Makers) {
        call.success(200, Some(makers.answered.subschema_for::<T>().to_value()));
    }
}

impl<T: JsonSchema> Reply for (StatusCode, Json<T>) {
    fn describe(call: &mut Call, makers: &mut Makers) {
        call.success(201, Some(makers.answered.subschema_for::<T>().to_value()));
    }
}

impl Reply for StatusCode {
    fn describe(call: &mut Call, _: &mut Makers) {
        call.success(204, None);
    }
}

/// Must be described in words.
impl Reply for axum::response::Response {
    fn describe(_: &mut Call, _: &mut Makers) {}
}

/// Must be described in words.
impl Reply for &'static str {
    fn describe(_: &mut Call, _: &mut Makers) {}
}

impl<R: Reply> Reply for Result<R, Problem> {
    fn describe(call: &mut Call, makers: &mut Makers) {
        R::describe(call, makers);
        call.codes.extend(["disk_failed", "store_damaged", "store_failed"]);
        if call.method != "get" {
            call.codes.insert("store_full");
        }
    }
}

impl Call {
    fn success(&mut self, status: u16, schema: Option<Value>) {
        let content = schema.map(|schema| ("application/json", schema)).into_iter().collect();
        self.successes.push(Success { status, content, headers: Vec::new(), says: "" });
    }

    /// Who may call.
    pub fn needs(&mut self, role: &'static str) {
        self.role = Some(role);
        self.codes.extend(OF_CALLER);
        if role != "viewer" {
            self.codes.insert("role_too_low");
        }
        if self.method != "get" {
            self.codes.insert("header_missing");
        }
    }
}

/// A parameter is left out, not null.
pub(crate) fn without_null(mut schema: Value) -> Value {
    let Some(members) = schema.as_object_mut() else { return schema };
    if let Some(Value::Array(kinds)) = members.get_mut("type") {
        kinds.retain(|kind| kind != "null");
        if let [kind] = &kinds[..] {
            let kind = kind.clone();
            members.insert("type".to_owned(), kind);
        }
    }
    if let Some(Value::Array(choices)) = members.get_mut("anyOf") {
        choices.retain(|choice| choice != &json!({ "type": "null" }));
        if let [only] = &choices[..] {
            let only: Map<String, Value> = only.as_object().cloned().unwrap_or_default();
            members.remove("anyOf");
            members.extend(only);
        }
    }
    if let Some(Value::Array(words)) = members.get_mut("enum") {
        words.retain(|word| !word.is_null());
    }
    schema
}
