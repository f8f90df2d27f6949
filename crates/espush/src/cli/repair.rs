//! `espush repair`: makes a new database of what can be read, and lists what cannot. The server must not
//! run there. Never done by itself, because what is lost is for a person to judge.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;
use store::repair::{Table, repair};

use super::duration::now;
use super::table::Table as Shown;
use super::{say, say_json};

#[derive(clap::Args)]
#[command(
    after_help = "The damaged database stays beside the new one. A backup, if there is one, loses less: see `espush restore`."
)]
pub struct Args {
    /// The data directory
    #[arg(long, value_name = "DIR", env = "ESPUSH_DATA", default_value = "./espush-data")]
    data: PathBuf,
    /// Print what was done, for machines
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let stamp = now().rfc3339().replace(':', "-");
    let done = repair(&args.data, &stamp)?;
    let damage: Vec<String> = done.damage.losses.iter().map(|loss| loss.to_string()).collect();
    if args.json {
        let table = |table: &Table| json!({ "table": table.name, "saved": table.saved, "lost": table.lost, "lost_more": table.lost_more, "left_out": table.left_out });
        let tables: Vec<_> = done.tables.iter().map(table).collect();
        say_json(&json!({ "damage": damage, "pages_cut_off": done.damage.cut_off, "log_damaged": done.damage.log,
                          "tables": tables, "aside": done.aside }));
        return Ok(ExitCode::SUCCESS);
    }
    if done.damage.is_none() {
        say("nothing was damaged");
    }
    for loss in damage {
        say(format_args!("damaged: {loss}"));
    }
    if done.damage.cut_off > 0 {
        say(format_args!("damaged: {} pages were cut off the end of the file", done.damage.cut_off));
    }
    if done.damage.log {
        say("damaged: the log; what was written last is lost");
    }
    let mut rows = Shown::new(&["TABLE", "SAVED", "LOST BY KEY", "LEFT OUT"]);
    for table in &done.tables {
        let lost = table.lost.len() as u64 + table.lost_more;
        rows.row(vec![table.name.clone(), table.saved.to_string(), lost.to_string(), table.left_out.to_string()]);
    }
    say(rows);
    for table in done.tables.iter().filter(|table| !table.lost.is_empty()) {
        let more = if table.lost_more > 0 { format!(" and {} more", table.lost_more) } else { String::new() };
        say(format_args!("lost of {}: {}{more}", table.name, table.lost.join(", ")));
    }
    if done.tables.iter().any(|table| table.left_out > 0) {
        say("left out: what belonged to something that is lost");
    }
    say(format_args!("the damaged database is kept as {}", done.aside.display()));
    Ok(ExitCode::SUCCESS)
}
