//! What a shard wants kept, in order, and who waits for it. Notes gather while a batch is under way to the
//! disk; one that has become pointless before its batch goes (a message that everybody has acknowledged by
//! then) is taken out again and never written. Nothing here knows what the notes are about.

use std::collections::VecDeque;
use std::sync::Arc;

use contract::store::StoreError;
use contract::{Answer, ConnId, Note, PromiseId, Reached, Refusal, SessionPlace};
use model::{Millis, limits};
use slab::Slab;

use crate::mail::{Gathered, Safe};

/// Who is told when everything that a promise waits for is kept, or cannot be.
#[derive(Debug)]
pub(crate) enum Then {
    /// The peer that published.
    Publish {
        /// Its session.
        session: SessionPlace,
        /// The line by which it came.
        conn: ConnId,
        /// Its own word for the publish.
        token: u32,
    },
    /// Another shard, which waits for this one among others.
    Shard(Safe),
    /// The platform, which sent it under its own word; how far it came.
    Sent(u64, Reached),
    /// This shard: everywhere that a message waits is known, and may be kept with what it comes from.
    Gathered(Box<Publishing>),
    /// All that is on disk, or is not.
    Together(Box<Publishing>, Vec<Gathered>),
}

/// A message that is kept in one go with what it comes from, so that a crash leaves both or neither.
#[derive(Debug)]
pub(crate) struct Publishing {
    /// What it comes from: the claim of an exactly-once publish, a will that was said, a session that ended.
    pub from: Note,
    /// The session and the line by which it came, and its client's own word for it, if a client waits.
    pub client: Option<(SessionPlace, ConnId, u32)>,
}

/// What a peer is told when all notes before it are kept.
#[derive(Debug)]
pub(crate) struct After {
    /// Its line.
    pub conn: ConnId,
    /// What it is told.
    pub answer: Box<Answer>,
    /// Its deliveries wait for that.
    pub hold: bool,
}

/// What could not be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// A message that waits in the session.
    Message,
    /// Something that the client was to be told is safe.
    Step,
}

impl Refused {
    fn of(note: &Note) -> Refused {
        if matches!(note, Note::Queued { .. }) { Refused::Message } else { Refused::Step }
    }
}

/// What a note weighs in memory, about.
fn weight(note: &Note) -> usize {
    match note {
        Note::Queued { waiting, .. } => waiting.message.cost_bytes(),
        Note::Retained { message, .. } => message.cost_bytes(),
        Note::Together(notes) => notes.iter().map(weight).sum(),
        _ => 128,
    }
}

/// Where a noted message waits, and whether it waits for its note.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waits {
    /// The session.
    pub session: SessionPlace,
    /// It is not given to the client before it is kept.
    pub held: bool,
}

#[derive(Debug)]
struct Promise {
    epoch: u32,
    left: u32,
    failed: Option<Refusal>,
    then: Then,
}

#[derive(Debug)]
struct Open {
    note: Note,
    promise: Option<PromiseId>,
    waits: Option<Waits>,
}

/// Who waits for a note under way.
#[derive(Debug)]
struct Awaited {
    number: u64,
    promise: Option<PromiseId>,
    waits: Option<Waits>,
}

#[derive(Debug)]
struct UnderWay {
    /// The number of its first place in `open`, and that behind its last.
    from: u64,
    until: u64,
    notes: Arc<Vec<Note>>,
    /// One for each of `notes`.
    awaited: Vec<Awaited>,
}

/// The journal of one shard.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    open: Vec<Option<Open>>,
    /// The number of the first of `open`. Numbers only grow.
    base: u64,
    /// All notes with a smaller number are kept, taken back or refused.
    kept: u64,
    /// How many of `open` are still wanted, and what they weigh.
    wanted: usize,
    bytes: usize,
    /// When the next batch must go.
    due: Option<Millis>,
    under_way: Option<UnderWay>,
    /// The disk did not take the last batch.
    failing: bool,
    /// And will not take another, until the program is started again.
    broken: bool,
    barriers: VecDeque<(u64, After)>,
    promises: Slab<Promise>,
    epoch_last: u32,
    /// Promises that were kept or broken.
    pub finished: Vec<(PromiseId, Then, Result<(), Refusal>)>,
    /// What may be done now.
    pub passed: Vec<(After, Result<(), Refusal>)>,
    /// Sessions that wait for one of their notes, which now is kept.
    pub woken: Vec<SessionPlace>,
    /// Sessions whose message or wish could not be kept, and the number of its note.
    pub refused: Vec<(SessionPlace, u64, Refused)>,
    /// Notes handed over, and notes taken back in time.
    pub counted: (u64, u64),
}

impl Journal {
    /// All notes with a smaller number are on disk, taken back or refused.
    pub fn kept(&self) -> u64 {
        self.kept
    }

    /// The number of the next note.
    pub fn next(&self) -> u64 {
        self.base + self.open.len() as u64
    }

