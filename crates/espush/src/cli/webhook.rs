//! `espush webhook`: events told to other people's servers; how that goes, and trying again what failed.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::{Value, json};
use ureq::http::Method;

use super::client::{Client, Reach, with_query};
use super::duration::parse_ms;
use super::table::{Table, plain};
use super::{FAILED, say, say_json};

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Subcommand)]
enum Verb {
    /// Have events posted to a URL; prints the secret that signs them, once
    Add {
        /// A name for people
        name: String,
        /// Where events go: https://example.org/hook
        url: String,
        #[command(flatten)]
        what: What,
    },
    /// List webhooks, and how they go
    List,
    /// Show one webhook
    Show {
        /// The webhook's number
        id: u64,
    },
    /// Change it
    Edit {
        /// The webhook's number
        id: u64,
        /// Another name
        #[arg(long)]
        name: Option<String>,
        /// Another target
        #[arg(long)]
        url: Option<String>,
        #[command(flatten)]
        what: What,
    },
    /// Switch it on again; it is first told since when it was off
    On {
        /// The webhook's number
        id: u64,
    },
    /// Switch it off; what happens meanwhile is not kept for it
    Off {
        /// The webhook's number
        id: u64,
    },
    /// Post a test event now, and tell whether it was taken
    Test {
        /// The webhook's number
        id: u64,
    },
    /// What could not be delivered, and why
    Failed {
        /// The webhook's number
        id: u64,
        /// At most so many
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// Try what failed again: one, or all
    Replay {
        /// The webhook's number
        id: u64,
        /// The number of a failed delivery [default: all]
        delivery: Option<u64>,
    },
    /// Give it a new secret; prints it, once
    Secret {
        /// The webhook's number
        id: u64,
        /// How long events are signed with the old one, too: 0s, 24h
        #[arg(long, value_name = "TIME", value_parser = parse_ms, default_value = "24h")]
        overlap: u64,
    },
    /// Remove a webhook with all that waits for it
    Delete {
        /// The webhook's number
        id: u64,
    },
}

#[derive(clap::Args)]
struct What {
    /// Kinds of events, with commas between: presence,delivery [default: all but message]
    #[arg(long = "kind", value_name = "KINDS", value_delimiter = ',')]
    kinds: Option<Vec<String>>,
    /// Only of devices that this query fits: 'app = 7 and tags has kitchen'
    #[arg(long)]
    query: Option<String>,
}

impl What {
    fn into(self, mut body: Value) -> Value {
        if let Some(kinds) = self.kinds {
            body["kinds"] = kinds.into();
        }
        if let Some(query) = self.query {
            body["where"] = query.into();
        }
        body
    }
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let client = Client::find(&args.reach)?;
    let json = args.reach.json;
    let one = |id: u64| format!("/api/v1/webhooks/{id}");
    let post = |path: String, body: Value| client.call(Method::POST, &path, Some(&body));
    let edit = |id: u64, body: Value| client.call(Method::PATCH, &one(id), Some(&body));
    match args.verb {
        Verb::Add { name, url, what } => {
            secret(&post("/api/v1/webhooks".into(), what.into(json!({ "name": name, "url": url })))?, json);
        }
        Verb::List => {
            let list = client.get("/api/v1/webhooks")?;
            if json { say_json(&list) } else { say(table(&list)) }
        }
        Verb::Show { id } => show(&client.get(&one(id))?, json),
        Verb::Edit { id, name, url, what } => {
            let mut body = json!({});
            for (field, value) in [("name", name), ("url", url)] {
                if let Some(value) = value {
                    body[field] = value.into();
                }
            }
            show(&edit(id, what.into(body))?, json);
        }
        Verb::On { id } => show(&edit(id, json!({ "active": true }))?, json),
        Verb::Off { id } => show(&edit(id, json!({ "active": false }))?, json),
        Verb::Test { id } => {
            let test = post(format!("{}/test", one(id)), json!({}))?;
            let taken = test["taken"] == true;
            if json {
                say_json(&test);
            } else if taken {
                say("taken");
            } else {
                say(format_args!("not taken: {}", plain(test["why"].as_str().unwrap_or_default())));
            }
            return Ok(if taken { ExitCode::SUCCESS } else { ExitCode::from(FAILED) });
        }
        Verb::Failed { id, limit } => {
            let list = client.all_pages(&with_query(&format!("{}/failed", one(id)), &[]), limit)?;
            if json { say_json(&list) } else { say(failed(&list)) }
        }
        Verb::Replay { id, delivery } => {
            let body = delivery.map_or(json!({}), |delivery| json!({ "delivery": delivery }));
            let replayed = post(format!("{}/replay", one(id)), body)?;
            if json { say_json(&replayed) } else { say(format_args!("{} on the way again", replayed["replayed"])) }
        }
        Verb::Secret { id, overlap } => {
            let body = json!({ "overlap_s": overlap.div_ceil(1000) });
            secret(&post(format!("{}/secret", one(id)), body)?, json);
        }
        Verb::Delete { id } => {
            client.call(Method::DELETE, &one(id), None)?;
            if json { say_json(&json!({})) } else { say(format_args!("webhook {id} is removed")) }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The bare secret, so that SECRET=$(espush webhook add …) works.
fn secret(webhook: &Value, json: bool) {
    if json {
        say_json(webhook);
        return;
    }
    say(webhook["secret"].as_str().unwrap_or_default());
    eprintln!("Webhook {}. Keep the secret now: it is not shown again.", webhook["id"]);
    if let Some(until) = webhook["old_secret_until"].as_str() {
        eprintln!("Events are signed with the old one, too, until {until}.");
    }
}

fn show(webhook: &Value, json: bool) {
    if json {
        say_json(webhook);
        return;
    }
    for name in ["id", "name", "url", "kinds", "where", "active", "why_off", "off_since", "waiting", "failed", "lost"] {
        line(webhook, name);
    }
    for name in ["failing_since", "last_error", "last_ok", "created"] {
        line(webhook, name);
    }
}

fn line(webhook: &Value, name: &str) {
    match &webhook[name] {
        Value::Null => {}
        Value::String(text) => say(format_args!("{name:<13} {}", plain(text))),
        other => say(format_args!("{name:<13} {other}")),
    }
}

fn table(list: &Value) -> String {
    let mut table = Table::new(&["ID", "NAME", "STATE", "WAITING", "FAILED", "URL", "LAST ERROR"]);
    for webhook in list["items"].as_array().into_iter().flatten() {
        let text = |name: &str| webhook[name].as_str().unwrap_or("-").to_owned();
        let state = match (webhook["active"] == true, webhook["failing_since"].is_null()) {
            (false, _) => "off",
            (true, false) => "failing",
            (true, true) => "on",
        };
        let (waiting, failed) = (webhook["waiting"].to_string(), webhook["failed"].to_string());
        table.row(vec![webhook["id"].to_string(), text("name"), state.into(), waiting, failed, text("url"), text("last_error")]);
    }
    if table.is_empty() { "no webhooks yet; make one with: espush webhook add NAME URL".to_owned() } else { table.to_string() }
}

fn failed(list: &Value) -> String {
    let mut table = Table::new(&["ID", "EVENT", "AT", "TRIES", "ERROR"]);
    for delivery in list["items"].as_array().into_iter().flatten() {
        let text = |name: &str| delivery[name].as_str().unwrap_or("-").to_owned();
        table.row(vec![delivery["id"].to_string(), text("event"), text("at"), delivery["tries"].to_string(), text("error")]);
    }
    if table.is_empty() { "nothing has failed".to_owned() } else { table.to_string() }
}
