//! One process of a run: an epoll, its connections, and a turn that is always the same: begin what is due,
//! publish what is due, write everything in one call a socket, wait, read what came. It is led by orders on
//! stdin and tells on stdout; when stdin ends, it ends.

use std::io::{self, BufRead, Write};
use std::num::NonZeroU64;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use protocols::mqtt::codec::{Kind, put_empty};
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};

use crate::conn::{Conn, Sender, Stage};
use crate::histogram::Histogram;
use crate::joining::Joining;
use crate::loading::Loading;
use crate::pacing::Pace;
use crate::plan::{Plan, Role, Sessions};
use crate::procfs::Usage;
use crate::words::{Counts, Order, Report, Task, Word};

/// Events taken from epoll at once.
const EVENTS: usize = 1024;
/// The shared read buffer.
const BUFFER_BYTES: usize = 256 * 1024;
/// How often the counts are told.
const TELL_NS: u64 = 50_000_000;
/// Marks the event of stdin.
const ORDERS: u64 = u64::MAX;
/// The longest wait without an event.
const WAIT_NS: u64 = 50_000_000;

/// The process' state.
pub struct Worker {
    pub plan: Plan,
    pub sessions: Sessions,
    pub conns: Vec<Conn>,
    pub counts: Counts,
    pub joined: Histogram,
    pub answered: Histogram,
    pub delivered: Histogram,
    pub joining: Joining,
    pub loading: Loading,
    /// Connections with something to write.
    pub dirty: Vec<u32>,
    epoll: OwnedFd,
    told_ns: u64,
    /// When keep-alives are due, evenly over the connections, each at half its promise.
    beats: Option<Pace>,
    beat: usize,
}

/// Now, on a clock that all processes of a machine share, and that nobody sets.
pub fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// The life of a worker process: reads its task and orders from stdin, says on stdout what happens.
pub fn work() -> io::Result<()> {
    let mut input = io::stdin().lock();
    let mut line = String::new();
    input.read_line(&mut line)?;
    let task: Task = serde_json::from_str(&line)?;
    // So that waits of less than a millisecond are not rounded up to the next twentieth of one.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1_000));
    let mut worker = Worker::new(task)?;
    let stdin = io::stdin();
    // Nothing is read ahead: the coordinator sends its next order only when it has been told.
    epoll::add(&worker.epoll, stdin.as_fd(), epoll::EventData::new_u64(ORDERS), epoll::EventFlags::IN)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut events = Vec::with_capacity(EVENTS);
    loop {
        let now = now_ns();
        worker.join_more(now);
        worker.load_more(now);
        worker.keep_alive(now);
        worker.flush();
        worker.tell(now)?;
        worker.wait(&mut events)?;
        let mut ordered = false;
        for event in &events {
            let (token, flags) = (event.data.u64(), event.flags);
            if token == ORDERS {
                ordered = true;
            } else {
                worker.ready(token as usize, flags, &mut buffer);
            }
        }
        if ordered {
            line.clear();
            if input.read_line(&mut line)? == 0 {
                return Ok(());
            }
            match serde_json::from_str(&line)? {
                Order::Load => worker.begin_load(now_ns()),
                Order::Return => worker.begin_return(),
                Order::End => {
                    worker.begin_end();
                    if !worker.joining.under_way() {
                        return worker.report();
                    }
                }
            }
        } else if worker.joining.is_the_end() && !worker.joining.under_way() {
            return worker.report();
        }
    }
}

impl Worker {
    fn new(Task { plan, worker, workers }: Task) -> io::Result<Worker> {
        let (listen, _) = plan.sides();
        let mine = (0..plan.connections()).filter(|index| plan.worker_of(*index, workers) == worker);
        let window = plan.window_each();
        let conns: Vec<Conn> = mine
            .map(|index| {
                let role = plan.role(index);
                let topic = if let Role::Publishes(topic) = role { plan.topic(topic) } else { String::new() };
                let sender = (!matches!(role, Role::Listens(_))).then(|| Box::new(Sender::new(topic, window)));
                Conn::new(index, role, sender)
            })
            .collect();
        let half_s = f64::from(plan.keep_alive_s) / 2.0;
        let beats = (plan.keep_alive_s > 0 && !conns.is_empty())
            .then(|| Pace::new(now_ns() + (half_s * 1e9) as u64, conns.len() as f64 / half_s, u64::MAX));
        Ok(Worker {
            sessions: plan.sessions,
            counts: Counts::default(),
            joined: Histogram::default(),
            answered: Histogram::default(),
            delivered: Histogram::default(),
            joining: Joining::new(&plan, &conns, workers),
            loading: Loading::new(&plan, &conns, worker, workers, listen),
            dirty: Vec::new(),
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            told_ns: 0,
            beats,
            beat: 0,
            plan,
            conns,
        })
    }