    /// Adds a note that is to be on its way by `due`. Returns its number.
    pub fn note(&mut self, note: Note, due: Millis) -> u64 {
        self.add(Open { note, promise: None, waits: None }, due)
    }

    /// Adds a note that `promise` waits for, and what `waits` tells of.
    pub fn note_for(&mut self, note: Note, promise: Option<PromiseId>, waits: Option<Waits>, due: Millis) -> u64 {
        self.also(promise);
        self.add(Open { note, promise, waits }, due)
    }

    /// Whether so much waits that nothing new may be promised.
    pub fn is_full(&self) -> bool {
        self.wanted >= limits::NOTES_WAITING_MAX || self.bytes >= limits::NOTES_WAITING_BYTES_MAX
    }

    fn add(&mut self, open: Open, due: Millis) -> u64 {
        if self.broken {
            // Its number is used up, and nothing of it stays: nothing will ever take it.
            let number = self.base;
            self.base += 1;
            self.give_up(number, open, Refusal::Unavailable);
            return number;
        }
        self.bytes += weight(&open.note);
        self.open.push(Some(open));
        self.wanted += 1;
        self.due = Some(self.due.map_or(due, |before| before.min(due)));
        self.base + self.open.len() as u64 - 1
    }

    /// Takes a note back if its batch has not gone yet. Whether it was in time; whoever waits for it need
    /// not wait longer.
    pub fn take_back(&mut self, number: u64) -> bool {
        let Some(at) = number.checked_sub(self.base) else { return false };
        let Some(open) = self.open.get_mut(at as usize).and_then(Option::take) else { return false };
        self.wanted -= 1;
        self.bytes -= weight(&open.note);
        self.counted.1 += 1;
        if let Some(promise) = open.promise {
            self.settle(promise, Ok(()));
        }
        self.pass();
        true
    }

    // ---- promises ----

    fn promise(&mut self, id: PromiseId) -> Option<&mut Promise> {
        self.promises.get_mut(id.index as usize).filter(|promise| promise.epoch == id.epoch)
    }

    /// Begins a promise. It is not kept before [`Journal::seal`].
    pub fn begin(&mut self, then: Then) -> PromiseId {
        self.epoch_last = self.epoch_last.wrapping_add(1);
        let epoch = self.epoch_last;
        PromiseId { index: self.promises.insert(Promise { epoch, left: 1, failed: None, then }) as u32, epoch }
    }

    /// Whether the promise is still to be kept.
    pub fn is_open(&mut self, id: PromiseId) -> bool {
        self.promise(id).is_some()
    }

    /// The promise, if there is one, waits for one more.
    pub fn also(&mut self, id: Option<PromiseId>) {
        if let Some(promise) = id.and_then(|id| self.promise(id)) {
            promise.left += 1;
        }
    }

    /// One that the promise waits for is done, or cannot be.
    pub fn settle(&mut self, id: PromiseId, result: Result<(), Refusal>) {
        let Some(promise) = self.promise(id) else { return };
        promise.left -= 1;
        promise.failed = promise.failed.or(result.err());
        if promise.left == 0 {
            let Promise { then, failed, .. } = self.promises.remove(id.index as usize);
            self.finished.push((id, then, failed.map_or(Ok(()), Err)));
        }
    }

    /// Everything that the promise waits for is known. `Some` when there is nothing, with what came of it;
    /// unless `there_is_more` to be done then.
    pub fn seal(&mut self, id: PromiseId, there_is_more: bool) -> Option<Result<(), Refusal>> {
        let promise = self.promise(id)?;
        if promise.left > 1 || (there_is_more && promise.failed.is_none()) {
            self.settle(id, Ok(()));
            return None;
        }
        let failed = self.promises.remove(id.index as usize).failed;
        Some(failed.map_or(Ok(()), Err))
    }

    /// Whatever it waits for, the promise cannot be kept.
    pub fn fail(&mut self, id: PromiseId, refusal: Refusal) {
        if let Some(promise) = self.promise(id) {
            promise.failed.get_or_insert(refusal);
        }
    }

    /// Another is told of the promise, or something else.
    pub fn becomes(&mut self, id: PromiseId, then: Then) {
        if let Some(promise) = self.promise(id) {
            promise.then = then;
        }
    }

    /// Does `after` when all notes made so far are kept.
    pub fn wait(&mut self, after: After) {
        match self.broken {
            true => self.passed.push((after, Err(Refusal::Unavailable))),
            false => self.barriers.push_back((self.next(), after)),
        }
    }

    // ---- batches ----

    /// Whether nothing is left to be handed over or answered, or the disk does not take it.
    pub fn is_done(&self) -> bool {
        self.under_way.is_none() && (self.wanted == 0 || self.failing)
    }

    /// How much waits for the disk or for somebody who waits for it.
    pub fn unfinished(&self) -> usize {
        let under_way = self.under_way.as_ref().map_or(0, |batch| batch.notes.len());
        self.wanted + under_way + self.promises.len() + self.barriers.len()
    }

