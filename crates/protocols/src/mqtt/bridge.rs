//! A bridge: this broker as a client of another one, so that a house can move from one to the other a
//! device at a time. `plan` is what the configuration says, `machine` speaks on the connection, `reserve`
//! begins the session before the remote was ever there. The line is dialled by `net`; messages that wait
//! for the remote wait in the hub, as for any client that is away.
//! Deliberately absent: MQTT 5.0 towards the remote, and any queue of its own.

mod machine;
mod plan;
mod reserve;
#[cfg(test)]
mod tests;

pub use machine::{Machine, Note, Tell};
pub use plan::{BridgePlan, BridgeTopic, Direction, TopicRefused};
pub use reserve::Reserve;
