//! `espush migrate`: shows what another broker's installation becomes here, line by line, writes our
//! configuration file, and with `--apply` makes the accounts on the running server.

use std::fs::{OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Subcommand;
use serde_json::json;
use ureq::http::Method;

use super::client::{Client, Reach};
use super::table::plain;
use super::{FAILED, account, say, say_json};
use crate::migrate::{HEADING, Plan, PlannedAccount, plan};

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    from: From,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Subcommand)]
enum From {
    /// From Mosquitto: its configuration, password file and ACL file
    Mosquitto {
        /// Its configuration, such as /etc/mosquitto/mosquitto.conf
        file: PathBuf,
        /// Write our configuration there [default: print it]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Make the accounts on the running server, or give them the rules of the files
        #[arg(long)]
        apply: bool,
    },
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let From::Mosquitto { file, out, apply } = args.from;
    let plan = plan(&file)?;
    if let Some(out) = &out {
        let known = std::fs::read_to_string(out).unwrap_or_default();
        let ours = known.is_empty() || known.starts_with(HEADING);
        anyhow::ensure!(ours, "{} is there already and was written by somebody else; choose another --out", out.display());
        write(out, &plan.toml(true)).with_context(|| format!("cannot write {}", out.display()))?;
    }
    let client = if apply { Some(Client::find(&args.reach)?) } else { None };
    if args.reach.json {
        let mut report = serde_json::to_value(&plan)?;
        report["config"] = plan.toml(false).into();
        say_json(&report);
    } else {
        show(&plan, out.is_none() && !apply, !apply);
    }
    let mut failed = 0;
    for planned in client.iter().flat_map(|_| &plan.accounts) {
        let client = client.as_ref().expect("there are none without");
        match carry_out(client, planned) {
            Ok(done) => eprintln!("account {}: {done}", plain(&planned.name)),
            Err(error) => {
                failed += 1;
                eprintln!("account {}: not done: {error:#}", plain(&planned.name));
            }
        }
    }
    if !apply && !plan.accounts.is_empty() {
        eprintln!("{} accounts are not made yet: start the server, then run this again with --apply", plan.accounts.len());
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

/// For its owner only: there may be passwords of bridges in it.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(text.as_bytes())
}

/// The configuration on stdout, so that it can be piped; all else on stderr.
fn show(plan: &Plan, with_config: bool, with_accounts: bool) {
    if with_config {
        say(plan.toml(false).trim_end());
    }
    for planned in plan.accounts.iter().filter(|_| with_accounts) {
        let rules = match planned.rules.len() {
            0 => "no rules (all topics but dev/…, app/… and $…)".to_owned(),
            _ => planned.rules.join("; "),
        };
        eprintln!("account {}: {}", plain(&planned.name), plain(&rules));
    }
    for note in plan.notes.iter() {
        let line = if note.line.is_empty() { String::new() } else { format!("`{}`: ", plain(&note.line)) };
        eprintln!("{}: {}: {line}{}", plain(&note.place), note.outcome.as_str(), note.why);
    }
}

fn carry_out(client: &Client, planned: &PlannedAccount) -> anyhow::Result<&'static str> {
    if let Ok(known) = account::find(client, &planned.name) {
        client.call(Method::PATCH, &account::path(&known), Some(&json!({ "rules": planned.rules })))?;
        return Ok("was there; it has the rules of the files now and keeps its password");
    }
    client.call(Method::POST, "/api/v1/accounts", Some(&serde_json::to_value(planned)?))?;
    Ok("made")
}
