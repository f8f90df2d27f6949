//! Whether what was asked and answered is what `openapi.json` says. The house holds every call of every
//! test to it: status, fields, codes, and the bodies that were taken.

use std::sync::LazyLock;

use axum::http::{HeaderMap, Method, StatusCode};
use serde_json::Value;

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let text = include_str!("../../../../docs/openapi.json");
    serde_json::from_str(text).unwrap()
});

/// The operation that a call is, if it is one.
fn operation(method: &Method, path: &str) -> Option<&'static Value> {
    let parts: Vec<&str> = path.split('/').collect();
    let fits = |template: &str| {
        let wanted: Vec<&str> = template.split('/').collect();
        wanted.len() == parts.len() && wanted.iter().zip(&parts).all(|(wanted, part)| wanted == part || wanted.starts_with('{'))
    };
    let mut found: Vec<_> = DOCUMENT["paths"].as_object().unwrap().iter().filter(|(template, _)| fits(template)).collect();
    // `/tokens/signin` is not a token's number.
    found.sort_by_key(|(template, _)| template.matches('{').count());
    found.first()?.1.get(method.as_str().to_lowercase())
}

#[track_caller]
pub fn check(method: &Method, path: &str, sent: Option<&str>, status: StatusCode, headers: &HeaderMap, body: &[u8]) {
    let Some(operation) = operation(method, path) else { return };
    let name = format!("{method} {path} → {status}");
    let response = &operation["responses"][status.as_str()];
    assert!(response.is_object(), "{name}: docs/openapi.json does not know this status: {}", String::from_utf8_lossy(body));
    let kind = headers.get("content-type").map_or("", |kind| kind.to_str().unwrap()).split(';').next().unwrap();
    if kind == "application/problem+json" {
        let problem: Value = serde_json::from_slice(body).unwrap();
        let codes = response["x-codes"].as_array().unwrap_or_else(|| panic!("{name}: no codes"));
        assert!(codes.contains(&problem["code"]), "{name}: {} is not among {codes:?} of openapi/calls.rs", problem["code"]);
    }
    if kind.ends_with("json") && kind != "application/x-ndjson" {
        let schema = &response["content"][kind]["schema"];
        assert!(schema.is_object(), "{name}: it does not answer {kind}");
        let value = serde_json::from_slice(body).unwrap();
        // Its own description is any object.
        if !path.ends_with("/openapi.json") {
            fits(schema, &value).unwrap_or_else(|why| panic!("{name}: {why} in {value}"));
        }
    } else if kind != "text/event-stream" && !body.is_empty() && status.is_success() {
        let content = &response["content"];
        // A direct push answers with the bytes of the device.
        assert!(content.get(kind).is_some() || kind == "application/octet-stream", "{name}: it does not answer {kind}");
    }
    if let Some(sent) = sent.filter(|sent| status.is_success() && !sent.trim().is_empty())
        && let Some(schema) = operation["requestBody"]["content"]["application/json"].get("schema")
    {
        let value = serde_json::from_str(sent).unwrap();
        fits(schema, &value).unwrap_or_else(|why| panic!("{name}: {why} in the body {value}"));
    }
}

/// Whether a live event is described.
#[track_caller]
pub fn check_event(kind: &str, data: &Value) {
    let stream = &DOCUMENT["paths"]["/api/v1/events"]["get"]["responses"]["200"]["content"]["text/event-stream"]["schema"];
    let schema = &stream["x-events"][kind];
    assert!(schema.is_object(), "no event {kind} in docs/openapi.json");
    fits(schema, data).unwrap_or_else(|why| panic!("event {kind}: {why} in {data}"));
}

/// Whether a value is what a schema says, and has no member that it does not name.
fn fits(schema: &Value, value: &Value) -> Result<(), String> {
    let mut known = Vec::new();
    shape(schema, value, &mut known)?;
    if let Some(members) = value.as_object().filter(|_| !known.is_empty()) {
        for name in members.keys() {
            if !known.iter().any(|known| known == name || known == "*") {
                return Err(format!("{name:?} is not described"));
            }
        }
    }
    Ok(())
}

/// Collects the names that a schema gives to members, and checks all that it says.
fn shape(schema: &Value, value: &Value, known: &mut Vec<String>) -> Result<(), String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = DOCUMENT.pointer(reference.trim_start_matches('#')).ok_or(format!("no {reference}"))?;
        return shape(target, value, known);
    }
    if let Some(wanted) = schema.get("const").filter(|wanted| *wanted != value) {
        return Err(format!("{value} is not {wanted}"));
    }
    if schema["enum"].as_array().is_some_and(|words| !words.contains(value)) {
        return Err(format!("{value} is not one of {}", schema["enum"]));
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let is = |kind: &&str| match *kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("the type {other} is not known here"),
    };
    if !kinds.is_empty() && !kinds.iter().any(is) {
        return Err(format!("{value} is not {kinds:?}"));
    }
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if value.is_object() && value.get(name).is_none() {
            return Err(format!("{name:?} is missing"));
        }
    }
    if let (Some(properties), Some(members)) = (schema["properties"].as_object(), value.as_object()) {
        for (name, property) in properties {
            known.push(name.clone());
            if let Some(member) = members.get(name) {
                fits(property, member).map_err(|why| format!("{name}: {why}"))?;
            }
        }
    }
    match &schema["additionalProperties"] {
        Value::Object(_) | Value::Bool(true) => known.push("*".to_owned()),
        _ => {}
    }
    if let (Some(items), Some(values)) = (schema.get("items"), value.as_array()) {
        values.iter().try_for_each(|value| fits(items, value))?;
    }
    for word in ["oneOf", "anyOf"] {
        let Some(choices) = schema[word].as_array() else { continue };
        let mut tried = Vec::new();
        let fitting = choices.iter().find(|choice| {
            let mut names = Vec::new();
            let outcome = shape(choice, value, &mut names);
            let fits = outcome.is_ok();
            if fits {
                known.extend(names);
            }
            tried.push(outcome);
            fits
        });
        if fitting.is_none() {
            return Err(format!("{value} is none of the choices: {tried:?}"));
        }
    }
    Ok(())
}

#[test]
fn the_check_finds_what_is_wrong() {
    let delivery = serde_json::json!({ "$ref": "#/components/schemas/Delivery" });
    let good = serde_json::json!({ "device": "a", "state": "sent", "at": "2026-11-20T09:48:48.123Z", "answer": { "text": "x" } });
    assert_eq!(fits(&delivery, &good), Ok(()));
    for (path, wrong) in
        [("state", "gone".into()), ("at", 5.into()), ("more", 1.into()), ("answer", serde_json::json!({ "octal": "7" }))]
    {
        let mut bad = good.clone();
        bad[path] = wrong;
        assert!(fits(&delivery, &bad).is_err(), "{bad}");
    }
    assert!(fits(&delivery, &serde_json::json!({ "device": "a", "at": "x" })).is_err());
    assert!(operation(&Method::POST, "/api/v1/tokens/signin").unwrap()["operationId"] == "signInLink");
}
