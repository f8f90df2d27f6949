//! `espush device`: register, look, change, block, remove, give a new secret, look at its twin.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::{Map, Value, json};
use ureq::http::Method;

use super::client::{Client, Reach, encoded, with_query};
use super::duration::parse_ms;
use super::qr;
use super::table::{Table, plain};
use super::{say, say_json};

const KEEP: &str = "Keep the secret now: it is not shown again.";

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Subcommand)]
enum Verb {
    /// Register a device; prints its secret, once
    Add {
        /// Its id: letters, digits, . _ - [default: the server makes one]
        id: Option<String>,
        /// The app it belongs to
        #[arg(long)]
        app: u32,
        #[command(flatten)]
        about: About,
        #[command(flatten)]
        with: qr::WithSecret,
    },
    /// List devices
    List {
        /// Only those of one app
        #[arg(long)]
        app: Option<u32>,
        /// Only those that are online (or with =false, offline)
        #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true")]
        online: Option<bool>,
        /// Only those whose id, name or alias contains this
        #[arg(short, long, value_name = "TEXT")]
        q: Option<String>,
        /// Only those that a query fits: 'app = 7 and firmware < "1.4.0" and data.temp > 30'
        #[arg(long, alias = "where", value_name = "QUERY")]
        query: Option<String>,
        /// Only those of a group
        #[arg(long, value_name = "NAME")]
        group: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 1000)]
        limit: usize,
    },
    /// Show one device
    Show {
        /// Its id
        id: String,
    },
    /// Change what is known of a device
    Edit {
        /// Its id
        id: String,
        #[command(flatten)]
        about: About,
    },
    /// Register a device that knocked with the key of an app that takes no new ones; it comes in at its next try
    Adopt {
        /// Its id, as `espush knocks` shows it
        id: String,
    },
    /// Keep a device out: its lines end now, its logins are refused, what waits for it goes on waiting
    Block {
        /// Its id
        id: String,
    },
    /// Let a blocked device in again
    Unblock {
        /// Its id
        id: String,
    },
    /// Register and change devices from a CSV file; prints the secrets that were made, as CSV
    Import(super::bulk::Import),
    /// Write devices as CSV
    Export(super::bulk::Export),
    /// Remove a device and everything kept for it
    Delete {
        /// Its id
        id: String,
    },
    /// Give a device a new secret; the old one ends now, or after a while
    Secret {
        /// Its id
        id: String,
        /// How long the old one works beside the new one: 10m, 24h, 7d
        #[arg(long, value_name = "TIME", default_value = "0", value_parser = parse_ms)]
        overlap: u64,
        #[command(flatten)]
        with: qr::WithSecret,
    },
    /// A QR code of the device's page in the console; one with its secret is printed when that is made (--qr)
    Qr {
        /// Its id
        id: String,
        #[command(flatten)]
        to: qr::Out,
    },
    /// What is wanted of a device, what it tells of itself, and what differs
    Twin(super::twin::Args),
}

#[derive(clap::Args)]
struct About {
    /// A name for people
    #[arg(long)]
    name: Option<String>,
    /// A second name that pushes may address
    #[arg(long)]
    alias: Option<String>,
    /// A label; repeat for more. In edit, the labels given replace all; --tag "" removes them
    #[arg(long = "tag", value_name = "TAG")]
    tags: Option<Vec<String>>,
    /// Something to write down: --meta room="B 12" --meta floor=3; repeat for more. NAME= strikes out
    #[arg(long = "meta", value_name = "NAME=VALUE", value_parser = parse_meta)]
    meta: Vec<(String, Value)>,
    /// Whether anyone who reaches the HTTP port may push to it without a token
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true")]
    open: Option<bool>,
}

impl About {
    fn into_body(self) -> Map<String, Value> {
        let mut body = Map::new();
        for (key, value) in [("name", self.name), ("alias", self.alias)] {
            if let Some(value) = value {
                body.insert(key.into(), value.into());
            }
        }
        if let Some(tags) = self.tags {
            body.insert("tags".into(), tags.into_iter().filter(|tag| !tag.is_empty()).collect());
        }
        if !self.meta.is_empty() {
            body.insert("meta".into(), Value::Object(self.meta.into_iter().collect()));
        }
        if let Some(open) = self.open {
            body.insert("open".into(), open.into());
        }
        body
    }
}

