//! `espush messages`: what a device said and was told lately, as the server remembers it.

use std::process::ExitCode;

use super::client::{Client, Reach, encoded};
use super::push::shown;
use super::table::Table;
use super::{say, say_json};

#[derive(clap::Args)]
pub struct Args {
    /// The device's id
    device: String,
    #[command(flatten)]
    reach: Reach,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let list = Client::find(&args.reach)?.get(&format!("/api/v1/devices/{}/messages", encoded(&args.device)))?;
    if args.reach.json {
        say_json(&list);
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(&["AT", "", "TOPIC", "BYTES", "CONTENT"]);
    for message in list["items"].as_array().into_iter().flatten() {
        let text = |name: &str| message[name].as_str().unwrap_or("-").to_owned();
        let content = shown(message).unwrap_or_default() + if message["cut"] == true { "…" } else { "" };
        table.row(vec![text("at"), text("direction"), text("topic"), message["bytes"].to_string(), content]);
    }
    if table.is_empty() {
        say("no messages since the server started")
    } else {
        say(table)
    }
    Ok(ExitCode::SUCCESS)
}
