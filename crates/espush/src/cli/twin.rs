//! `espush device twin`: what is wanted of a device, what it tells of itself, and what differs.

use std::process::ExitCode;

use anyhow::Context;
use serde_json::Value;
use ureq::http::Method;

use super::client::{Client, encoded, with_query};
use super::table::{Table, plain};
use super::{say, say_json};

#[derive(clap::Args)]
#[command(after_help = "Without options: both parts of the twin, and what differs.\n\
    A patch is JSON: '{\"led\": \"on\", \"old\": null}' sets led and removes old.")]
pub struct Args {
    /// Its id
    id: String,
    /// Change what is wanted of it by a merge patch
    #[arg(long, value_name = "JSON", conflicts_with = "history")]
    desired: Option<String>,
    /// What --desired gives takes the place of all that was wanted
    #[arg(long, requires = "desired")]
    replace: bool,
    /// Only if what is wanted still has this version
    #[arg(long, value_name = "N", requires = "desired")]
    version: Option<u64>,
    /// What changed, newest first
    #[arg(long)]
    history: bool,
    /// Only the history of one part: desired or reported
    #[arg(long, value_name = "PART", requires = "history")]
    part: Option<String>,
    /// At most so many changes
    #[arg(long, default_value_t = 20, requires = "history")]
    limit: usize,
}

pub fn run(args: Args, client: &Client, json: bool) -> anyhow::Result<ExitCode> {
    let path = format!("/api/v1/devices/{}/twin", encoded(&args.id));
    if args.history {
        let list = client.all_pages(&with_query(&format!("{path}/history"), &[("part", args.part)]), args.limit)?;
        if json {
            say_json(&list)
        } else {
            say(history(&list))
        }
        return Ok(ExitCode::SUCCESS);
    }
    let twin = match args.desired {
        None => client.get(&path)?,
        Some(patch) => {
            let patch: Value = serde_json::from_str(&patch).context("--desired is not JSON")?;
            let method = if args.replace { Method::PUT } else { Method::PATCH };
            let version = args.version.map(|version| version.to_string());
            client.call(method, &with_query(&format!("{path}/desired"), &[("version", version)]), Some(&patch))?
        }
    };
    if json {
        say_json(&twin);
        return Ok(ExitCode::SUCCESS);
    }
    for name in ["desired", "reported"] {
        let part = &twin[name];
        let since = part["at"].as_str().map_or_else(String::new, |at| format!(", changed {at}"));
        say(format_args!("{name:<9} version {}{since}", part["version"]));
        say(shown(&part["value"]));
    }
    if twin["delta"].as_object().is_none_or(|delta| delta.is_empty()) {
        say("delta     none: the device is as it is wanted");
    } else {
        say("delta     what the device is still to be told");
        say(shown(&twin["delta"]));
    }
    if let Some(note) = twin["note"].as_str() {
        say(format_args!("{:<9} {}", "note", plain(note)));
    }
    if let Some(version) = twin["acknowledged"].as_u64() {
        say(format_args!("{:<9} the device has dealt with version {version} of desired", "told"));
    }
    Ok(ExitCode::SUCCESS)
}

/// JSON over several lines, set in; of control characters only the line ends that we put there.
fn shown(value: &Value) -> String {
    format!("{value:#}").lines().map(|line| format!("  {}", plain(line))).collect::<Vec<_>>().join("\n")
}

fn history(list: &Value) -> String {
    let mut table = Table::new(&["AT", "PART", "VERSION", "WHO", "PATCH"]);
    for change in list["items"].as_array().into_iter().flatten() {
        let text = |name: &str| change[name].as_str().unwrap_or_default().to_owned();
        table.row(vec![text("at"), text("part"), change["version"].to_string(), text("who"), change["patch"].to_string()]);
    }
    if !list["next"].is_null() {
        table.row(vec!["… more: raise --limit".to_owned()]);
    }
    if table.is_empty() { "nothing has changed yet".to_owned() } else { table.to_string() }
}
