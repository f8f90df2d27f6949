//! What the hub keeps, on disk. A batch of notes is one job of the writer, and so shares its commit with
//! everything else that waits. Knows no rule about sessions: it does what each note says, in order.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use contract::keep::{Kept, KeptSession, KeptWish, Note, Returned, ReturnedRetained, ReturnedWaiting, SessionId, Then};
use contract::store::{Later, StoreError};
use contract::{Rare, Vault, Waiting, Will};
use model::message::{MessageNumber, Props, SharedMessage};
use model::{DeviceNumber, Filter, Message, PartyKey, Qos, Topic, UnixMs};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Store;
use crate::rows::{give, last_given, list, signed};
use crate::space::Watch;
use crate::trouble::{Outcome, Trouble, damaged};
use crate::writer::Job;

/// How many versions behind the newest a topic whose last value was taken away is remembered: far more
/// than two shards can be apart.
const GONE_REMEMBERED: u64 = 100_000;
/// The counter of sessions, messages and wills.
const NUMBERS: &str = "kept";
/// How often messages whose time is over are looked for.
const EXPIRED_EVERY: Duration = Duration::from_secs(60);
/// Messages whose time is over and whose payload is given up, per batch.
const EXPIRED_PER_BATCH_MAX: i64 = 1_000;

/// When messages whose time is over were looked for.
pub(crate) type Swept = Arc<Mutex<Option<Instant>>>;

impl Vault for Store {
    fn kept(&self) -> Later<Kept> {
        let cleaned = self.writer.write(forget_strays);
        let kept = self.reader.read(|db| {
            Ok(Kept {
                sessions: sessions(db)?,
                retained: list(
                    db,
                    "SELECT topic, payload, options, source, at, props, expires FROM retained WHERE payload IS NOT NULL",
                    &[],
                    |row| {
                        let message = message(row, 0)?;
                        Ok(ReturnedRetained { message, expires: row.get::<_, Option<i64>>(6)?.map(UnixMs) })
                    },
                )?,
                number_last: last_given(db, NUMBERS)?,
                version_last: last(db, "SELECT coalesce(max(version), 0) FROM retained")?,
            })
        });
        Box::pin(async move {
            cleaned.await?;
            kept.await
        })
    }

    fn keep(&self, notes: Arc<Vec<Note>>, then: Then<()>) {
        let grows = notes.iter().any(Note::grows);
        let job = Batch { notes, grows, outcome: Err(StoreError::Closed), then: Some(then), swept: Arc::clone(&self.swept) };
        if let Err(job) = self.writer.queue.hand_now(Box::new(job)) {
            job.answer(Err(StoreError::Closed));
        }
    }

    fn queue(&self, session: SessionId, then: Then<Vec<ReturnedWaiting>>) {
        let watch = Arc::clone(&self.watch);
        let read = move |db: &Connection| {
            let rows = queue(db, session).map_err(|trouble| trouble.0);
            if let Err(StoreError::Damaged(why)) = &rows {
                watch.damaged(why);
            }
            if let Err(error) = &rows {
                tracing::error!(%error, "what waits in session {} cannot be read; its client gets none of it", session.0);
            }
            then(rows);
        };
        if self.reader.queue.hand_now(Box::new(read)).is_err() {
            tracing::debug!("a queue was asked for while the store was closing");
        }
    }
}

/// A batch on its way through the writer.
struct Batch {
    notes: Arc<Vec<Note>>,
    /// Whether one of them makes the store grow: then all are refused while it is full, and come again without.
    grows: bool,
    outcome: Result<(), StoreError>,
    /// Taken when it is answered.
    then: Option<Then<()>>,
    swept: Swept,
}

impl Drop for Batch {
    /// Whoever waits for a batch that nobody answered (the writer died) is told at least that.
    fn drop(&mut self) {
        if let Some(then) = self.then.take() {
            then(Err(StoreError::Closed));
        }
    }
}

