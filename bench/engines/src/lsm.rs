//! fjall: a log-structured merge tree. One journal for both keyspaces, so a batch is one fsync.

use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use crate::engine::{CACHE_BYTES, Engine, Row, payload};

pub struct Fjall {
    db: Database,
    messages: Keyspace,
    queue: Keyspace,
}

impl Engine for Fjall {
    fn open(dir: &Path) -> Fjall {
        let db = Database::builder(dir).cache_size(CACHE_BYTES as u64).open().expect("opens");
        let messages = db.keyspace("messages", KeyspaceCreateOptions::default).expect("a keyspace");
        let queue = db.keyspace("queue", KeyspaceCreateOptions::default).expect("a keyspace");
        Fjall { db, messages, queue }
    }

    fn enqueue(&mut self, rows: &[Row]) {
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncData));
        for row in rows {
            batch.insert(&self.messages, row.message.to_be_bytes(), payload(row.message));
            batch.insert(&self.queue, key(row), row.message.to_be_bytes());
        }
        batch.commit().expect("commits");
    }

    fn consume(&mut self, rows: &[Row]) {
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncData));
        for row in rows {
            batch.remove(&self.queue, key(row));
            batch.remove(&self.messages, row.message.to_be_bytes());
        }
        batch.commit().expect("commits");
    }

    fn sessions(&self) -> Vec<(u64, u64, u64)> {
        let mut all: Vec<(u64, u64, u64)> = Vec::new();
        for row in self.queue.iter() {
            let key = row.key().expect("a row");
            let (session, seq) = (number(&key[..8]), number(&key[8..]));
            match all.last_mut() {
                Some(last) if last.0 == session => (last.1, last.2) = (last.1 + 1, seq),
                _ => all.push((session, 1, seq)),
            }
        }
        all
    }

    fn queue(&self, session: u64) -> Vec<(u64, Vec<u8>)> {
        let one = |row: fjall::Guard| {
            let (key, message) = row.into_inner().expect("a row");
            let payload = self.messages.get(&message).expect("reads").expect("its message is there");
            (number(&key[8..]), payload.to_vec())
        };
        self.queue.prefix(session.to_be_bytes()).map(one).collect()
    }
}

fn key(row: &Row) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&row.session.to_be_bytes());
    key[8..].copy_from_slice(&row.seq.to_be_bytes());
    key
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes.try_into().expect("eight bytes"))
}
