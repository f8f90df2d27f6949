//! Messages to a number. A device writes to `me/to/<number>`, and the destination is given it on its own
//! `from/<number of the sender>`: what stands there is always true, for nobody else may publish there. The
//! number tells the shard on which the sessions of a device live; numbers of programs and pages are the
//! platform's to find. Who may write to whom is decided here, before anything is looked for.

use std::sync::Arc;

use contract::{Addressee, Event, PromiseId, Rare, Reached, Refusal, Ticket, Waiting};
use model::limits::{self, QueuePolicy};
use model::message::SharedMessage;
use model::topic::Space;
use model::{Address, DeviceNumber, Message, Millis, Peers, Qos, Topic};

use crate::journal::Then;
use crate::mail::{Mail, Safe};
use crate::shard::{Shard, home_of_device};

/// Whether what follows `dev/<id>/` is of addressed messages: there each topic has one who may publish.
pub(crate) fn is_addressed(rest: &str) -> bool {
    rest.starts_with("to/") || is_from(rest)
}

/// Whether it is where a device is told who wrote to it.
pub(crate) fn is_from(rest: &str) -> bool {
    rest.starts_with("from/")
}

/// A message on its way to a device.
#[derive(Debug)]
pub struct Parcel {
    /// Who wrote it.
    pub from: Address,
    /// Who is to get it.
    pub to: DeviceNumber,
    /// The message, on the topic of its destination.
    pub message: SharedMessage,
    /// It gives its destination the right to answer, which it would not have of itself.
    pub may_answer: bool,
}

/// Whether a device may write to another of itself.
fn may_write(from: &Addressee, to: &Addressee) -> bool {
    match from.peers {
        Peers::None => false,
        Peers::App => from.app == to.app,
        Peers::Any => from.app == to.app || to.peers == Peers::Any,
    }
}

impl Shard {
    /// A device writes to a number. `Ok` when it is on its way; who takes it keeps the promise, or breaks it.
    pub(crate) fn address(
        &mut self,
        sender: DeviceNumber,
        message: &SharedMessage,
        ticket: Option<Ticket>,
        promise: Option<PromiseId>,
        now: Millis,
    ) -> Result<(), Refusal> {
        let Space::Device { rest, .. } = message.topic.space() else { return Err(Refusal::BadTopic) };
        let to = rest.strip_prefix("to/").and_then(Address::parse).ok_or(Refusal::BadTopic)?;
        if message.payload.len() > limits::ADDRESSED_BYTES_MAX {
            return Err(Refusal::Quota);
        }
        let own = self.gate.addressee(sender).ok_or(Refusal::NotAllowed)?;
        let answers = self.answering.may_answer(sender, to, now);
        let Some(device) = to.device() else {
            if !answers && own.peers != Peers::Any {
                return Err(Refusal::NotAllowed);
            }
            self.journal.also(promise.filter(|_| ticket.is_some()));
            self.work.events.push(Event::Addressed { from: sender, to, message: message.clone(), ticket });
            return Ok(());
        };
        let found = self.gate.addressee(device);
        let allowed = answers || found.as_ref().is_some_and(|other| may_write(&own, other));
        let other = match found {
            Some(other) if allowed => other,
            // Who may write to many learns that there is nobody; others do not learn which numbers there are.
            None if allowed || own.peers == Peers::Any => return Err(Refusal::Unreachable),
            _ => return Err(Refusal::NotAllowed),
        };
        let parcel = Parcel {
            from: sender.into(),
            to: device,
            may_answer: !may_write(&other, &own),
            message: Arc::new(Message {
                topic: Topic::of_device(other.id.as_str(), &format!("from/{sender}")),
                retain: false,
                ..(**message).clone()
            }),
        };
        let home = home_of_device(device, self.shards);
        if home == self.index {
            return self.hand_over(&parcel, promise, now).map(drop);
        }
        self.journal.also(promise);
        let safe = self.safe(promise);
        self.work.posts.push((home, Mail::Address(Box::new(parcel), safe)));
        Ok(())
    }

    /// A parcel from another shard.
    pub(crate) fn parcel_came(&mut self, parcel: &Parcel, safe: Option<Safe>, now: Millis) {
        self.keep_for(safe, |shard, promise| {
            let handed = shard.hand_over(parcel, promise, now);
            if let (Err(refusal), Some(promise)) = (handed, promise) {
                shard.journal.fail(promise, refusal);
            }
        });
    }

