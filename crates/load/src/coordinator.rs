//! Leads a run: starts as many worker processes as the limit of open files asks for, lets them connect,
//! load and end together, and asks between the phases what the server has spent. Processes, not threads:
//! the limit is one of processes.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::outcome::{Latency, Outcome, Samples, Spent};
use crate::plan::{Plan, Sessions};
use crate::procfs::Usage;
use crate::words::{Counts, Order, Report, Task, Word};

/// Open files of a worker that are no connections.
const FILES_BESIDE: u64 = 32;
/// Nothing moved for so long: what has not come will not.
const SILENCE: Duration = Duration::from_secs(3);
/// Memory that the server gives back or takes a moment after the last connection is counted too.
const SETTLE: Duration = Duration::from_millis(300);
/// How often progress is told.
const TICK: Duration = Duration::from_millis(50);

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What it is doing.
    pub step: &'static str,
    /// How much of it is done.
    pub done: u64,
    /// How much there is to do; of time, milliseconds.
    pub of: u64,
}

/// Why there is no outcome.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Not one connection.
    #[error("not one connection could be made: {0}")]
    Nobody(String),
    /// The server's process cannot be looked at.
    #[error("process {pid} cannot be looked at: {error}")]
    Server {
        /// Which.
        pid: u32,
        /// Why.
        error: io::Error,
    },
    /// A worker ended without a word.
    #[error("a worker process ended early")]
    Worker,
    /// A process could not be started or spoken to.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Carries out a plan. `worker` makes the command of a process that calls [`crate::work`]; `server` is the
/// process whose spending counts.
pub fn run(
    plan: &Plan,
    worker: impl Fn() -> io::Result<Command>,
    server: Option<u32>,
    mut tell: impl FnMut(Progress),
) -> Result<Outcome, RunError> {
    let usage = || match server {
        None => Ok(Usage::default()),
        Some(pid) => Usage::of(&pid.to_string()).map_err(|error| RunError::Server { pid, error }),
    };
    let mut samples = Samples { before: usage()?, ..Samples::default() };
    let mut crew = Crew::start(plan, worker)?;
    let connections = u64::from(plan.connections());
    let begun = Instant::now();
    crew.until(Phase::Settled, |counts, _| tell(Progress { step: "connecting", done: counts.joined, of: connections }))?;
    let connect_s = begun.elapsed().as_secs_f64();
    samples.connected = usage()?;
    let joined = crew.counts();
    if joined.joined == 0 {
        return Err(RunError::Nobody(joined.trouble.unwrap_or_else(|| "there is nobody to connect".to_owned())));
    }
    crew.hold(SETTLE, |_| {})?;
    samples.held = usage()?;

    let begun = Instant::now();
    let mut load_s = plan.seconds;
    if plan.has_load() {
        let of = (plan.seconds * 1000.0) as u64;
        let clock =
            |_: &Counts, since: Instant| Progress { step: "load", done: (since.elapsed().as_millis() as u64).min(of), of };
        crew.order(Order::Load)?;
        crew.until(Phase::Sent, |counts, _| tell(clock(counts, begun)))?;
        let expected = match plan.sessions {
            Sessions::Away => 0,
            _ => crew.counts().sent * u64::from(plan.fan_out()),
        };
        let moved = crew.until_received(expected, |counts| {
            tell(Progress { step: "waiting for the last", done: counts.received.min(expected), of: expected });
        })?;
        load_s = moved.saturating_duration_since(begun).as_secs_f64();
    } else {
        // Holding connections costs too: keep-alives, timers.
        let hold = Duration::from_secs_f64(plan.seconds);
        crew.hold(hold, |since| {
            let (done, of) = (since.as_millis() as u64, hold.as_millis() as u64);
            tell(Progress { step: "holding", done: done.min(of), of });
        })?;
    }
    samples.after = usage()?;
    if !plan.has_load() {
        samples.held.memory_bytes = samples.after.memory_bytes;
    }

    let loaded = crew.counts();
    let expected = loaded.sent * u64::from(plan.fan_out());
    if plan.sessions == Sessions::Away && plan.has_load() {
        let progress = |counts: &Counts| Progress { step: "collecting", done: counts.received.min(expected), of: expected };
        crew.order(Order::Return)?;
        crew.until(Phase::Settled, |counts, _| tell(progress(counts)))?;
        crew.until_received(expected, |counts| tell(progress(counts)))?;
    }
    crew.order(Order::End)?;
    let report = crew.report()?;

    let spent = server.map(|_| Spent::of(plan, &loaded, &samples));
    let Report { counts, joined, answered, delivered, cpu_s } = report;
    let per_s = |count: u64| if load_s > 0.0 { count as f64 / load_s } else { 0.0 };
    Ok(Outcome {
        connected: counts.joined,
        failed: counts.failed,
        dropped: counts.dropped,
        connect_s,
        connect_latency: Latency::from(&joined),
        sent: counts.sent,
        acknowledged: counts.answered,
        refused: counts.refused,
        expected,
        received: counts.received,
        collected: counts.received - loaded.received,
        load_s,
        sent_per_s: per_s(loaded.sent),
        acknowledged_per_s: per_s(loaded.answered),
        received_per_s: per_s(loaded.received),
        acknowledge_latency: Latency::from(&answered),
        delivery_latency: Latency::from(&delivered),
        stalls: counts.stalls,
        server: spent,
        workers: crew.workers.len() as u32,
        workers_cpu_s: cpu_s,
        trouble: counts.trouble,
    })
}

