//! Begins a bridge's session without any line: from then on the hub keeps for the remote what is published
//! at QoS 1 and 2, even if the remote has not been reached once since the program started.

use std::sync::Arc;

use contract::{Answer, Context, Delivery, Fault, RetainedWanted, Session};

use super::BridgePlan;
use super::machine::{hello, subscribe_here};

/// The machine of no line. It ends as soon as the session is there.
pub struct Reserve(Arc<BridgePlan>);

impl Reserve {
    /// A machine that begins the session of `plan`. `None` when that session is not to outlive a line.
    pub fn new(plan: Arc<BridgePlan>) -> Option<Reserve> {
        (!plan.clean).then_some(Reserve(plan))
    }
}

impl Session for Reserve {
    fn on_open(&mut self, cx: &mut Context<'_>) {
        cx.hub.hello(hello(&self.0));
    }

    fn on_bytes(&mut self, _: &mut Context<'_>, input: &[u8]) -> usize {
        input.len()
    }

    fn on_delivery(&mut self, _: &mut Context<'_>, _: &Delivery) {}

    fn on_answer(&mut self, cx: &mut Context<'_>, answer: Answer) {
        match answer {
            Answer::Welcome(_) => {
                // The last values are fetched when the remote is there.
                if subscribe_here(&self.0, cx, |_| RetainedWanted::Never) {
                    cx.close(Fault::Nobody, "the bridge's session has begun");
                }
            }
            Answer::Refused(refusal) => cx.close(Fault::Ours, refusal.to_string()),
            Answer::Scram(_) => {} // never asked for
            Answer::Published { .. } | Answer::Say(_) => {}
            Answer::Closing { close, .. } => cx.close(close.fault, close.why),
        }
    }

    fn on_timer(&mut self, _: &mut Context<'_>) {}
}