impl Job for Batch {
    fn run(&mut self, db: &Connection, watch: &Watch) -> bool {
        let room = if self.grows { watch.may_grow() } else { Ok(()) };
        let written = room.map_err(Trouble).and_then(|()| write(db, &self.notes)).and_then(|()| sweep(db, &self.swept));
        self.outcome = written.map_err(|trouble| trouble.0);
        if let Err(error) = &self.outcome {
            tracing::error!(%error, notes = self.notes.len(), "what the sessions have to keep could not be written");
        }
        self.outcome.is_ok()
    }

    fn trouble(&self) -> Option<&StoreError> {
        self.outcome.as_ref().err()
    }

    fn answer(mut self: Box<Self>, batch: Result<(), StoreError>) {
        let outcome = std::mem::replace(&mut self.outcome, Ok(()));
        if let Some(then) = self.then.take() {
            then(batch.and(outcome));
        }
    }
}

/// Does what the notes say, in order.
fn write(db: &Connection, notes: &[Note]) -> Outcome<()> {
    let mut done = Done::default();
    write_each(db, notes, &mut done)?;
    forget_messages(db, done.gone)?;
    if done.number_last > 0 {
        // No number is given twice, also when all that bears it is gone.
        give(db, NUMBERS, signed(done.number_last)?)?;
    }
    if let Some(old) = done.version_last.checked_sub(GONE_REMEMBERED) {
        db.prepare_cached("DELETE FROM retained WHERE payload IS NULL AND version < ?1")?.execute([signed(old)?])?;
    }
    Ok(())
}

/// What a batch comes to that is done at its end, once.
#[derive(Default)]
struct Done {
    /// Rows of `queued` that are gone, by message.
    gone: HashMap<i64, i64>,
    /// The highest version of a retained message; 0 when there was none.
    version_last: u64,
    /// The highest number of a session or message; 0 when there was none.
    number_last: u64,
}

fn write_each(db: &Connection, notes: &[Note], done: &mut Done) -> Outcome<()> {
    let mut rest = notes;
    while let Some((note, behind)) = rest.split_first() {
        rest = behind;
        match note {
            Note::Session(session) => {
                done.number_last = done.number_last.max(session.id.0);
                put_session(db, session)?;
            }
            Note::Will { session, number, will } => {
                done.number_last = done.number_last.max(*number);
                let sql = "INSERT INTO wills (session, number, will) VALUES (?1, ?2, ?3)";
                db.prepare_cached(sql)?.execute(params![signed(session.0)?, signed(*number)?, packed(will)?])?;
            }
            Note::WillSaid(session, number) => {
                let sql = "DELETE FROM wills WHERE session = ?1 AND number = ?2";
                db.prepare_cached(sql)?.execute(params![signed(session.0)?, signed(*number)?])?;
            }
            Note::Ended(session) => end_session(db, *session, &mut done.gone)?,
            Note::Wants(session, wish) | Note::WantsAgain(session, wish) => put_wish(db, *session, wish)?,
            Note::Unwants(session, filter) => {
                let sql = "DELETE FROM wishes WHERE session = ?1 AND filter = ?2";
                db.prepare_cached(sql)?.execute(params![signed(session.0)?, filter.as_str()])?;
            }
            Note::Queued { waiting, expires, .. } => {
                // One message for many sessions comes in a row.
                let number = waiting.message.number.get();
                done.number_last = done.number_last.max(number);
                let same = |note: &&Note| matches!(note, Note::Queued { waiting, .. } if waiting.message.number.get() == number);
                let more = rest.iter().take_while(same).count();
                put_message(db, &waiting.message, *expires, 1 + more)?;
                put_queued(db, note)?;
                for note in &rest[..more] {
                    put_queued(db, note)?;
                }
                rest = &rest[more..];
            }
            Note::Received(session, seq) => {
                let sql = "UPDATE queued SET options = options | ?3 WHERE session = ?1 AND seq = ?2";
                db.prepare_cached(sql)?.execute(params![signed(session.0)?, signed(*seq)?, RECEIVED])?;
            }
            Note::Settled(session, seq) => {
                let sql = "DELETE FROM queued WHERE session = ?1 AND seq = ?2 RETURNING message";
                let key = params![signed(session.0)?, signed(*seq)?];
                if let Some(message) = db.prepare_cached(sql)?.query_row(key, |row| row.get(0)).optional()? {
                    *done.gone.entry(message).or_default() += 1;
                }
            }
            Note::Claimed(session, publish) => {
                let sql = "INSERT OR IGNORE INTO claims (session, publish) VALUES (?1, ?2)";
                db.prepare_cached(sql)?.execute(params![signed(session.0)?, publish])?;
            }
            Note::Released(session, publish) => {
                let sql = "DELETE FROM claims WHERE session = ?1 AND publish = ?2";
                db.prepare_cached(sql)?.execute(params![signed(session.0)?, publish])?;
            }
            Note::Retained { version, message, expires } => {
                put_retained(db, *version, message, *expires)?;
                done.version_last = done.version_last.max(*version);
            }
            // Not nested any deeper, so that this ends here.
            Note::Together(notes) => write_each(db, notes, done)?,
        }
    }
    Ok(())
}

