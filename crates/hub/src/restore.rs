//! What was kept comes back when the program starts: sessions without a line, their subscriptions and
//! wills, retained messages; and queues, when their clients come or further messages do.

use std::sync::Arc;

use contract::keep::{Returned, ReturnedRetained, ReturnedWaiting};
use contract::store::StoreError;
use contract::{KeptWish, Note, SessionId, SessionPlace};
use model::message::SharedMessage;
use model::{Message, Millis, Party, Qos, UnixMs};

use crate::backlog::Backlog;
use crate::commons::Commons;
use crate::ending::shared_parts;
use crate::session::{Away, KeptAs};
use crate::shard::Shard;
use crate::shared::Member;
use crate::subscriptions::Entry;

/// A wall-clock moment of an earlier run by the clock of this one.
fn millis_at((now, unix): (Millis, UnixMs), at: UnixMs) -> Millis {
    Millis(now.0.saturating_add_signed(at.0.saturating_sub(unix.0)))
}

/// A message with its time by the clock of this run. `None` when it is over.
fn timed(message: SharedMessage, expires: Option<UnixMs>, time: (Millis, UnixMs)) -> Option<SharedMessage> {
    match expires {
        None => Some(message),
        Some(at) if at <= time.1 => None,
        Some(at) => Some(Arc::new(Message {
            expires: Some(millis_at(time, at)),
            number: model::message::MessageNumber::of(message.number.get()),
            ..Message::clone(&message)
        })),
    }
}

impl Commons {
    /// Retained messages as they were, and the numbers behind which new ones are given.
    pub fn restore(&self, retained: Vec<ReturnedRetained>, number_last: u64, version_last: u64, time: (Millis, UnixMs)) {
        self.count_from(number_last);
        for ReturnedRetained { message, expires } in retained {
            if let Some(message) = timed(message, expires, time) {
                // What was within the owner's limits then and is not now, is left out.
                let _ = self.retained.set(&message);
            }
        }
        self.retained.count_from(version_last);
    }
}

impl Shard {
    /// A session of an earlier run, whose line ended with it if not before. Before any connection.
    pub fn restore(&mut self, returned: Returned, party: Arc<Party>, time: (Millis, UnixMs)) {
        self.set_time(time.0, time.1);
        let (now, unix) = time;
        let Returned { session: kept, mut wills, wishes, claims, seq_last } = returned;
        let will = wills.pop();
        let party = party.as_client(&kept.client);
        if self.sessions.find(party.key(), &kept.client).is_some() {
            // They come the newest first, and of two of one name only that one counts: the other was ending
            // when the program died, and only its will is still to be said.
            for (number, earlier) in wills {
                self.overdue.push((party.clone(), earlier, Note::WillSaid(kept.id, number)));
            }
            return match will {
                Some((_, will)) => self.overdue.push((party, will, Note::Ended(kept.id))),
                None => self.forget(kept.id, time),
            };
        }
        let at = self.new_session(&kept.client, party);
        let session = &mut self.sessions[at];
        let sent_before = if kept.away.is_some() { kept.sent } else { u64::MAX };
        // Nobody has left in the future: the wall clock was set back.
        let since = kept.away.unwrap_or(unix).min(unix);
        session.kept = Some(Box::new(KeptAs {
            id: kept.id,
            will: will.as_ref().map_or(0, |(number, _)| *number),
            noted: 0,
            here: 0,
            seq_last,
            holding: 0,
            sent_before,
        }));
        session.will = will.map(|(_, will)| will);
        for (number, will) in wills {
            self.overdue.push((session.party.clone(), will, Note::WillSaid(kept.id, number)));
        }
        let gone = millis_at(time, since);
        let ends = (kept.keep_s != u32::MAX).then(|| gone.plus_s(u64::from(kept.keep_s)));
        let will_at = session.will.as_ref().map(|will| gone.plus_s(u64::from(will.delay_s)));
        let away = Away { since, ends, will_at };
        session.away = Some(Box::new(away));
        if seq_last > 0 || !claims.is_empty() {
            *session.backlog_mut() = Backlog::returned(seq_last, claims);
        }
        let epoch = session.epoch;
        if away.awaits() {
            self.ending.push((at, epoch));
        }
        self.counters.sessions_away += 1;
        self.set_keep_s(at, kept.keep_s);
        if kept.away.is_none() {
            self.note_session(at, now);
        }
        let mut shares = false;
        for wish in wishes {
            shares |= self.want_again(at, epoch, wish);
        }
        if shares {
            // What a group waits for must be at hand when this member's time is over.
            self.load(at);
        }
    }

