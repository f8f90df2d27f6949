//! Looking after a fleet: devices and their secrets, files of them, groups, schedules, and who changed what. What is
//! shown beyond a device is JSON as the API has it.

use std::io::{BufRead, BufReader};
use std::time::Duration;

use serde_json::{Map, Value, json};
use ureq::http::Method;

use crate::client::{Client, path};
use crate::error::Error;
use crate::models::{Device, Page, Push};
use crate::order::{AuditFilter, Order, Resend};
use crate::pages::Pages;

/// How long a file may take, beyond an ordinary answer.
const FILE: Duration = Duration::from_secs(600);

impl Client {
    /// Sends a push once more, to the devices where it failed, expired or was refused, or is in one of `states`.
    pub fn resend(&self, id: u64, again: &Resend<'_>) -> Result<Push, Error> {
        let mut body = Map::from_iter([("wait_ms".to_owned(), json!(again.wait.as_millis() as u64))]);
        if !again.states.is_empty() {
            body.insert("states".to_owned(), json!(again.states));
        }
        if let Some(ttl) = again.ttl {
            body.insert("ttl_s".to_owned(), json!(ttl.as_secs()));
        }
        if let Some(key) = again.key {
            body.insert("idempotency_key".to_owned(), json!(key));
        }
        let path = path(&["pushes", &id.to_string(), "resend"], &[]);
        self.call(Method::POST, &path, Some(&Value::Object(body)), again.wait)
    }

    /// Registers a device, `{"app": 7, "id"?, "name"?, "alias"?, "tags"?, "meta"?, "open"?, "secret"?}`. The answer has its
    /// `secret`, which is shown this once.
    pub fn create_device(&self, device: &Value) -> Result<Value, Error> {
        self.value(Method::POST, &["devices"], Some(device))
    }

    /// Changes what is given: `name`, `alias`, `tags`, `meta` (what is null in it is struck out), `open`, `blocked`.
    pub fn edit_device(&self, id: &str, change: &Value) -> Result<Device, Error> {
        self.call(Method::PATCH, &path(&["devices", id], &[]), Some(change), Duration::ZERO)
    }

    /// Removes a device and everything kept for it.
    pub fn delete_device(&self, id: &str) -> Result<(), Error> {
        self.value(Method::DELETE, &["devices", id], None).map(drop)
    }

    /// Gives a device a new secret, shown this once. The old one ends now, or after `overlap`.
    pub fn new_secret(&self, id: &str, overlap: Duration) -> Result<String, Error> {
        let made = self.value(Method::POST, &["devices", id, "secret"], Some(&json!({ "overlap_s": overlap.as_secs() })))?;
        Ok(made["secret"].as_str().unwrap_or_default().to_owned())
    }

    /// Registers and changes devices from CSV; `mode` is `create`, `update` or `upsert`. What became of its rows; `done`
    /// stands last.
    pub fn import_devices(&self, csv: &str, mode: &str, dry_run: bool) -> Result<Vec<Value>, Error> {
        let query = [("mode", Some(mode)), ("dry_run", Some(if dry_run { "true" } else { "false" }))];
        let answer = self.file(Method::POST, &path(&["devices", "import"], &query), Some(csv), FILE)?;
        let read = |line: std::io::Result<String>| {
            let line = line.map_err(|error| Error::Unreachable(error.to_string()))?;
            serde_json::from_str(&line).map_err(|error| Error::Unreachable(format!("it answered not as espush does: {error}")))
        };
        BufReader::new(answer.into_reader()).lines().map(read).collect()
    }

    /// Devices as CSV: those of a query, or of a group, or all.
    pub fn export_devices(&self, query: Option<&str>, group: Option<&str>) -> Result<String, Error> {
        let path = path(&["devices", "export"], &[("where", query), ("group", group)]);
        Ok(self.file(Method::GET, &path, None, FILE)?.read_to_string()?)
    }

    /// All groups.
    pub fn groups(&self) -> Result<Vec<Value>, Error> {
        Ok(self.get::<Page<Value>>(&path(&["groups"], &[]))?.items)
    }

    /// Gives a query a name.
    pub fn create_group(&self, name: &str, query: &str) -> Result<Value, Error> {
        self.value(Method::POST, &["groups"], Some(&json!({ "name": name, "where": query })))
    }

    /// Another query (`where`), or another `name`.
    pub fn edit_group(&self, name: &str, change: &Value) -> Result<Value, Error> {
        self.value(Method::PATCH, &["groups", name], Some(change))
    }

    /// Removes a group that neither another nor a schedule names.
    pub fn delete_group(&self, name: &str) -> Result<(), Error> {
        self.value(Method::DELETE, &["groups", name], None).map(drop)
    }

    /// All schedules, each with its next and its last run.
    pub fn schedules(&self) -> Pages<Value> {
        Pages::new(self, path(&["schedules"], &[("limit", Some("100"))]))
    }

    /// What became of each moment of a schedule, newest first.
    pub fn schedule_runs(&self, id: u64) -> Pages<Value> {
        Pages::new(self, path(&["schedules", &id.to_string(), "runs"], &[("limit", Some("1000"))]))
    }

    /// Pushes again and again; `when` is such as `{"daily": "22:00", "time_zone": "UTC"}`.
    pub fn create_schedule(&self, name: &str, push: Order, when: &Value) -> Result<Value, Error> {
        let body = json!({ "name": name, "push": push.into_json(), "when": when });
        self.value(Method::POST, &["schedules"], Some(&body))
    }

    /// Changes what is given: `name`, `paused`, `push`, `when`, `grace_s`.
    pub fn edit_schedule(&self, id: u64, change: &Value) -> Result<Value, Error> {
        self.value(Method::PATCH, &["schedules", &id.to_string()], Some(change))
    }

    /// Removes a schedule with its log. Its pushes stay.
    pub fn delete_schedule(&self, id: u64) -> Result<(), Error> {
        self.value(Method::DELETE, &["schedules", &id.to_string()], None).map(drop)
    }

    /// Who changed what, newest first. Only for owners.
    pub fn audit(&self, filter: &AuditFilter<'_>) -> Pages<Value> {
        let failed = filter.failed.map(|failed| failed.to_string());
        let query = [
            ("who", filter.who),
            ("target", filter.target),
            ("call", filter.call),
            ("failed", failed.as_deref()),
            ("from", filter.since),
            ("to", filter.until),
            ("limit", Some("1000")),
        ];
        Pages::new(self, path(&["audit"], &query))
    }

    /// Logins that were refused, newest first.
    pub fn knocks(&self) -> Result<Vec<Value>, Error> {
        Ok(self.get::<Page<Value>>(&path(&["knocks"], &[]))?.items)
    }

    /// Registers one that knocked with the key of an app that takes no new devices.
    pub fn adopt(&self, device: &str) -> Result<Device, Error> {
        self.call(Method::POST, &path(&["knocks", "adopt"], &[]), Some(&json!({ "device": device })), Duration::ZERO)
    }

    fn value(&self, method: Method, parts: &[&str], body: Option<&Value>) -> Result<Value, Error> {
        self.call(method, &path(parts, &[]), body, Duration::ZERO)
    }
}
