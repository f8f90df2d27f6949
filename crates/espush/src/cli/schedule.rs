//! `espush schedule`: pushes that recur; when each runs next, and what became of its runs.

use std::process::ExitCode;

use anyhow::Context;
use clap::Subcommand;
use serde_json::{Value, json};
use ureq::http::Method;

use super::audience::To;
use super::client::{Client, Reach};
use super::duration::{now, parse_ahead, parse_ms};
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
    /// Make a schedule
    Add(Box<Add>),
    /// List schedules with their next and last runs
    List,
    /// Show one schedule and the log of its runs
    Show {
        /// The schedule's number
        id: u64,
        /// At most so many runs
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// Let it rest; what passes meanwhile is not made up for
    Pause {
        /// The schedule's number
        id: u64,
    },
    /// Let a paused one go on
    Resume {
        /// The schedule's number
        id: u64,
    },
    /// Remove a schedule with its log; its pushes stay
    Remove {
        /// The schedule's number
        id: u64,
    },
}

#[derive(clap::Args)]
struct Add {
    /// A name for people
    name: String,
    /// What to push
    text: Option<String>,
    #[command(flatten)]
    audience: To,
    /// An order that the firmware itself understands, such as reboot
    #[arg(long, value_name = "VERB")]
    command: Option<String>,
    /// Everything else of the push, as JSON of the API: '{"ttl_s": 0, "per_second": 20}'
    #[arg(long, value_name = "JSON")]
    push: Option<String>,
    /// Once: 2026-11-20T09:48:48Z, or in 10m, 2h, 7d
    #[arg(long, value_name = "MOMENT", group = "when")]
    at: Option<String>,
    /// Again and again: 10m, 2h, 7d
    #[arg(long, value_name = "TIME", value_parser = parse_ms, group = "when")]
    every: Option<u64>,
    /// Every day: 07:30
    #[arg(long, value_name = "HH:MM", group = "when")]
    daily: Option<String>,
    /// On some weekdays: "mon,fri 07:30"
    #[arg(long, value_name = "DAYS HH:MM", group = "when")]
    weekly: Option<String>,
    /// Minute, hour, day, month, weekday: "*/5 9-17 * * mon-fri"
    #[arg(long, value_name = "FIELDS", group = "when")]
    cron: Option<String>,
    /// The time zone of --daily, --weekly and --cron: Europe/Berlin [default: UTC]
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
    /// How late a run may be, when the server was down at its moment [default: 1h]
    #[arg(long, value_name = "TIME", value_parser = parse_ms)]
    grace: Option<u64>,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let client = Client::find(&args.reach)?;
    let json = args.reach.json;
    let one = |id: u64| format!("/api/v1/schedules/{id}");
    let pause = |id, paused: bool| client.call(Method::PATCH, &one(id), Some(&json!({ "paused": paused })));
    match args.verb {
        Verb::Add(add) => {
            let made = client.call(Method::POST, "/api/v1/schedules", Some(&order(*add)?))?;
            if json { say_json(&made) } else { say(format_args!("schedule {}: next run {}", made["id"], next(&made))) }
        }
        Verb::List => {
            let list = client.all_pages("/api/v1/schedules", usize::MAX)?;
            if json { say_json(&list) } else { say(table(&list)) }
        }
        Verb::Show { id, limit } => {
            let mut schedule = client.get(&one(id))?;
            schedule["runs"] = client.all_pages(&format!("{}/runs", one(id)), limit)?["items"].take();
            if json { say_json(&schedule) } else { show(&schedule) }
        }
        Verb::Pause { id } => {
            let paused = pause(id, true)?;
            if json {
                say_json(&paused)
            } else {
                say(format_args!("schedule {id} is paused; espush schedule resume {id} lets it go on"))
            }
        }
        Verb::Resume { id } => {
            let resumed = pause(id, false)?;
            if json { say_json(&resumed) } else { say(format_args!("schedule {id}: next run {}", next(&resumed))) }
        }
        Verb::Remove { id } => {
            client.call(Method::DELETE, &one(id), None)?;
            if json { say_json(&json!({})) } else { say(format_args!("schedule {id} is removed")) }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The API's order.
fn order(add: Add) -> anyhow::Result<Value> {
    let mut push: Value = serde_json::from_str(add.push.as_deref().unwrap_or("{}")).context("--push is not JSON")?;
    anyhow::ensure!(push.is_object(), "--push is a JSON object");
    if let Some(audience) = add.audience.read()? {
        push["audience"] = audience;
    }
    anyhow::ensure!(!push["audience"].is_null(), "who is meant? use --to-device, --to-tag, --to-app, --query …");
    if let Some(text) = add.text {
        push["text"] = text.into();
    }
    if let Some(verb) = add.command {
        push["command"] = verb.into();
    }
    let mut when = json!({});
    if let Some(at) = &add.at {
        when["at"] = serde_json::to_value(parse_ahead(at, now()).map_err(anyhow::Error::msg)?)?;
    } else if let Some(ms) = add.every {
        when["every_s"] = ms.div_ceil(1000).into();
    } else if let Some(time) = add.daily {
        when["daily"] = time.into();
    } else if let Some(weekly) = &add.weekly {
        let (days, time) = weekly.split_once(' ').context("--weekly is days and a time: \"mon,fri 07:30\"")?;
        when["weekly"] = json!({ "days": days.split(',').collect::<Vec<_>>(), "time": time.trim() });
    } else if let Some(cron) = add.cron {
        when["cron"] = cron.into();
    } else {
        anyhow::bail!("when? use --at, --every, --daily, --weekly or --cron");
    }
    if let Some(zone) = add.zone {
        when["time_zone"] = zone.into();
    }
    let mut order = json!({ "name": add.name, "push": push, "when": when });
    if let Some(ms) = add.grace {
        order["grace_s"] = ms.div_ceil(1000).into();
    }
    Ok(order)
}

fn next(schedule: &Value) -> String {
    match schedule["next"].as_str() {
        Some(next) => plain(next),
        None if schedule["paused"] == true => "paused".to_owned(),
        None => "none is left".to_owned(),
    }
}

/// `pushed: push 12`, `missed: 3 moments …`.
fn outcome(run: &Value) -> String {
    let detail = run["detail"].as_str().map(plain);
    let push = run["push"].as_u64().map(|push| format!("push {push}"));
    format!("{}: {}", run["outcome"].as_str().unwrap_or("-"), push.or(detail).unwrap_or_default())
}

fn show(schedule: &Value) {
    for name in ["name", "sender", "created"] {
        say(format_args!("{name:<8} {}", plain(schedule[name].as_str().unwrap_or("-"))));
    }
    for name in ["when", "push", "grace_s"] {
        say(format_args!("{name:<8} {}", plain(&schedule[name].to_string())));
    }
    say(format_args!("{:<8} {}", "next", next(schedule)));
    let mut table = Table::new(&["MOMENT", "DEALT WITH", "OUTCOME"]);
    for run in schedule["runs"].as_array().into_iter().flatten() {
        let text = |name: &str| run[name].as_str().unwrap_or("-").to_owned();
        table.row(vec![text("at"), text("ran"), outcome(run)]);
    }
    if table.is_empty() { say("it has not run yet") } else { say(table) }
}

fn table(list: &Value) -> String {
    let mut table = Table::new(&["ID", "NAME", "WHEN", "NEXT", "LAST"]);
    for schedule in list["items"].as_array().into_iter().flatten() {
        let name = schedule["name"].as_str().unwrap_or("-").to_owned();
        let last = schedule["runs"].get(0).map(outcome).unwrap_or_default();
        table.row(vec![schedule["id"].to_string(), name, schedule["when"].to_string(), next(schedule), last]);
    }
    if table.is_empty() { "nothing is scheduled; try: espush schedule add --help".to_owned() } else { table.to_string() }
}
