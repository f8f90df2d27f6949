//! Messages to the client and its acknowledgements. The hub's slot is the packet id, so nothing needs to
//! be remembered here; which of them are open, and what is sent again after a reconnect, is the hub's.

use bytes::Bytes;
use contract::{Awaited, Context, Delivery, Fault, Outcome};
use model::Qos;
use model::message::Message;

use super::codec::{Ack, Kind, Level, Properties, Property, PropertyList, Publish, Reason, put_ack};
use super::said;
use super::session::Machine;
use super::terms::Terms;

/// The hub has something for the client.
pub(super) fn on_delivery(machine: &mut Machine, cx: &mut Context<'_>, delivery: &Delivery) {
    match delivery {
        Delivery::Message { message, as_me, qos, slot, retain, again, ids, expiry_s, .. } => {
            // Without a slot nobody could acknowledge it.
            let (qos, id) = slot.map_or((Qos::AtMostOnce, 0), |slot| (*qos, slot));
            let topic = Delivery::shown_topic(&message.topic, *as_me);
            let payload = &message.payload;
            let publish = Publish { dup: *again, qos, retain: *retain, topic: &topic, id, props: Properties::NONE, payload };
            let firmware_max = machine.firmware.as_ref().and_then(|firmware| firmware.packet_bytes_max).unwrap_or(usize::MAX);
            let put = match &mut machine.terms {
                None => put_plain(cx.out, &publish, firmware_max),
                Some(terms) => {
                    let bytes_max = terms.packet_bytes_max.min(firmware_max);
                    put_on_terms(terms, cx.out, publish, message, ids, *expiry_s, bytes_max)
                }
            };
            if let Err(why) = put {
                cx.hub.note(&why);
                // At QoS 0 it counts as sent [MQTT-3.1.2-25].
                if let Some(slot) = slot {
                    cx.hub.settle(*slot, Outcome::Refused(why));
                }
            }
        }
        Delivery::Release { slot } => put_ack(cx.out, Kind::Pubrel, *slot),
    }
}

/// Appends a message, if the client takes a packet of that size.
fn put_plain(out: &mut Vec<u8>, publish: &Publish<'_>, bytes_max: usize) -> Result<(), String> {
    let from = out.len();
    publish.encode(Level::V311, out).map_err(|error| error.to_string())?;
    fits(out, from, bytes_max)
}

/// Takes back what was appended since `from` if it is more than the client takes.
fn fits(out: &mut Vec<u8>, from: usize, bytes_max: usize) -> Result<(), String> {
    let bytes = out.len() - from;
    if bytes <= bytes_max {
        return Ok(());
    }
    out.truncate(from);
    Err(format!("the device takes packets of at most {bytes_max} bytes and this one has {bytes}; send less at once"))
}

/// Appends a message with all that 5.0 says beside it, if the client takes a packet of that size.
fn put_on_terms(
    terms: &mut Terms,
    out: &mut Vec<u8>,
    publish: Publish<'_>,
    message: &Message,
    ids: &[u32],
    expiry_s: Option<u32>,
    bytes_max: usize,
) -> Result<(), String> {
    let (topic, from) = (publish.topic, out.len());
    let alias = terms.alias_of(topic);
    let mut list = PropertyList::default();
    let mut put = said::write(&mut list, expiry_s, message.props.as_deref(), ids);
    let mut shown = topic;
    if let Some((alias, known)) = alias {
        put = put.and_then(|()| list.push(Property::TopicAlias(alias)));
        shown = if known { "" } else { topic };
    }
    let publish = Publish { topic: shown, props: list.view(), ..publish };
    put.and_then(|()| publish.encode(Level::V5, out)).map_err(|error| error.to_string())?;
    fits(out, from, bytes_max)?;
    if let Some((_, false)) = alias {
        terms.alias_sent(topic);
    }
    Ok(())
}

/// Whether an acknowledgement is of the kind that its delivery waits for; one that waits for nothing any
/// more takes them all. The wrong kind says nothing of what the client has, and ends the line [MQTT-4.8.0-1].
fn fits_exchange(machine: &mut Machine, cx: &mut Context<'_>, id: u16, wanted: &[Awaited], what: &str) -> bool {
    let fits = cx.hub.awaited(id).is_none_or(|awaited| wanted.contains(&awaited));
    if !fits {
        machine.end(
            cx,
            Reason::ProtocolError,
            Fault::Peer,
            format!("a {what} for a message that waits for another acknowledgement"),
        );
    }
    fits
}

/// QoS 1: the client has it, or in 5.0 will not have it; either way it is not sent again [MQTT-4.4.0-2].
pub(super) fn on_puback(machine: &mut Machine, cx: &mut Context<'_>, ack: &Ack<'_>) {
    if fits_exchange(machine, cx, ack.id, &[Awaited::Settled], "PUBACK") {
        cx.hub.settle(ack.id, outcome(ack));
    }
}

/// QoS 2: the client has it, and will not take it as new again.
pub(super) fn on_pubrec(machine: &mut Machine, cx: &mut Context<'_>, ack: &Ack<'_>) {
    if !fits_exchange(machine, cx, ack.id, &[Awaited::Received, Awaited::Ended], "PUBREC") {
        return;
    }
    if ack.reason.is_error() {
        // The exchange is over and the packet id free [MQTT-4.3.3-4].
        cx.hub.settle(ack.id, outcome(ack));
        return;
    }
    let known = cx.hub.received(ack.id);
    // Also for an id that we do not know, else a PUBREC that was sent twice would never end.
    let reason = if known { Reason::Success } else { Reason::PacketIdUnknown };
    let from = cx.out.len();
    machine.ack(cx, Kind::Pubrel, ack.id, reason, "");
    // From here on the client would take the message as new: it must not be sent again, whatever happens.
    cx.hub.say_when_kept(cx.out, from, false);
}

/// QoS 2: done.
pub(super) fn on_pubcomp(machine: &mut Machine, cx: &mut Context<'_>, id: u16) {
    if fits_exchange(machine, cx, id, &[Awaited::Ended], "PUBCOMP") {
        cx.hub.settle(id, Outcome::Delivered);
    }
}

fn outcome(ack: &Ack<'_>) -> Outcome {
    if !ack.reason.is_error() {
        return Outcome::Delivered;
    }
    let words = ack.props.iter().find_map(|property| match property {
        Property::ReasonString(words) => Some(words),
        _ => None,
    });
    let reason = ack.reason.as_str();
    let why = match words {
        Some(words) => format!("the device says: {reason}: {words}"),
        None => format!("the device says: {reason}"),
    };
    Outcome::Failed(why, Bytes::new())
}
