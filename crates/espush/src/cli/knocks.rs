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
        table.row(
            ["at", "protocol", "remote", "claim", "reason", "device"]
                .map(|name| knock[name].as_str().unwrap_or("-").to_owned())
                .to_vec(),
        );
    }
    if table.is_empty() {
        say("nobody was refused")
    } else {
        say(table)
    }
    Ok(ExitCode::SUCCESS)
}
