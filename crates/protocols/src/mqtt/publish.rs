//! Messages from the client: PUBLISH, the acknowledgements that it is owed, PUBREL. An acknowledgement
//! goes out only when the hub has taken the message or, where someone must write it down, has written it.

use contract::{Accepted, Context, Fault, Refusal, Released};
use model::{Qos, Topic};

use super::codec::{Kind, Publish, Reason, put_ack};
use super::refusal::{self, Told};
use super::said::Said;
use super::session::Machine;
use super::terms::Breach;

/// The client publishes.
pub(super) fn on_publish(machine: &mut Machine, cx: &mut Context<'_>, publish: &Publish<'_>) {
    let token = Token { qos: publish.qos, id: publish.id };
    let said = Said::read(&publish.props);
    let topic = match keep_terms(machine, publish, &said) {
        Ok(topic) => topic,
        Err((reason, why)) => return machine.end(cx, reason, Fault::Peer, why),
    };
    if said.too_much {
        return on_refused(machine, cx, token, Refusal::Quota);
    }
    let accepted = cx.hub.publish(contract::Publish {
        topic: topic.as_ref().map_or(publish.topic, Topic::as_str),
        payload: publish.payload,
        qos: publish.qos,
        retain: publish.retain,
        expiry_s: said.expiry_s,
        props: said.props,
        id: publish.id,
        token: token.pack(),
    });
    match accepted {
        Accepted::Now => acknowledge(machine, cx, token),
        Accepted::Later => {}
        Accepted::Refused(refused) => on_refused(machine, cx, token, refused),
    }
}

/// What a level 5 client must keep to. Answers the topic where an alias stands for it.
fn keep_terms(machine: &mut Machine, publish: &Publish<'_>, said: &Said) -> Result<Option<Topic>, Breach> {
    let Some(terms) = &mut machine.terms else { return Ok(None) };
    if publish.qos != Qos::AtMostOnce && !terms.begin() {
        return Err((Reason::ReceiveMax, "more unacknowledged publishes than the CONNACK allows"));
    }
    if said.subscription {
        return Err((Reason::ProtocolError, "a subscription id in a PUBLISH to the server")); // [MQTT-3.3.4-6]
    }
    terms.resolve(publish.topic, said.alias)
}

/// A publish that had to be written down is, or could not be.
pub(super) fn on_published(machine: &mut Machine, cx: &mut Context<'_>, token: u32, result: Result<(), Refusal>) {
    let Some(token) = Token::unpack(token) else { return };
    match result {
        Ok(()) => acknowledge(machine, cx, token),
        Err(refused) => on_refused(machine, cx, token, refused),
    }
}

/// The client has forgotten a QoS 2 message: its packet id is free again [MQTT-4.3.3-2].
pub(super) fn on_pubrel(machine: &mut Machine, cx: &mut Context<'_>, id: u16) {
    let reason = match cx.hub.release(id) {
        Released::Done => Reason::Success,
        // Answered all the same, else a PUBREL that was sent twice would never end.
        Released::Unknown => Reason::PacketIdUnknown,
        // PUBCOMP would tell the client that a message is safe which nobody has written down yet.
        Released::TooEarly => return machine.end(cx, Reason::ProtocolError, Fault::Peer, "a PUBREL before the PUBREC"),
    };
    finish(machine);
    let from = cx.out.len();
    machine.ack(cx, Kind::Pubcomp, id, reason, "");
    // The id is the client's again, and the next message under it must not look like this one.
    cx.hub.say_when_kept(cx.out, from, false);
}

fn acknowledge(machine: &mut Machine, cx: &mut Context<'_>, token: Token) {
    let Some(kind) = token.ack_kind() else { return };
    if kind == Kind::Puback {
        finish(machine);
    }
    put_ack(cx.out, kind, token.id);
}

fn on_refused(machine: &mut Machine, cx: &mut Context<'_>, token: Token, refused: Refusal) {
    if machine.terms.is_some()
        && let Some(kind) = token.ack_kind()
    {
        // Refused is acknowledged: the client does not send it again, and a QoS 2 exchange ends here.
        finish(machine);
        return machine.ack(cx, kind, token.id, refusal::ack_reason(refused, token.qos), &refused.to_string());
    }
    match refusal::publish(refused, token.qos != Qos::AtMostOnce) {
        Told::Acknowledged => acknowledge(machine, cx, token),
        Told::Nothing => {}
        Told::Closed => machine.end(cx, refusal::publish_reason(refused), refusal::fault(refused), refused.to_string()),
    }
}

/// One publish fewer is open.
fn finish(machine: &mut Machine) {
    if let Some(terms) = &mut machine.terms {
        terms.finish();
    }
}

/// What the machine must know when a later answer comes, packed into the contract's token, so that it
/// need not remember QoS 1 publishes at all.
#[derive(Clone, Copy)]
struct Token {
    qos: Qos,
    id: u16,
}

impl Token {
    /// What answers it.
    fn ack_kind(self) -> Option<Kind> {
        match self.qos {
            Qos::AtMostOnce => None,
            Qos::AtLeastOnce => Some(Kind::Puback),
            Qos::ExactlyOnce => Some(Kind::Pubrec),
        }
    }

    fn pack(self) -> u32 {
        (self.qos as u32) << 16 | u32::from(self.id)
    }

    fn unpack(token: u32) -> Option<Token> {
        let [_, qos, high, low] = token.to_be_bytes();
        Some(Token { qos: Qos::from_u8(qos)?, id: u16::from_be_bytes([high, low]) })
    }
}
