//! How connections begin and end: who is next, how many at once, and what each is for. The same steps
//! serve three purposes: to join before the load, to return for what waited, and to end a kept session so
//! that a run leaves nothing behind.

use std::collections::VecDeque;

use crate::conn::{Conn, Stage};
use crate::pacing::Pace;
use crate::plan::{Plan, Role, Sessions};
use crate::wire::{self, put_connect, put_subscribe};
use crate::worker::{Worker, now_ns};

/// A handshake that has not moved for so long has failed.
const PATIENCE_NS: u64 = 30_000_000_000;

/// What connections are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Join,
    Return,
    Clear,
}

/// Who is still to connect.
pub struct Joining {
    purpose: Purpose,
    todo: VecDeque<u32>,
    under_way: u32,
    at_once: u32,
    pace: Option<Pace>,
    moved_ns: u64,
    settled: bool,
}

impl Joining {
    pub fn new(plan: &Plan, conns: &[Conn], workers: u32) -> Joining {
        let (now, count) = (now_ns(), conns.len() as u64);
        let pace = plan.connect_rate.map(|rate| Pace::new(now, rate / f64::from(workers.max(1)), count));
        let at_once = (plan.handshakes / workers.max(1)).max(1);
        let todo = (0..conns.len() as u32).collect();
        Joining { purpose: Purpose::Join, todo, under_way: 0, at_once, pace, moved_ns: now, settled: false }
    }

    fn again(&mut self, purpose: Purpose, todo: VecDeque<u32>) {
        (self.purpose, self.todo, self.under_way, self.pace, self.settled) = (purpose, todo, 0, None, false);
        self.moved_ns = now_ns();
    }

    /// When the next connection is due; `None` when nobody waits for the time.
    pub fn next_ns(&self) -> Option<u64> {
        let room = !self.todo.is_empty() && self.under_way < self.at_once;
        if room { self.pace.as_ref().and_then(Pace::next_ns) } else { None }
    }

    /// Whether connections are still being made.
    pub fn under_way(&self) -> bool {
        self.under_way > 0 || !self.todo.is_empty()
    }

    /// Whether the run is about to be over.
    pub fn is_the_end(&self) -> bool {
        self.purpose == Purpose::Clear
    }

    /// True once, when all connections of the phase are made or have failed.
    pub fn settled_now(&mut self) -> bool {
        let now = !self.settled && !self.under_way();
        self.settled |= now;
        now
    }

    fn moved(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
        self.moved_ns = now_ns();
    }
}

impl Worker {
    /// Begins connections that are due.
    pub fn join_more(&mut self, now: u64) {
        while self.joining.under_way < self.joining.at_once && !self.joining.todo.is_empty() {
            let due = match &mut self.joining.pace {
                None => now,
                Some(pace) => {
                    let Some(due) = pace.due_ns(now) else { break };
                    pace.take();
                    due
                }
            };
            let Some(at) = self.joining.todo.pop_front() else { break };
            let at = at as usize;
            self.joining.under_way += 1;
            self.conns[at].begun_ns = due;
            let source = self.plan.source(self.conns[at].index);
            let begun = self.conns[at].dial(self.plan.server, source).and_then(|()| self.watch(at));
            if let Err(error) = begun {
                self.lost(at, format!("no connection to {}: {error}", self.plan.server));
            }
        }
        if self.joining.under_way() && now > self.joining.moved_ns.saturating_add(PATIENCE_NS) {
            self.give_up();
        }
    }

    fn give_up(&mut self) {
        for at in 0..self.conns.len() {
            if !matches!(self.conns[at].stage, Stage::Off | Stage::Ready) {
                self.lost(at, "the server does not answer".to_owned());
            }
        }
        let left = self.joining.todo.len() as u64;
        self.joining.todo.clear();
        if self.joining.purpose == Purpose::Join {
            self.counts.failed += left;
        }
    }

