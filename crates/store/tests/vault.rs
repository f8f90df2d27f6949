//! What the hub keeps, held to the plainest reading of its notes: random notes in random batches, the store
//! closed and opened again in between, and always the same as the testkit's vault in memory.

use std::sync::Arc;
use std::sync::mpsc::channel;

use arbtest::arbitrary::{Result, Unstructured};
use contract::keep::{KeptSession, KeptWish, Note, Rare, SessionId};
use contract::store::StoreError;
use contract::{Vault, Waiting, Will};
use model::message::{MessageNumber, Props, SharedMessage};
use model::{DeviceNumber, Filter, Message, PartyKey, Qos, Topic, UnixMs};
use store::Store;
use testkit::TestVault;

fn keep(store: &Store, notes: Vec<Note>) -> std::result::Result<(), StoreError> {
    let (answer, answered) = channel();
    store.keep(Arc::new(notes), Box::new(move |result| answer.send(result).unwrap()));
    answered.recv().unwrap()
}

/// Everything that a store tells, as text: sessions the newest first, the rest in an order of its own.
async fn told(store: &Store) -> String {
    let mut kept = store.kept().await.unwrap();
    let mut text = String::new();
    for one in &mut kept.sessions {
        one.wishes.sort_by(|a, b| a.filter.as_str().cmp(b.filter.as_str()));
        one.claims.sort_unstable();
        let (answer, answered) = channel();
        store.queue(one.session.id, Box::new(move |rows| answer.send(rows).unwrap()));
        text += &format!("{one:?} {:?}\n", answered.recv().unwrap().unwrap());
    }
    kept.retained.sort_by(|a, b| a.message.topic.as_str().cmp(b.message.topic.as_str()));
    text + &format!("{:?}", kept.retained)
}

fn told_by(vault: &TestVault) -> String {
    let kept = vault.kept();
    let sessions = kept.sessions.iter().map(|one| format!("{one:?} {:?}\n", vault.queue(one.session.id)));
    sessions.collect::<String>() + &format!("{:?}", kept.retained)
}

fn qos(u: &mut Unstructured<'_>) -> Result<Qos> {
    u.choose(&[Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce]).copied()
}

fn message(u: &mut Unstructured<'_>, number: u64) -> Result<SharedMessage> {
    let props = Props {
        content_type: u.arbitrary()?,
        correlation: Some(u.bytes(3)?.to_vec().into()),
        user: vec![("a".into(), "b".into()), ("a".into(), String::new())],
        ..Props::default()
    };
    Ok(Arc::new(Message {
        qos: qos(u)?,
        retain: u.arbitrary()?,
        source: u.arbitrary::<bool>()?.then_some(DeviceNumber(7)),
        props: u.arbitrary::<bool>()?.then(|| Box::new(props)),
        number: MessageNumber::of(number),
        ..Message::new(Topic::parse(u.choose(&["t", "dev/lamp/push"])?).unwrap(), vec![0xff; u.int_in_range(0..=3)?], UnixMs(5))
    }))
}

const OWNERS: [PartyKey; 3] = [PartyKey::Device(DeviceNumber(u32::MAX)), PartyKey::Token(u64::MAX), PartyKey::Anonymous];

/// Makes notes that a hub could make: places of a session only grow.
struct Hub {
    places: Vec<u64>,
    messages: Vec<SharedMessage>,
    version: u64,
}

