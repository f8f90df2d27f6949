//! A line that takes everything and tells nothing, and a bus that nobody listens to: for examples that weigh
//! or time one room alone.

use contract::{Bus, Close, Event, Line, Refusal, ScramKeys, Ticket, Verdict};
use model::{Address, DeviceNumber, Message, PartyKey};

/// Nobody.
pub struct Nobody;

impl Line for Nobody {
    fn publish(&self, _: Message) {}
    fn send(&self, _: u64, _: Address, _: DeviceNumber, _: Message) {}
    fn push(&self, _: DeviceNumber, _: Message) {}
    fn decide(&self, _: Ticket, _: Verdict) {}
    fn scram(&self, _: Ticket, _: ScramKeys) {}
    fn published(&self, _: Ticket, _: Result<(), Refusal>) {}
    fn kick(&self, _: PartyKey, _: Close, _: bool) {}
}

impl Bus for Nobody {
    fn emit(&self, batch: &mut Vec<Event>) {
        batch.clear();
    }

    fn watched(&self) -> bool {
        false
    }
}
