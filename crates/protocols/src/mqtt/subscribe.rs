//! SUBSCRIBE and UNSUBSCRIBE. Rights and matching are the hub's; here is what the packet itself must be,
//! and the answer: one reason a filter, in their order [MQTT-3.9.3-1].

use contract::{Context, Fault, Refusal, RetainedWanted, SubscribeOptions};
use model::Filter;
use model::topic::TopicError;

use super::codec::{Property, Reason, RetainHandling, Suback, Subscribe, Unsuback, Unsubscribe};
use super::refusal;
use super::session::Machine;

/// The client wants topics.
pub(super) fn on_subscribe(machine: &mut Machine, cx: &mut Context<'_>, subscribe: &Subscribe<'_>) {
    let five = machine.terms.is_some();
    for (filter, options) in subscribe.filters() {
        if let Err(why) = well_formed(five, filter) {
            return machine.end(cx, Reason::Malformed, Fault::Peer, why);
        }
        if options.no_local && filter.starts_with(SHARE) {
            return machine.end(cx, Reason::ProtocolError, Fault::Peer, "no local on a shared subscription"); // [MQTT-3.8.3-4]
        }
    }
    let id = subscribe.props.iter().find_map(|property| match property {
        Property::SubscriptionId(id) => Some(id),
        _ => None,
    });
    let (mut reasons, mut first) = (Vec::new(), None);
    for (filter, wanted) in subscribe.filters() {
        // Retained messages come with a repeated SUBSCRIBE too [MQTT-3.8.4-3], unless 5.0 asks otherwise.
        let retained = match wanted.retained {
            RetainHandling::Always => RetainedWanted::Always,
            RetainHandling::IfNew => RetainedWanted::IfNew,
            RetainHandling::Never => RetainedWanted::Never,
        };
        let (qos, no_local, as_published) = (wanted.qos, wanted.no_local, wanted.as_published);
        let granted = cx.hub.subscribe(filter, SubscribeOptions { qos, retained, no_local, as_published, id });
        reasons.push(granted.map_or_else(|refused| told(&mut first, refused), Reason::granted));
    }
    let why = first.map(|refused| refused.to_string()).unwrap_or_default();
    let from = cx.out.len();
    machine.put_or_end(cx, &why, |level, props, out| Suback::encode(level, out, subscribe.id, props, &reasons));
    cx.hub.say_when_kept(cx.out, from, true);
}

/// The client no longer wants them.
pub(super) fn on_unsubscribe(machine: &mut Machine, cx: &mut Context<'_>, unsubscribe: &Unsubscribe<'_>) {
    let five = machine.terms.is_some();
    if let Some(why) = unsubscribe.filters().find_map(|filter| well_formed(five, filter).err()) {
        return machine.end(cx, Reason::Malformed, Fault::Peer, why);
    }
    let (mut reasons, mut first) = (Vec::new(), None);
    for filter in unsubscribe.filters() {
        reasons.push(match cx.hub.unsubscribe(filter) {
            Ok(true) => Reason::Success,
            Ok(false) => Reason::NoSubscription,
            Err(refused) => told(&mut first, refused),
        });
    }
    // Also when there was nothing to remove [MQTT-3.10.4-5]; 3.1.1 has no word for it and the codec no byte.
    let why = first.map(|refused| refused.to_string()).unwrap_or_default();
    let from = cx.out.len();
    machine.put_or_end(cx, &why, |level, props, out| Unsuback::encode(level, out, unsubscribe.id, props, &reasons));
    cx.hub.say_when_kept(cx.out, from, true);
}

/// The reason of a refused filter; the first refusal is the one that is told in words.
fn told(first: &mut Option<Refusal>, refused: Refusal) -> Reason {
    first.get_or_insert(refused);
    refusal::filter_reason(refused)
}

const SHARE: &str = "$share/";

/// Whether a filter is one by MQTT's own rules [MQTT-4.7.1-2], [MQTT-4.7.1-3], [MQTT-4.7.3-1], in 5.0 the
/// name of a share included [MQTT-4.8.2-1], [MQTT-4.8.2-2]. One that is merely beyond our limits gets its
/// refusal in the answer instead.
fn well_formed(five: bool, filter: &str) -> Result<(), String> {
    if five && let Some(shared) = filter.strip_prefix(SHARE) {
        match shared.split_once('/') {
            Some((group, filter)) if !group.is_empty() && !group.contains(['+', '#']) => return well_formed(false, filter),
            _ => return Err("a shared subscription is $share/<name>/<filter>".to_owned()),
        }
    }
    match Filter::parse(filter) {
        Ok(_) | Err(TopicError::TooLong | TopicError::TooDeep) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}
