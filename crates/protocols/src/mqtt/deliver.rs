//! Messages to the client and its acknowledgements. The hub's slot is the packet id, so nothing needs to
//! be remembered here; which of them are open, and what is sent again after a reconnect, is the hub's.

use contract::{Context, Delivery, Outcome};
use model::Qos;

use super::codec::{Kind, Publish, put_ack};

/// The hub has something for the client.
pub(super) fn on_delivery(cx: &mut Context<'_>, delivery: &Delivery) {
    match delivery {
        Delivery::Message { message, as_me, qos, slot, retain, again, .. } => {
            // Without a slot nobody could acknowledge it.
            let (qos, id) = slot.map_or((Qos::AtMostOnce, 0), |slot| (*qos, slot));
            let topic = Delivery::shown_topic(&message.topic, *as_me);
            let publish = Publish { dup: *again, qos, retain: *retain, topic: &topic, id, payload: &message.payload };
            if let (Err(error), Some(slot)) = (publish.encode(cx.out), slot) {
                cx.hub.settle(*slot, Outcome::Refused(error.to_string()));
            }
        }
        Delivery::Release { slot } => put_ack(cx.out, Kind::Pubrel, *slot),
    }
}

/// QoS 1: the client has it.
pub(super) fn on_puback(cx: &mut Context<'_>, id: u16) {
    cx.hub.settle(id, Outcome::Delivered);
}

/// QoS 2: the client has it, and will not take it as new again.
pub(super) fn on_pubrec(cx: &mut Context<'_>, id: u16) {
    cx.hub.received(id);
    // Also for an id that we do not know, else a PUBREC that was sent twice would never end.
    put_ack(cx.out, Kind::Pubrel, id);
}

/// QoS 2: done.
pub(super) fn on_pubcomp(cx: &mut Context<'_>, id: u16) {
    cx.hub.settle(id, Outcome::Delivered);
}