/// What was noted for a session just after it had ended, by a shard that had not heard of it yet.
fn forget_strays(db: &Connection) -> Outcome<()> {
    for table in ["wishes", "claims", "wills"] {
        db.execute(&format!("DELETE FROM {table} WHERE session NOT IN (SELECT id FROM sessions)"), [])?;
    }
    let mut gone = HashMap::new();
    let sql = "DELETE FROM queued WHERE session NOT IN (SELECT id FROM sessions) RETURNING message";
    for message in list(db, sql, &[], |row| Ok(row.get::<_, i64>(0)?))? {
        *gone.entry(message).or_default() += 1;
    }
    forget_messages(db, gone)
}

/// Takes rows of `queued` that are gone off their messages, and the messages that wait nowhere any more.
fn forget_messages(db: &Connection, gone: HashMap<i64, i64>) -> Outcome<()> {
    for (message, waits) in gone {
        let sql = "UPDATE messages SET waits = waits - ?2 WHERE id = ?1 RETURNING waits";
        let left: Option<i64> = db.prepare_cached(sql)?.query_row(params![message, waits], |row| row.get(0)).optional()?;
        if left.is_some_and(|left| left <= 0) {
            db.prepare_cached("DELETE FROM messages WHERE id = ?1")?.execute([message])?;
        }
    }
    Ok(())
}

fn put_session(db: &Connection, session: &KeptSession) -> Outcome<()> {
    let (owner, number) = match session.owner {
        PartyKey::Device(number) => (0, i64::from(number.0)),
        PartyKey::Token(id) => (1, id as i64), // a bridge's has all bits set
        PartyKey::Account(id) => (2, id as i64),
        PartyKey::Anonymous => (3, 0),
    };
    let sql = "INSERT INTO sessions (id, owner, owner_number, client, keep_s, away, sent)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
               ON CONFLICT (id) DO UPDATE SET keep_s = excluded.keep_s, away = excluded.away, sent = excluded.sent";
    db.prepare_cached(sql)?.execute(params![
        signed(session.id.0)?,
        owner,
        number,
        &*session.client,
        session.keep_s,
        session.away.map(|at| at.0),
        signed(session.sent)?
    ])?;
    Ok(())
}

