//! SUBSCRIBE and UNSUBSCRIBE. Rights and matching are the hub's; here is what the packet itself must be,
//! and the answer: one code a filter, in their order [MQTT-3.9.3-1].

use contract::{Context, Fault, SubscribeOptions};
use model::Filter;
use model::topic::TopicError;

use super::codec::{Kind, Suback, Subscribe, SubscribeCode, Unsubscribe, put_ack};

/// The client wants topics.
pub(super) fn on_subscribe(cx: &mut Context<'_>, subscribe: &Subscribe<'_>) {
    if !well_formed(cx, subscribe.filters().map(|(filter, _)| filter)) {
        return;
    }
    let mut codes = Vec::new();
    for (filter, qos) in subscribe.filters() {
        // Retained messages come with every SUBSCRIBE, a repeated one too [MQTT-3.8.4-3].
        codes.push(match cx.hub.subscribe(filter, SubscribeOptions { qos, ..SubscribeOptions::default() }) {
            Ok(granted) => SubscribeCode::Granted(granted),
            Err(_) => SubscribeCode::Failure,
        });
    }
    if let Err(error) = Suback::encode(cx.out, subscribe.id, &codes) {
        cx.close(Fault::Ours, error.to_string());
    }
}

/// The client no longer wants them.
pub(super) fn on_unsubscribe(cx: &mut Context<'_>, unsubscribe: &Unsubscribe<'_>) {
    if !well_formed(cx, unsubscribe.filters()) {
        return;
    }
    for filter in unsubscribe.filters() {
        // UNSUBACK has no word for a refusal in 3.1.1: what was never there is gone [MQTT-3.10.4-5].
        let _ = cx.hub.unsubscribe(filter);
    }
    put_ack(cx.out, Kind::Unsuback, unsubscribe.id); // also when there was nothing to remove [MQTT-3.10.4-5]
}

/// Closes on a filter that is none by MQTT's own rules [MQTT-4.7.1-2], [MQTT-4.7.1-3], [MQTT-4.7.3-1].
/// One that is merely beyond our limits gets its 0x80 instead.
fn well_formed<'a>(cx: &mut Context<'_>, filters: impl Iterator<Item = &'a str>) -> bool {
    for filter in filters {
        match Filter::parse(filter) {
            Ok(_) | Err(TopicError::TooLong | TopicError::TooDeep) => {}
            Err(error) => {
                cx.close(Fault::Peer, error.to_string());
                return false;
            }
        }
    }
    true
}
