//! The list of all calls: a line for each, in the order in which people read. What a line does not say is
//! read off the handler. A test compares this list with the table of routes.

use serde_json::{Value, json};

use super::call::{Call, Described, Makers, OF_CALLER, Success};
use super::shape;
use crate::codes;
use crate::routes::*;
use crate::told;

/// The calls in the making.
pub(crate) struct Calls {
    pub calls: Vec<(&'static str, Call)>,
    pub makers: Makers,
    section: &'static str,
}

/// What the parts of the document are called.
pub(crate) const SECTIONS: [(&str, &str); 11] = [
    ("Pushing", "Send something to devices, and see what became of it."),
    ("Schedules", "Pushes that recur."),
    ("Devices", "Devices and their secrets."),
    ("Groups", "Queries under a name."),
    ("Apps", "Device types."),
    ("Data", "What devices uploaded."),
    ("Twins", "What is wanted of devices, and what they tell of themselves."),
    ("Watching", "Live events, refused logins, the state of the server."),
    ("Webhooks", "Events told to other people's servers."),
    ("Accounts", "Broker accounts, for MQTT clients that are no devices."),
    ("Signing in", "Tokens for programs, sessions for browsers."),
];

impl Calls {
    fn section(&mut self, name: &'static str) {
        self.section = name;
    }

    /// Adds the call that `handler` answers.
    fn call<A, H: Described<A>>(
        &mut self,
        method: &'static str,
        path: &'static str,
        id: &'static str,
        _: H,
        says: &'static str,
    ) -> &mut Call {
        let mut call = Call {
            method,
            path,
            id,
            says,
            #[cfg(test)]
            handler: std::any::type_name::<H>(),
            role: None,
            part: None,
            query: Vec::new(),
            headers: Vec::new(),
            body: None,
            successes: Vec::new(),
            codes: Default::default(),
        };
        H::describe(&mut call, &mut self.makers);
        self.calls.push((self.section, call));
        &mut self.calls.last_mut().expect("one was just added").1
    }
}

impl Call {
    /// What can go wrong beyond what the signature tells.
    fn fails<const N: usize>(&mut self, words: [&'static str; N]) -> &mut Call {
        for word in words {
            assert!(codes::find(word).is_some(), "{word} is not in codes/mod.rs");
        }
        self.codes.extend(words);
        self
    }

    fn answers(&mut self, status: u16, says: &'static str, content: Vec<(&'static str, Value)>) -> &mut Call {
        self.successes.push(Success { status, content, headers: Vec::new(), says });
        self
    }

    fn header(&mut self, name: &str, says: &str) -> &mut Call {
        self.headers.push(json!({ "name": name, "in": "header", "schema": { "type": "string" }, "description": says }));
        self
    }

