//! The API described in OpenAPI 3.1: made of the handlers' own types once, when somebody first asks for
//! it. `docs/openapi.json` is the same, committed, so that a change of the API is seen in review.

mod call;
mod calls;
pub(crate) mod shape;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::body::Bytes;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use self::call::{Call, Makers, without_null};
use crate::{codes, scopes};

static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| document().to_string().into());

/// Anybody may read it: it tells nothing of this server but its version.
pub(crate) async fn show() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT.clone()).into_response()
}

impl Makers {
    fn new() -> Makers {
        let mut settings = SchemaSettings::draft2020_12();
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
        Makers { sent: settings.clone().into_generator(), answered: settings.for_serialize().into_generator() }
    }

    /// The schema of a list of these.
    fn list<T: schemars::JsonSchema>(&mut self) -> Value {
        self.answered.subschema_for::<crate::shown::List<T>>().to_value()
    }
}

/// The whole document.
pub(crate) fn document() -> Value {
    let mut all = calls::all(Makers::new());
    let mut schemas = Map::new();
    for (name, schema) in all.makers.sent.take_definitions(true) {
        schemas.insert(name, schema);
    }
    for (name, mut schema) in all.makers.answered.take_definitions(true) {
        always_or_never(&mut schema);
        let before = schemas.insert(name.clone(), schema.clone());
        assert!(before.is_none_or(|before| before == schema), "{name} is not the same when sent and when answered: rename one");
    }
    schemas.insert("Problem".to_owned(), problem());
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for (section, call) in &all.calls {
        paths.entry(call.path).or_default().insert(call.method.to_owned(), operation(section, call));
    }
    let sections = calls::SECTIONS.map(|(name, says)| json!({ "name": name, "description": says }));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "espush",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Push to small devices and see what became of it. Times are RFC 3339 with milliseconds; lists \
                answer `{\"items\", \"next\"}` and take `limit` and `cursor`; errors are problems (RFC 9457), whose `code` stays.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "security": [{ "token": [] }, { "cookie": [] }],
        "tags": sections,
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer", "description": "A token, from `espush token add`." },
                "cookie": {
                    "type": "apiKey", "in": "cookie", "name": "espush_session",
                    "description": "A browser's session; what changes something also needs the header `X-Espush: 1`.",
                },
            },
        },
    })
}

fn operation(section: &str, call: &Call) -> Value {
    let mut operation = json!({ "operationId": call.id, "tags": [section], "summary": call.says });
    let mut parameters = Vec::new();
    if let Some(part) = &call.part {
        let name = call.path.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map_or("id", |(name, _)| name);
        parameters.push(json!({ "name": name, "in": "path", "required": true, "schema": part }));
    }
    parameters.extend(call.query.iter().cloned());
    parameters.extend(call.headers.iter().cloned());
    if !parameters.is_empty() {
        operation["parameters"] = json!(parameters);
    }
    if let Some((kind, schema)) = &call.body {
        operation["requestBody"] = json!({ "required": true, "content": { *kind: { "schema": schema } } });
    }
    match call.role {
        Some(role) => {
            operation["x-role"] = json!(role);
            let method = call.method.to_uppercase().parse().unwrap_or_default();
            if let Some(scope) = scopes::of(&method, call.path) {
                operation["x-scope"] = json!(scope.as_str());
            }
        }
        // Anybody may.
        None => operation["security"] = json!([]),
    }
    let mut responses: BTreeMap<String, Value> = BTreeMap::new();
    for success in &call.successes {
        let says = if success.says.is_empty() { "Done." } else { success.says };
        let mut response = json!({ "description": says });
        for (kind, schema) in &success.content {
            response["content"][*kind] = json!({ "schema": schema });
        }
        for (name, says) in &success.headers {
            response["headers"][*name] = json!({ "description": says, "schema": { "type": "string" } });
        }
        responses.insert(success.status.to_string(), response);
    }
    let mut by_status: BTreeMap<u16, Vec<&codes::Code>> = BTreeMap::new();
    for code in call.codes.iter().filter_map(|word| codes::find(word)) {
        by_status.entry(code.status).or_default().push(code);
    }
    for (status, codes) in by_status {
        let words: Vec<&str> = codes.iter().map(|code| code.word).collect();
        let says: Vec<String> = codes.iter().map(|code| format!("`{}`: {}", code.word, code.en[0])).collect();
        let response = responses.entry(status.to_string()).or_insert_with(|| json!({ "description": "" }));
        let before = response["description"].as_str().map(|says| format!("{says} ")).filter(|says| says.len() > 1);
        response["description"] = json!(format!("{}{}.", before.unwrap_or_default(), says.join("; ")));
        response["x-codes"] = json!(words);
        // What is pushed with curl is answered in text, errors too.
        if call.path != "/d/{device}" {
            response["content"]["application/problem+json"] = json!({ "schema": { "$ref": "#/components/schemas/Problem" } });
        } else {
            response["content"]["text/plain"] = json!({ "schema": { "type": "string" } });
        }
    }
    operation["responses"] = json!(responses);
    operation
}

