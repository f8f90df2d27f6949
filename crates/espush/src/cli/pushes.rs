//! `espush pushes`: what was pushed and what became of it, later than `espush push` waited; and taking it back.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::{Value, json};
use ureq::http::Method;

use super::client::{Client, Reach, encoded};
use super::push::shown;
use super::table::{Table, plain};
use super::{say, say_json};

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Subcommand)]
enum Verb {
    /// List pushes, newest first
    List {
        /// At most so many
        #[arg(long, default_value_t = 50)]
        limit: usize,
        /// Only those to this device, with what became of each there
        #[arg(long, value_name = "ID")]
        device: Option<String>,
    },
    /// Show one push and its deliveries
    Show {
        /// The push's number
        id: u64,
    },
    /// Take back what was not acknowledged yet
    Cancel {
        /// The push's number
        id: u64,
    },
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let client = Client::find(&args.reach)?;
    let json = args.reach.json;
    match args.verb {
        Verb::List { limit, device: Some(id) } => {
            let list = client.all_pages(&format!("/api/v1/devices/{}/deliveries", encoded(&id)), limit)?;
            if json { say_json(&list) } else { say(history(&list)) }
        }
        Verb::List { limit, device: None } => {
            let list = client.all_pages("/api/v1/pushes", limit)?;
            if json { say_json(&list) } else { say(table(&list)) }
        }
        Verb::Show { id } => {
            let push = client.get(&format!("/api/v1/pushes/{id}"))?;
            if json { say_json(&push) } else { show(&push) }
        }
        Verb::Cancel { id } => {
            client.call(Method::DELETE, &format!("/api/v1/pushes/{id}"), None)?;
            if json { say_json(&json!({})) } else { say(format_args!("push {id} is taken back where it was not acknowledged")) }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show(push: &Value) {
    let text = |name: &str| plain(push[name].as_str().unwrap_or("-"));
    if push["remaining"] != 0 {
        say(format_args!("{:<10} {} devices still get their delivery", "making", push["remaining"]));
    }
    for name in ["order", "sender", "created", "expires"] {
        say(format_args!("{name:<10} {}", text(name)));
    }
    for name in ["at", "per_second", "priority", "collapse", "resend_of"] {
        match &push[name] {
            Value::Null => {}
            Value::String(value) => say(format_args!("{name:<10} {}", plain(value))),
            value => say(format_args!("{name:<10} {value}")),
        }
    }
    say(format_args!("{:<10} {}", "content", plain(&shown(push).unwrap_or_default())));
    let mut table = Table::new(&["DEVICE", "STATE", "AT", "DETAIL", "ANSWER"]);
    for delivery in push["deliveries"].as_array().into_iter().flatten() {
        let text = |name: &str| delivery[name].as_str().unwrap_or_default().to_owned();
        table.row(vec![
            text("device"),
            text("state"),
            text("at"),
            text("detail"),
            shown(&delivery["answer"]).unwrap_or_default(),
        ]);
    }
    say(table);
}

/// What was pushed to one device: `2026-… queued, 2026-… sent` and so on.
fn history(list: &Value) -> String {
    let mut table = Table::new(&["PUSH", "STATE", "DETAIL", "STEPS"]);
    for delivery in list["items"].as_array().into_iter().flatten() {
        let text = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
        let steps = delivery["steps"].as_array().into_iter().flatten();
        let steps: Vec<String> = steps.map(|step| format!("{} {}", text(step, "at"), text(step, "state"))).collect();
        table.row(vec![delivery["push"].to_string(), text(delivery, "state"), text(delivery, "detail"), steps.join(", ")]);
    }
    if table.is_empty() { "nothing was pushed to this device yet".to_owned() } else { table.to_string() }
}

fn table(list: &Value) -> String {
    let mut table = Table::new(&["ID", "CREATED", "ORDER", "TO", "STATES", "CONTENT"]);
    for push in list["items"].as_array().into_iter().flatten() {
        let text = |name: &str| push[name].as_str().unwrap_or("-").to_owned();
        let to = push["audience"]["device"].as_str().map_or_else(|| push["audience"].to_string(), str::to_owned);
        let counts = push["counts"].as_object().into_iter().flatten();
        let states: Vec<String> = counts.filter(|(_, n)| **n != 0).map(|(state, n)| format!("{n} {state}")).collect();
        // The beginning is enough to know it again.
        let content: String = shown(push).unwrap_or_default().chars().take(40).collect();
        table.row(vec![push["id"].to_string(), text("created"), text("order"), to, states.join(", "), content]);
    }
    if table.is_empty() { "nothing was pushed yet; try: espush push DEVICE TEXT".to_owned() } else { table.to_string() }
}