    /// Those that were away come back.
    pub fn begin_return(&mut self) {
        self.sessions = Sessions::Kept;
        let away = |conn: &Conn| conn.stage == Stage::Off && matches!(conn.role, Role::Listens(_));
        self.joining.again(Purpose::Return, self.those(away));
    }

    /// Everybody says goodbye; kept sessions are ended by connecting once more.
    pub fn begin_end(&mut self) {
        let kept = self.plan.sessions != Sessions::Clean;
        for at in 0..self.conns.len() {
            if self.conns[at].stage == Stage::Ready {
                wire::put_goodbye(&mut self.conns[at].out);
                // A broker that does not read any more misses it, and sees the end of the line.
                let _ = self.conns[at].write();
            }
            self.conns[at].hang_up();
        }
        let todo = if kept { self.those(|conn| matches!(conn.role, Role::Listens(_))) } else { VecDeque::new() };
        self.joining.again(Purpose::Clear, todo);
    }

    fn those(&self, wanted: impl Fn(&Conn) -> bool) -> VecDeque<u32> {
        (0..self.conns.len() as u32).filter(|at| wanted(&self.conns[*at as usize])).collect()
    }

    /// TCP is there: says hello.
    pub fn dialled(&mut self, at: usize) {
        let conn = &mut self.conns[at];
        let error = match conn.socket.as_ref().map(|socket| socket.take_error()) {
            Some(Ok(error)) => error,
            Some(Err(error)) => Some(error),
            None => None,
        };
        if let Some(error) = error {
            return self.lost(at, format!("no connection to {}: {error}", self.plan.server));
        }
        let kept = self.plan.sessions != Sessions::Clean && matches!(conn.role, Role::Listens(_));
        // A session of an earlier run with the same name is none of ours.
        let clean = !kept || self.joining.purpose == Purpose::Clear;
        conn.stage = Stage::Greeting;
        match put_connect(&self.plan, conn.index, kept && !clean, clean, &mut conn.out) {
            Ok(()) => self.mark(at),
            Err(error) => self.lost(at, error.to_string()),
        }
    }

    /// The server said welcome.
    pub fn welcomed(&mut self, at: usize) {
        let conn = &mut self.conns[at];
        match (self.joining.purpose, conn.role) {
            (Purpose::Clear, _) => self.leave(at),
            (Purpose::Join, Role::Listens(topic)) => {
                conn.stage = Stage::Subscribing;
                match put_subscribe(&self.plan, topic, &mut conn.out) {
                    Ok(()) => self.mark(at),
                    Err(error) => self.lost(at, error.to_string()),
                }
            }
            _ => self.joined(at),
        }
    }

    /// The server has subscribed us.
    pub fn subscribed(&mut self, at: usize) {
        if self.sessions == Sessions::Away { self.leave(at) } else { self.joined(at) }
    }

    fn leave(&mut self, at: usize) {
        self.conns[at].stage = Stage::Leaving;
        wire::put_goodbye(&mut self.conns[at].out);
        self.mark(at);
    }

    fn joined(&mut self, at: usize) {
        self.conns[at].stage = if self.conns[at].stage == Stage::Leaving { Stage::Off } else { Stage::Ready };
        if self.joining.purpose == Purpose::Join {
            self.counts.joined += 1;
            self.joined.record(now_ns().saturating_sub(self.conns[at].begun_ns));
        }
        self.joining.moved();
    }

    /// The connection is over: as it should be, or not.
    pub fn lost(&mut self, at: usize, why: String) {
        match self.conns[at].stage {
            Stage::Leaving => {
                self.joined(at);
            }
            Stage::Ready => {
                self.counts.dropped += 1;
                self.trouble(why);
                // What it had sent is never acknowledged.
                self.loading.gone(&self.conns[at]);
            }
            _ => {
                if self.joining.purpose == Purpose::Join {
                    self.counts.failed += 1;
                }
                self.trouble(why);
                self.joining.moved();
            }
        }
        self.conns[at].hang_up();
    }
}
