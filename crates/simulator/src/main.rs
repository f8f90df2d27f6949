//! Runs worlds from seeds: `cargo run --release -p simulator -- --seed 1 --runs 100`.

use std::process::ExitCode;

use clap::Parser;
use simulator::{Wish, run};

/// Simulates the hub with its protocols from a seed, and checks what the clients saw.
#[derive(Parser)]
struct Options {
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds, one after the other.
    #[arg(long, default_value_t = 1)]
    runs: u64,
    /// How long troubles go on in each, in simulated minutes.
    #[arg(long, default_value_t = 5)]
    minutes: u64,
    /// How many clients; 0 leaves it to the seed.
    #[arg(long, default_value_t = 0)]
    clients: usize,
    /// Prints the whole history, and not the last steps of a failure alone.
    #[arg(long)]
    history: bool,
    /// Goes on after a run that failed.
    #[arg(long)]
    go_on: bool,
}

/// Lines of a history that are shown of a failure.
const LAST: usize = 60;

fn main() -> ExitCode {
    let options = Options::parse();
    let mut failed = Vec::new();
    for seed in options.seed..options.seed + options.runs {
        let outcome = run(Wish { seed, minutes: options.minutes, clients: options.clients, whole: options.history });
        let counts: Vec<String> = outcome.counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
        let word = if outcome.violations.is_empty() { "well" } else { "FAILED" };
        println!("seed {seed}: {word}, {} s, {:016x}: {}", outcome.seconds, outcome.digest, counts.join(", "));
        outcome.violations.iter().take(20).for_each(|violation| println!("  {violation}"));
        if options.history {
            outcome.history.iter().chain(&outcome.trace).for_each(|line| println!("{line}"));
        }
        if outcome.violations.is_empty() {
            continue;
        }
        failed.push(seed);
        if !options.history && !options.go_on {
            println!("  the last facts and happenings:");
            let from = outcome.history.len().saturating_sub(LAST);
            outcome.history[from..].iter().for_each(|line| println!("    {line}"));
            let from = outcome.trace.len().saturating_sub(LAST);
            outcome.trace[from..].iter().for_each(|line| println!("    {}", line.chars().take(300).collect::<String>()));
        }
        if !options.go_on {
            break;
        }
    }
    match failed.is_empty() {
        true => ExitCode::SUCCESS,
        false => {
            println!("failed: seeds {failed:?}");
            ExitCode::FAILURE
        }
    }
}
