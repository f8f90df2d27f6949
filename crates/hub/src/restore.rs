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

/// Whether its time is over.
fn is_over(expires: Option<UnixMs>, unix: UnixMs) -> bool {
    expires.is_some_and(|at| at <= unix)
}

/// A message with its time by the clock of this run.
fn timed(message: SharedMessage, expires: Option<UnixMs>, time: (Millis, UnixMs)) -> SharedMessage {
    match expires {
        None => message,
        Some(at) => Arc::new(Message {
            expires: Some(millis_at(time, at)),
            number: model::message::MessageNumber::of(message.number.get()),
            ..Message::clone(&message)
        }),
    }
}

impl Commons {
    /// Retained messages as they were, and the numbers behind which new ones are given.
    pub fn restore(&self, retained: Vec<ReturnedRetained>, number_last: u64, version_last: u64, time: (Millis, UnixMs)) {
        self.count_from(number_last);
        for ReturnedRetained { message, expires } in retained.into_iter().filter(|one| !is_over(one.expires, time.1)) {
            // What was within the owner's limits then and is not now, is left out.
            let _ = self.retained.set(&timed(message, expires, time));
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
        // They come the newest first, and of two of one name only that one counts: the other was ending when the
        // program died, and only its will is still to be said, and what its groups are to have of its queue.
        let over = self.sessions.find(party.key(), &kept.client).is_some();
        let at = match over {
            true => self.nameless_session(&kept.client, party),
            false => self.new_session(&kept.client, party),
        };
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
        let keep_s = if over { 0 } else { kept.keep_s };
        let ends = (keep_s != u32::MAX).then(|| gone.plus_s(u64::from(keep_s)));
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
        self.set_keep_s(at, keep_s);
        if kept.away.is_none() {
            self.note_session(at, now);
        }
        for wish in wishes.into_iter().filter(|_| !over) {
            self.want_again(at, epoch, wish);
        }
    }

    /// A session of an earlier run whose party there is no longer.
    pub fn forget(&mut self, session: SessionId, time: (Millis, UnixMs)) {
        self.journal.note(Note::Ended(session), time.0);
    }

    /// A subscription as it was.
    fn want_again(&mut self, at: usize, epoch: u32, wish: KeptWish) {
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
            let timed_row = |mut row: ReturnedWaiting| {
                // One that the client may have begun to take is brought to its end, unless there is nothing left
                // of it to send again.
                let begun = row.waiting.qos == Qos::ExactlyOnce && row.seq <= sent_before;
                let goes_on = row.received || begun && !row.waiting.message.payload.is_empty();
                if is_over(row.expires, time.1) && !goes_on {
                    over.push(row.seq);
                    return None;
                }
                row.waiting.message = timed(row.waiting.message, row.expires, time);
                Some(row)
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