    /// The connection has something to write at the end of the turn.
    pub fn mark(&mut self, at: usize) {
        let conn = &mut self.conns[at];
        if !conn.dirty {
            conn.dirty = true;
            self.dirty.push(at as u32);
        }
    }

    /// Watches a new socket.
    pub fn watch(&self, at: usize) -> io::Result<()> {
        let Some(socket) = &self.conns[at].socket else { return Ok(()) };
        let flags = epoll::EventFlags::OUT | epoll::EventFlags::IN;
        Ok(epoll::add(&self.epoll, socket, epoll::EventData::new_u64(at as u64), flags)?)
    }

    /// Watches for room to write as well, or no longer.
    pub fn watch_writing(&mut self, at: usize, writing: bool) -> io::Result<()> {
        let conn = &mut self.conns[at];
        if conn.full == writing {
            return Ok(());
        }
        conn.full = writing;
        let Some(socket) = &conn.socket else { return Ok(()) };
        let out = if writing { epoll::EventFlags::OUT } else { epoll::EventFlags::empty() };
        let data = epoll::EventData::new_u64(at as u64);
        Ok(epoll::modify(&self.epoll, socket, data, epoll::EventFlags::IN | out)?)
    }

    /// Keeps the promise of the keep-alive. Those that ping do anyhow.
    fn keep_alive(&mut self, now: u64) {
        while let Some(beats) = self.beats.as_mut().filter(|beats| beats.due_ns(now).is_some()) {
            beats.take();
            let at = self.beat % self.conns.len();
            self.beat += 1;
            let conn = &mut self.conns[at];
            if conn.stage == Stage::Ready && conn.role != Role::Pings {
                put_empty(&mut conn.out, Kind::Pingreq);
                self.mark(at);
            }
        }
    }

    /// Everything that waits is written, one call a socket.
    pub fn flush(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for at in dirty.drain(..) {
            let at = at as usize;
            self.conns[at].dirty = false;
            if matches!(self.conns[at].stage, Stage::Off | Stage::Dialling) {
                continue;
            }
            let written = self.conns[at].write().and_then(|all| self.watch_writing(at, !all));
            if let Err(error) = written {
                self.lost(at, error.to_string());
            }
        }
        // The list keeps its memory; what was lost meanwhile may have marked others.
        dirty.append(&mut self.dirty);
        self.dirty = dirty;
    }

    /// Waits for sockets, orders, or the next thing that is due.
    fn wait(&mut self, events: &mut Vec<epoll::Event>) -> io::Result<()> {
        let now = now_ns();
        let due = [self.joining.next_ns(), self.loading.next_ns(), self.beats.and_then(|beats| beats.next_ns())]
            .into_iter()
            .flatten()
            .min();
        let wait_ns = due.map_or(WAIT_NS, |due| due.saturating_sub(now).min(WAIT_NS));
        // epoll itself waits for whole milliseconds.
        if wait_ns > 0 {
            let timeout = Timespec { tv_sec: 0, tv_nsec: wait_ns as i64 };
            let epoll: BorrowedFd<'_> = self.epoll.as_fd();
            match poll(&mut [PollFd::new(&epoll, PollFlags::IN)], Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        events.clear();
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(events), Some(&at_once)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Tells what changed: phases that ended at once, counts now and then.
    fn tell(&mut self, now: u64) -> io::Result<()> {
        if self.joining.settled_now() {
            self.say(&Word::Settled(self.counts.clone()))?;
        }
        if self.loading.sent_now(now, &self.counts) {
            self.say(&Word::Sent(self.counts.clone()))?;
        }
        if now >= self.told_ns + TELL_NS {
            self.told_ns = now;
            self.say(&Word::Counts(self.counts.clone()))?;
        }
        Ok(())
    }

    fn report(&mut self) -> io::Result<()> {
        let report = Report {
            counts: std::mem::take(&mut self.counts),
            joined: std::mem::take(&mut self.joined),
            answered: std::mem::take(&mut self.answered),
            delivered: std::mem::take(&mut self.delivered),
            cpu_s: Usage::of("self").map_or(0.0, |usage| usage.cpu_s),
        };
        self.say(&Word::Report(Box::new(report)))
    }

    fn say(&self, word: &Word) -> io::Result<()> {
        let mut out = io::stdout().lock();
        serde_json::to_writer(&mut out, word)?;
        out.write_all(b"\n")?;
        out.flush()
    }

    /// The first thing that went wrong is kept: it mostly explains the rest.
    pub fn trouble(&mut self, why: String) {
        self.counts.trouble.get_or_insert(why);
    }
}
