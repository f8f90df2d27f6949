//! How nouns of other rooms look in JSON. Those rooms do not know that they are described, so what stands
//! here is named with `#[schemars(with = "…")]` where the API shows one of them.

use std::borrow::Cow;

use model::{DeliveryState, TokenScope};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

macro_rules! shapes {
    ($($(#[doc = $doc:literal])* $name:ident = $schema:tt;)*) => {$(
        $(#[doc = $doc])*
        pub(crate) struct $name;

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn inline_schema() -> bool {
                true
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )*};
}

shapes! {
    /// A moment, as answers show it.
    Time = { "type": "string", "format": "date-time", "examples": ["2026-11-20T09:48:48.123Z"] };
    /// A moment, as callers may write it.
    AnyTime = { "type": ["string", "integer"], "format": "date-time" };
    /// How urgent a push is.
    Priority = { "type": "string", "enum": ["high", "normal", "low"] };
    /// When a schedule runs.
    When = {
        "examples": [{ "daily": "07:30", "time_zone": "Europe/Berlin" }, { "every_s": 600 }, { "cron": "*/5 * * * *" }],
        "type": "object",
        "properties": {
            "at": { "type": ["string", "integer"], "format": "date-time" },
            "every_s": { "type": "integer" },
            "daily": { "type": "string" },
            "weekly": {
                "type": "object",
                "properties": { "days": { "type": "array", "items": { "type": "string" } }, "time": { "type": "string" } },
            },
            "cron": { "type": "string" },
            "time_zone": { "type": "string" },
        },
        "additionalProperties": false,
    };
    /// A device's text id.
    DeviceId = { "type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$" };
    /// Which rows of a file count.
    ImportMode = { "type": "string", "enum": ["create", "update", "upsert"] };
    /// How a QR code is drawn.
    QrFormat = { "type": "string", "enum": ["png", "svg", "text"] };
    /// What a QR code says.
    QrContent = { "type": "string", "enum": ["link", "provisioning"] };
    /// What a token may do.
    Role = { "type": "string", "enum": ["owner", "operator", "viewer"] };
    /// Whom the devices of an app may write to of themselves.
    Peers = { "type": "string", "enum": ["none", "app", "any"] };
    /// Any JSON at all.
    Any = {};
    /// A JSON object of anybody's making.
    Object = { "type": "object", "additionalProperties": true };
    /// Which part of a twin.
    TwinPartName = { "type": "string", "enum": ["desired", "reported"] };
    /// A point's value.
    Value = { "type": ["boolean", "number", "string"] };
    /// What an owner wrote down about a device, by name.
    Meta = { "type": "object", "additionalProperties": { "type": ["boolean", "number", "string"] } };
    /// What to write down, and with `null` what to strike out; the rest stays.
    MetaEdit = {
        "examples": [{ "room": "B 12", "floor": 3, "lent": null }],
        "type": "object",
        "additionalProperties": { "type": ["boolean", "number", "string", "null"] },
    };
    /// What a device would publish on `me/data`, or rows.
    Upload = {
        "examples": [{"temp": 21.5, "on": true}, [{"stream": "temp", "value": 21.5, "at": "2026-11-20T09:48:48Z"}]],
        "anyOf": [
            { "type": "object", "description": "stream → value", "additionalProperties": true },
            { "type": "array", "items": { "type": "object" } },
        ],
    };
}

/// What a token may do within its role.
pub(crate) struct Scope;

impl JsonSchema for Scope {
    fn schema_name() -> Cow<'static, str> {
        "Scope".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let words = TokenScope::ALL.map(TokenScope::as_str);
        json_schema!({ "type": "string", "enum": words, "description": "What a token may do within its role." })
    }
}

/// Where a delivery stands.
pub(crate) struct State;

impl JsonSchema for State {
    fn schema_name() -> Cow<'static, str> {
        "State".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let words = DeliveryState::ALL.map(DeliveryState::as_str);
        json_schema!({ "type": "string", "enum": words, "description": "Where a delivery stands." })
    }
}

/// Who is meant.
pub(crate) struct Audience;

impl JsonSchema for Audience {
    fn schema_name() -> Cow<'static, str> {
        "Audience".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let one = |name: &str, what: serde_json::Value| {
            serde_json::json!({
                "type": "object", "properties": { name: what }, "required": [name], "additionalProperties": false
            })
        };
        let text = serde_json::json!({ "type": "string" });
        let texts = serde_json::json!({ "type": "array", "items": text });
        let tags = serde_json::json!({
            "type": "object",
            "properties": { "all": texts, "any": texts, "none": texts },
            "additionalProperties": false,
        });
        json_schema!({
            "description": "Who is meant.",
            "examples": [{ "device": "lamp" }, { "tags": { "all": ["kitchen"] } }, { "where": "app = 7 and online" }, "all"],
            "oneOf": [
                { "const": "all" },
                one("device", text.clone()),
                one("devices", texts.clone()),
                one("alias", text.clone()),
                one("group", text.clone()),
                one("app", serde_json::json!({ "type": "integer" })),
                one("tags", tags),
                one("where", text.clone()),
                one("query", text),
                // Of a push that was sent again; nobody can write it.
                {
                    "type": "object",
                    "properties": { "push": { "type": "integer" }, "states": texts },
                    "required": ["push", "states"],
                    "additionalProperties": false,
                    "readOnly": true,
                },
            ],
        })
    }
}
