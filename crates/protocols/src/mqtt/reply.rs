//! What the client is told: acknowledgements with their reasons, and why it ends. The machine speaks in
//! reasons at every level; here and in the codec it is decided how much of that the client hears.

use std::borrow::Cow;

use contract::{Close, Context, Ending, Fault};

use super::codec::{Ack, Connack, Disconnect, Kind, Level, Properties, Property, PropertyList, Reason, TooLong};
use super::session::{Machine, Stage};

impl Machine {
    /// Appends an answer, with `why` in words if the client wants words. Whether the client takes it.
    pub(super) fn put<E>(&self, out: &mut Vec<u8>, why: &str, encode: E) -> bool
    where
        E: Fn(Level, Properties<'_>, &mut Vec<u8>) -> Result<(), TooLong>,
    {
        let mut words = PropertyList::default();
        if !why.is_empty() && self.terms.as_ref().is_some_and(|terms| terms.wants_words) {
            let _ = words.push(Property::ReasonString(why)); // [MQTT-3.1.2-29]; words beyond 64 KiB are left unsaid
        }
        self.put_with(out, &words, encode)
    }

    /// Appends an answer with `list`, or without it where it would be too much [MQTT-3.4.2-2]. Whether the
    /// client takes a packet of that size at all [MQTT-3.1.2-24].
    fn put_with<E>(&self, out: &mut Vec<u8>, list: &PropertyList, encode: E) -> bool
    where
        E: Fn(Level, Properties<'_>, &mut Vec<u8>) -> Result<(), TooLong>,
    {
        let (level, from) = (self.level(), out.len());
        let bytes_max = self.terms.as_ref().map_or(usize::MAX, |terms| terms.packet_bytes_max);
        [list.view(), Properties::NONE].into_iter().any(|props| {
            let fits = encode(level, props, out).is_ok() && out.len() - from <= bytes_max;
            if !fits {
                out.truncate(from);
            }
            fits
        })
    }

    /// One of the four acknowledgements.
    pub(super) fn ack(&mut self, cx: &mut Context<'_>, kind: Kind, id: u16, reason: Reason, why: &str) {
        self.put_or_end(cx, why, |level, props, out| Ack { id, reason, props }.encode(level, kind, out));
    }

    /// An answer that the client must have to go on.
    pub(super) fn put_or_end<E>(&mut self, cx: &mut Context<'_>, why: &str, encode: E)
    where
        E: Fn(Level, Properties<'_>, &mut Vec<u8>) -> Result<(), TooLong>,
    {
        if !self.put(cx.out, why, encode) {
            self.end(cx, Reason::TooLarge, Fault::Lack, "the client takes only packets that are too small for the answer");
        }
    }

    /// Ends the connection and tells a level 5 client why: in a DISCONNECT [MQTT-4.13.1-1], or in the
    /// CONNACK that it still waits for. The older levels have no goodbye of the server's.
    pub(super) fn end(&mut self, cx: &mut Context<'_>, reason: Reason, fault: Fault, why: impl Into<Cow<'static, str>>) {
        let why = why.into();
        if cx.is_closing() {
            return;
        }
        match self.stage {
            Stage::Open if self.terms.is_some() => {
                // What only a CONNACK may say is about a second CONNECT.
                let reason = if reason.may_stand_in(Kind::Disconnect) { reason } else { Reason::ProtocolError };
                self.put(cx.out, &why, |level, props, out| Disconnect { reason, props }.encode(level, Kind::Disconnect, out));
            }
            Stage::Asked(Level::V5) => return self.refuse(cx, reason, fault, why),
            _ => {}
        }
        cx.close(fault, why);
    }

    /// The hub ends the connection.
    pub(super) fn end_by_hub(&mut self, cx: &mut Context<'_>, ending: &Ending, close: Close) {
        let reason = reason(ending);
        if let (Ending::Stopping { go_to: Some(server) }, Stage::Open, Some(_)) = (ending, self.stage, &self.terms) {
            // Section 4.11: the client should go to the server that the reference names.
            let mut list = PropertyList::default();
            let _ = list.push(Property::ServerReference(server)); // an address is far below 64 KiB
            self.put_with(cx.out, &list, |level, props, out| Disconnect { reason, props }.encode(level, Kind::Disconnect, out));
            return cx.close(close.fault, close.why);
        }
        self.end(cx, reason, close.fault, close.why);
    }

    /// A CONNACK with a refusal, followed by the end [MQTT-3.2.2-5], in 5.0 [MQTT-3.2.2-7].
    pub(super) fn refuse(&mut self, cx: &mut Context<'_>, reason: Reason, fault: Fault, why: impl Into<Cow<'static, str>>) {
        let why = why.into();
        // What only a DISCONNECT may say is of the kind that may be gone when the client comes again.
        let reason = if reason.may_stand_in(Kind::Connack) { reason } else { Reason::Unavailable };
        self.put(cx.out, &why, |level, props, out| Connack { session_present: false, reason, props }.encode(level, out));
        cx.close(fault, why);
    }
}

/// What the client is told when the hub ends its connection.
fn reason(ending: &Ending) -> Reason {
    match ending {
        Ending::TakenOver => Reason::TakenOver, // [MQTT-3.1.4-3]
        Ending::Stopping { go_to: None } => Reason::ShuttingDown,
        Ending::Stopping { go_to: Some(_) } => Reason::UseAnother,
        Ending::Removed => Reason::Administrative,
        Ending::QueueFull => Reason::Quota,
        Ending::NotKept => Reason::Unspecified,
    }
}
