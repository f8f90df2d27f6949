//! What came of a run: counts, rates, latencies, and what the server spent on it.

use serde::Serialize;

use crate::histogram::Histogram;
use crate::plan::Plan;
use crate::procfs::Usage;
use crate::words::Counts;

/// The figures of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Connections that were made, subscriptions included.
    pub connected: u64,
    /// Connections that could not be made.
    pub failed: u64,
    /// Connections that ended before we ended them.
    pub dropped: u64,
    /// How long connecting took.
    pub connect_s: f64,
    /// From the start of a connection until it was ready.
    pub connect_latency: Latency,
    /// Messages or pings sent.
    pub sent: u64,
    /// Messages acknowledged, or pings answered.
    pub acknowledged: u64,
    /// Acknowledgements that said no.
    pub refused: u64,
    /// Deliveries that the messages should have led to.
    pub expected: u64,
    /// Deliveries that there were.
    pub received: u64,
    /// Of those, how many had waited for subscribers that were away.
    pub collected: u64,
    /// From the first message until nothing moved any more.
    pub load_s: f64,
    /// Messages or pings sent a second.
    pub sent_per_s: f64,
    /// Messages acknowledged or pings answered a second.
    pub acknowledged_per_s: f64,
    /// Deliveries a second.
    pub received_per_s: f64,
    /// From when a message or ping was due to its acknowledgement or answer.
    pub acknowledge_latency: Latency,
    /// From when a message was due to its delivery.
    pub delivery_latency: Latency,
    /// Times that a full window had to be opened because nothing was delivered any more.
    pub stalls: u64,
    /// What the server spent, if its process was named.
    pub server: Option<Spent>,
    /// Processes that made the load, and their processor time.
    pub workers: u32,
    /// See `workers`.
    pub workers_cpu_s: f64,
    /// The first thing that went wrong.
    pub trouble: Option<String>,
}

/// Times in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Latency {
    pub count: u64,
    pub mean_us: f64,
    pub p50_us: f64,
    pub p90_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub max_us: f64,
}

impl From<&Histogram> for Latency {
    fn from(of: &Histogram) -> Latency {
        let us = |ns: u64| ns as f64 / 1000.0;
        let at = |share| us(of.quantile_ns(share));
        let (count, mean_us, max_us) = (of.count(), us(of.mean_ns()), us(of.max_ns()));
        Latency { count, mean_us, p50_us: at(0.5), p90_us: at(0.9), p99_us: at(0.99), p999_us: at(0.999), max_us }
    }
}

/// What a server spent.
#[derive(Clone, Debug, Serialize)]
pub struct Spent {
    /// Processor time while connections were made.
    pub connect_cpu_s: f64,
    /// The same for a million connections with their subscriptions.
    pub connect_cpu_s_per_million: f64,
    /// Processor time of the load, or of holding the connections.
    pub load_cpu_s: f64,
    /// The same for a million of `per`.
    pub load_cpu_s_per_million: f64,
    /// What is counted: deliveries, or messages that nobody got, or pings.
    pub per: &'static str,
    /// Resident memory before the first connection.
    pub memory_before_bytes: u64,
    /// With all connections, before the load; without a load, at the end.
    pub memory_connected_bytes: u64,
    /// After the load.
    pub memory_after_bytes: u64,
    /// Growth of memory by the connections, for each of them.
    pub bytes_per_connection: f64,
}

/// What the server had spent at the moments between the phases.
#[derive(Clone, Copy, Default)]
pub struct Samples {
    pub before: Usage,
    pub connected: Usage,
    pub held: Usage,
    pub after: Usage,
}

impl Spent {
    pub(crate) fn of(plan: &Plan, counts: &Counts, samples: &Samples) -> Spent {
        let million = |cpu_s: f64, count: u64| if count > 0 { cpu_s * 1e6 / count as f64 } else { 0.0 };
        let (count, per) = match (plan.fan_out(), counts.received) {
            (0, _) => (counts.answered, "pings"),
            (_, 0) => (counts.sent, "messages"),
            (_, received) => (received, "deliveries"),
        };
        let Samples { before, connected, held, after } = samples;
        let connect_cpu_s = connected.cpu_s - before.cpu_s;
        let load_cpu_s = after.cpu_s - held.cpu_s;
        let grown = held.memory_bytes.saturating_sub(before.memory_bytes) as f64;
        Spent {
            connect_cpu_s,
            connect_cpu_s_per_million: million(connect_cpu_s, counts.joined),
            load_cpu_s,
            load_cpu_s_per_million: million(load_cpu_s, count),
            per,
            memory_before_bytes: before.memory_bytes,
            memory_connected_bytes: held.memory_bytes,
            memory_after_bytes: after.memory_bytes,
            bytes_per_connection: if counts.joined > 0 { grown / counts.joined as f64 } else { 0.0 },
        }
    }
}
