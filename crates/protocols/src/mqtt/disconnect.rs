//! DISCONNECT from the client. The server's own is in `reply`.

use contract::{Bye, Context, Fault};

use super::codec::{Disconnect, Property, Reason};
use super::session::Machine;

/// The client says goodbye.
pub(super) fn on_disconnect(machine: &mut Machine, cx: &mut Context<'_>, disconnect: &Disconnect<'_>) {
    let keep_s = disconnect.props.iter().find_map(|property| match property {
        Property::SessionExpiryS(s) => Some(s),
        _ => None,
    });
    if let Some(terms) = &machine.terms
        && terms.keep_s == 0
        && keep_s.is_some_and(|s| s != 0)
    {
        // Section 3.14.2.2.2: what was not to be kept cannot be kept after all.
        return machine.end(cx, Reason::ProtocolError, Fault::Peer, "a session expiry where the CONNECT had none");
    }
    // The will is dropped on a normal goodbye only [MQTT-3.14.4-3].
    cx.hub.bye(Bye { with_will: disconnect.reason != Reason::Success, keep_s });
    if disconnect.reason.is_error() {
        cx.close(Fault::Nobody, format!("disconnected by the client: {}", disconnect.reason.as_str()));
    } else {
        cx.close(Fault::Nobody, "disconnected");
    }
}
