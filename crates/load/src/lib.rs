//! The load generator behind `espush bench`: thousands of connections that a broker takes for devices, on
//! one epoll and raw sockets a process, with a few dozen bytes of state each, so that what is measured is
//! the broker. Knows the server by its port alone, so that any MQTT broker can be measured the same way.
//!
//! | file | |
//! |---|---|
//! | `plan` | what is to be done, and who of the connections does what |
//! | `coordinator` | starts worker processes, leads them through the phases, asks what the server spent |
//! | `worker`, `joining`, `loading`, `reading` | one process: its turn, how connections begin and end, who publishes when, what comes back |
//! | `conn`, `wire` | one connection; its packets |
//! | `pacing`, `histogram` | when each message was due; how long each took |
//! | `outcome`, `words`, `procfs` | what came of it; what the processes tell each other; the server's CPU and memory |
//!
//! Deliberately absent: an MQTT client that anybody should use for anything else. It answers what it must
//! and believes what it is told.

mod conn;
mod coordinator;
mod histogram;
mod joining;
mod loading;
mod outcome;
mod pacing;
mod plan;
mod procfs;
mod reading;
mod wire;
mod words;
mod worker;

pub use coordinator::{Progress, RunError, run};
pub use histogram::Histogram;
pub use outcome::{Latency, Outcome, Spent};
pub use plan::{Mqtt, Plan, Sessions, Who, Work};
pub use worker::work;
