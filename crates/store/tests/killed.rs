//! Acknowledged means kept: what the store answered is there after the process was killed in the middle
//! of its work. The test starts itself again as the process that is killed.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use contract::store::{Registry, StoredToken};
use model::{Role, UnixMs};
use store::Store;

const DIR: &str = "ESPUSH_TEST_KILLED_DIR";
const NAME: &str = "what_was_answered_survives_a_kill";

fn token(id: u64) -> StoredToken {
    StoredToken {
        id,
        name: format!("t{id}"),
        role: Role::Viewer,
        hash: [7; 32],
        created: UnixMs(0),
        expires: None,
        scopes: Default::default(),
        query: String::new(),
        ended: false,
    }
}

/// Writes and says what was answered, for ever.
fn victim(dir: &str) {
    let store = Store::open(dir.as_ref()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut out = std::io::stdout();
    runtime.block_on(async {
        for first in (1..).step_by(20) {
            // Twenty wait together, so that the kill meets commits of many jobs.
            let writes: Vec<_> = (first..first + 20).map(|id| (id, store.put_token(token(id)))).collect();
            for (id, write) in writes {
                write.await.unwrap();
                writeln!(out, "kept {id}").unwrap();
                out.flush().unwrap();
            }
        }
    });
}

#[test]
fn what_was_answered_survives_a_kill() {
    if let Ok(dir) = std::env::var(DIR) {
        return victim(&dir);
    }
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for round in 1..=3 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", NAME, "--nocapture"])
            .env(DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut answered = Vec::new();
        // To the end of the pipe: what it said before it died counts, whenever it is read.
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            // A last line may be torn; then it did not get to say it.
            let id = line.unwrap().strip_prefix("kept ").and_then(|id| id.parse::<u64>().ok());
            answered.extend(id);
            if answered.len() == 150 * round {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(answered.len() >= 150 * round);
        let store = Store::open(dir.path()).unwrap();
        let found = runtime.block_on(store.load()).unwrap();
        for id in answered {
            assert!(found.tokens.contains(&token(id)), "round {round}: {id} was answered and is lost");
        }
    }
}