fn end_session(db: &Connection, session: SessionId, gone: &mut HashMap<i64, i64>) -> Outcome<()> {
    let id = signed(session.0)?;
    let mut delete = db.prepare_cached("DELETE FROM queued WHERE session = ?1 RETURNING message")?;
    let mut rows = delete.query([id])?;
    while let Some(row) = rows.next()? {
        *gone.entry(row.get(0)?).or_default() += 1;
    }
    for sql in [
        "DELETE FROM wishes WHERE session = ?1",
        "DELETE FROM claims WHERE session = ?1",
        "DELETE FROM wills WHERE session = ?1",
        "DELETE FROM sessions WHERE id = ?1",
    ] {
        db.prepare_cached(sql)?.execute([id])?;
    }
    Ok(())
}

/// The flags of a row in one number, the first in the bit `from`.
fn bits(from: u32, flags: &[bool]) -> i64 {
    flags.iter().zip(from..).map(|(flag, bit)| i64::from(*flag) << bit).sum()
}

fn bit(options: i64, bit: u32) -> bool {
    options >> bit & 1 == 1
}

fn qos_of(options: i64) -> Qos {
    Qos::from_u8((options & 3) as u8).unwrap_or(Qos::ExactlyOnce)
}

/// The bit in `queued.options` that says that the client has the message.
const RECEIVED: i64 = 1 << 5;

fn put_wish(db: &Connection, session: SessionId, wish: &KeptWish) -> Outcome<()> {
    let options = wish.qos as i64 | bits(2, &[wish.as_me, wish.reach, wish.no_local, wish.as_published, wish.checked]);
    let sql = "INSERT INTO wishes (session, filter, options, id) VALUES (?1, ?2, ?3, ?4)
               ON CONFLICT (session, filter) DO UPDATE SET options = excluded.options, id = excluded.id";
    db.prepare_cached(sql)?.execute(params![signed(session.0)?, wish.filter.as_str(), options, wish.id])?;
    Ok(())
}

fn put_message(db: &Connection, message: &Message, expires: Option<UnixMs>, waits: usize) -> Outcome<()> {
    let sql = "INSERT INTO messages (id, waits, topic, payload, options, source, at, expires, props)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
               ON CONFLICT (id) DO UPDATE SET waits = waits + excluded.waits";
    db.prepare_cached(sql)?.execute(params![
        signed(message.number.get())?,
        signed(waits as u64)?,
        message.topic.as_str(),
        &message.payload[..],
        message.qos as i64 | bits(2, &[message.retain]),
        message.source.map(|device| device.0),
        message.at.0,
        expires.map(|at| at.0),
        message.props.as_deref().map(packed).transpose()?
    ])?;
    Ok(())
}

fn put_queued(db: &Connection, note: &Note) -> Outcome<()> {
    let Note::Queued { session, seq, waiting, .. } = note else { return Ok(()) };
    let options = waiting.qos as i64 | bits(2, &[waiting.as_me, waiting.retained, waiting.retain]);
    let rare = waiting
        .rare
        .as_ref()
        .map(|rare| packed(&(&rare.ids, rare.group.as_ref().map(|(group, filter)| (group.as_str(), filter.as_str())))));
    let sql = "INSERT INTO queued (session, seq, message, options, rare) VALUES (?1, ?2, ?3, ?4, ?5)";
    db.prepare_cached(sql)?.execute(params![
        signed(session.0)?,
        signed(*seq)?,
        signed(waiting.message.number.get())?,
        options,
        rare.transpose()?
    ])?;
    Ok(())
}

fn put_retained(db: &Connection, version: u64, message: &Message, expires: Option<UnixMs>) -> Outcome<()> {
    let sql = "INSERT INTO retained (topic, version, payload, options, source, at, expires, props)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
               ON CONFLICT (topic) DO UPDATE SET version = excluded.version, payload = excluded.payload,
                   options = excluded.options, source = excluded.source, at = excluded.at, expires = excluded.expires,
                   props = excluded.props
               WHERE excluded.version > version";
    db.prepare_cached(sql)?.execute(params![
        message.topic.as_str(),
        signed(version)?,
        (!message.payload.is_empty()).then_some(&message.payload[..]),
        message.qos as i64 | bits(2, &[message.retain]),
        message.source.map(|device| device.0),
        message.at.0,
        expires.map(|at| at.0),
        message.props.as_deref().map(packed).transpose()?
    ])?;
    Ok(())
}

