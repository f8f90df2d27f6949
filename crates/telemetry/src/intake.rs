//! The room's one task: takes every upload that waits, reads it, stores all points in one go, and only
//! then answers the devices and tells the house. Knows each device's streams by a hash of their names,
//! because a device may open only so many, and each stream's newest time of receipt, so that values which
//! came in the same millisecond do not take each other's place.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use contract::store::{Points, StoreError};
use contract::{Bus, Event, Line, Refusal, Ticket};
use futures_util::future::join_all;
use model::message::SharedMessage;
use model::topic::Space;
use model::{DeviceNumber, Point, UnixMs, limits};
use tokio::sync::{mpsc, oneshot};

use crate::newest::Newest;
use crate::upload::{self, Reading};
use crate::{Counts, IngestError};

/// Uploads taken at once: enough to share one fsync among many, few enough that a batch of the largest
/// (a thousand points each) stays small.
const BATCH: usize = 256;

/// The first step beyond what a stream may be ahead.
const AHEAD_TOO_FAR: i64 = limits::POINTS_AHEAD_MS_MAX + 1;

/// What the task is told.
pub(crate) enum Command {
    /// A device published on its data topic.
    Published { device: DeviceNumber, message: SharedMessage, ticket: Option<Ticket> },
    /// Readings that came by another way at `received`; they are checked already.
    Ingest { device: DeviceNumber, received: UnixMs, readings: Vec<Reading>, reply: oneshot::Sender<Result<usize, IngestError>> },
    /// The device is registered no more.
    Removed { device: DeviceNumber },
    /// Tell when all before is done.
    Flush { reply: oneshot::Sender<()> },
}

/// Who waits for an upload.
enum Waiting {
    Nobody,
    Device(Ticket),
    Caller(oneshot::Sender<Result<usize, IngestError>>),
}

/// A stream of a device.
#[derive(Clone, Copy)]
struct Stream {
    /// The hash of its name.
    hash: u64,
    /// The newest time that we gave to one of its values.
    given: UnixMs,
}

impl Stream {
    /// The time of a value that came at `received` without one of its own: the next that is free.
    fn give_time(&mut self, received: UnixMs) -> Result<UnixMs, Refusal> {
        let free = received.max(UnixMs(self.given.0.saturating_add(1)));
        self.given = match free.0 - received.0 {
            0..=limits::POINTS_AHEAD_MS_MAX => free,
            AHEAD_TOO_FAR => return Err(Refusal::Quota),
            // No stream comes so far ahead, one value after the other: the clock was set back.
            _ => received,
        };
        Ok(self.given)
    }
}

/// An upload that was read.
struct Upload {
    points: Arc<[Point]>,
    waiting: Waiting,
}

pub(crate) struct Intake {
    store: Arc<dyn Points>,
    line: Arc<dyn Line>,
    bus: Arc<dyn Bus>,
    counts: Arc<Counts>,
    newest: Arc<Newest>,
    streams: HashMap<DeviceNumber, Vec<Stream>>,
    hasher: RandomState,
}

impl Intake {
    pub fn new(
        store: Arc<dyn Points>,
        line: Arc<dyn Line>,
        bus: Arc<dyn Bus>,
        counts: Arc<Counts>,
        newest: Arc<Newest>,
    ) -> Intake {
        Intake { store, line, bus, counts, newest, streams: HashMap::new(), hasher: RandomState::new() }
    }

