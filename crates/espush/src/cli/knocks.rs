//! `espush knocks`: who was not let in lately, and why. The first place to look when a new board does not come in.

use std::process::ExitCode;

use super::client::{Client, Reach};
use super::table::Table;
use super::{say, say_json};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    reach: Reach,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let list = Client::find(&args.reach)?.get("/api/v1/knocks")?;
    if args.reach.json {
        say_json(&list);
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(&["AT", "PROTOCOL", "FROM", "WHO", "WHY NOT", "ADOPT"]);
    for knock in list["items"].as_array().into_iter().flatten() {
        let text = |name: &str, none: &str| knock[name].as_str().unwrap_or(none).to_owned();
        let mut row: Vec<String> = ["at", "protocol", "remote", "claim", "reason"].map(|name| text(name, "-")).into();
        row.push(text("device", ""));
        table.row(row);
    }
    if table.is_empty() {
        say("nobody was refused")
    } else {
        say(table)
    }
    Ok(ExitCode::SUCCESS)
}
