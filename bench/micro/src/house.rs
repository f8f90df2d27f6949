//! One shard of the hub with its MQTT machines, whose peers read everything at once.

use std::net::SocketAddr;
use std::sync::Arc;

use contract::{Admission, Bus, ConnId, Event, Gate, Login, Ticket, Verdict};
use hub::{Commons, Floor, Moving, Shard, Wire};
use model::limits::Limits;
use model::{Millis, Party, PartyKey, Qos, UnixMs};
use protocols::mqtt::PROTOCOL;
use protocols::mqtt::codec::{Connect, Level, Options, Packet, Properties, Publish, Subscribe};

/// Lets everybody in.
struct Open;

impl Gate for Open {
    fn admit(&self, _: &Login, _: SocketAddr, _: Ticket) -> Option<Verdict> {
        Some(Ok(Admission { party: Arc::new(Party::Anonymous), settings: Arc::default(), enrolled: None, stamp: 0 }))
    }

    fn scram(&self, _: &str, _: SocketAddr, _: Ticket) {}

    fn party(&self, _: PartyKey) -> Option<Arc<Party>> {
        Some(Arc::new(Party::Anonymous))
    }
}

/// Nobody listens.
struct Deaf;

impl Bus for Deaf {
    fn emit(&self, batch: &mut Vec<Event>) {
        batch.clear();
    }

    fn watched(&self) -> bool {
        false
    }
}

/// What was written, and to whom the last of it.
#[derive(Default)]
struct Pipes {
    written: usize,
    last: Vec<u8>,
}

impl Wire for Pipes {
    fn write(&mut self, _: ConnId, bytes: &[u8]) -> usize {
        self.written += bytes.len();
        self.last.clear();
        self.last.extend_from_slice(bytes);
        0
    }

    fn close(&mut self, _: ConnId) {
        panic!("nobody has to go here");
    }

    fn hand_over(&mut self, _: ConnId, _: u16, _: Moving) {
        panic!("there is one shard");
    }
}

/// A publisher and its subscribers.
pub struct House {
    floor: Floor,
    wire: Pipes,
    publisher: ConnId,
    subscribers: Vec<ConnId>,
    publish: Vec<u8>,
    qos: Qos,
}

impl House {
    /// So many subscribers of one topic at `qos`, among so many other sessions, each with a topic of its own.
    pub fn new(subscribers: usize, others: usize, qos: Qos) -> House {
        let commons = Arc::new(Commons::new(Limits::default()));
        let mut floor = Floor::new(Shard::new(0, 1, Arc::new(Open), Arc::new(Deaf), commons));
        floor.set_time(Millis(1000), UnixMs(1_466_599_588_000));
        let (mut wire, mut names) = (Pipes::default(), 0..);
        let mut enter = |filter: Option<&str>| {
            let conn = floor.vacant();
            floor.open(&PROTOCOL, SocketAddr::from(([127, 0, 0, 1], 1)), &mut wire);
            let (level, client) = (Level::V311, format!("c{}", names.next().unwrap_or(0)));
            let (props, will) = (Properties::NONE, None);
            let (user, password) = (None, None);
            let mut bytes = Vec::new();
            Connect { level, clean: true, keep_alive_s: 60, props, client: &client, will, user, password }
                .encode(&mut bytes)
                .expect("its fields are short");
            if let Some(filter) = filter {
                Subscribe::encode(level, &mut bytes, 1, props, &[(filter, Options::at(qos))]).expect("its fields are short");
            }
            floor.bytes(conn, &bytes, &mut wire);
            floor.flush(&mut wire);
            floor.events().clear();
            conn
        };
        for other in 0..others {
            enter(Some(&format!("other/{other}/state")));
        }
        let publisher = enter(None);
        let subscribers = (0..subscribers).map(|_| enter(Some("house/kitchen/temperature"))).collect();
        let (topic, props, payload) = ("house/kitchen/temperature", Properties::NONE, &[b'x'; 64][..]);
        let mut publish = Vec::new();
        Publish { dup: false, qos, retain: false, topic, id: 7, props, payload }
            .encode(Level::V311, &mut publish)
            .expect("its fields are short");
        House { floor, wire, publisher, subscribers, publish, qos }
    }

    /// A message from its publisher to all subscribers, and their acknowledgements. Returns the bytes written.
    pub fn relay(&mut self) -> usize {
        self.wire.written = 0;
        self.floor.bytes(self.publisher, &self.publish, &mut self.wire);
        self.floor.flush(&mut self.wire);
        if self.qos != Qos::AtMostOnce {
            for at in 0..self.subscribers.len() {
                // Each got the same number, having had the same messages; the last that was written tells it.
                let id = match Packet::read(Level::V311, &self.wire.last) {
                    Ok(Some((Packet::Publish(publish), _))) => publish.id,
                    other => panic!("a publish was to come last, not {other:?}"),
                };
                let [high, low] = id.to_be_bytes();
                self.floor.bytes(self.subscribers[at], &[0x40, 2, high, low], &mut self.wire);
            }
            self.floor.flush(&mut self.wire);
        }
        self.floor.events().clear();
        self.wire.written
    }

    /// A ping and its answer.
    pub fn ping(&mut self) -> usize {
        self.wire.written = 0;
        self.floor.bytes(self.publisher, &[0xc0, 0], &mut self.wire);
        self.floor.flush(&mut self.wire);
        self.wire.written
    }
}

