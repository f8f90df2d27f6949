//! redb: a copy-on-write B-tree in one file, without a log.

use std::path::Path;

use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};

use crate::engine::{CACHE_BYTES, Engine, Row, payload};

const MESSAGES: TableDefinition<u64, &[u8]> = TableDefinition::new("messages");
const QUEUE: TableDefinition<(u64, u64), u64> = TableDefinition::new("queue");

pub struct Redb(Database);

impl Redb {
    fn write(&self) -> WriteTransaction {
        let mut work = self.0.begin_write().expect("begins");
        work.set_durability(Durability::Immediate).expect("a level");
        work
    }
}

impl Engine for Redb {
    fn open(dir: &Path) -> Redb {
        let db = Database::builder().set_cache_size(CACHE_BYTES).create(dir.join("queue.redb")).expect("opens");
        let this = Redb(db);
        let work = this.write();
        work.open_table(MESSAGES).expect("a table");
        work.open_table(QUEUE).expect("a table");
        work.commit().expect("commits");
        this
    }

    fn enqueue(&mut self, rows: &[Row]) {
        let work = self.write();
        {
            let mut messages = work.open_table(MESSAGES).expect("a table");
            let mut queue = work.open_table(QUEUE).expect("a table");
            for row in rows {
                messages.insert(row.message, payload(row.message).as_slice()).expect("inserts");
                queue.insert((row.session, row.seq), row.message).expect("inserts");
            }
        }
        work.commit().expect("commits");
    }

    fn consume(&mut self, rows: &[Row]) {
        let work = self.write();
        {
            let mut messages = work.open_table(MESSAGES).expect("a table");
            let mut queue = work.open_table(QUEUE).expect("a table");
            for row in rows {
                assert!(queue.remove((row.session, row.seq)).expect("removes").is_some());
                assert!(messages.remove(row.message).expect("removes").is_some());
            }
        }
        work.commit().expect("commits");
    }

    fn sessions(&self) -> Vec<(u64, u64, u64)> {
        let work = self.0.begin_read().expect("begins");
        let queue = work.open_table(QUEUE).expect("a table");
        let mut all: Vec<(u64, u64, u64)> = Vec::new();
        for row in queue.iter().expect("iterates") {
            let (session, seq) = row.expect("a row").0.value();
            match all.last_mut() {
                Some(last) if last.0 == session => (last.1, last.2) = (last.1 + 1, seq),
                _ => all.push((session, 1, seq)),
            }
        }
        all
    }

    fn queue(&self, session: u64) -> Vec<(u64, Vec<u8>)> {
        let work = self.0.begin_read().expect("begins");
        let (messages, queue) = (work.open_table(MESSAGES).expect("a table"), work.open_table(QUEUE).expect("a table"));
        let rows = queue.range((session, 0)..=(session, u64::MAX)).expect("iterates");
        rows.map(|row| {
            let (key, message) = row.expect("a row");
            let payload = messages.get(message.value()).expect("reads").expect("its message is there");
            (key.value().1, payload.value().to_vec())
        })
        .collect()
    }
}
