//! Messages from the client: PUBLISH, the acknowledgements that it is owed, PUBREL. An acknowledgement
//! goes out only when the hub has taken the message or, where someone must write it down, has written it.

use contract::{Accepted, Context, Fault, Refusal};
use model::Qos;

use super::codec::{Kind, Publish, put_ack};
use super::refusal::{self, Told};
use super::session::Machine;

/// The client publishes.
pub(super) fn on_publish(machine: &mut Machine, cx: &mut Context<'_>, publish: &Publish<'_>) {
    if publish.qos == Qos::ExactlyOnce {
        match cx.hub.claim(publish.id) {
            Ok(true) => {}
            // A repetition: it is not published again [MQTT-4.3.3-2], but acknowledged again once it is kept.
            Ok(false) => {
                if !machine.unkept.contains(&publish.id) {
                    put_ack(cx.out, Kind::Pubrec, publish.id);
                }
                return;
            }
            Err(refused) => return cx.close(refusal::fault(refused), "too many QoS 2 messages without PUBREL"),
        }
    }
    let token = Token { qos: publish.qos, id: publish.id };
    let accepted = cx.hub.publish(contract::Publish {
        topic: publish.topic,
        payload: publish.payload,
        qos: publish.qos,
        retain: publish.retain,
        token: token.pack(),
    });
    match accepted {
        Accepted::Now => acknowledge(cx, token),
        Accepted::Later if publish.qos == Qos::ExactlyOnce => machine.unkept.push(publish.id),
        Accepted::Later => {}
        Accepted::Refused(refused) => on_refused(cx, token, refused),
    }
}

/// A publish that had to be written down is, or could not be.
pub(super) fn on_published(machine: &mut Machine, cx: &mut Context<'_>, token: u32, result: Result<(), Refusal>) {
    let Some(token) = Token::unpack(token) else { return };
    if token.qos == Qos::ExactlyOnce {
        let Some(place) = machine.unkept.iter().position(|id| *id == token.id) else { return };
        machine.unkept.swap_remove(place);
        if machine.unkept.is_empty() {
            machine.unkept = Vec::new(); // the memory goes back: most connections never need it again
        }
    }
    match result {
        Ok(()) => acknowledge(cx, token),
        Err(refused) => on_refused(cx, token, refused),
    }
}

/// The client has forgotten a QoS 2 message: its packet id is free again [MQTT-4.3.3-2].
pub(super) fn on_pubrel(machine: &mut Machine, cx: &mut Context<'_>, id: u16) {
    if machine.unkept.contains(&id) {
        // PUBCOMP would tell the client that a message is safe which nobody has written down yet.
        return cx.close(Fault::Peer, "a PUBREL before the PUBREC");
    }
    cx.hub.release(id);
    // Also for an id that we do not know, else a PUBREL that was sent twice would never end.
    put_ack(cx.out, Kind::Pubcomp, id);
}

fn acknowledge(cx: &mut Context<'_>, token: Token) {
    match token.qos {
        Qos::AtMostOnce => {}
        Qos::AtLeastOnce => put_ack(cx.out, Kind::Puback, token.id),
        Qos::ExactlyOnce => put_ack(cx.out, Kind::Pubrec, token.id),
    }
}

fn on_refused(cx: &mut Context<'_>, token: Token, refused: Refusal) {
    match refusal::publish(refused, token.qos != Qos::AtMostOnce) {
        Told::Acknowledged => acknowledge(cx, token),
        Told::Nothing => {}
        Told::Closed => {
            if token.qos == Qos::ExactlyOnce {
                cx.hub.release(token.id); // the client sends it again, and then it must count as new
            }
            cx.close(refusal::fault(refused), refused.to_string());
        }
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
    fn pack(self) -> u32 {
        (self.qos as u32) << 16 | u32::from(self.id)
    }

    fn unpack(token: u32) -> Option<Token> {
        let [_, qos, high, low] = token.to_be_bytes();
        Some(Token { qos: Qos::from_u8(qos)?, id: u16::from_be_bytes([high, low]) })
    }
}