/// Gives up the payloads of messages whose time is over, now and then. Their places stay until their
/// sessions are looked at. By the wall clock, because it is about times that were written down.
fn sweep(db: &Connection, swept: &Swept) -> Outcome<()> {
    let mut swept = swept.lock().unwrap_or_else(PoisonError::into_inner);
    if swept.is_some_and(|at| at.elapsed() < EXPIRED_EVERY) {
        return Ok(());
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
    if give_up_expired(db, UnixMs(now))? < EXPIRED_PER_BATCH_MAX {
        *swept = Some(Instant::now());
    }
    Ok(())
}

fn give_up_expired(db: &Connection, now: UnixMs) -> Outcome<i64> {
    let sql = "UPDATE messages SET payload = x'', props = NULL, expires = 0
               WHERE id IN (SELECT id FROM messages WHERE expires > 0 AND expires <= ?1 LIMIT ?2)";
    Ok(db.prepare_cached(sql)?.execute(params![now.0, EXPIRED_PER_BATCH_MAX])? as i64)
}

fn last(db: &Connection, sql: &str) -> Outcome<u64> {
    let last: i64 = db.query_row(sql, [], |row| row.get(0))?;
    Ok(last.unsigned_abs())
}

fn sessions(db: &Connection) -> Outcome<Vec<Returned>> {
    // The newest first: of two of one name only that one counts.
    let sql = "SELECT id, owner, owner_number, client, keep_s, away, sent FROM sessions ORDER BY id DESC";
    let mut all = list(db, sql, &[], |row| {
        let number: i64 = row.get(2)?;
        let owner = match row.get::<_, i64>(1)? {
            0 => PartyKey::Device(DeviceNumber(row.get(2)?)),
            1 => PartyKey::Token(number as u64),
            2 => PartyKey::Account(number as u64),
            3 => PartyKey::Anonymous,
            other => return Err(damaged(format_args!("a session has the unknown owner {other}"))),
        };
        let session = KeptSession {
            id: SessionId(row.get::<_, i64>(0)?.unsigned_abs()),
            owner,
            client: row.get::<_, String>(3)?.into(),
            keep_s: row.get(4)?,
            away: row.get::<_, Option<i64>>(5)?.map(UnixMs),
            sent: row.get::<_, i64>(6)?.unsigned_abs(),
        };
        Ok(Returned { session, wills: Vec::new(), wishes: Vec::new(), claims: Vec::new(), seq_last: 0 })
    })?;
    let places: HashMap<SessionId, usize> = all.iter().zip(0..).map(|(one, at)| (one.session.id, at)).collect();
    let place = |row: &Row<'_>| Ok::<_, Trouble>(places.get(&SessionId(row.get::<_, i64>(0)?.unsigned_abs())).copied());
    for (at, will) in list(db, "SELECT session, number, will FROM wills ORDER BY session, number", &[], |row| {
        let will = unpacked::<Will>(&row.get::<_, Vec<u8>>(2)?, "a will")?;
        Ok((place(row)?, (row.get::<_, i64>(1)?.unsigned_abs(), Box::new(will))))
    })? {
        if let Some(at) = at {
            all[at].wills.push(will);
        }
    }
    for (at, wish) in list(db, "SELECT session, filter, options, id FROM wishes", &[], |row| Ok((place(row)?, wish(row)?)))? {
        if let Some(at) = at {
            all[at].wishes.push(wish);
        }
    }
    for (at, claim) in list(db, "SELECT session, publish FROM claims", &[], |row| Ok((place(row)?, row.get::<_, u16>(1)?)))? {
        if let Some(at) = at {
            all[at].claims.push(claim);
        }
    }
    let sql = "SELECT session, max(seq) FROM queued GROUP BY session";
    for (at, seq) in list(db, sql, &[], |row| Ok((place(row)?, row.get::<_, i64>(1)?.unsigned_abs())))? {
        if let Some(at) = at {
            all[at].seq_last = seq;
        }
    }
    Ok(all)
}

fn wish(row: &Row<'_>) -> Outcome<KeptWish> {
    let (filter, options): (String, i64) = (row.get(1)?, row.get(2)?);
    Ok(KeptWish {
        filter: filter_of(&filter)?,
        qos: qos_of(options),
        id: row.get(3)?,
        as_me: bit(options, 2),
        reach: bit(options, 3),
        no_local: bit(options, 4),
        as_published: bit(options, 5),
        checked: bit(options, 6),
    })
}

fn queue(db: &Connection, session: SessionId) -> Outcome<Vec<ReturnedWaiting>> {
    let sql = "SELECT topic, payload, messages.options, source, at, props, expires, id, seq, queued.options, rare
               FROM queued JOIN messages ON id = message WHERE session = ?1 ORDER BY seq";
    list(db, sql, &[&signed(session.0)?], |row| {
        let options: i64 = row.get(9)?;
        let rare = row.get::<_, Option<Vec<u8>>>(10)?.map(|rare| rare_of(&rare)).transpose()?;
        Ok(ReturnedWaiting {
            seq: row.get::<_, i64>(8)?.unsigned_abs(),
            waiting: Waiting {
                message: message(row, row.get::<_, i64>(7)?.unsigned_abs())?,
                qos: qos_of(options),
                as_me: bit(options, 2),
                retained: bit(options, 3),
                retain: bit(options, 4),
                rare: rare.map(Box::new),
            },
            expires: row.get::<_, Option<i64>>(6)?.map(UnixMs),
            received: options & RECEIVED != 0,
        })
    })
}

fn rare_of(bytes: &[u8]) -> Outcome<Rare> {
    let (ids, group): (Vec<u32>, Option<(String, String)>) = unpacked(bytes, "what belongs to a message")?;
    let group = group.map(|(group, filter)| Ok::<_, Trouble>((group, filter_of(&filter)?))).transpose()?;
    Ok(Rare { ids, group })
}

/// A message from the columns topic, payload, options, source, at, props.
fn message(row: &Row<'_>, number: u64) -> Outcome<SharedMessage> {
    let (topic, options): (String, i64) = (row.get(0)?, row.get(2)?);
    let topic = Topic::parse(&topic).map_err(|error| damaged(format_args!("the topic {topic:?} of a message: {error}")))?;
    let props = row.get::<_, Option<Vec<u8>>>(5)?.map(|props| unpacked::<Props>(&props, "the properties of a message"));
    Ok(Arc::new(Message {
        qos: qos_of(options),
        retain: bit(options, 2),
        source: row.get::<_, Option<u32>>(3)?.map(DeviceNumber),
        props: props.transpose()?.map(Box::new),
        number: MessageNumber::of(number),
        ..Message::new(topic, Bytes::from(row.get::<_, Vec<u8>>(1)?), UnixMs(row.get(4)?))
    }))
}

fn filter_of(text: &str) -> Outcome<Filter> {
    Filter::parse(text).map_err(|error| damaged(format_args!("the filter {text:?} of a subscription: {error}")))
}

fn packed<T: Serialize>(value: &T) -> Outcome<Vec<u8>> {
    postcard::to_stdvec(value).map_err(|error| Trouble(StoreError::Engine(error.to_string())))
}

fn unpacked<T: DeserializeOwned>(bytes: &[u8], what: &str) -> Outcome<T> {
    postcard::from_bytes(bytes).map_err(|error| damaged(format_args!("{what}: {error}")))
}
