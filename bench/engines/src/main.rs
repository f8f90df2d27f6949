//! Which embedded engine keeps the queues best? The same durable work for SQLite, fjall and redb, in
//! alternation, each cell in a process of its own so that its memory and CPU time are its own. Prints
//! Markdown tables of medians. It decides nothing: docs/en/durability.md weighs the figures.

mod cell;
mod engine;
mod lsm;
mod pages;
mod sql;
mod table;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const ENGINES: [&str; 3] = ["sqlite", "fjall", "redb"];
/// Operations a commit, and how many commits of each are measured.
const BATCHES: [(usize, usize); 4] = [(1, 400), (10, 400), (100, 200), (1000, 100)];
const SESSIONS: u64 = 100_000;
const QUEUED: u64 = 1_000_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["cell", "sqlite", rest @ ..] => cell::run::<sql::Sqlite>(rest),
        ["cell", "fjall", rest @ ..] => cell::run::<lsm::Fjall>(rest),
        ["cell", "redb", rest @ ..] => cell::run::<pages::Redb>(rest),
        [dir, rounds] => all(Path::new(dir), rounds.parse().expect("rounds is a number")),
        _ => {
            eprintln!("usage: engines DIR ROUNDS   (DIR on the disk that is to be measured)");
            std::process::exit(2);
        }
    }
}

fn all(dir: &Path, rounds: usize) {
    let mut queue = table::Table::new(&["operations a commit", "engine"], &cell::LOAD_COLUMNS);
    let mut start = table::Table::new(&["start", "engine"], &cell::START_COLUMNS);
    for round in 0..rounds {
        for (operations, commits) in BATCHES {
            for name in turn(round) {
                let place = Place::new(dir);
                let said = cell(name, &["load", &operations.to_string(), &commits.to_string()], place.path());
                queue.add(&[&operations.to_string(), name], &said);
            }
        }
        for name in turn(round) {
            let place = Place::new(dir);
            cell(name, &["fill", &QUEUED.to_string(), &SESSIONS.to_string()], place.path());
            // The filling process went away without closing, so the first start has to recover.
            for how in ["after a kill", "after a stop"] {
                let said = cell(name, &["start", &SESSIONS.to_string()], place.path());
                start.add(&[how, name], &said);
            }
        }
        eprintln!("round {} of {rounds} is done", round + 1);
    }
    println!("Medians of {rounds} rounds, engines in alternation, one process a cell.\n\n{queue}\n{start}");
}

/// The engines, beginning with another one each round.
fn turn(round: usize) -> impl Iterator<Item = &'static str> {
    (0..ENGINES.len()).map(move |at| ENGINES[(round + at) % ENGINES.len()])
}

/// Runs one cell in a process of its own and reads the figures that it prints.
fn cell(engine: &str, what: &[&str], dir: &Path) -> Vec<f64> {
    let program = std::env::current_exe().expect("this program has a path");
    let done = Command::new(program)
        .args(["cell", engine])
        .args(what)
        .arg(dir)
        .stderr(Stdio::inherit())
        .output()
        .expect("this program runs again");
    assert!(done.status.success(), "{engine} {what:?} ended with {}", done.status);
    let said = String::from_utf8(done.stdout).expect("figures are text");
    said.split_whitespace().map(|figure| figure.parse().expect("a figure is a number")).collect()
}

/// A directory that is removed again.
struct Place(PathBuf);

impl Place {
    fn new(below: &Path) -> Place {
        let path = below.join(format!("engines-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("the directory can be made");
        Place(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
