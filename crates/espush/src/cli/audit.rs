//! `espush audit`: who changed what.

use std::process::ExitCode;

use serde_json::Value;

use super::client::{Client, Reach, with_query};
use super::duration::{now, parse_moment};
use super::table::Table;
use super::{say, say_json};

#[derive(clap::Args)]
pub struct Args {
    /// Only what this token's holder did
    #[arg(long, value_name = "NAME")]
    who: Option<String>,
    /// Only what was done to this: a device's id, an app's number, a group's name
    #[arg(long, value_name = "ID")]
    target: Option<String>,
    /// Only calls that contain this: "DELETE", "/devices"
    #[arg(long, value_name = "TEXT")]
    call: Option<String>,
    /// Only what was refused or failed (or with =false, what was done)
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true")]
    failed: Option<bool>,
    /// Not before: 2h (ago), 7d, 2026-11-20T09:48:48Z
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Before
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// At most so many, the newest
    #[arg(long, default_value_t = 50)]
    limit: usize,
    #[command(flatten)]
    reach: Reach,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let client = Client::find(&args.reach)?;
    let moment = |text: Option<String>| -> anyhow::Result<Option<String>> {
        text.map(|text| parse_moment(&text, now()).map(|at| at.rfc3339()).map_err(anyhow::Error::msg)).transpose()
    };
    let query = [
        ("who", args.who),
        ("target", args.target),
        ("call", args.call),
        ("failed", args.failed.map(|failed| failed.to_string())),
        ("from", moment(args.from)?),
        ("to", moment(args.to)?),
    ];
    let list = client.all_pages(&with_query("/api/v1/audit", &query), args.limit)?;
    if args.reach.json {
        say_json(&list)
    } else {
        say(table(&list))
    }
    Ok(ExitCode::SUCCESS)
}

fn table(list: &Value) -> String {
    let mut table = Table::new(&["AT", "WHO", "FROM", "CALL", "TARGET", "SENT", "OUTCOME"]);
    for entry in list["items"].as_array().into_iter().flatten() {
        let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
        let fields: Vec<&str> = entry["fields"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let outcome = format!("{} {}", entry["status"], text("code"));
        let row = [text("at"), text("who"), text("remote"), text("call"), text("target"), fields.join(", "), outcome];
        table.row(row.to_vec());
    }
    if table.is_empty() { "nothing was changed".to_owned() } else { table.to_string() }
}