    /// A parcel from the platform, which hears what becomes of it.
    pub(crate) fn send(&mut self, send: u64, parcel: &Parcel, now: Millis) {
        if self.journal.is_full() {
            return self.work.events.push(Event::Sent { send, result: Err(Refusal::Quota) });
        }
        let promise = self.journal.begin(Then::Sent(send, Reached::Sent));
        match self.hand_over(parcel, Some(promise), now) {
            Ok(reached) => self.journal.becomes(promise, Then::Sent(send, reached)),
            Err(refusal) => self.journal.fail(promise, refusal),
        }
        self.journal.settle(promise, Ok(()));
    }

    /// Gives a parcel to the sessions of its device that want it. Others may not even watch: they see it when
    /// the device is given it.
    fn hand_over(&mut self, parcel: &Parcel, promise: Option<PromiseId>, now: Millis) -> Result<Reached, Refusal> {
        let message = &parcel.message;
        if message.expires.is_some_and(|at| at <= now) {
            self.counters.expired += 1;
            return Err(Refusal::Unreachable);
        }
        let mut found = std::mem::take(&mut self.found);
        self.subscriptions.matches(message.topic.as_str(), &mut found);
        found.retain(|wish| self.sessions[wish.session as usize].party.device() == Some(parcel.to));
        let (mut reached, mut full) = (None, false);
        for wishes in found.chunk_by(|a, b| a.session == b.session) {
            let at = wishes[0].session as usize;
            let Some(best) = wishes.iter().max_by_key(|wish| wish.qos) else { continue };
            let ids: Vec<u32> = wishes.iter().map(|wish| wish.id).filter(|id| *id != 0).collect();
            let waiting = Waiting {
                message: message.clone(),
                qos: best.qos.min(message.qos),
                as_me: best.as_me,
                retained: false,
                retain: false,
                rare: (!ids.is_empty()).then(|| Box::new(Rare { ids, group: None })),
            };
            let session = &mut self.sessions[at];
            let online = session.conn.is_some();
            if !online && waiting.qos == Qos::AtMostOnce {
                continue;
            }
            // What finds no room is refused, and its sender hears so: no line ends for it.
            let limits = &self.commons.limits;
            let room = session.with_backlog(|b| b.has_room(&waiting, limits)).unwrap_or(true);
            if !room && session.queue_policy != QueuePolicy::DropOldest {
                full = true;
                continue;
            }
            reached = reached.max(Some(if online { Reached::Sent } else { Reached::Kept }));
            self.give(at, waiting, promise, now);
        }
        found.clear();
        self.found = found;
        match reached {
            Some(reached) => {
                if parcel.may_answer {
                    self.answering.note(parcel.to, parcel.from, now);
                }
                Ok(reached)
            }
            None if full => Err(Refusal::Full),
            None => Err(Refusal::Unreachable),
        }
    }
}

#[cfg(test)]
mod tests {
    use model::{AppId, DeviceId};

    use super::*;

    #[test]
    fn who_may_write_to_whom() {
        let device = |app, peers| Addressee { id: DeviceId::parse("x").unwrap(), app: AppId(app), peers };
        // Of the same app, and of another.
        let rows = [
            (Peers::None, Peers::None, false, false),
            (Peers::None, Peers::Any, false, false),
            (Peers::App, Peers::App, true, false),
            (Peers::App, Peers::Any, true, false),
            (Peers::Any, Peers::None, true, false),
            (Peers::Any, Peers::App, true, false),
            (Peers::Any, Peers::Any, true, true),
        ];
        for (from, to, same, other) in rows {
            assert_eq!(may_write(&device(1, from), &device(1, from)), same, "{from:?}");
            assert_eq!(may_write(&device(1, from), &device(2, to)), other, "{from:?} {to:?}");
        }
    }

    #[test]
    fn the_topics_of_addressed_messages_are_told_apart() {
        assert!(is_addressed("to/5") && is_addressed("from/5") && is_addressed("to/"));
        for other in ["to", "from", "tomato/5", "data/to/5", "froms/5", ""] {
            assert!(!is_addressed(other), "{other}");
        }
    }
}
