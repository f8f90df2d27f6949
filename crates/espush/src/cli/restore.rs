//! `espush restore`: a backup becomes a data directory again. The server must not run there.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;
use store::restore::restore;

use super::duration::now;
use super::progress::Progress;
use super::{say, say_json};

#[derive(clap::Args)]
#[command(after_help = "Nothing is deleted: with --force, what is in the directory is put aside, and the command says where.")]
pub struct Args {
    /// The backup, or a file of the directory `snapshots`
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The data directory; must be empty, or not there
    #[arg(long, value_name = "DIR", env = "ESPUSH_DATA", default_value = "./espush-data")]
    data: PathBuf,
    /// Put aside what is there
    #[arg(long)]
    force: bool,
    /// Print what was done, for machines
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let stamp = now().rfc3339().replace(':', "-");
    let mut progress = Progress::new("reading");
    let done = restore(&args.file, &args.data, args.force, &stamp, &mut |done, of| progress.tell(done, of))?;
    if args.json {
        say_json(&json!({ "data": args.data, "created": done.manifest.created, "aside": done.aside }));
    } else {
        say(format_args!("{} is as it was at {}", args.data.display(), done.manifest.created));
        if let Some(aside) = done.aside {
            say(format_args!("what was there before is in {}", aside.display()));
        }
    }
    Ok(ExitCode::SUCCESS)
}
