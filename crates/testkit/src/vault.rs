//! A vault in memory: the plainest reading of what notes mean. Tests keep in it what a house notes, start
//! another house from it, and hold the store's vault to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use contract::keep::{Kept, KeptSession, KeptWish, Note, Returned, ReturnedRetained, ReturnedWaiting, SessionId, Then};
use contract::store::Later;
use contract::{Vault, Will};
use model::message::MessageNumber;
use model::{Filter, Message, Topic, UnixMs};

#[derive(Clone, Debug)]
struct Session {
    session: KeptSession,
    wills: BTreeMap<u64, Box<Will>>,
    wishes: BTreeMap<Filter, KeptWish>,
    claims: BTreeSet<u16>,
    queue: BTreeMap<u64, ReturnedWaiting>,
}

/// The vault.
#[derive(Clone, Debug, Default)]
pub struct TestVault {
    sessions: BTreeMap<SessionId, Session>,
    retained: BTreeMap<Topic, (u64, ReturnedRetained)>,
    number_last: u64,
    version_last: u64,
}

/// A message as it comes back from disk: without what belongs to one run of the program.
fn copy(message: &Message, number: u64) -> Arc<Message> {
    Arc::new(Message { expires: None, number: MessageNumber::of(number), ..message.clone() })
}

impl TestVault {
    /// Keeps a batch.
    pub fn keep(&mut self, notes: &[Note]) {
        for note in notes {
            self.keep_one(note);
        }
    }

    fn keep_one(&mut self, note: &Note) {
        match note {
            Note::Session(session) => {
                self.number_last = self.number_last.max(session.id.0);
                match self.sessions.get_mut(&session.id) {
                    Some(known) => known.session = session.clone(),
                    None => {
                        let (wishes, claims, queue) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
                        self.sessions.insert(
                            session.id,
                            Session { session: session.clone(), wills: BTreeMap::new(), wishes, claims, queue },
                        );
                    }
                }
            }
            Note::Will { session, number, will } => {
                self.number_last = self.number_last.max(*number);
                self.with(*session, |s| drop(s.wills.insert(*number, will.clone())));
            }
            Note::WillSaid(id, number) => self.with(*id, |s| drop(s.wills.remove(number))),
            Note::Ended(id) => drop(self.sessions.remove(id)),
            Note::Wants(id, wish) | Note::WantsAgain(id, wish) => {
                self.with(*id, |s| drop(s.wishes.insert(wish.filter.clone(), wish.clone())))
            }
            Note::Unwants(id, filter) => self.with(*id, |s| drop(s.wishes.remove(filter))),
            Note::Queued { session, seq, waiting, expires } => {
                let number = waiting.message.number.get();
                assert_ne!(number, 0, "a message that is kept has its number");
                self.number_last = self.number_last.max(number);
                let mut waiting = waiting.clone();
                waiting.message = copy(&waiting.message, number);
                let row = ReturnedWaiting { seq: *seq, waiting, expires: *expires, received: false };
                self.with(*session, |s| {
                    assert!(s.queue.insert(*seq, row).is_none(), "a place is given once: {seq} of {session:?}");
                });
            }
            Note::Received(id, seq) => self.with(*id, |s| {
                if let Some(row) = s.queue.get_mut(seq) {
                    row.received = true;
                }
            }),
            Note::Settled(id, seq) => self.with(*id, |s| drop(s.queue.remove(seq))),
            Note::Claimed(id, publish) => self.with(*id, |s| _ = s.claims.insert(*publish)),
            Note::Released(id, publish) => self.with(*id, |s| _ = s.claims.remove(publish)),
            Note::Together(notes) => self.keep(notes),
            Note::Retained { version, message, expires } => {
                self.version_last = self.version_last.max(*version);
                let newer = self.retained.get(&message.topic).is_none_or(|(known, _)| known < version);
                if newer {
                    let row = ReturnedRetained { message: copy(message, 0), expires: *expires };
                    self.retained.insert(message.topic.clone(), (*version, row));
                }
            }
        }
    }

    /// What is noted of a session that has ended means nothing.
    fn with(&mut self, id: SessionId, change: impl FnOnce(&mut Session)) {
        if let Some(session) = self.sessions.get_mut(&id) {
            change(session);
        }
    }

    /// What it tells when the program starts.
    pub fn kept(&self) -> Kept {
        let sessions = self.sessions.values().rev().map(|s| Returned {
            session: s.session.clone(),
            wills: s.wills.clone().into_iter().collect(),
            wishes: s.wishes.values().cloned().collect(),
            claims: s.claims.iter().copied().collect(),
            seq_last: s.queue.last_key_value().map_or(0, |(seq, _)| *seq),
        });
        let retained = self.retained.values().filter(|(_, row)| !row.message.payload.is_empty());
        Kept {
            sessions: sessions.collect(),
            retained: retained.map(|(_, row)| row.clone()).collect(),
            number_last: self.number_last,
            version_last: self.version_last,
        }
    }

    /// What waits in a session.
    pub fn queue(&self, session: SessionId) -> Vec<ReturnedWaiting> {
        self.sessions.get(&session).map(|s| s.queue.values().cloned().collect()).unwrap_or_default()
    }

    /// How many messages wait in all sessions.
    pub fn waiting(&self) -> usize {
        self.sessions.values().map(|s| s.queue.len()).sum()
    }

    /// Since when a session of that name has no line; `None` while it has one.
    pub fn away(&self, client: &str) -> Option<UnixMs> {
        self.sessions.values().find(|s| &*s.session.client == client)?.session.away
    }
}

/// The same for several threads: answers at once.
#[derive(Debug, Default)]
pub struct MemoryVault(Mutex<TestVault>);

impl MemoryVault {
    /// What is in it.
    pub fn lock(&self) -> MutexGuard<'_, TestVault> {
        self.0.lock().expect("no test panics while it holds this lock")
    }
}

impl Vault for MemoryVault {
    fn kept(&self) -> Later<Kept> {
        let kept = self.lock().kept();
        Box::pin(async move { Ok(kept) })
    }

    fn keep(&self, notes: Arc<Vec<Note>>, then: Then<()>) {
        self.lock().keep(&notes);
        then(Ok(()));
    }

    fn queue(&self, session: SessionId, then: Then<Vec<ReturnedWaiting>>) {
        let rows = self.lock().queue(session);
        then(Ok(rows));
    }
}