    /// Runs until nobody can tell it anything more.
    pub async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Command>) {
        let mut batch = Vec::new();
        while inbox.recv_many(&mut batch, BATCH).await > 0 {
            self.learn_streams(&batch).await;
            let mut uploads = Vec::new();
            let mut flushes = Vec::new();
            for command in batch.drain(..) {
                match command {
                    Command::Published { device, message, ticket } => {
                        self.counts.waiting_bytes.fetch_sub(message.cost_bytes(), Ordering::Relaxed);
                        let waiting = ticket.map_or(Waiting::Nobody, Waiting::Device);
                        let read = read(&message).and_then(|readings| self.bind(device, message.at, readings));
                        self.admit(read, waiting, &mut uploads);
                    }
                    Command::Ingest { device, received, readings, reply } => {
                        let bound = self.bind(device, received, readings);
                        self.admit(bound, Waiting::Caller(reply), &mut uploads);
                    }
                    Command::Removed { device } => {
                        self.streams.remove(&device);
                        self.newest.removed(device);
                    }
                    Command::Flush { reply } => flushes.push(reply),
                }
            }
            self.keep(uploads).await;
            for reply in flushes {
                let _ = reply.send(());
            }
        }
    }

    /// Reads the stream names of the devices that are new to us. One whose names cannot be read now
    /// is asked for again at its next upload.
    async fn learn_streams(&mut self, batch: &[Command]) {
        let mut devices: Vec<DeviceNumber> = batch.iter().filter_map(Command::uploader).collect();
        devices.sort_unstable();
        devices.dedup();
        devices.retain(|device| !self.streams.contains_key(device));
        let names = join_all(devices.iter().map(|device| self.store.streams(*device))).await;
        for (device, names) in devices.into_iter().zip(names) {
            match names {
                Ok(names) => {
                    let known = |name| Stream { hash: self.hasher.hash_one(name), given: UnixMs(0) };
                    self.streams.insert(device, names.iter().map(known).collect());
                }
                Err(error) => tracing::warn!(%device, %error, "the streams of a device could not be read"),
            }
        }
    }

    /// Binds readings to their device, if it may open the streams that are new. What was acknowledged is
    /// kept: a value that has only the time of its receipt never takes the place of another.
    fn bind(&mut self, device: DeviceNumber, received: UnixMs, readings: Vec<Reading>) -> Result<Arc<[Point]>, Refusal> {
        let known = self.streams.get_mut(&device).ok_or(Refusal::Unavailable)?;
        let before = known.len();
        let mut bind = |Reading { stream, at, value }| {
            let hash = self.hasher.hash_one(&stream);
            let place = match known.iter().position(|stream| stream.hash == hash) {
                Some(place) => place,
                None if known.len() >= limits::STREAMS_PER_DEVICE_MAX => return Err(Refusal::Quota),
                None => {
                    known.push(Stream { hash, given: UnixMs(0) });
                    known.len() - 1
                }
            };
            let at = if at == received { known[place].give_time(received)? } else { at };
            Ok(Point { device, stream, at, value })
        };
        let bound: Result<Arc<[Point]>, Refusal> = readings.into_iter().map(&mut bind).collect();
        if bound.is_err() {
            known.truncate(before);
        }
        bound
    }

    fn admit(&self, read: Result<Arc<[Point]>, Refusal>, waiting: Waiting, uploads: &mut Vec<Upload>) {
        match read {
            Ok(points) => uploads.push(Upload { points, waiting }),
            Err(refusal) => self.refuse(waiting, refusal),
        }
    }

    fn refuse(&self, waiting: Waiting, refusal: Refusal) {
        let count = if refusal == Refusal::Unavailable { &self.counts.dropped } else { &self.counts.refused };
        count.fetch_add(1, Ordering::Relaxed);
        match waiting {
            Waiting::Nobody => {}
            Waiting::Device(ticket) => self.line.published(ticket, Err(refusal)),
            Waiting::Caller(reply) => drop(reply.send(Err(IngestError::Refused(refusal)))),
        }
    }

    /// Stores the points of all uploads, then answers.
    async fn keep(&mut self, uploads: Vec<Upload>) {
        let points: Vec<Point> = uploads.iter().flat_map(|upload| upload.points.iter().cloned()).collect();
        let stored = if points.is_empty() { Ok(()) } else { self.store.append(points).await };
        if let Err(error) = stored {
            self.give_up(uploads, &error);
            return;
        }
        let mut events = Vec::new();
        for Upload { points, waiting } in uploads {
            // Before the answer: who has it may ask for what he sent.
            self.newest.stored(&points);
            match waiting {
                Waiting::Nobody => {}
                Waiting::Device(ticket) => self.line.published(ticket, Ok(())),
                Waiting::Caller(reply) => drop(reply.send(Ok(points.len()))),
            }
            self.counts.points.fetch_add(points.len() as u64, Ordering::Relaxed);
            if !points.is_empty() {
                events.push(Event::PointsStored { points });
            }
        }
        if !events.is_empty() {
            self.bus.emit(&mut events);
        }
    }

    fn give_up(&mut self, uploads: Vec<Upload>, error: &StoreError) {
        tracing::error!(%error, uploads = uploads.len(), "points could not be stored");
        let refusal = if matches!(error, StoreError::Full(_)) { Refusal::Quota } else { Refusal::Unavailable };
        for Upload { points, waiting } in uploads {
            // What we believe of its streams may be wrong now: ask the store again.
            if let Some(point) = points.first() {
                self.streams.remove(&point.device);
            }
            match waiting {
                Waiting::Caller(reply) => {
                    self.counts.dropped.fetch_add(1, Ordering::Relaxed);
                    let _ = reply.send(Err(IngestError::Store(error.clone())));
                }
                waiting => self.refuse(waiting, refusal),
            }
        }
    }
}

impl Command {
    fn uploader(&self) -> Option<DeviceNumber> {
        match self {
            Command::Published { device, .. } | Command::Ingest { device, .. } => Some(*device),
            Command::Removed { .. } | Command::Flush { .. } => None,
        }
    }
}

/// Whether a device's own topic is one of ours.
pub(crate) fn is_data(rest: &str) -> bool {
    rest == "data" || rest.starts_with("data/")
}

fn read(message: &SharedMessage) -> Result<Vec<Reading>, Refusal> {
    let Space::Device { rest, .. } = message.topic.space() else { return Err(Refusal::BadTopic) };
    match rest.strip_prefix("data/") {
        Some(stream) => upload::read_plain(stream, &message.payload, message.at),
        None => upload::read_json(&message.payload, message.at),
    }
}
