//! Enhanced authentication (section 4.12): CONNECT, a challenge, a proof, CONNACK. One method is offered,
//! SCRAM-SHA-256, for devices: the user name is the device id, the password its secret. What the exchange
//! means is in [`scram`](super::scram); here it is carried.

use contract::{Context, Fault, Hello, Login, Refusal, ScramKeys};

use super::codec::{Disconnect, Kind, Level, Properties, Property, PropertyList, Reason};
use super::refusal;
use super::scram::{self, Challenge, First, ScramError};
use super::session::{Machine, Stage};
use super::terms::Terms;

/// A proof under way.
pub(super) struct Proving {
    hello: Hello,
    first: First,
    step: Step,
}

enum Step {
    /// The keys are with the gate.
    Asked,
    /// The client has our challenge.
    Challenged(Challenge),
    /// The client has proved it; this proves that we know the secret too.
    Proved(String),
}

impl Proving {
    /// Our side of the proof, for the CONNACK.
    pub fn our_proof(&self) -> Option<&str> {
        match &self.step {
            Step::Proved(proof) => Some(proof),
            _ => None,
        }
    }
}

/// The client's first message, if its CONNECT names a method; why not, if we cannot use it.
pub(super) fn first(props: &Properties<'_>) -> Result<Option<First>, (Reason, String)> {
    let Some((method, data)) = method_and_data(props) else { return Ok(None) };
    if method != scram::METHOD {
        return Err((Reason::BadAuthMethod, format!("the only method offered is {}", scram::METHOD)));
    }
    First::read(data).map(Some).map_err(|error| (Reason::NotAuthorised, error.to_string()))
}

fn method_and_data<'a>(props: &Properties<'a>) -> Option<(&'a str, &'a [u8])> {
    let (mut method, mut data) = (None, &[][..]);
    for property in props.iter() {
        match property {
            Property::AuthMethod(name) => method = Some(name),
            Property::AuthData(bytes) => data = bytes,
            _ => {}
        }
    }
    method.map(|method| (method, data))
}

/// Asks for the keys. The `hello` waits for the proof.
pub(super) fn begin(terms: &mut Terms, cx: &mut Context<'_>, first: First, hello: Hello) {
    cx.hub.scram(&first.user);
    terms.proving = Some(Box::new(Proving { hello, first, step: Step::Asked }));
}

/// The keys are here: the client gets its challenge.
pub(super) fn on_keys(machine: &mut Machine, cx: &mut Context<'_>, keys: ScramKeys) {
    let Some(proving) = machine.terms.as_mut().and_then(|terms| terms.proving.as_mut()) else { return };
    if !matches!(proving.step, Step::Asked) {
        return;
    }
    let (challenge, words) = Challenge::new(&proving.first, keys);
    proving.step = Step::Challenged(challenge);
    let mut list = PropertyList::default();
    let (from, bytes_max) = (cx.out.len(), machine.terms.as_ref().map_or(usize::MAX, |terms| terms.packet_bytes_max));
    let put = list
        .push(Property::AuthMethod(scram::METHOD))
        .and_then(|()| list.push(Property::AuthData(words.as_bytes())))
        .and_then(|()| Disconnect { reason: Reason::ContinueAuth, props: list.view() }.encode(Level::V5, Kind::Auth, cx.out));
    if put.is_ok() && cx.out.len() - from <= bytes_max {
        machine.stage = Stage::Proving;
    } else {
        cx.out.truncate(from); // [MQTT-3.1.2-24]
        machine.refuse(
            cx,
            Reason::Unspecified,
            Fault::Lack,
            "the client takes only packets that are too small for the challenge",
        );
    }
}

/// The client's proof.
pub(super) fn on_auth(machine: &mut Machine, cx: &mut Context<'_>, auth: &Disconnect<'_>) {
    machine.stage = Stage::Asked(Level::V5);
    let Some(proving) = machine.terms.as_mut().and_then(|terms| terms.proving.as_mut()) else { return };
    let Step::Challenged(challenge) = &proving.step else { return };
    let judged = match method_and_data(&auth.props) {
        Some((scram::METHOD, data)) if auth.reason == Reason::ContinueAuth => challenge.judge(data),
        _ => Err(ScramError::Malformed),
    };
    match judged {
        Ok(ours) => {
            proving.step = Step::Proved(ours);
            let mut hello = proving.hello.clone();
            // It has shown what a certificate would have: that it is this device.
            hello.login = Login::Certified { device: proving.first.user.clone() };
            cx.hub.hello(hello);
        }
        Err(ScramError::Wrong) => {
            machine.refuse(cx, refusal::connect_reason(Refusal::BadCredentials), Fault::Refused, ScramError::Wrong.to_string());
        }
        Err(error) => machine.refuse(cx, Reason::NotAuthorised, Fault::Peer, error.to_string()),
    }
}
