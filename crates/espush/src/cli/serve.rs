//! `espush serve`: gathers the settings and hands them to the server. What it prints on stdout
//! (`listening …`, `ready`) is the server's own.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::{self, Config, Sources};

#[derive(clap::Args)]
#[command(after_long_help = config::help(protocols::ALL))]
pub struct Args {
    /// The data directory; made if it is not there [default: ./espush-data]
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// Settings in TOML
    #[arg(long, value_name = "FILE", env = "ESPUSH_CONFIG")]
    config: Option<PathBuf>,
    /// One setting, such as mqtt.listen=127.0.0.1:1883; beats environment and file. `--help` lists all
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Add a virtual lamp (app "demo", device "lamp") that answers
    #[arg(long)]
    demo: bool,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    // A variable that is not UTF-8 cannot be a setting of ours.
    let environment = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))).collect();
    let sources = Sources { file: args.config, environment, data: args.data, set: args.set };
    crate::serve::run(Config::load(protocols::ALL, &sources)?, args.demo)?;
    Ok(ExitCode::SUCCESS)
}
