//! CONNECT and its answer. Who may come in is the gate's business; this file turns the packet into a
//! [`Hello`] and the verdict into a CONNACK.

use bytes::Bytes;
use contract::{Context, Fault, Hello, Refusal, Welcome, Will};
use model::{Topic, limits};

use super::codec::{self, Connack, Connect, DecodeError, Head, Level, Reason};
use super::quirks::Firmware;
use super::said::Said;
use super::session::{Machine, Stage};
use super::terms::Terms;
use super::{auth, quirks, refusal};

/// The client presents itself.
pub(super) fn on_connect(machine: &mut Machine, cx: &mut Context<'_>, connect: &Connect<'_>) {
    let five = connect.level == Level::V5;
    machine.stage = Stage::Asked(connect.level);
    machine.old = connect.level == Level::V31;
    let most = std::mem::replace(&mut machine.keep_alive_s, connect.keep_alive_s);
    machine.terms = five.then(|| Box::new(Terms::offered(&connect.props)));
    if let Some(terms) = &mut machine.terms
        && most != 0
        && (connect.keep_alive_s == 0 || connect.keep_alive_s > most)
    {
        // Told in the CONNACK, and the client must keep to it [MQTT-3.1.2-21].
        machine.keep_alive_s = most;
        terms.keep_alive_s = Some(most);
    }
    let first = match auth::first(&connect.props) {
        Ok(first) => first,
        Err((reason, why)) => return machine.refuse(cx, reason, Fault::Lack, why), // section 4.12
    };
    // Before 5.0 a kept session without a name could never be found again [MQTT-3.1.3-7], [MQTT-3.1.3-8].
    let lost = connect.client.is_empty() && !connect.clean && !five;
    if lost || connect.client.len() > limits::CLIENT_ID_BYTES_MAX {
        return on_refused(machine, cx, Refusal::BadClientId); // [MQTT-3.1.3-9]
    }
    let will = match connect.will.map(|will| will_of(&will)).transpose() {
        Ok(will) => will,
        Err((reason, why)) => return machine.end(cx, reason, Fault::Peer, format!("the will: {why}")),
    };
    let (keep_s, receive_max) = match &mut machine.terms {
        Some(terms) => {
            terms.nameless = connect.client.is_empty();
            (terms.keep_s, terms.receive_max)
        }
        // 3.1.1 knows only these two: the session ends with the line, or it is kept [MQTT-3.1.2-4], [MQTT-3.1.2-6].
        None => (if connect.clean { 0 } else { u32::MAX }, u16::MAX),
    };
    let hello = Hello {
        login: quirks::login(connect),
        client: connect.client.to_owned(),
        clean: connect.clean,
        keep_s,
        will,
        inflight_max: receive_max, // [MQTT-3.3.4-9]; the hub has its own maximum
        firmware: None,
    };
    match (first, &mut machine.terms) {
        (Some(first), Some(terms)) => auth::begin(terms, cx, first, hello),
        _ => cx.hub.hello(hello),
    }
}

fn will_of(will: &codec::Will<'_>) -> Result<Will, (Reason, String)> {
    Topic::parse(will.topic).map_err(|error| (Reason::BadTopic, error.to_string()))?;
    let said = Said::read(&will.props);
    if said.too_much {
        return Err((Reason::Quota, Refusal::Quota.to_string()));
    }
    Ok(Will {
        topic: will.topic.to_owned(),
        payload: Bytes::copy_from_slice(will.payload),
        qos: will.qos,
        retain: will.retain,
        delay_s: said.delay_s,
        expiry_s: said.expiry_s,
        props: said.props,
    })
}

/// The gate let it in.
pub(super) fn on_welcome(machine: &mut Machine, cx: &mut Context<'_>, welcome: &Welcome) {
    let Stage::Asked(level) = machine.stage else { return };
    machine.firmware = Firmware::of(&welcome.settings);
    let shown = machine.firmware.as_ref().is_none_or(|firmware| firmware.shows_session_present());
    let session_present = welcome.resumed && shown && quirks::shows_session_present(level);
    let connack = Connack { session_present, reason: Reason::Success, props: codec::Properties::NONE };
    let from = cx.out.len();
    let said = match &machine.terms {
        None => connack.encode(level, cx.out),
        Some(terms) => terms
            .answer(welcome, machine.packet_bytes_max)
            .and_then(|list| Connack { props: list.view(), ..connack }.encode(level, cx.out)),
    };
    let bytes_max = machine.terms.as_ref().map_or(usize::MAX, |terms| terms.packet_bytes_max);
    if said.is_err() || cx.out.len() - from > bytes_max {
        cx.out.truncate(from);
        return cx.close(Fault::Lack, format!("the client takes packets of {bytes_max} bytes, fewer than a CONNACK has"));
    }
    if let Some(terms) = &mut machine.terms {
        terms.proving = None;
    }
    machine.stage = Stage::Open;
    machine.seen = cx.now;
    *cx.wake_at = machine.deadline();
}

/// The gate did not.
pub(super) fn on_refused(machine: &mut Machine, cx: &mut Context<'_>, refused: Refusal) {
    machine.refuse(cx, refusal::connect_reason(refused), refusal::fault(refused), refused.to_string());
}

/// The gate did not answer in time.
pub(super) fn on_gate_silent(machine: &mut Machine, cx: &mut Context<'_>) {
    machine.refuse(cx, Reason::Unavailable, Fault::Ours, "the login was not decided in time");
}

/// The first packet is none. 3.1.1 has an answer for a level that we lack only [MQTT-3.1.2-2]; 5.0 has one
/// for everything, once we know that it is 5.0 (section 3.1.4).
pub(super) fn on_malformed(machine: &mut Machine, cx: &mut Context<'_>, input: &[u8], error: DecodeError) {
    let body = Head::read(Level::V311, input).ok().flatten().and_then(|head| head.body(input));
    if body.is_some_and(|body| Connect::level(body) == Ok(Level::V5)) {
        machine.terms = Some(Box::new(Terms::offered(&codec::Properties::NONE)));
        machine.refuse(cx, error.reason(), error.fault(), error.to_string());
    } else if let DecodeError::Level(_) = error {
        machine.refuse(cx, Reason::Version, error.fault(), error.to_string());
    } else {
        cx.close(error.fault(), error.to_string());
    }
}
