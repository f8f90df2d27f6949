//! The command line: what can be typed, and which file carries it out. Each command prints for people,
//! or with `--json` what the API said. Errors go to stderr as a sentence that names the fix.

mod account;
mod app;
mod audience;
mod audit;
mod backup;
mod bench;
mod bulk;
mod client;
mod crowd;
mod data;
mod device;
mod doctor;
mod duration;
mod group;
mod knocks;
mod messages;
mod migrate;
mod progress;
mod push;
mod pushes;
mod qr;
mod repair;
mod restore;
mod schedule;
mod secure;
mod send;
mod serve;
mod sim;
mod sse;
mod table;
mod tail;
mod tls;
mod token;
mod twin;
mod webhook;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// How a command ended, as the shell sees it. `push` says more with [`push::Ending`].
const FAILED: u8 = 1;
/// The command line itself was wrong (EX_USAGE; clap's own 2 would read as "queued" after `push`).
const WRONG_USAGE: u8 = 64;

#[derive(Parser)]
#[command(name = "espush", version, about = "Push to, hear from and look after small devices.", max_term_width = 110)]
#[command(after_help = "Exit codes: 0 done, 1 not done (the sentence says why), 64 wrong usage; `espush push --help` has more.")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server
    Serve(serve::Args),
    /// Apps: device types with a number and a key
    App(app::Args),
    /// Devices: register, look, change, remove
    Device(device::Args),
    /// Groups: queries under a name
    Group(group::Args),
    /// Accounts: MQTT clients that are no devices, and what each may do
    Account(account::Args),
    /// Push to a device, or to many, and tell what became of it
    Push(Box<push::Args>),
    /// What was pushed, what became of it, and taking it back
    Pushes(pushes::Args),
    /// Write to a number, whoever has it, and hear what comes back
    Send(send::Args),
    /// Pushes that recur: by the clock, the calendar or cron
    Schedule(schedule::Args),
    /// What a device has measured
    Data(data::Args),
    /// What a device said and was told lately
    Messages(messages::Args),
    /// Who was not let in lately, and why
    Knocks(knocks::Args),
    /// Who changed what
    Audit(audit::Args),
    /// Follow what happens, live
    Tail(tail::Args),
    /// Sign-in links and API tokens
    Token(token::Args),
    /// Events told to other people's servers
    Webhook(webhook::Args),
    /// Everything in one file, while the server runs
    Backup(backup::Args),
    /// A backup becomes a data directory again
    Restore(restore::Args),
    /// Save what is readable of a damaged database
    Repair(repair::Args),
    /// Come over from another broker
    Migrate(migrate::Args),
    /// Virtual boards, one or thousands
    Sim(sim::Args),
    /// Measure a broker: connections, messages, latency, what the server spends
    Bench(bench::Args),
    /// Certificates for TLS listeners
    Tls(tls::Args),
    /// Check that everything is in order, in plain sentences
    Doctor(doctor::Args),
}

/// Parses the command line, carries it out and says how it ended.
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Printing can only fail when nobody reads.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(WRONG_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let ending = match args.command {
        Command::Serve(args) => serve::run(args),
        Command::App(args) => app::run(args),
        Command::Device(args) => device::run(args),
        Command::Group(args) => group::run(args),
        Command::Account(args) => account::run(args),
        Command::Push(args) => push::run(*args),
        Command::Pushes(args) => pushes::run(args),
        Command::Send(args) => send::run(args),
        Command::Schedule(args) => schedule::run(args),
        Command::Data(args) => data::run(args),
        Command::Messages(args) => messages::run(args),
        Command::Knocks(args) => knocks::run(args),
        Command::Audit(args) => audit::run(args),
        Command::Tail(args) => tail::run(args),
        Command::Token(args) => token::run(args),
        Command::Webhook(args) => webhook::run(args),
        Command::Backup(args) => backup::run(args),
        Command::Restore(args) => restore::run(args),
        Command::Repair(args) => repair::run(args),
        Command::Migrate(args) => migrate::run(args),
        Command::Sim(args) => sim::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Tls(args) => tls::run(args),
        Command::Doctor(args) => doctor::run(args),
    };
    ending.unwrap_or_else(|error| {
        eprintln!("espush: {}", sentence(&error));
        ExitCode::from(FAILED)
    })
}

/// Says what is wrong with options that only together make no sense.
fn wrong_usage(error: anyhow::Error) -> ExitCode {
    eprintln!("espush: {}", sentence(&error));
    ExitCode::from(WRONG_USAGE)
}

/// Prints a line on stdout. A reader that went away (`espush tail | head`) is no error: it ends the program quietly.
fn say(line: impl std::fmt::Display) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

/// Prints what the API said, for machines.
fn say_json(value: &serde_json::Value) {
    say(format_args!("{value:#}"));
}

/// Reads `name=value` options into a JSON object.
fn pairs(texts: &[String]) -> anyhow::Result<serde_json::Value> {
    let pair = |text: &String| match text.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), serde_json::Value::from(value))),
        None => Err(anyhow::anyhow!("{text:?} is not NAME=VALUE (such as espush.text=gbk)")),
    };
    texts.iter().map(pair).collect::<anyhow::Result<serde_json::Map<_, _>>>().map(serde_json::Value::from)
}

/// An error with its causes, each said once: many already stand in the sentence of what they caused.
fn sentence(error: &anyhow::Error) -> String {
    error.chain().skip(1).fold(error.to_string(), |said, cause| {
        let cause = cause.to_string();
        if said.contains(&cause) { said } else { format!("{said}: {cause}") }
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        super::Args::command().debug_assert();
    }
}