    /// When the driver must ask for a batch at the latest.
    pub fn due(&self) -> Option<Millis> {
        self.due.filter(|_| self.under_way.is_none())
    }

    /// The next batch, if it is time for it.
    pub fn batch(&mut self, now: Millis) -> Option<Arc<Vec<Note>>> {
        self.due().filter(|due| *due <= now)?;
        let (mut notes, mut awaited) = (Vec::with_capacity(self.wanted.min(limits::NOTES_PER_BATCH_MAX)), Vec::new());
        let (mut count, mut bytes) = (0, 0);
        for open in self.open.iter().take(limits::NOTES_PER_BATCH_MAX) {
            if bytes >= limits::NOTES_PER_BATCH_BYTES_MAX {
                break;
            }
            bytes += open.as_ref().map_or(0, |open| weight(&open.note));
            count += 1;
        }
        let from = self.base;
        for (open, number) in self.open.drain(..count).zip(from..) {
            if let Some(Open { note, promise, waits }) = open {
                awaited.push(Awaited { number, promise, waits });
                notes.push(note);
            }
        }
        self.bytes -= bytes;
        self.base += count as u64;
        self.wanted -= notes.len();
        self.due = (self.wanted > 0).then_some(now);
        self.counted.0 += notes.len() as u64;
        let notes = Arc::new(notes);
        self.under_way = Some(UnderWay { from, until: self.base, notes: notes.clone(), awaited });
        Some(notes)
    }

    /// The batch is on disk, or is not. Notes that grow are refused then; the others go again, because
    /// what they say has happened.
    pub fn answered(&mut self, result: Result<(), StoreError>, now: Millis) {
        let Some(under_way) = self.under_way.take() else { return };
        self.failing = result.is_err();
        match result {
            Ok(()) => {
                self.kept = under_way.until;
                for Awaited { promise, waits, .. } in under_way.awaited {
                    if let Some(promise) = promise {
                        self.settle(promise, Ok(()));
                    }
                    self.woken.extend(waits.filter(|waits| waits.held).map(|waits| waits.session));
                }
            }
            Err(error) => {
                let refusal = if matches!(error, StoreError::Full(_)) { Refusal::Quota } else { Refusal::Unavailable };
                self.broken |= matches!(error, StoreError::Disk(_));
                self.refuse(under_way, refusal, now);
            }
        }
        self.pass();
    }

    /// A note that is not kept: whoever waits for it is told.
    fn give_up(&mut self, number: u64, open: Open, refusal: Refusal) {
        if let Some(promise) = open.promise {
            self.settle(promise, Err(refusal));
        }
        self.refused.extend(open.waits.map(|waits| (waits.session, number, Refused::of(&open.note))));
    }

    /// Gives up what grows of a batch, and puts the rest back where it was. With a disk that does not take even
    /// the rest, also what has come since: it would not fare better, and nobody is to wait for ever.
    fn refuse(&mut self, under_way: UnderWay, refusal: Refusal, now: Millis) {
        let UnderWay { from, until, notes, awaited } = under_way;
        let grew = notes.iter().any(Note::grows);
        let mut open: Vec<Option<Open>> = std::iter::repeat_with(|| None).take((until - from) as usize).collect();
        for (note, Awaited { number, promise, waits }) in notes.iter().zip(awaited) {
            open[(number - from) as usize] = Some(Open { note: note.clone(), promise, waits });
        }
        open.append(&mut self.open);
        (self.open, self.base, self.wanted, self.bytes) = (Vec::with_capacity(open.len()), from, 0, 0);
        let hopeless = self.broken || !grew;
        for (open, number) in open.into_iter().zip(from..) {
            let gives_up = |open: &Open| self.broken || (open.note.grows() && (number < until || hopeless));
            let kept = match open {
                Some(open) if gives_up(&open) => {
                    self.give_up(number, open, refusal);
                    None
                }
                open => open,
            };
            self.wanted += usize::from(kept.is_some());
            self.bytes += kept.as_ref().map_or(0, |open| weight(&open.note));
            self.open.push(kept);
        }
        // At once without what would not fit; when that does not go either, now and then.
        self.due = Some(if hopeless { now.plus_ms(limits::NOTES_AGAIN_MS) } else { now });
        if hopeless {
            self.passed.extend(self.barriers.drain(..).map(|(_, after)| (after, Err(refusal))));
        }
    }

    /// Lets pass whoever waits for what is kept now.
    fn pass(&mut self) {
        if self.under_way.is_none() && self.wanted == 0 {
            // What was taken back leaves numbers that no batch will bring.
            self.base += self.open.len() as u64;
            self.open.clear();
            self.due = None;
            self.kept = self.base;
        }
        while let Some((_, after)) = self.barriers.pop_front_if(|(number, _)| *number <= self.kept) {
            self.passed.push((after, Ok(())));
        }
    }
}
