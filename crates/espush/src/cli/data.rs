//! `espush data`: the newest value of each stream, or the points of a period, as a table or as CSV.

use std::process::ExitCode;

use serde_json::Value;

use super::client::{Client, Reach, encoded, with_query};
use super::duration::{now, parse_moment};
use super::table::Table;
use super::{say, say_json};

#[derive(clap::Args)]
#[command(after_help = "Without --stream, --from, --to and --csv: the newest value of each stream.\n\
    A moment is 2026-11-20T09:48:48Z, milliseconds since 1970, or a length of time ago such as 2h.")]
pub struct Args {
    /// The device's id
    device: String,
    /// Only one stream
    #[arg(long)]
    stream: Option<String>,
    /// Not before this moment
    #[arg(long, value_name = "MOMENT")]
    from: Option<String>,
    /// Before this moment
    #[arg(long, value_name = "MOMENT")]
    to: Option<String>,
    /// At most so many points
    #[arg(long, default_value_t = 1000)]
    limit: usize,
    /// Everything of the period as CSV
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    #[command(flatten)]
    reach: Reach,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let client = Client::find(&args.reach)?;
    let moment = |text: &Option<String>| -> anyhow::Result<Option<String>> {
        text.as_ref().map(|t| parse_moment(t, now()).map(|at| at.rfc3339()).map_err(anyhow::Error::msg)).transpose()
    };
    let query = [("stream", args.stream.clone()), ("from", moment(&args.from)?), ("to", moment(&args.to)?)];
    let device = format!("/api/v1/devices/{}", encoded(&args.device));
    let points = with_query(&format!("{device}/points"), &query);
    if args.csv {
        let mut rows = client.read(&points, "text/csv")?;
        std::io::copy(&mut rows, &mut std::io::stdout().lock())?;
        return Ok(ExitCode::SUCCESS);
    }
    let whole = query.iter().all(|(_, value)| value.is_none());
    let list = if whole { client.get(&format!("{device}/latest"))? } else { client.all_pages(&points, args.limit)? };
    if args.reach.json {
        say_json(&list)
    } else {
        say(table(&list))
    }
    Ok(ExitCode::SUCCESS)
}

fn table(list: &Value) -> String {
    let mut table = Table::new(&["AT", "STREAM", "VALUE"]);
    for point in list["items"].as_array().into_iter().flatten() {
        let text = |name: &str| point[name].as_str().unwrap_or_default().to_owned();
        table.row(vec![text("at"), text("stream"), value(&point["value"])]);
    }
    if !list["next"].is_null() {
        table.row(vec!["… more: raise --limit, or take --csv".to_owned()]);
    }
    if table.is_empty() { "no data yet; a device sends it to me/data".to_owned() } else { table.to_string() }
}

/// A value as people write it: text without quotes.
pub fn value(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