impl Hub {
    fn note(&mut self, u: &mut Unstructured<'_>) -> Result<Note> {
        let at = u.choose_index(self.places.len())?;
        let id = SessionId(at as u64 + 1);
        let expires = u.arbitrary::<bool>()?.then_some(UnixMs(i64::MAX));
        Ok(match u.int_in_range(0..=13)? {
            0 | 1 => Note::Session(KeptSession {
                id,
                owner: OWNERS[at],
                client: format!("client {at}").into(),
                keep_s: u.arbitrary()?,
                away: u.arbitrary::<bool>()?.then_some(UnixMs(9)),
                sent: u.int_in_range(0..=9)?,
            }),
            12 => Note::WillSaid(id, u.int_in_range(0..=self.version)?),
            13 => {
                let will = Will { topic: "gone".into(), delay_s: 3, ..Will::default() };
                self.version += 1;
                Note::Will { session: id, number: self.version, will: Box::new(will) }
            }
            2 => Note::Ended(id),
            3 | 4 => {
                let filter = Filter::parse(u.choose(&["t/#", "$share/g/t", "+"])?).unwrap();
                if u.arbitrary()? {
                    return Ok(Note::Unwants(id, filter));
                }
                let (as_me, reach, no_local, as_published, checked) = u.arbitrary()?;
                let id_shown = u.arbitrary()?;
                Note::Wants(id, KeptWish { filter, qos: qos(u)?, id: id_shown, as_me, reach, no_local, as_published, checked })
            }
            5..=7 => {
                self.places[at] += 1;
                if self.messages.is_empty() || u.arbitrary()? {
                    self.messages.push(message(u, self.messages.len() as u64 + 1)?);
                }
                let rare = Rare { ids: vec![1, 2], group: Some(("g".into(), Filter::parse("t").unwrap())) };
                let (as_me, retained, retain) = u.arbitrary()?;
                let waiting = Waiting {
                    message: u.choose(&self.messages)?.clone(),
                    qos: qos(u)?,
                    as_me,
                    retained,
                    retain,
                    rare: u.arbitrary::<bool>()?.then(|| Box::new(rare)),
                };
                Note::Queued { session: id, seq: self.places[at], waiting, expires: None }
            }
            8 => Note::Settled(id, u.int_in_range(0..=self.places[at])?),
            9 => Note::Received(id, u.int_in_range(0..=self.places[at])?),
            10 if u.arbitrary()? => Note::Claimed(id, u.int_in_range(1..=3)?),
            10 => Note::Released(id, u.int_in_range(1..=3)?),
            _ => {
                self.version += 1;
                Note::Retained { version: self.version, message: message(u, 0)?, expires }
            }
        })
    }
}

#[test]
fn notes_mean_what_they_say() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    arbtest::arbtest(|u| {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, mut vault) = (Store::open(dir.path()).unwrap(), TestVault::default());
        let mut hub = Hub { places: vec![0; 3], messages: Vec::new(), version: 0 };
        for at in 0..3u64 {
            // The sessions are there, so that most notes are about something.
            let session = KeptSession {
                id: SessionId(at + 1),
                owner: OWNERS[at as usize],
                client: format!("client {at}").into(),
                keep_s: 1,
                away: None,
                sent: 0,
            };
            let notes = vec![Note::Session(session)];
            vault.keep(&notes);
            keep(&store, notes).unwrap();
        }
        let mut ended = [false; 3];
        for _ in 0..u.int_in_range(0..=6)? {
            let mut notes = Vec::new();
            for _ in 0..u.int_in_range(0..=12)? {
                let note = hub.note(u)?;
                // A hub says nothing more of a session that has ended.
                let about = match &note {
                    Note::Session(session) => Some(session.id),
                    Note::Will { session, .. } => Some(*session),
                    Note::Ended(id)
                    | Note::WillSaid(id, _)
                    | Note::Wants(id, _)
                    | Note::Unwants(id, _)
                    | Note::Claimed(id, _) => Some(*id),
                    Note::Queued { session, .. } => Some(*session),
                    _ => None,
                };
                if let Some(SessionId(id)) = about {
                    if ended[id as usize - 1] {
                        continue;
                    }
                    ended[id as usize - 1] = matches!(note, Note::Ended(_));
                }
                notes.push(note);
            }
            if u.arbitrary()? {
                notes = vec![Note::Together(notes)];
            }
            vault.keep(&notes);
            keep(&store, notes).unwrap();
            if u.arbitrary()? {
                runtime.block_on(store.close());
                store = Store::open(dir.path()).unwrap();
            }
            assert_eq!(runtime.block_on(told(&store)), told_by(&vault));
        }
        Ok(())
    })
    .budget_ms(4_000);
}

#[tokio::test]
async fn a_message_lies_on_disk_once_and_goes_with_its_last_place() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let message = Arc::new(Message { number: MessageNumber::of(1), ..Message::new(Topic::parse("t").unwrap(), "x", UnixMs(0)) });
    let queued = |session| Note::Queued {
        session: SessionId(session),
        seq: 1,
        waiting: Waiting {
            message: message.clone(),
            qos: Qos::AtLeastOnce,
            as_me: false,
            retained: false,
            retain: false,
            rare: None,
        },
        expires: None,
    };
    let rows = || {
        let db = rusqlite::Connection::open(dir.path().join("espush.db")).unwrap();
        db.query_row("SELECT count(*), coalesce(sum(waits), 0) FROM messages", [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
        })
        .unwrap()
    };
    keep(&store, vec![queued(1), queued(2)]).unwrap();
    keep(&store, vec![queued(3), Note::Settled(SessionId(1), 1)]).unwrap();
    assert_eq!(rows(), (1, 2));
    keep(&store, vec![Note::Ended(SessionId(2)), Note::Settled(SessionId(3), 1)]).unwrap();
    assert_eq!(rows(), (0, 0));
    store.close().await;
    assert!(matches!(keep(&store, vec![]), Err(StoreError::Closed)));
}