    fn takes(&mut self, kind: &'static str, schema: Value) -> &mut Call {
        self.body = Some((kind, schema));
        self
    }
}

fn text() -> Value {
    json!({ "type": "string" })
}

/// All calls.
pub(crate) fn all(makers: Makers) -> Calls {
    let mut all = Calls { calls: Vec::new(), makers, section: "" };
    pushing(&mut all);
    schedules(&mut all);
    devices_and_apps(&mut all);
    data(&mut all);
    twins(&mut all);
    watching(&mut all);
    webhooks_of(&mut all);
    people(&mut all);
    all
}

const OF_AUDIENCE: [&str; 7] =
    ["audience_too_long", "bad_audience", "bad_where", "groups_too_much", "no_such_app", "no_such_group", "where_too_heavy"];
const OF_PAYLOAD: [&str; 7] =
    ["bad_command", "bad_field", "bad_ttl", "order_ambiguous", "payload_ambiguous", "payload_too_large", "no_such_device"];

fn pushing(all: &mut Calls) {
    all.section("Pushing");
    all.call("post", "/api/v1/push", "push", push::send, "Push to devices. The answer has the first 1000 deliveries.")
        .fails(OF_AUDIENCE)
        .fails(OF_PAYLOAD)
        .fails(["audience_empty", "bad_idempotency_key", "bad_wait", "device_queue_full", "payload_missing", "queues_full"])
        .fails(["bad_at", "bad_collapse", "bad_per_second", "no_such_push"]);
    all.call("post", "/api/v1/send", "send", send::send, "Write to a number, whoever has it. Nothing waits for one who is away.")
        .fails([
            "bad_field",
            "limit_reached",
            "no_outcome",
            "no_such_device",
            "not_taken",
            "payload_ambiguous",
            "payload_missing",
        ])
        .fails(["payload_too_large", "unreachable"]);
    all.call("post", "/api/v1/push/preview", "preview", preview::preview, "What a push would do. Nothing is pushed.")
        .fails(OF_AUDIENCE)
        .fails(OF_PAYLOAD)
        .fails(["bad_cursor", "bad_limit"]);
    all.call("get", "/api/v1/pushes", "pushes", push::list, "Pushes, newest first.").fails([
        "no_such_device",
        "bad_cursor",
        "bad_limit",
    ]);
    all.call("get", "/api/v1/pushes/{id}", "getPush", push::show, "One push.").fails(["no_such_push"]);
    all.call("get", "/api/v1/pushes/{id}/deliveries", "deliveries", push::deliveries, "The fate of a push at each device.")
        .fails(["no_such_push", "bad_cursor", "bad_limit"]);
    all.call("delete", "/api/v1/pushes/{id}", "cancelPush", push::cancel, "Take back what is not acknowledged yet.")
        .fails(["no_such_push"]);
    all.call(
        "post",
        "/api/v1/pushes/{id}/resend",
        "resend",
        push::resend,
        "The same once more, for the devices that did not get it.",
    )
    .fails(["no_such_push", "nothing_to_resend", "bad_states", "bad_ttl", "bad_wait", "bad_idempotency_key", "queues_full"]);
    all.call(
        "get",
        "/api/v1/devices/{id}/deliveries",
        "deviceDeliveries",
        push::of_device,
        "What was pushed to a device, newest first.",
    )
    .fails(["no_such_device", "bad_cursor", "bad_limit"]);
    let direct = all
        .call("post", "/d/{device}", "pushDirectly", direct::push, "The body goes to the device as it is; errors are plain text.")
        .takes("application/octet-stream", json!({ "type": "string", "format": "binary" }))
        .fails(["bad_ask", "bad_wait", "no_such_device", "device_queue_full", "payload_too_large", "queues_full", "role_too_low"])
        .fails(OF_CALLER)
        .answers(200, "Delivered, or the device's answer.", vec![("text/plain", text())])
        .answers(202, "Not acknowledged yet.", vec![("text/plain", text())])
        .answers(409, "The device refused it, or it failed there.", vec![("text/plain", text())])
        .answers(504, "An answer was wanted, and none came in time.", vec![("text/plain", text())]);
    direct.role = Some("operator");
    for success in &mut direct.successes {
        success.headers = vec![("Espush-Push", "The number of the push."), ("Espush-State", "Where its delivery stands.")];
    }
}

fn schedules(all: &mut Calls) {
    all.section("Schedules");
    all.call("post", "/api/v1/schedules", "addSchedule", schedules::create, "Push again and again.")
        .fails(OF_AUDIENCE)
        .fails(OF_PAYLOAD)
        .fails(["bad_collapse", "bad_grace", "bad_name", "bad_per_second", "bad_schedule", "bad_when", "payload_missing"])
        .fails(["schedules_full"]);
    all.call("get", "/api/v1/schedules", "schedules", schedules::list, "Schedules, each with its last run.")
        .fails(["bad_cursor", "bad_limit"]);
    all.call("get", "/api/v1/schedules/{id}", "getSchedule", schedules::show, "One schedule, with its last runs.")
        .fails(["no_such_schedule"]);
    all.call("get", "/api/v1/schedules/{id}/runs", "scheduleRuns", schedules::runs, "What became of each moment, newest first.")
        .fails(["no_such_schedule", "bad_cursor", "bad_limit"]);
    all.call("patch", "/api/v1/schedules/{id}", "changeSchedule", schedules::edit, "Change what is given, or have it pause.")
        .fails(OF_AUDIENCE)
        .fails(OF_PAYLOAD)
        .fails(["bad_collapse", "bad_grace", "bad_name", "bad_per_second", "bad_schedule", "bad_when", "payload_missing"])
        .fails(["no_such_schedule", "schedules_full"]);
    all.call("post", "/api/v1/schedules/preview", "previewSchedule", schedules::preview, "When it would run; nothing is kept.")
        .fails(["bad_when"]);
    all.call("delete", "/api/v1/schedules/{id}", "removeSchedule", schedules::remove, "Remove it with its log. Its pushes stay.")
        .fails(["no_such_schedule"]);
}

const OF_GROUP: [&str; 5] = ["bad_name", "bad_where", "group_circle", "groups_too_much", "no_such_group"];

fn devices_and_apps(all: &mut Calls) {
    all.section("Devices");
    all.call("get", "/api/v1/devices", "devices", devices::list, "Devices, page by page; those that a query chooses.").fails([
        "bad_cursor",
        "bad_limit",
        "bad_where",
        "groups_too_much",
        "no_such_group",
        "where_too_heavy",
        "store_failed",
    ]);
    all.call("post", "/api/v1/devices", "createDevice", devices::create, "Register a device. Its secret is shown this once.")
        .fails(["no_such_app", "bad_device_id", "bad_name", "bad_tags", "bad_secret", "device_id_taken", "reserved_device_id"])
        .fails(["account_name_taken", "bad_meta", "foreign_device_id", "limit_reached"]);
    all.call("get", "/api/v1/devices/{id}", "device", devices::show, "One device.").fails(["no_such_device"]);
    all.call("patch", "/api/v1/devices/{id}", "editDevice", devices::edit, "Change what is given; the rest stays.").fails([
        "no_such_device",
        "bad_meta",
        "bad_name",
        "bad_tags",
    ]);
    all.call("delete", "/api/v1/devices/{id}", "deleteDevice", devices::remove, "Remove a device and all that is kept for it.")
        .fails(["no_such_device"]);
    all.call(
        "post",
        "/api/v1/devices/{id}/secret",
        "newSecret",
        devices::new_secret,
        "A new secret; the old one ends, now or later.",
    )
    .fails(["bad_overlap", "no_such_device"]);
    all.call("get", "/api/v1/devices/export", "exportDevices", export::export, "The devices of a list as CSV, all pages.")
        .fails(["bad_cursor", "bad_limit", "bad_where", "groups_too_much", "no_such_group", "where_too_heavy", "store_failed"])
        .fails(["too_many_columns"])
        .answers(200, "The file.", vec![("text/csv", text())]);
    let says = "A JSON text a line, while it happens: wrong rows, secrets that were made, how far it is, and `done` at the end.";
    all.call("post", "/api/v1/devices/import", "importDevices", import::import, "Register and change devices from a CSV file.")
        .takes("text/csv", text())
        .fails(["bad_column", "bad_csv", "too_many_rows"])
        .answers(200, says, vec![("application/x-ndjson", text())]);
    let picture = || json!({ "type": "string", "format": "binary" });
    let pictures = || vec![("image/png", picture()), ("image/svg+xml", text()), ("text/plain", text())];
    all.call("get", "/api/v1/devices/{id}/qr", "deviceQr", qr::of_device, "A QR code of the device's page in the console.")
        .header("Accept", "`image/png`, `image/svg+xml` or `text/plain`, where `format` is not given.")
        .fails(["no_such_device"])
        .answers(200, "The code.", pictures());
    all.section("Groups");
    all.call("get", "/api/v1/groups", "groups", groups::list, "All groups.");
    all.call("post", "/api/v1/groups", "createGroup", groups::create, "Give a query a name.")
        .fails(OF_GROUP)
        .fails(["group_taken", "limit_reached"]);
    all.call("get", "/api/v1/groups/{name}", "group", groups::show, "One group.").fails(["no_such_group"]);
    all.call("patch", "/api/v1/groups/{name}", "editGroup", groups::edit, "Another query, or another name if nothing uses it.")
        .fails(OF_GROUP)
        .fails(["group_in_use", "group_taken"]);
    all.call("delete", "/api/v1/groups/{name}", "deleteGroup", groups::remove, "Remove a group that no other names.")
        .fails(["group_in_use", "no_such_group"]);
    all.section("Apps");
    all.call("get", "/api/v1/apps", "apps", apps::list, "All apps.");
    all.call("post", "/api/v1/apps", "createApp", apps::create, "Make an app.").fails([
        "app_id_taken",
        "bad_app_id",
        "bad_name",
        "bad_setting",
        "limit_reached",
    ]);
    all.call("get", "/api/v1/apps/{id}", "app", apps::show, "One app.").fails(["no_such_app"]);
    all.call("patch", "/api/v1/apps/{id}", "editApp", apps::edit, "Change what is given; the rest stays.").fails([
        "no_such_app",
        "bad_name",
        "bad_setting",
    ]);
    all.call("delete", "/api/v1/apps/{id}", "deleteApp", apps::remove, "Remove an app that has no devices any more.")
        .fails(["no_such_app", "app_has_devices"]);
    all.call("get", "/api/v1/apps/{id}/qr", "appQr", qr::of_app, "A QR code of the app's page, or of what its devices need.")
        .header("Accept", "`image/png`, `image/svg+xml` or `text/plain`, where `format` is not given.")
        .fails(["no_such_app", "role_too_low"])
        .answers(200, "The code.", pictures());
}

fn data(all: &mut Calls) {
    all.section("Data");
    all.call("get", "/api/v1/devices/{id}/latest", "latest", points::latest, "The newest value of each stream.")
        .fails(["no_such_device"]);
    let list = all.makers.list::<crate::shown::Reading>();
    all.call("get", "/api/v1/devices/{id}/points", "points", points::list, "Points, oldest first.")
        .header("Accept", "`text/csv` exports all of the range, or one page if there is a `limit`.")
        .fails(["no_such_device", "bad_cursor", "bad_limit", "bad_time"])
        .answers(200, "A page of points.", vec![("application/json", list), ("text/csv", text())]);
    let upload = all.makers.sent.subschema_for::<shape::Upload>().to_value();
    all.call(
        "post",
        "/api/v1/devices/{id}/points",
        "upload",
        points::upload,
        "Store points; also with the device's own secret.",
    )
    .takes("application/json", upload)
    .fails(["no_such_device", "bad_field", "bad_json", "bad_points", "bad_stream", "limit_reached", "role_too_low"])
    .fails(OF_CALLER)
    .fails(["header_missing"])
    .role = Some("operator");
    let list = all.makers.list::<crate::shown::Message>();
    all.call("get", "/api/v1/devices/{id}/messages", "messages", messages::list, "The last messages both ways.")
        .fails(["no_such_device"])
        .answers(200, "The messages, oldest first.", vec![("application/json", list)]);
}

fn twins(all: &mut Calls) {
    const OF_ORDER: [&str; 5] = ["bad_twin", "bad_version", "no_such_device", "twin_too_large", "version_conflict"];
    const IF_MATCH: &str = "The version of `desired` that is to be changed, as `version` in the address.";
    all.section("Twins");
    all.call("get", "/api/v1/devices/{id}/twin", "twin", twin::show, "Both parts of a device's twin, and what differs.")
        .fails(["no_such_device"]);
    let says = "Change what is wanted of a device by a JSON merge patch (RFC 7386): `null` removes a member.";
    all.call("patch", "/api/v1/devices/{id}/twin/desired", "patchDesired", twin::patch, says)
        .header("If-Match", IF_MATCH)
        .fails(OF_ORDER);
    let says = "Put another value in the place of what is wanted of a device.";
    all.call("put", "/api/v1/devices/{id}/twin/desired", "replaceDesired", twin::replace, says)
        .header("If-Match", IF_MATCH)
        .fails(OF_ORDER);
    all.call("get", "/api/v1/devices/{id}/twin/history", "twinHistory", twin::history, "The changes of a twin, newest first.")
        .fails(["no_such_device", "bad_cursor", "bad_limit"]);
}

fn watching(all: &mut Calls) {
    all.section("Watching");
    let kinds = told::schemas(&mut all.makers.answered);
    let stream = json!({ "type": "string", "description": "Server-sent events; `x-events` has the data of each kind.", "x-events": kinds });
    all.call("get", "/api/v1/events", "events", events::stream, "Live events as server-sent events, until somebody hangs up.")
        .header("Last-Event-ID", "Go on after this event, as far as it is remembered; a comment tells of a hole.")
        .fails(["limit_reached", "no_such_device", "too_many_lines", "too_many_watchers", "stopping"])
        .answers(200, "The stream. A comment comes every 15 seconds at least.", vec![("text/event-stream", stream)]);
    let said = all.makers.answered.subschema_for::<socket::Said<'_>>().to_value();
    let says = "A WebSocket. Each message is a JSON text: the numbers of the line first, an event, a message to one of \
        its numbers, or the answer to what was sent as `{\"ref\": anything, \"push\": NewPush}` or \
        `{\"ref\": anything, \"send\": NewMessage}`; answers come as they are ready, with their `ref`.";
    all.call(
        "get",
        "/api/v1/ws",
        "socket",
        socket::open,
        "Live events, messages to one's number, and pushes by who may push, over one WebSocket.",
    )
    .fails(["foreign_page", "limit_reached", "no_such_device", "too_many_lines", "too_many_watchers", "stopping"])
    .answers(101, says, vec![("application/json", said)]);
    all.call("get", "/api/v1/knocks", "knocks", knocks::list, "Logins that were refused, newest first.");
    all.call("post", "/api/v1/knocks/adopt", "adoptDevice", knocks::adopt, "Register a device that knocked with its app's key.")
        .fails(["no_such_knock", "no_such_app", "device_id_taken", "limit_reached"]);
    all.call("get", "/api/v1/audit", "audit", audit::list, "Who changed what, newest first.").fails([
        "bad_cursor",
        "bad_limit",
        "bad_time",
    ]);
    all.call("get", "/api/v1/status", "status", status::show, "How the server is.");
    all.call("get", "/healthz", "health", status::health, "Whether it is worth talking to; 503 after the disk failed.").answers(
        200,
        "It is.",
        vec![("text/plain", text())],
    );
    all.call("get", "/metrics", "metrics", show_metrics, "Figures for Prometheus.").answers(
        200,
        "The figures.",
        vec![("text/plain", text())],
    );
    all.call("get", "/api/v1/openapi.json", "openapi", openapi::show, "This document.").answers(
        200,
        "This document.",
        vec![("application/json", json!({ "type": "object" }))],
    );
}

fn webhooks_of(all: &mut Calls) {
    const OF_WEBHOOK: [&str; 7] =
        ["bad_kind", "bad_name", "bad_url", "bad_where", "groups_too_much", "no_such_group", "where_too_heavy"];
    all.section("Webhooks");
    all.call("get", "/api/v1/webhooks", "webhooks", webhooks::list, "All webhooks, without their secrets.");
    all.call(
        "post",
        "/api/v1/webhooks",
        "createWebhook",
        webhooks::create,
        "Have events posted to a URL, signed (Standard Webhooks). The secret is shown this once.",
    )
    .fails(OF_WEBHOOK)
    .fails(["address_refused", "limit_reached"]);
    all.call("get", "/api/v1/webhooks/{id}", "webhook", webhooks::show, "One webhook, and how it goes.")
        .fails(["no_such_webhook"]);
    all.call("patch", "/api/v1/webhooks/{id}", "editWebhook", webhooks::edit, "Change what is given; `active` switches it.")
        .fails(OF_WEBHOOK)
        .fails(["address_refused", "no_such_webhook"]);
    all.call("delete", "/api/v1/webhooks/{id}", "deleteWebhook", webhooks::remove, "Remove it with all that waits for it.")
        .fails(["no_such_webhook"]);
    all.call("post", "/api/v1/webhooks/{id}/test", "testWebhook", webhooks::test, "Post a test event now, once.")
        .fails(["no_such_webhook"]);
    all.call(
        "get",
        "/api/v1/webhooks/{id}/failed",
        "failedDeliveries",
        webhooks::failed,
        "What could not be delivered, newest first.",
    )
    .fails(["no_such_webhook", "bad_cursor", "bad_limit"]);
    all.call("post", "/api/v1/webhooks/{id}/replay", "replayWebhook", webhooks::replay, "Try a failed delivery anew, or all.")
        .fails(["no_such_webhook", "no_such_delivery"]);
    all.call(
        "post",
        "/api/v1/webhooks/{id}/secret",
        "newWebhookSecret",
        webhooks::new_secret,
        "A new secret; for a while the old one signs, too.",
    )
    .fails(["no_such_webhook", "bad_overlap"]);
}

fn people(all: &mut Calls) {
    const OF_ACCOUNT: [&str; 4] = ["anonymous_password", "bad_password", "bad_password_hash", "bad_rule"];
    all.section("Accounts");
    all.call("get", "/api/v1/accounts", "accounts", accounts::list, "All accounts.");
    all.call(
        "post",
        "/api/v1/accounts",
        "createAccount",
        accounts::create,
        "Make an account. A password made here is shown once.",
    )
    .fails(OF_ACCOUNT)
    .fails(["account_name_taken", "bad_account_name", "limit_reached"]);
    all.call("get", "/api/v1/accounts/{id}", "account", accounts::show, "One account.").fails(["no_such_account"]);
    all.call(
        "patch",
        "/api/v1/accounts/{id}",
        "editAccount",
        accounts::edit,
        "New rules end lines and kept sessions, a password lines.",
    )
    .fails(OF_ACCOUNT)
    .fails(["no_such_account"]);
    all.call("delete", "/api/v1/accounts/{id}", "deleteAccount", accounts::remove, "Remove an account.")
        .fails(["no_such_account"]);
    all.call("post", "/api/v1/accounts/{id}/password", "newPassword", accounts::new_password, "Make a new password.")
        .fails(["no_such_account", "anonymous_password"]);
    all.section("Signing in");
    let session = all.makers.answered.subschema_for::<session::Session>().to_value();
    all.call("get", "/api/v1/session", "session", session::show, "Who one is.");
    all.call(
        "post",
        "/api/v1/session",
        "signIn",
        session::sign_in,
        "The code of a link, or a token, becomes a browser's cookie.",
    )
    .fails(["bad_code", "bad_token", "header_missing", "rate_limited"])
    .answers(200, "Who one is now.", vec![("application/json", session)]);
    let out = all.call("delete", "/api/v1/session", "signOut", session::sign_out, "Signs a browser out.");
    out.fails(["bad_authorization", "header_missing"]).answers(204, "", vec![]);
    all.call("get", "/api/v1/tokens", "tokens", tokens::list, "All tokens, without their text.");
    all.call("post", "/api/v1/tokens", "createToken", tokens::create, "Make a token. Its text is shown this once.").fails([
        "bad_name",
        "bad_expiry",
        "bad_scope",
        "bad_where",
        "groups_too_much",
        "no_such_group",
        "reserved_token_name",
        "limit_reached",
        "where_too_heavy",
    ]);
    all.call("delete", "/api/v1/tokens/{id}", "deleteToken", tokens::remove, "Remove a token.").fails(["no_such_token"]);
    all.call("post", "/api/v1/tokens/signin", "signInLink", tokens::signin, "Make a link that signs a browser in, once.");
}
