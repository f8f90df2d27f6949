//! What the platform may ask of the shards. Every call returns at once; what comes of it is an event.

use model::{Address, DeviceNumber, Message, PartyKey};

use crate::gate::{Refusal, ScramKeys, Verdict};
use crate::place::Ticket;
use crate::session::Close;

/// The way from the platform to the devices' lines.
pub trait Line: Send + Sync {
    /// Publishes to whoever subscribes, on all shards.
    fn publish(&self, message: Message);

    /// Gives a message to one device's open lines. The message carries a receipt; its fate comes as
    /// `Event::Receipt`, `Step::Nobody` when no line wants it.
    fn push(&self, device: DeviceNumber, message: Message);

    /// Gives a message that came from a number to one device, if it listens on its topic `from/<number>`. What
    /// comes of it is `Event::Sent` with the same `send`.
    fn send(&self, send: u64, from: Address, device: DeviceNumber, message: Message);

    /// Answers a hello that had to wait.
    fn decide(&self, ticket: Ticket, verdict: Verdict);

    /// Gives the keys that a SCRAM exchange waits for.
    fn scram(&self, ticket: Ticket, keys: ScramKeys);

    /// Answers a publish that had to wait: `Ok` only when it is kept.
    fn published(&self, ticket: Ticket, result: Result<(), Refusal>);

    /// Ends the lines of a device, a token, an account or of all anonymous clients; `forget` also drops its kept sessions.
    fn kick(&self, whom: PartyKey, why: Close, forget: bool);
}
