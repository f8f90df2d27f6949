//! What the checksums of pages cost: the same statements on the same database, once through SQLite's own
//! file layer and once through ours. `cargo run --release -p store --example checksums`

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};
use store::Store;

const TRANSACTIONS: i64 = 300;
const ROWS: i64 = 1000;
const ROUNDS: usize = 5;

fn open(path: &Path, layer: &std::ffi::CStr) -> Connection {
    let how = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags_and_vfs(path, how, layer).unwrap();
    db.pragma_update(None, "synchronous", "FULL").unwrap();
    db
}

/// Seconds to write and to read again, the files not in SQLite's cache.
fn run(layer: &std::ffi::CStr) -> (Duration, Duration) {
    let dir = tempfile::tempdir().unwrap();
    drop(Store::open(dir.path()).unwrap());
    let path = dir.path().join("espush.db");
    let mut db = open(&path, layer);
    let begun = Instant::now();
    for transaction in 0..TRANSACTIONS {
        let writing = db.transaction().unwrap();
        let mut insert = writing.prepare_cached("INSERT INTO points (device, stream, at, value) VALUES (?1, 1, ?2, ?3)").unwrap();
        for row in 0..ROWS {
            // All over the tree, so that many pages are written.
            let device = (row * 7919 + transaction) % 5000;
            insert.execute((device, transaction * ROWS + row, row as f64)).unwrap();
        }
        drop(insert);
        writing.commit().unwrap();
    }
    drop(db);
    let wrote = begun.elapsed();
    let db = open(&path, layer);
    let begun = Instant::now();
    let sum: f64 = db.query_row("SELECT sum(value) FROM points", [], |row| row.get(0)).unwrap();
    assert!(sum > 0.0);
    (wrote, begun.elapsed())
}

fn main() {
    for _ in 0..ROUNDS {
        for (name, layer) in [("SQLite's own", c"unix"), ("ours", c"espush")] {
            let (wrote, read) = run(layer);
            println!("{name:<14} wrote {:>6} ms, read {:>4} ms", wrote.as_millis(), read.as_millis());
        }
    }
}
