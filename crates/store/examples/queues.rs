//! A data directory with many kept sessions and their queues, to see what a start costs:
//! `cargo run --release -p store --example queues -- DIR 100000 10`, then `espush serve --data DIR` with
//! `auth.anonymous=true` (the sessions belong to nobody, or they would be forgotten).

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Instant;

use contract::keep::{KeptSession, KeptWish, Note, SessionId, Vault, Waiting};
use model::message::MessageNumber;
use model::{Filter, Message, PartyKey, Qos, Topic, UnixMs};
use store::Store;

fn main() {
    let mut args = std::env::args().skip(1);
    let mut next =
        |what: &str| args.next().unwrap_or_else(|| panic!("usage: queues DIR SESSIONS MESSAGES-EACH ({what} is missing)"));
    let (dir, sessions, each) = (next("DIR"), next("SESSIONS"), next("MESSAGES-EACH"));
    let (sessions, each): (u64, u64) = (sessions.parse().expect("a number"), each.parse().expect("a number"));
    let store = Store::open(Path::new(&dir)).expect("the directory can be opened");
    let begun = Instant::now();
    for from in (0..sessions).step_by(500) {
        let notes = (from..sessions.min(from + 500)).flat_map(|at| session(at + 1, sessions, each)).collect();
        let (answer, answered) = channel();
        store.keep(Arc::new(notes), Box::new(move |result| answer.send(result).expect("somebody waits")));
        answered.recv().expect("an answer comes").expect("it can be kept");
    }
    println!("{sessions} sessions with {each} messages each in {:.1} s", begun.elapsed().as_secs_f64());
}

/// What is noted of one session: itself, a subscription, its messages.
fn session(number: u64, sessions: u64, each: u64) -> Vec<Note> {
    let id = SessionId(number);
    let topic = format!("t/{number}");
    let session = KeptSession {
        id,
        owner: PartyKey::Anonymous,
        client: topic.as_str().into(),
        keep_s: u32::MAX,
        away: Some(UnixMs(1)),
        sent: 0,
    };
    let wish = KeptWish {
        filter: Filter::parse(&topic).expect("a filter"),
        qos: Qos::AtLeastOnce,
        id: 0,
        as_me: false,
        reach: true,
        no_local: false,
        as_published: false,
        checked: false,
    };
    let mut notes = vec![Note::Session(session), Note::Wants(id, wish)];
    notes.extend((1..=each).map(|seq| {
        let message = Message {
            qos: Qos::AtLeastOnce,
            number: MessageNumber::of(sessions + number * each + seq),
            ..Message::new(Topic::parse(&topic).expect("a topic"), vec![b'x'; 200], UnixMs(1))
        };
        let waiting = Waiting {
            message: Arc::new(message),
            qos: Qos::AtLeastOnce,
            as_me: false,
            retained: false,
            retain: false,
            rare: None,
        };
        Note::Queued { session: id, seq, waiting, expires: None }
    }));
    notes
}
