//! CONNECT and its answer. Who may come in is the gate's business; this file turns the packet into a
//! [`Hello`] and the verdict into a CONNACK.

use bytes::Bytes;
use contract::{Context, Fault, Hello, Refusal, Welcome, Will};
use model::{Topic, limits};

use super::codec::{Connack, Connect, ConnectCode, DecodeError};
use super::session::{Machine, Stage};
use super::{quirks, refusal};

/// The client presents itself.
pub(super) fn on_connect(machine: &mut Machine, cx: &mut Context<'_>, connect: &Connect<'_>) {
    // Without a name a kept session could never be found again [MQTT-3.1.3-7], [MQTT-3.1.3-8].
    let nameless = connect.client.is_empty() && !connect.clean;
    if nameless || connect.client.len() > limits::CLIENT_ID_BYTES_MAX {
        return refuse(cx, ConnectCode::ClientId, Fault::Refused, Refusal::BadClientId.to_string()); // [MQTT-3.1.3-9]
    }
    if let Some(will) = &connect.will
        && let Err(error) = Topic::parse(will.topic)
    {
        return cx.close(Fault::Peer, format!("the will's topic: {error}"));
    }
    machine.stage = Stage::Asked(connect.level);
    machine.keep_alive_s = connect.keep_alive_s;
    cx.hub.hello(Hello {
        login: quirks::login(connect),
        client: connect.client.to_owned(),
        clean: connect.clean,
        // 3.1.1 knows only these two: the session ends with the line, or it is kept [MQTT-3.1.2-4], [MQTT-3.1.2-6].
        keep_s: if connect.clean { 0 } else { u32::MAX },
        will: connect.will.map(|will| Will {
            topic: will.topic.to_owned(),
            payload: Bytes::copy_from_slice(will.payload),
            qos: will.qos,
            retain: will.retain,
            ..Will::default()
        }),
        inflight_max: limits::INFLIGHT_MAX,
        firmware: None,
    });
}

/// The gate let it in.
pub(super) fn on_welcome(machine: &mut Machine, cx: &mut Context<'_>, welcome: &Welcome) {
    let Stage::Asked(level) = machine.stage else { return };
    let session_present = welcome.resumed && quirks::shows_session_present(level);
    Connack { session_present, code: ConnectCode::Accepted }.encode(cx.out);
    machine.stage = Stage::Open;
    machine.seen = cx.now;
    *cx.wake_at = machine.deadline();
}

/// The gate did not.
pub(super) fn on_refused(cx: &mut Context<'_>, refused: Refusal) {
    refuse(cx, refusal::connect_code(refused), refusal::fault(refused), refused.to_string());
}

/// The gate did not answer in time.
pub(super) fn on_gate_silent(cx: &mut Context<'_>) {
    refuse(cx, ConnectCode::Unavailable, Fault::Ours, "the login was not decided in time".to_owned());
}

/// A level that we lack is the one decoding error that has an answer of its own [MQTT-3.1.2-2].
pub(super) fn refuse_level(cx: &mut Context<'_>, error: DecodeError) {
    if let DecodeError::Level(_) = error {
        Connack { session_present: false, code: ConnectCode::Version }.encode(cx.out);
    }
}

/// A CONNACK with a code is followed by the end [MQTT-3.2.2-5].
fn refuse(cx: &mut Context<'_>, code: ConnectCode, fault: Fault, why: String) {
    Connack { session_present: false, code }.encode(cx.out);
    cx.close(fault, why);
}
