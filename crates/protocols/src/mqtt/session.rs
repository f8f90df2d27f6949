//! One MQTT connection's life.

use contract::session::Peer;
use contract::{Answer, Context, Delivery, Session};

/// The machine of one connection.
pub struct Machine {
    opened: model::Millis,
}

impl Machine {
    /// A machine for a connection that was just accepted.
    pub fn new(peer: Peer) -> Machine {
        Machine { opened: peer.now }
    }
}

impl Session for Machine {
    fn on_open(&mut self, cx: &mut Context<'_>) {
        *cx.wake_at = Some(self.opened.plus_s(model::limits::LOGIN_S_MAX));
    }

    fn on_bytes(&mut self, _cx: &mut Context<'_>, input: &[u8]) -> usize {
        input.len()
    }

    fn on_delivery(&mut self, _cx: &mut Context<'_>, _delivery: &Delivery) {}

    fn on_answer(&mut self, _cx: &mut Context<'_>, _answer: Answer) {}

    fn on_timer(&mut self, _cx: &mut Context<'_>) {}
}
