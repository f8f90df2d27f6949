//! The hub and its protocols on a simulated network, disk and clock, in one thread, from a seed: the same
//! seed gives the same run. Clients of all kinds come and go, lines break anywhere, the disk is slow, full or
//! broken, the program dies at any moment; and a checker that knows only what the clients saw says whether
//! what was promised was kept. For tests alone, never part of the program.
//!
//! | file | what |
//! |---|---|
//! | `world`, `happen`, `troubles` | the queue of happenings, what each does, what goes wrong |
//! | `network` | lines between clients and the house |
//! | `client`, `nature` | honest MQTT clients, and what they are like |
//! | `history` | what everybody knows |
//! | `checker` | what must be true of that |
//! | `rng` | random numbers from the seed |

#![allow(clippy::expect_used, reason = "a simulation that contradicts itself must stop")]

pub mod checker;
mod client;
mod happen;
pub mod history;
mod nature;
mod network;
mod rng;
mod troubles;
mod world;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub use world::Wish;
use world::World;

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// What it was of.
    pub seed: u64,
    /// What was not as it must be, in words; empty when all was well.
    pub violations: Vec<String>,
    /// How often what happened.
    pub counts: BTreeMap<String, usize>,
    /// The same for the same seed.
    pub digest: u64,
    /// The last things that happened.
    pub trace: Vec<String>,
    /// The history, an entry a line; empty when all was well and nobody asked for it.
    pub history: Vec<String>,
    /// Simulated seconds.
    pub seconds: u64,
}

/// Runs a world to its end and judges it.
pub fn run(wish: Wish) -> Outcome {
    let mut world = World::new(wish);
    // What the house or the testkit assert is a finding like any other, with its trace.
    let end = catch_unwind(AssertUnwindSafe(|| {
        world.run_until(wish.minutes * 60_000_000);
        world.finale()
    }));
    let violations = match end {
        Ok(open) => {
            let open = open.into_iter().map(|what| format!("open: {what}"));
            checker::violations(&world.history).into_iter().chain(open).collect()
        }
        Err(panic) => {
            let why = panic.downcast_ref::<String>().cloned().or(panic.downcast_ref::<&str>().map(|why| (*why).to_owned()));
            vec![format!("panic: {}", why.unwrap_or_default())]
        }
    };
    // Nobody reads the history of a run in which all was well, unless it was asked for.
    let told = world.history.entries.iter().filter(|_| wish.whole || !violations.is_empty());
    let told: Vec<String> = told.map(ToString::to_string).collect();
    Outcome {
        seed: wish.seed,
        violations,
        counts: world.history.counts(),
        digest: world.history.digest(),
        trace: world.trace.into_iter().collect(),
        history: told,
        seconds: world.now / 1_000_000,
    }
}
