//! Enhanced authentication (section 4.12): CONNECT, a challenge, a proof, CONNACK; and the same once more on an
//! open connection, from AUTH to AUTH, whenever the client wants. One method is offered, SCRAM-SHA-256, for
//! devices: the user name is the device id, the password its secret. What the exchange means is in
//! [`scram`](super::scram); here it is carried.

use contract::{Context, Fault, Hello, Login, Refusal, ScramKeys};

use super::codec::{Disconnect, Kind, Level, Properties, Property, PropertyList, Reason};
use super::refusal;
use super::scram::{self, Challenge, First, Proved, ScramError};
use super::session::{Machine, Stage};
use super::terms::Terms;

/// A proof under way.
pub(super) struct Proving {
    /// What waits for the proof; nothing when the client proves it once more.
    hello: Option<Hello>,
    first: First,
    step: Step,
}

enum Step {
    /// The keys are with the gate.
    Asked,
    /// The client has our challenge.
    Challenged(Box<Challenge>),
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
    terms.proven = Some(first.user.as_str().into());
    terms.proving = Some(Box::new(Proving { hello: Some(hello), first, step: Step::Asked }));
}

/// An AUTH on an open connection: the client begins to prove once more who it is, or goes on. What else it
/// does meanwhile goes on too (section 4.12.1).
pub(super) fn on_auth_again(machine: &mut Machine, cx: &mut Context<'_>, auth: &Disconnect<'_>) {
    let Some(terms) = machine.terms.as_mut() else { return };
    let Some(user) = &terms.proven else {
        let why = "an AUTH from a client that named no method in its CONNECT"; // [MQTT-4.12.0-7]
        return machine.end(cx, Reason::ProtocolError, Fault::Peer, why);
    };
    match (auth.reason, &terms.proving) {
        (Reason::ReAuth, None) => match first(&auth.props) {
            // [MQTT-4.12.1-1]; and nobody becomes somebody else.
            Ok(Some(first)) if *first.user == **user => {
                cx.hub.scram(&first.user);
                terms.proving = Some(Box::new(Proving { hello: None, first, step: Step::Asked }));
            }
            Ok(Some(_)) => machine.end(cx, Reason::NotAuthorised, Fault::Refused, "a proof for another device"),
            Ok(None) => machine.end(cx, Reason::ProtocolError, Fault::Peer, "an AUTH without its method"),
            Err((reason, why)) => machine.end(cx, reason, Fault::Peer, why),
        },
        (Reason::ContinueAuth, Some(_)) => on_proof_again(machine, cx, auth),
        _ => machine.end(cx, Reason::ProtocolError, Fault::Peer, "an AUTH that nobody asked for"),
    }
}

fn on_proof_again(machine: &mut Machine, cx: &mut Context<'_>, auth: &Disconnect<'_>) {
    let judged = match machine.terms.as_mut().and_then(|terms| terms.proving.take()).map(|proving| proving.step) {
        Some(Step::Challenged(challenge)) => judge(&challenge, auth),
        _ => Err(ScramError::Malformed),
    };
    match judged.map(|proved| put_auth(machine, cx, Reason::Success, &proved.ours)) {
        Ok(true) => {}
        Ok(false) => machine.end(cx, Reason::TooLarge, Fault::Lack, TOO_SMALL),
        Err(error) => {
            // [MQTT-4.12.1-2]
            let fault = if error == ScramError::Wrong { Fault::Refused } else { Fault::Peer };
            machine.end(cx, Reason::NotAuthorised, fault, error.to_string());
        }
    }
}

fn judge(challenge: &Challenge, auth: &Disconnect<'_>) -> Result<Proved, ScramError> {
    match method_and_data(&auth.props) {
        Some((scram::METHOD, data)) if auth.reason == Reason::ContinueAuth => challenge.judge(data),
        _ => Err(ScramError::Malformed),
    }
}

const TOO_SMALL: &str = "the client takes only packets that are too small for the challenge";

/// Appends an AUTH, if the client takes a packet of that size [MQTT-3.1.2-24].
fn put_auth(machine: &Machine, cx: &mut Context<'_>, reason: Reason, words: &str) -> bool {
    let mut list = PropertyList::default();
    let (from, bytes_max) = (cx.out.len(), machine.terms.as_ref().map_or(usize::MAX, |terms| terms.packet_bytes_max));
    let put = list
        .push(Property::AuthMethod(scram::METHOD))
        .and_then(|()| list.push(Property::AuthData(words.as_bytes())))
        .and_then(|()| Disconnect { reason, props: list.view() }.encode(Level::V5, Kind::Auth, cx.out));
    let fits = put.is_ok() && cx.out.len() - from <= bytes_max;
    if !fits {
        cx.out.truncate(from);
    }
    fits
}

/// The keys are here: the client gets its challenge.
pub(super) fn on_keys(machine: &mut Machine, cx: &mut Context<'_>, keys: ScramKeys) {
    let Some(proving) = machine.terms.as_mut().and_then(|terms| terms.proving.as_mut()) else { return };
    if !matches!(proving.step, Step::Asked) {
        return;
    }
    let (challenge, words) = Challenge::new(&proving.first, keys);
    proving.step = Step::Challenged(Box::new(challenge));
    match (put_auth(machine, cx, Reason::ContinueAuth, &words), machine.is_open()) {
        (true, true) => {}
        (true, false) => machine.stage = Stage::Proving,
        (false, true) => machine.end(cx, Reason::TooLarge, Fault::Lack, TOO_SMALL),
        (false, false) => machine.refuse(cx, Reason::Unspecified, Fault::Lack, TOO_SMALL),
    }
}

/// The client's proof.
pub(super) fn on_auth(machine: &mut Machine, cx: &mut Context<'_>, auth: &Disconnect<'_>) {
    machine.stage = Stage::Asked(Level::V5);
    let Some(proving) = machine.terms.as_mut().and_then(|terms| terms.proving.as_mut()) else { return };
    let Step::Challenged(challenge) = &proving.step else { return };
    match judge(challenge, auth) {
        Ok(Proved { ours, older, stamp }) => {
            proving.step = Step::Proved(ours);
            let Some(mut hello) = proving.hello.take() else { return };
            hello.login = Login::Proved { device: proving.first.user.clone(), older, stamp };
            cx.hub.hello(hello);
        }
        Err(ScramError::Wrong) => {
            machine.refuse(cx, refusal::connect_reason(Refusal::BadCredentials), Fault::Refused, ScramError::Wrong.to_string());
        }
        Err(error) => machine.refuse(cx, Reason::NotAuthorised, Fault::Peer, error.to_string()),
    }
}
