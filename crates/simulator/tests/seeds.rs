//! Worlds from seeds: a fixed set, one that nobody has seen before, and the promise that a seed decides all.

use std::time::{SystemTime, UNIX_EPOCH};

use simulator::{Outcome, Wish, run};

fn world(seed: u64, clients: usize) -> Outcome {
    let outcome = run(Wish { seed, minutes: 1, clients, whole: false });
    let first: Vec<_> = outcome.violations.iter().take(10).collect();
    assert!(
        first.is_empty(),
        "seed {seed}: {first:#?}\nthe whole of it: cargo run --release -p simulator -- --seed {seed} --minutes 1 --clients {clients} --history"
    );
    outcome
}

#[test]
fn what_is_promised_is_kept_in_worlds_that_are_known() {
    for (seed, clients) in [(1, 0), (2, 0), (4, 60), (13, 60), (21, 20)] {
        let outcome = world(seed, clients);
        assert!(outcome.counts["Received"] > 100, "seed {seed} is a world in which something happens: {:?}", outcome.counts);
    }
}

#[test]
fn what_is_promised_is_kept_in_a_world_that_nobody_has_seen() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
    let seed = now.as_nanos() as u64 % 1_000_000_000;
    println!("seed {seed}");
    world(seed, 60);
}

#[test]
fn a_seed_decides_everything() {
    let (one, same, other) = (world(3, 30), world(3, 30), world(5, 30));
    assert_eq!(one.digest, same.digest);
    assert_ne!(one.digest, other.digest);
}
