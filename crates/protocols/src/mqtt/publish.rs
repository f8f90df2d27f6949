//! Messages from the client: PUBLISH, the acknowledgements that it is owed, PUBREL. An acknowledgement
//! goes out only when the hub has taken the message or, where someone must write it down, has written it.

use contract::{Accepted, Context, Fault, Refusal, Released};
use model::Qos;

use super::codec::{Kind, Publish, put_ack};
use super::refusal::{self, Told};

/// The client publishes.
pub(super) fn on_publish(cx: &mut Context<'_>, publish: &Publish<'_>) {
    let token = Token { qos: publish.qos, id: publish.id };
    let accepted = cx.hub.publish(contract::Publish {
        topic: publish.topic,
        payload: publish.payload,
        qos: publish.qos,
        retain: publish.retain,
        id: publish.id,
        token: token.pack(),
        ..contract::Publish::default()
    });
    match accepted {
        Accepted::Now => acknowledge(cx, token),
        Accepted::Later => {}
        Accepted::Refused(refused) => on_refused(cx, token, refused),
    }
}

/// A publish that had to be written down is, or could not be.
pub(super) fn on_published(cx: &mut Context<'_>, token: u32, result: Result<(), Refusal>) {
    let Some(token) = Token::unpack(token) else { return };
    match result {
        Ok(()) => acknowledge(cx, token),
        Err(refused) => on_refused(cx, token, refused),
    }
}

/// The client has forgotten a QoS 2 message: its packet id is free again [MQTT-4.3.3-2].
pub(super) fn on_pubrel(cx: &mut Context<'_>, id: u16) {
    if cx.hub.release(id) == Released::TooEarly {
        // PUBCOMP would tell the client that a message is safe which nobody has written down yet.
        return cx.close(Fault::Peer, "a PUBREL before the PUBREC");
    }
    // Also for an id that is not known, else a PUBREL that was sent twice would never end.
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
        Told::Closed => cx.close(refusal::fault(refused), refused.to_string()),
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