    /// A session of an earlier run whose party there is no longer.
    pub fn forget(&mut self, session: SessionId, time: (Millis, UnixMs)) {
        self.journal.note(Note::Ended(session), time.0);
    }

    /// A subscription as it was. Whether it is shared.
    fn want_again(&mut self, at: usize, epoch: u32, wish: KeptWish) -> bool {
        let KeptWish { filter, qos, id, as_me, reach, no_local, as_published, checked } = wish;
        let entry = Entry { session: at as u32, id, qos, as_me, reach, no_local, as_published, checked };
        let session = &mut self.sessions[at];
        let own = |text: &str| match (model::topic::Space::of(text), &*session.party) {
            (model::topic::Space::Device { id, .. }, Party::Device { id: own, .. }) => id == own.as_str(),
            _ => false,
        };
        let shared = shared_parts(&filter).map(|(group, filter)| (group.to_owned(), filter));
        session.listens_own |= own(shared.as_ref().map_or(&filter, |(_, filter)| filter).as_str());
        match &shared {
            Some((group, filter)) => {
                let place = SessionPlace { index: at as u32, epoch };
                let member = Member { shard: self.index, session: place, entry, online: false };
                self.commons.groups.join(group, filter, member);
            }
            None => drop(self.subscriptions.insert(&filter, entry)),
        }
        session.filters.push(filter);
        shared.is_some()
    }

    /// What waited on disk for a session.
    pub(crate) fn came(&mut self, place: SessionPlace, rows: Result<Vec<ReturnedWaiting>, StoreError>) {
        let (time, window) = (self.time, usize::from(self.commons.limits.in_flight));
        let Some(session) = self.sessions.get_mut(place.index as usize).filter(|s| s.epoch == place.epoch) else { return };
        let Some(kept) = &session.kept else { return };
        let (id, sent_before, mut over) = (kept.id, kept.sent_before, Vec::new());
        // What is damaged stays so: asking again would keep the client waiting for ever.
        let (rows, damage) = match rows {
            Ok(rows) => (Some(rows), None),
            Err(StoreError::Damaged(why)) => (Some(Vec::new()), Some(why)),
            Err(_) => (None, None),
        };
        let rows = rows.map(|rows| {
            let timed_row = |mut row: ReturnedWaiting| match timed(row.waiting.message.clone(), row.expires, time) {
                Some(message) => {
                    row.waiting.message = message;
                    Some(row)
                }
                None if row.received => Some(row),
                // The client may have begun to take it; without its payload there is nothing to send again.
                None if row.waiting.qos == Qos::ExactlyOnce
                    && row.seq <= sent_before
                    && !row.waiting.message.payload.is_empty() =>
                {
                    Some(row)
                }
                None => {
                    over.push(row.seq);
                    None
                }
            };
            rows.into_iter().filter_map(timed_row).collect()
        });
        if rows.is_none() {
            self.unread.push(place);
        }
        // Where it is not known how far the client was sent its queue, it may have been all of it: what was
        // acknowledged meanwhile need not have been on disk, so that no window bounds it.
        let window = if sent_before == u64::MAX { window } else { usize::MAX };
        session.with_backlog(|b| b.stored_came(rows, sent_before, window));
        self.work.ready.extend(session.conn);
        if let Some(why) = damage {
            self.tell_owner(place.index as usize, format!("what waited for it cannot be read: {why}"), time.1);
        }
        for seq in over {
            self.counters.expired += 1;
            self.journal.note(Note::Settled(id, seq), time.0);
        }
    }
}
