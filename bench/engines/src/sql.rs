//! SQLite as the program's store runs it: one writer, WAL, synchronous = FULL.

use std::path::Path;

use rusqlite::Connection;

use crate::engine::{CACHE_BYTES, Engine, Row, payload};

pub struct Sqlite(Connection);

impl Engine for Sqlite {
    fn open(dir: &Path) -> Sqlite {
        let db = Connection::open(dir.join("queue.db")).expect("opens");
        let mode: String = db.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0)).expect("a mode");
        assert_eq!(mode, "wal");
        db.pragma_update(None, "synchronous", "FULL").expect("a pragma");
        db.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024).expect("a pragma");
        db.pragma_update(None, "cache_size", -(CACHE_BYTES as i64 / 1024)).expect("a pragma");
        db.execute_batch(
            "CREATE TABLE IF NOT EXISTS messages (id INTEGER PRIMARY KEY, payload BLOB NOT NULL) STRICT;
             CREATE TABLE IF NOT EXISTS queue (session INTEGER NOT NULL, seq INTEGER NOT NULL, message INTEGER NOT NULL,
                 PRIMARY KEY (session, seq)) STRICT, WITHOUT ROWID;",
        )
        .expect("tables");
        Sqlite(db)
    }

    fn enqueue(&mut self, rows: &[Row]) {
        let work = self.0.transaction().expect("begins");
        {
            let mut message = work.prepare_cached("INSERT INTO messages VALUES (?1, ?2)").expect("prepares");
            let mut queue = work.prepare_cached("INSERT INTO queue VALUES (?1, ?2, ?3)").expect("prepares");
            for row in rows {
                message.execute((row.message as i64, payload(row.message))).expect("inserts");
                queue.execute((row.session as i64, row.seq as i64, row.message as i64)).expect("inserts");
            }
        }
        work.commit().expect("commits");
    }

    fn consume(&mut self, rows: &[Row]) {
        let work = self.0.transaction().expect("begins");
        {
            let mut queue = work.prepare_cached("DELETE FROM queue WHERE session = ?1 AND seq = ?2").expect("prepares");
            let mut message = work.prepare_cached("DELETE FROM messages WHERE id = ?1").expect("prepares");
            for row in rows {
                assert_eq!(queue.execute((row.session as i64, row.seq as i64)).expect("deletes"), 1);
                assert_eq!(message.execute([row.message as i64]).expect("deletes"), 1);
            }
        }
        work.commit().expect("commits");
    }

    fn sessions(&self) -> Vec<(u64, u64, u64)> {
        let mut all = self.0.prepare("SELECT session, count(*), max(seq) FROM queue GROUP BY session").expect("prepares");
        let of =
            |row: &rusqlite::Row| Ok((row.get::<_, i64>(0)? as u64, row.get::<_, i64>(1)? as u64, row.get::<_, i64>(2)? as u64));
        all.query_map([], of).expect("asks").map(|row| row.expect("a row")).collect()
    }

    fn queue(&self, session: u64) -> Vec<(u64, Vec<u8>)> {
        let sql = "SELECT seq, payload FROM queue JOIN messages ON id = message WHERE session = ?1 ORDER BY seq";
        let mut all = self.0.prepare_cached(sql).expect("prepares");
        let of = |row: &rusqlite::Row| Ok((row.get::<_, i64>(0)? as u64, row.get(1)?));
        all.query_map([session as i64], of).expect("asks").map(|row| row.expect("a row")).collect()
    }
}
