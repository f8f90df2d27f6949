//! What the processes of a run tell each other, one JSON value a line: the coordinator gives orders on a
//! worker's stdin, the worker answers on stdout.

use serde::{Deserialize, Serialize};

use crate::histogram::Histogram;
use crate::plan::Plan;

/// The first line that a worker gets.
#[derive(Serialize, Deserialize)]
pub struct Task {
    pub plan: Plan,
    /// Which of them it is.
    pub worker: u32,
    /// How many there are.
    pub workers: u32,
}

/// What it is told then. It connects without being told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// Begin with the load.
    Load,
    /// Those that were away come back and get what waited for them.
    Return,
    /// Say goodbye, leave nothing behind, report.
    End,
}

/// What it says.
#[derive(Serialize, Deserialize)]
pub enum Word {
    /// So far; every now and then.
    Counts(Counts),
    /// All connections of this phase are made, or have failed.
    Settled(Counts),
    /// All messages of the load are sent, and acknowledged as far as they will be.
    Sent(Counts),
    /// The end.
    Report(Box<Report>),
}

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Connections made, subscriptions included.
    pub joined: u64,
    /// Connections that could not be made.
    pub failed: u64,
    /// Connections that ended before we ended them.
    pub dropped: u64,
    /// Messages or pings sent.
    pub sent: u64,
    /// Messages acknowledged, pings answered.
    pub answered: u64,
    /// Acknowledgements that said no (MQTT 5.0).
    pub refused: u64,
    /// Messages received.
    pub received: u64,
    /// Times that the window was full for a second without a delivery, and was opened again.
    pub stalls: u64,
    /// The first thing that went wrong.
    pub trouble: Option<String>,
}

impl Counts {
    /// Adds those of another process.
    pub fn add(&mut self, other: &Counts) {
        self.joined += other.joined;
        self.failed += other.failed;
        self.dropped += other.dropped;
        self.sent += other.sent;
        self.answered += other.answered;
        self.refused += other.refused;
        self.received += other.received;
        self.stalls += other.stalls;
        if self.trouble.is_none() {
            self.trouble.clone_from(&other.trouble);
        }
    }

    /// What moves while things go on: when this stands still, nothing does.
    pub fn movement(&self) -> u64 {
        self.joined + self.failed + self.dropped + self.sent + self.answered + self.refused + self.received
    }
}

/// What a worker has at the end.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Report {
    pub counts: Counts,
    /// From the start of a connection to its last answer before it is ready.
    pub joined: Histogram,
    /// From when a message or ping was due to its acknowledgement or answer.
    pub answered: Histogram,
    /// From when a message was due to its arrival.
    pub delivered: Histogram,
    /// Processor time of the worker itself.
    pub cpu_s: f64,
}
