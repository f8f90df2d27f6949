//! MQTT 3.1.1 and 5.0 (and 3.1 from old firmware): its registration. The packets are in [`codec`], one
//! connection's life in `session`. See README.md for the clauses and how to try it.

use contract::Protocol;

mod auth;
pub mod bridge;
pub mod codec;
mod connect;
mod deliver;
mod disconnect;
#[doc(hidden)]
pub mod fuzz;
mod publish;
mod quirks;
mod refusal;
mod reply;
mod rig;
mod said;
mod scram;
mod session;
mod subscribe;
mod terms;
#[cfg(test)]
mod tests;

/// The registration line.
pub const PROTOCOL: Protocol = Protocol {
    name: "mqtt",
    listen_default: "0.0.0.0:1883",
    push_bytes_max: model::limits::PUSH_PAYLOAD_BYTES_MAX,
    twins: true,
    open: |peer| Box::new(session::Machine::new(peer)),
};