/// A name and what stands behind it, as files of devices write it; nothing is `null`.
fn parse_meta(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE, such as room=3")?;
    let value = if value.is_empty() { Value::Null } else { json!(model::Value::from_plain(value)) };
    Ok((name.to_owned(), value))
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let client = Client::find(&args.reach)?;
    let json = args.reach.json;
    let path = |id: &str| format!("/api/v1/devices/{}", encoded(id));
    match args.verb {
        Verb::Add { id, app, about, with } => {
            let mut body = about.into_body();
            body.insert("app".into(), app.into());
            if let Some(id) = id {
                body.insert("id".into(), id.into());
            }
            let made = client.call(Method::POST, "/api/v1/devices", Some(&body.into()))?;
            show(&made, json);
            let text = |name: &str| made[name].as_str().unwrap_or_default();
            qr::secret(&client, &with, text("id"), text("secret"))?;
        }
        Verb::List { app, online, q, query, group, limit } => {
            let query = [
                ("app", app.map(|a| a.to_string())),
                ("online", online.map(|o| o.to_string())),
                ("q", q),
                ("where", query),
                ("group", group),
            ];
            let list = client.all_pages(&with_query("/api/v1/devices", &query), limit)?;
            if json { say_json(&list) } else { say(table(&list)) }
        }
        Verb::Show { id } => show(&client.get(&path(&id))?, json),
        Verb::Edit { id, about } => show(&client.call(Method::PATCH, &path(&id), Some(&about.into_body().into()))?, json),
        Verb::Adopt { id } => show(&client.call(Method::POST, "/api/v1/knocks/adopt", Some(&json!({ "device": id })))?, json),
        Verb::Block { id } => show(&client.call(Method::PATCH, &path(&id), Some(&json!({ "blocked": true })))?, json),
        Verb::Unblock { id } => show(&client.call(Method::PATCH, &path(&id), Some(&json!({ "blocked": false })))?, json),
        Verb::Qr { id, to } => return qr::show(&client, &format!("{}/qr", path(&id)), &[], &to),
        Verb::Import(import) => return super::bulk::import(&client, &import, json),
        Verb::Export(export) => return super::bulk::export(&client, export),
        Verb::Twin(args) => return super::twin::run(args, &client, json),
        Verb::Delete { id } => {
            client.call(Method::DELETE, &path(&id), None)?;
            say(if json { json!({}).to_string() } else { format!("device {} is removed", plain(&id)) });
        }
        Verb::Secret { id, overlap, with } => {
            let answer = client.call(
                Method::POST,
                &format!("{}/secret", path(&id)),
                Some(&json!({ "overlap_s": overlap.div_ceil(1000) })),
            )?;
            if json {
                say_json(&answer);
            } else {
                // The bare secret, so that SECRET=$(espush device secret ID) works.
                say(answer["secret"].as_str().unwrap_or_default());
                eprintln!("{KEEP}");
                if let Some(until) = answer["old_until"].as_str() {
                    eprintln!("The old one works until {until}.");
                }
            }
            qr::secret(&client, &with, &id, answer["secret"].as_str().unwrap_or_default())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show(device: &Value, json: bool) {
    if json {
        return say_json(device);
    }
    let text = |name: &str| match &device[name] {
        Value::String(text) if !text.is_empty() => plain(text),
        Value::String(_) | Value::Null => "-".to_owned(),
        Value::Array(items) => plain(&items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    };
    for name in ["id", "number", "app", "name", "alias", "tags", "firmware", "open", "blocked", "created"] {
        say(format_args!("{name:<9} {}", text(name)));
    }
    for (name, value) in device["meta"].as_object().into_iter().flatten() {
        say(format_args!("{:<9} {} = {}", "meta", plain(name), plain(&value.to_string())));
    }
    let state = if device["online"] == true { "online" } else { "offline" };
    say(format_args!("{state:<9} since {}: {}", text("since"), text("why")));
    say(format_args!("{:<9} {} from {}", "line", text("protocol"), text("remote")));
    if let Some(old) = device["old_secret"].as_object() {
        let used =
            old["used"].as_str().map_or("neither was used since".to_owned(), |used| format!("the {used} one was used last"));
        say(format_args!("{:<9} the one before works until {}; {used}", "secret", old["until"].as_str().unwrap_or_default()));
    }
    if let Some(secret) = device["secret"].as_str() {
        say(format_args!("{:<9} {secret}", "secret"));
        eprintln!("{KEEP}");
    }
}

fn table(list: &Value) -> String {
    let mut table = Table::new(&["ID", "APP", "NAME", "STATE", "SINCE", "PROTOCOL", "TAGS"]);
    for device in list["items"].as_array().into_iter().flatten() {
        let text = |name: &str| device[name].as_str().unwrap_or_default().to_owned();
        let tags = device["tags"].as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>().join(",");
        let state = match () {
            () if device["blocked"] == true => "blocked",
            () if device["online"] == true => "online",
            () => "offline",
        };
        let row = [text("id"), device["app"].to_string(), text("name"), state.into(), text("since"), text("protocol"), tags];
        table.row(row.to_vec());
    }
    if !list["next"].is_null() {
        table.row(vec!["… more: raise --limit".to_owned()]);
    }
    if table.is_empty() { "no devices; register one with: espush device add ID --app APP".to_owned() } else { table.to_string() }
}