/// How many processes a plan needs; takes all open files that the system lets us have.
fn workers(plan: &Plan) -> u32 {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(1 << 20);
    let raised = rustix::process::Rlimit { current: Some(most), maximum: limit.maximum };
    let files = if setrlimit(Resource::Nofile, raised).is_ok() { most } else { limit.current.unwrap_or(most) };
    let each = files.saturating_sub(FILES_BESIDE).max(1);
    let count = u64::from(plan.connections()).div_ceil(each).max(1);
    // Shares are not even to the last connection.
    u32::try_from(if count > 1 { count + 1 } else { 1 }).unwrap_or(u32::MAX)
}

/// What all workers have come to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Settled,
    Sent,
}

struct Crew {
    workers: Vec<(Child, ChildStdin)>,
    words: Receiver<(usize, io::Result<Word>)>,
    counts: Vec<Counts>,
    reports: Vec<Report>,
}

impl Crew {
    fn start(plan: &Plan, command: impl Fn() -> io::Result<Command>) -> Result<Crew, RunError> {
        let count = workers(plan);
        let (sender, words) = channel();
        let mut crew = Crew { workers: Vec::new(), words, counts: Vec::new(), reports: Vec::new() };
        for number in 0..count {
            let mut child = command()?.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
            let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else { return Err(RunError::Worker) };
            let sender: Sender<_> = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stdout).lines() {
                    let word = line.and_then(|line| Ok(serde_json::from_str(&line)?));
                    if sender.send((number as usize, word)).is_err() {
                        return;
                    }
                }
                let _ = sender.send((number as usize, Err(io::ErrorKind::UnexpectedEof.into())));
            });
            crew.workers.push((child, stdin));
            crew.counts.push(Counts::default());
            let task = Task { plan: plan.clone(), worker: number, workers: count };
            crew.say(number as usize, &task)?;
        }
        Ok(crew)
    }

    fn say(&mut self, worker: usize, what: &impl serde::Serialize) -> Result<(), RunError> {
        let mut line = serde_json::to_vec(what).map_err(io::Error::from)?;
        line.push(b'\n');
        let (_, stdin) = &mut self.workers[worker];
        Ok(stdin.write_all(&line)?)
    }

    fn order(&mut self, order: Order) -> Result<(), RunError> {
        (0..self.workers.len()).try_for_each(|worker| self.say(worker, &order))
    }

    fn counts(&self) -> Counts {
        let mut all = Counts::default();
        self.counts.iter().for_each(|counts| all.add(counts));
        all
    }

    /// The next word, if one comes within `wait`: which phase a worker has come to.
    fn hear(&mut self, wait: Duration) -> Result<Option<(usize, Phase)>, RunError> {
        let (worker, word) = match self.words.recv_timeout(wait) {
            Ok(word) => word,
            Err(RecvTimeoutError::Timeout) => return Ok(None),
            Err(RecvTimeoutError::Disconnected) => return Err(RunError::Worker),
        };
        let word = word.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => RunError::Worker,
            _ => RunError::Io(error),
        })?;
        let (counts, phase) = match word {
            Word::Counts(counts) => (counts, None),
            Word::Settled(counts) => (counts, Some(Phase::Settled)),
            Word::Sent(counts) => (counts, Some(Phase::Sent)),
            Word::Report(report) => {
                let counts = report.counts.clone();
                self.reports.push(*report);
                (counts, None)
            }
        };
        self.counts[worker] = counts;
        Ok(phase.map(|phase| (worker, phase)))
    }

    /// Until all have come to a phase.
    fn until(&mut self, wanted: Phase, mut tell: impl FnMut(&Counts, usize)) -> Result<(), RunError> {
        let mut there = vec![false; self.workers.len()];
        while there.contains(&false) {
            if let Some((worker, phase)) = self.hear(TICK)?
                && phase == wanted
            {
                there[worker] = true;
            }
            tell(&self.counts(), there.len());
        }
        Ok(())
    }

    /// Until so many messages have arrived, or nothing moves any more; when the last thing moved.
    fn until_received(&mut self, expected: u64, mut tell: impl FnMut(&Counts)) -> Result<Instant, RunError> {
        let (mut moved, mut seen) = (Instant::now(), self.counts().movement());
        loop {
            let counts = self.counts();
            if counts.movement() != seen {
                (moved, seen) = (Instant::now(), counts.movement());
            }
            tell(&counts);
            if counts.received >= expected || moved.elapsed() > SILENCE {
                return Ok(moved);
            }
            self.hear(TICK)?;
        }
    }

    /// Lets time pass.
    fn hold(&mut self, time: Duration, mut tell: impl FnMut(Duration)) -> Result<(), RunError> {
        let begun = Instant::now();
        while let Some(left) = time.checked_sub(begun.elapsed()).filter(|left| !left.is_zero()) {
            self.hear(left.min(TICK))?;
            tell(begun.elapsed());
        }
        Ok(())
    }

    /// Until all have reported; all in one.
    fn report(&mut self) -> Result<Report, RunError> {
        while self.reports.len() < self.workers.len() {
            match self.hear(TICK) {
                // One that has reported may end before the others do.
                Err(RunError::Worker) if !self.reports.is_empty() => {}
                other => drop(other?),
            }
        }
        let mut whole = Report::default();
        for report in &self.reports {
            whole.counts.add(&report.counts);
            whole.joined.add(&report.joined);
            whole.answered.add(&report.answered);
            whole.delivered.add(&report.delivered);
            whole.cpu_s += report.cpu_s;
        }
        Ok(whole)
    }
}

impl Drop for Crew {
    /// No worker outlives the run: one that still works is stopped.
    fn drop(&mut self) {
        for (child, _) in &mut self.workers {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