/// An error, with every code that there is.
fn problem() -> Value {
    let words: Vec<&str> = codes::CODES.iter().map(|code| code.word).collect();
    let meanings: Map<String, Value> = codes::CODES
        .iter()
        .map(|code| (code.word.to_owned(), json!({ "status": code.status, "en": code.en, "zh": code.zh })))
        .collect();
    json!({
        "type": "object",
        "description": "What went wrong (RFC 9457).",
        "properties": {
            "type": { "type": "string", "const": "about:blank" },
            "title": { "type": "string" },
            "status": { "type": "integer" },
            "detail": { "type": "string", "description": "What is wrong, a sentence for people." },
            "code": { "type": "string", "enum": words, "description": "What is wrong, a word that stays.", "x-meanings": meanings },
            "hint": { "type": "string", "description": "What to do." },
            "position": { "type": "integer", "minimum": 1, "description": "Where in a query the mistake is, in characters from 1." },
        },
        "required": ["type", "title", "status", "detail", "code"],
    })
}

/// What an answer may leave out is never null in it.
fn always_or_never(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            let required = members.get("required").cloned().unwrap_or_else(|| json!([]));
            if let Some(Value::Object(properties)) = members.get_mut("properties") {
                for (name, property) in properties.iter_mut() {
                    if !required.as_array().is_some_and(|required| required.contains(&json!(name))) {
                        *property = without_null(property.take());
                    }
                }
            }
            members.values_mut().for_each(always_or_never);
        }
        Value::Array(items) => items.iter_mut().for_each(always_or_never),
        _ => {}
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

    /// Holds a file to what the code says, or writes it when it is told to.
    #[track_caller]
    pub(crate) fn compare(path: &str, wanted: &str) {
        let path = Path::new(ROOT).join(path);
        if std::env::var_os("ESPUSH_WRITE_DOCS").is_some() {
            std::fs::write(&path, wanted).expect("a folder that can be written");
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        let line = wanted.lines().zip(found.lines().chain(std::iter::repeat(""))).find(|(wanted, found)| wanted != found);
        assert!(
            wanted == found,
            "{} is not what the code says, at {line:?}; write it with ESPUSH_WRITE_DOCS=1 cargo test -p api --lib",
            path.display()
        );
    }

    #[test]
    fn the_committed_document_is_what_the_code_says() {
        compare("docs/openapi.json", &format!("{:#}\n", document()));
    }

    /// The routes as the table in `routes/mod.rs` has them: method, path, handler.
    fn routed() -> BTreeSet<(String, String, String)> {
        let source = include_str!("../routes/mod.rs");
        let (_, table) = source.split_once("pub fn router").expect("the table");
        let (nested, rest) = table.split_once(".nest(").expect("the version");
        let mut found = BTreeSet::new();
        for (prefix, table) in [("/api/v1", nested), ("", rest)] {
            for route in table.split(".route(").skip(1) {
                let path = route.split('"').nth(1).expect("a path");
                for method in ["get", "post", "put", "patch", "delete"] {
                    for (at, _) in route.match_indices(&format!("{method}(")) {
                        if route[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') {
                            continue;
                        }
                        let handler = route[at..].split(['(', ')']).nth(1).expect("a handler");
                        found.insert((method.to_owned(), format!("{prefix}{path}"), handler.to_owned()));
                    }
                }
            }
        }
        found
    }

    #[test]
    fn every_route_is_described_and_by_its_own_handler() {
        let described = calls::all(Makers::new()).calls;
        let handler = |name: &str| name.trim_start_matches("api::routes::").trim_start_matches("api::").to_owned();
        let described: BTreeSet<(String, String, String)> =
            described.iter().map(|(_, call)| (call.method.to_owned(), call.path.to_owned(), handler(call.handler))).collect();
        let routed: BTreeSet<_> = routed().into_iter().filter(|(_, path, _)| !path.starts_with("/docs")).collect();
        assert!(routed.len() > 30, "the table is not read any more: {routed:?}");
        let missing: Vec<_> = routed.difference(&described).collect();
        assert!(missing.is_empty(), "no line in openapi/calls.rs for {missing:?}");
        let gone: Vec<_> = described.difference(&routed).collect();
        assert!(gone.is_empty(), "described in openapi/calls.rs, and not in the table of routes: {gone:?}");
    }

    #[test]
    fn every_call_says_what_it_answers_and_has_a_name_of_its_own() {
        let mut names = BTreeSet::new();
        for (section, call) in calls::all(Makers::new()).calls {
            assert!(!call.successes.is_empty(), "{} {}: say in openapi/calls.rs what it answers", call.method, call.path);
            assert!(names.insert(call.id), "two calls are called {}", call.id);
            assert!(calls::SECTIONS.iter().any(|(name, _)| *name == section), "{section}");
        }
    }

    #[test]
    fn what_is_referred_to_is_there() {
        let document = document();
        let text = document.to_string();
        let names: BTreeSet<&str> =
            text.split("#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        for name in &names {
            assert!(schemas.contains_key(*name), "{name}");
        }
        assert!(names.len() > 20, "{names:?}");
    }
}
