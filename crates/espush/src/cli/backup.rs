//! `espush backup`: everything that another machine needs in one file, taken while the server runs. Reads
//! the data directory itself and asks no server: it works as well when none runs.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;
use store::backup::{About, make};

use super::duration::now;
use super::progress::{Progress, size};
use super::{say, say_json};
use crate::certificates;

#[derive(clap::Args)]
#[command(
    after_help = "The file holds the key that opens all secrets: keep it as you keep a password. `espush restore` brings it back."
)]
pub struct Args {
    /// The backup to write
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The data directory
    #[arg(long, value_name = "DIR", env = "ESPUSH_DATA", default_value = "./espush-data")]
    data: PathBuf,
    /// Replace a file that is there, once the new one is whole
    #[arg(long)]
    force: bool,
    /// Print what was made, for machines
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let created = now().rfc3339();
    // Boards may have pinned what `espush tls self-signed` made.
    let files = certificates::made(&args.data);
    let about = About { program: env!("CARGO_PKG_VERSION"), created: &created, files: &files };
    let mut progress = Progress::new("copying");
    let manifest = make(&args.data, &args.file, args.force, &about, &mut |done, of| progress.tell(done, of))?;
    let bytes = std::fs::metadata(&args.file).map_or(manifest.database_bytes, |file| file.len());
    if args.json {
        say_json(&json!({ "file": args.file, "bytes": bytes, "created": created, "schema": manifest.schema }));
    } else {
        say(format_args!("{} holds everything as of {created}, {}", args.file.display(), size(bytes)));
    }
    Ok(ExitCode::SUCCESS)
}
