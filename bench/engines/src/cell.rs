//! One measurement in one process: `load` (queue and consume), `fill` (make what a start has to read) and
//! `start` (open, list, load). The figures go to stdout in the order of the columns.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::engine::{Engine, PAYLOAD_BYTES, Row};

pub const LOAD_COLUMNS: [&str; 8] = [
    "queued: commits/s",
    "queued: operations/s",
    "consumed: commits/s",
    "consumed: operations/s",
    "CPU s per million operations",
    "KiB written per operation",
    "MiB on disk at the end",
    "RSS growth, MiB",
];
pub const START_COLUMNS: [&str; 5] =
    ["open, ms", "list 100,000 sessions, ms", "load 100 queues, ms", "RSS growth, MiB", "MiB on disk"];

pub fn run<E: Engine>(words: &[&str]) {
    let number = |at: usize| -> u64 { words[at].parse().expect("a number") };
    let dir = Path::new(words[words.len() - 1]);
    match words[0] {
        "load" => load::<E>(number(1), number(2), dir),
        "fill" => fill::<E>(number(1), number(2), dir),
        "start" => start::<E>(number(1), dir),
        other => panic!("there is no cell {other}"),
    }
}

fn load<E: Engine>(operations: u64, commits: u64, dir: &Path) {
    let before = rss_mib("VmRSS:");
    let mut engine = E::open(dir);
    let (cpu, written) = (cpu(), written_kib());
    let queued = timed(|| each(operations, commits, |rows| engine.enqueue(rows)));
    let consumed = timed(|| each(operations, commits, |rows| engine.consume(rows)));
    assert!(engine.sessions().is_empty(), "everything was consumed");
    // What an engine puts off until it closes is its work too.
    drop(engine);
    let (cpu, written) = (self::cpu() - cpu, written_kib() - written);
    let per_s = |count: u64, time: Duration| count as f64 / time.as_secs_f64();
    let all = operations * commits;
    println!(
        "{} {} {} {} {} {} {} {}",
        per_s(commits, queued),
        per_s(all, queued),
        per_s(commits, consumed),
        per_s(all, consumed),
        cpu.as_secs_f64() * 1e6 / (2 * all) as f64,
        written / (2 * all) as f64,
        disk_mib(dir),
        rss_mib("VmHWM:") - before,
    );
}

/// Queues that many rows and goes away as a killed process does: nothing is closed.
fn fill<E: Engine>(rows: u64, sessions: u64, dir: &Path) {
    let mut engine = E::open(dir);
    let batch = 10_000;
    for from in (0..rows).step_by(batch as usize) {
        let row = |n: u64| Row { session: scattered(n % sessions, sessions), seq: n / sessions, message: n };
        engine.enqueue(&(from..from + batch).map(row).collect::<Vec<_>>());
    }
    std::process::exit(0);
}

fn start<E: Engine>(sessions: u64, dir: &Path) {
    let before = rss_mib("VmRSS:");
    let begun = Instant::now();
    let engine = E::open(dir);
    let open = begun.elapsed();
    let begun = Instant::now();
    let list = engine.sessions();
    let listing = begun.elapsed();
    assert_eq!(list.len() as u64, sessions);
    let begun = Instant::now();
    for n in 0..100 {
        let (session, count, last) = list[scattered(n, sessions) as usize];
        let queue = engine.queue(session);
        assert_eq!((queue.len() as u64, queue[queue.len() - 1].0), (count, last));
        assert!(queue.iter().all(|(_, payload)| payload.len() == PAYLOAD_BYTES));
    }
    let loading = begun.elapsed();
    let grown = rss_mib("VmHWM:") - before;
    drop(engine);
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    println!("{} {} {} {} {}", ms(open), ms(listing), ms(loading), grown, disk_mib(dir));
}

/// The same rows in the same commits each time: 1,000 sessions in a scattered order.
fn each(operations: u64, commits: u64, mut work: impl FnMut(&[Row])) {
    for commit in 0..commits {
        let row = |n: u64| Row { session: scattered(n, 1000), seq: n, message: n };
        work(&(commit * operations..(commit + 1) * operations).map(row).collect::<Vec<_>>());
    }
}

/// A bijection for the moduli that are used here (7919 is prime and divides none of them).
fn scattered(n: u64, of: u64) -> u64 {
    n * 7919 % of
}

fn timed(work: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    work();
    begun.elapsed()
}

/// What this process has used of the processors, in all of its threads.
fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// What this process has made the disk write, as the kernel counts it.
fn written_kib() -> f64 {
    let io = std::fs::read_to_string("/proc/self/io").expect("Linux");
    let found = io.lines().find_map(|all| all.strip_prefix("write_bytes: ")).expect("the line is there");
    found.parse::<f64>().expect("a number") / 1024.0
}

fn rss_mib(line: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let found = status.lines().find_map(|all| all.strip_prefix(line)).expect("the line is there");
    found.trim().trim_end_matches(" kB").parse::<f64>().expect("a number") / 1024.0
}

/// The blocks that the directory takes, which is what a sparse file costs too.
fn disk_mib(dir: &Path) -> f64 {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let entry = entry.expect("an entry");
        let about = entry.metadata().expect("is there");
        bytes += about.blocks() * 512;
        if about.is_dir() {
            bytes += (disk_mib(&entry.path()) * 1024.0 * 1024.0) as u64;
        }
    }
    bytes as f64 / (1024.0 * 1024.0)
}
