//! What is kept for one client of one party, with or without a line. Small by design: the rare parts
//! (backlog, will) are boxed and made on first use.

use std::collections::VecDeque;
use std::sync::Arc;

use contract::{ConnId, Refusal, SessionId, Waiting, Will};
use model::limits::{Limits, QueuePolicy};
use model::{Filter, Millis, Party, ShortStr, UnixMs};

use crate::backlog::{Backlog, OnDisk};
use crate::few::Few;
use crate::sessions::Neighbours;

/// What a session has that the vault knows.
#[derive(Debug)]
pub struct KeptAs {
    /// Its number there.
    pub id: SessionId,
    /// The number of its will; 0 when it has none.
    pub will: u64,
    /// The number behind the last note that the client is to hear nothing before of.
    pub noted: u64,
    /// The number behind the note that says that its present line is there.
    pub here: u64,
    /// The last place of its queue. Never given again, also when the queue is empty: on disk the old one may
    /// not have been taken away yet.
    pub seq_last: u64,
    /// Answers that its deliveries wait behind.
    pub holding: u32,
    /// Of what lies on disk since an earlier run: the last place that was sent then. `u64::MAX` when that
    /// run ended while the session had its line, so that it is not known.
    pub sent_before: u64,
}

/// A publish on the present line that is acknowledged later.
#[derive(Debug)]
pub struct Owed {
    /// The machine's own word for it.
    pub token: u32,
    /// What came of it, when it is known and one before it is not.
    pub result: Option<Result<(), Refusal>>,
}

/// A session without a line.
#[derive(Clone, Copy, Debug)]
pub struct Away {
    /// Since when.
    pub since: UnixMs,
    /// When it ends, unless it never does.
    pub ends: Option<Millis>,
    /// When its will goes out, if one waits.
    pub will_at: Option<Millis>,
}

impl Away {
    /// Whether something is to happen by itself.
    pub fn awaits(&self) -> bool {
        self.ends.is_some() || self.will_at.is_some()
    }
}

/// A client's session.
pub struct Session {
    /// Its name within its party.
    pub client: ShortStr,
    pub party: Arc<Party>,
    /// The line, while there is one.
    pub conn: Option<ConnId>,
    /// Tells this session from an earlier one in the same place.
    pub epoch: u32,
    /// How long it is kept without a line, see `Hello::keep_s`.
    pub keep_s: u32,
    /// Set while it is kept without a line.
    pub away: Option<Box<Away>>,
    pub neighbours: Neighbours,
    pub in_flight_max: u16,
    /// What happens when the queue is full.
    pub queue_policy: QueuePolicy,
    /// The owner was told that the queue is full, on this line.
    pub told_full: bool,
    /// Refusals told to the owner on this line so far.
    pub denials_told: u8,
    /// Whether one of `filters` lies in the device's own space.
    pub listens_own: bool,
    /// What it subscribed to; shared ones as `$share/<group>/<filter>`.
    pub filters: Few<Filter>,
    pub will: Option<Box<Will>>,
    /// Set when it is kept across a restart, or its will is.
    pub kept: Option<Box<KeptAs>>,
    /// Acknowledgements that are owed, in the order in which they must go out [MQTT-4.6.0-2].
    #[expect(clippy::box_collection, reason = "idle sessions owe nothing and pay one pointer for it")]
    owed: Option<Box<VecDeque<Owed>>>,
    backlog: Option<Box<Backlog>>,
}

const _: () = assert!(size_of::<Session>() <= 128, "an idle session must stay small");

impl Session {
    pub fn new(client: ShortStr, party: Arc<Party>, epoch: u32) -> Session {
        Session {
            client,
            party,
            conn: None,
            epoch,
            keep_s: 0,
            away: None,
            neighbours: Neighbours::default(),
            in_flight_max: 1,
            queue_policy: QueuePolicy::default(),
            told_full: false,
            denials_told: 0,
            listens_own: false,
            filters: Few::default(),
            will: None,
            kept: None,
            owed: None,
            backlog: None,
        }
    }

    /// The number under which what waits in it is kept. A session that ends with its line has at most a
    /// will to keep.
    pub fn durable(&self) -> Option<SessionId> {
        self.kept.as_ref().filter(|_| self.keep_s > 0).map(|kept| kept.id)
    }

    /// The publish `token` of the present line is to be acknowledged after those that are owed already.
    /// `false` when nothing is and it can be at once.
    pub fn owes_before(&mut self, token: u32, result: Option<Result<(), Refusal>>) -> bool {
        if self.owed.is_none() && result.is_some() {
            return false;
        }
        self.owed.get_or_insert_default().push_back(Owed { token, result });
        true
    }

    /// Whether the publish `token` is still to be acknowledged on the present line.
    pub fn owes(&self, token: u32) -> bool {
        self.owed.as_ref().is_some_and(|owed| owed.iter().any(|owed| owed.token == token))
    }

    /// The result of `token` is known. Calls `pay` with all that may be acknowledged now, in order: nothing
    /// when `token` is not owed on this line.
    pub fn pay(&mut self, token: u32, result: Result<(), Refusal>, mut pay: impl FnMut(u32, Result<(), Refusal>)) {
        let Some(owed) = &mut self.owed else { return };
        let Some(one) = owed.iter_mut().find(|owed| owed.token == token && owed.result.is_none()) else { return };
        one.result = Some(result);
        while let Some(first) = owed.pop_front_if(|owed| owed.result.is_some()) {
            pay(first.token, first.result.unwrap_or(Ok(())));
        }
        if owed.is_empty() {
            self.owed = None;
        }
    }

    /// The line is gone: nothing is owed on it any more.
    pub fn owe_nothing(&mut self) {
        self.owed = None;
        if let Some(kept) = &mut self.kept {
            kept.holding = 0;
        }
    }

    /// What waits, made if there is none.
    pub fn backlog_mut(&mut self) -> &mut Backlog {
        let seq_last = self.kept.as_ref().map_or(0, |kept| kept.seq_last);
        self.backlog.get_or_insert_with(|| Box::new(Backlog::behind(seq_last)))
    }

    /// Takes all that waits out of the session.
    pub fn take_backlog(&mut self) -> Option<Backlog> {
        self.backlog.take().map(|b| *b)
    }

    /// Works on what waits, and gives the memory back when nothing waits any more.
    pub fn with_backlog<T>(&mut self, work: impl FnOnce(&mut Backlog) -> T) -> Option<T> {
        let backlog = self.backlog.as_mut()?;
        let result = work(backlog);
        if backlog.is_empty() {
            if let Some(kept) = &mut self.kept {
                kept.seq_last = backlog.seq_last();
            }
            self.backlog = None;
        }
        Some(result)
    }

    /// Puts a message into the queue.
    pub fn enqueue(
        &mut self,
        waiting: Waiting,
        limits: &Limits,
        keep: impl FnOnce(u64, &Waiting) -> OnDisk,
    ) -> Result<(), Waiting> {
        self.backlog_mut().push(waiting, limits, keep)
    }

    /// Whether something waits, in memory or on disk.
    pub fn has_backlog(&self) -> bool {
        self.backlog.is_some()
    }

    /// Whether a line could take something now.
    pub fn has_next(&self) -> bool {
        self.backlog.as_ref().is_some_and(|b| b.has_next())
    }
}
