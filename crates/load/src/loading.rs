//! Who publishes when. With a rate, at the moments that it fixes, by the publishers in turn. Without one,
//! as fast as the window opens: so many messages may be on their way at once, counted until they are
//! delivered where those that listen are ours, and until they are acknowledged above QoS 0.

use crate::conn::{Conn, Stage};
use crate::pacing::Pace;
use crate::plan::{Plan, Role, STAMP_BYTES, Sessions, Work};
use crate::wire::put_publish;
use crate::words::Counts;
use crate::worker::Worker;

/// A publisher with more than this to write waits for its socket.
const OUT_BYTES_MAX: usize = 64 * 1024;
/// Nothing was delivered for so long: what is missing will not come, and the window opens again.
const STALL_NS: u64 = 1_000_000_000;
/// Nothing was acknowledged for so long after the last message: nothing will be.
const PATIENCE_NS: u64 = 10_000_000_000;

/// The load of one process.
pub struct Loading {
    /// Those that publish or ping, by their place among the connections.
    senders: Vec<u32>,
    /// Who of them is next.
    turn: usize,
    stage: Load,
    pace: Option<Pace>,
    /// Messages a second of this process, if there is a rate.
    rate: Option<f64>,
    messages: Option<u64>,
    end_ns: u64,
    /// Which messages come back to this process: deliveries of each, and by topic for pushes.
    fan_out_here: u64,
    workers: u32,
    worker: u32,
    window: u64,
    window_each: u32,
    /// Deliveries that are on their way to this process.
    pub underway: u64,
    /// When the last of them came.
    pub arrived_ns: u64,
    /// Messages or pings on their way that will be answered.
    pub open: u64,
    moved: (u64, u64),
    busy: bool,
    /// All publishers wait for an answer or their socket: that wakes us, not the clock.
    blocked: bool,
    payload: Vec<u8>,
    random: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Load {
    Waiting,
    Running,
    Answering,
    Over,
}

impl Loading {
    pub fn new(plan: &Plan, conns: &[Conn], worker: u32, workers: u32, listen: u32) -> Loading {
        let senders: Vec<u32> = (0..conns.len() as u32).filter(|at| conns[*at as usize].sender.is_some()).collect();
        let share = senders.len() as f64 / f64::from(plan.sides().1.max(1));
        let here = (0..listen).filter(|index| plan.worker_of(*index, workers) == worker).count() as u64;
        let fan_out_here = match plan.work {
            Work::Fan { .. } => here,
            Work::Pairs { .. } | Work::Push { .. } => 1,
            Work::Conns { .. } | Work::Ping { .. } => 0,
        };
        Loading {
            senders,
            turn: 0,
            stage: Load::Waiting,
            pace: None,
            rate: plan.rate.map(|rate| rate * share),
            messages: plan.messages.map(|messages| (messages as f64 * share).round() as u64),
            end_ns: 0,
            fan_out_here,
            workers,
            worker,
            window: ((f64::from(plan.window) * share).ceil() as u64).max(1),
            window_each: plan.window_each(),
            underway: 0,
            arrived_ns: 0,
            open: 0,
            moved: (0, 0),
            busy: false,
            blocked: false,
            payload: vec![b'x'; plan.payload_bytes],
            random: 0x9e37_79b9_7f4a_7c15 ^ u64::from(worker),
        }
    }

    /// When something is due; at once while there is always something.
    pub fn next_ns(&self) -> Option<u64> {
        match self.stage {
            Load::Running if self.busy => Some(0),
            Load::Running if self.blocked => None,
            Load::Running => Some(self.pace.as_ref().and_then(Pace::next_ns).map_or(self.end_ns, |due| due.min(self.end_ns))),
            _ => None,
        }
    }

    /// True once, when all is sent and acknowledged as far as it will be.
    pub fn sent_now(&mut self, now: u64, counts: &Counts) -> bool {
        if self.stage != Load::Answering {
            return false;
        }
        if self.moved.0 != counts.answered + counts.refused {
            self.moved = (counts.answered + counts.refused, now);
        }
        let over = self.open == 0 || now > self.moved.1.saturating_add(PATIENCE_NS);
        if over {
            self.stage = Load::Over;
        }
        over
    }

    /// A connection ended: what it had sent stays unanswered.
    pub fn gone(&mut self, conn: &Conn) {
        let Some(sender) = &conn.sender else { return };
        self.open = self.open.saturating_sub((sender.open() + sender.pings.len()) as u64);
    }

    /// A message has arrived.
    pub fn arrived(&mut self, now: u64) {
        self.underway = self.underway.saturating_sub(1);
        self.arrived_ns = now;
    }

    /// xorshift64: cheap, and the same in every run.
    fn random(&mut self, below: u32) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        ((u128::from(self.random) * u128::from(below)) >> 64) as u32
    }
}

impl Worker {
    /// The load begins.
    pub fn begin_load(&mut self, now: u64) {
        let load = &mut self.loading;
        load.stage = Load::Running;
        load.end_ns = now + (self.plan.seconds * 1e9) as u64;
        load.arrived_ns = now;
        load.pace = load.rate.map(|rate| {
            let count = (rate * self.plan.seconds).round() as u64;
            Pace::new(now, rate, load.messages.map_or(count, |messages| messages.min(count)))
        });
        if load.senders.is_empty() {
            load.end_ns = now;
        }
    }

    /// Publishes what is due or what the window lets go.
    pub fn load_more(&mut self, now: u64) {
        if self.loading.stage != Load::Running {
            return;
        }
        (self.loading.busy, self.loading.blocked) = (false, false);
        let left = match self.loading.messages {
            Some(messages) => messages.saturating_sub(self.counts.sent),
            None => u64::MAX,
        };
        let done = match &self.loading.pace {
            // What was due and had to wait is still sent, unless the server has stopped taking anything.
            Some(pace) => pace.next_ns().is_none() || now > self.loading.end_ns.saturating_add(PATIENCE_NS),
            None => now >= self.loading.end_ns || left == 0,
        };
        if done {
            self.loading.stage = Load::Answering;
            self.loading.moved = (self.counts.answered + self.counts.refused, now);
        } else if self.loading.pace.is_some() {
            self.send_what_is_due(now);
        } else {
            self.send_what_fits(now, left);
        }
    }

    fn send_what_is_due(&mut self, now: u64) {
        while let Some(due) = self.loading.pace.as_ref().and_then(|pace| pace.due_ns(now)) {
            let Some(at) = self.next_sender() else { break };
            self.send(at, due);
            if let Some(pace) = &mut self.loading.pace {
                pace.take();
            }
        }
        self.loading.blocked = self.loading.pace.as_ref().is_some_and(|pace| pace.due_ns(now).is_some());
        // A lot that is about to be written makes room at once.
        self.loading.busy = self.loading.blocked && self.plan.qos == 0 && !self.dirty.is_empty();
    }

    fn send_what_fits(&mut self, now: u64, left: u64) {
        let load = &mut self.loading;
        let counted = load.fan_out_here > 0 && self.sessions != Sessions::Away;
        if counted && load.underway > 0 && now > load.arrived_ns.saturating_add(STALL_NS) {
            load.underway = 0;
            load.arrived_ns = now;
            self.counts.stalls += 1;
        }
        let underway = if counted { load.underway.div_ceil(load.fan_out_here) } else { 0 };
        let mut room = load.window.saturating_sub(underway).min(left);
        let (before, each) = (room, u64::from(load.window_each));
        while room > 0 {
            let Some(at) = self.next_sender() else { break };
            for _ in 0..each.min(room) {
                if self.room_of(at) == 0 {
                    break;
                }
                self.send(at, now);
                room -= 1;
            }
        }
        self.loading.busy = !counted && self.plan.qos == 0 && room < before && self.plan.fan_out() > 0;
    }

    /// The next in turn that can send.
    fn next_sender(&mut self) -> Option<usize> {
        for _ in 0..self.loading.senders.len() {
            let at = self.loading.senders[self.loading.turn] as usize;
            self.loading.turn = (self.loading.turn + 1) % self.loading.senders.len();
            if self.room_of(at) > 0 {
                return Some(at);
            }
        }
        None
    }

    /// How many messages a publisher may send now.
    fn room_of(&self, at: usize) -> u32 {
        let conn = &self.conns[at];
        let Some(sender) = &conn.sender else { return 0 };
        if conn.stage != Stage::Ready || conn.out.len() > OUT_BYTES_MAX {
            return 0;
        }
        match conn.role {
            // One that waits for an answer does not ask again.
            Role::Pings => u32::from(sender.pings.is_empty()),
            _ if self.plan.qos > 0 => sender.room(),
            _ => u32::MAX,
        }
    }

    /// Sends one message that was due then.
    fn send(&mut self, at: usize, due_ns: u64) {
        let random = if let Role::Pushes(devices) = self.conns[at].role { self.loading.random(devices) } else { 0 };
        let load = &mut self.loading;
        let conn = &mut self.conns[at];
        let Some(sender) = &mut conn.sender else { return };
        if conn.role == Role::Pings {
            sender.pings.push_back(due_ns);
            load.open += 1;
            protocols::mqtt::codec::put_empty(&mut conn.out, protocols::mqtt::codec::Kind::Pingreq);
        } else {
            if let Some(stamp) = load.payload.get_mut(..STAMP_BYTES) {
                stamp.copy_from_slice(&due_ns.to_be_bytes());
            }
            let id = if self.plan.qos > 0 { sender.take_id(due_ns) } else { 0 };
            load.open += u64::from(self.plan.qos > 0);
            let mut here = load.fan_out_here;
            if let Role::Pushes(_) = conn.role {
                sender.topic.clear();
                let _ = std::fmt::Write::write_fmt(&mut sender.topic, format_args!("{}/{random}", self.plan.name));
                here = u64::from(random % load.workers == load.worker);
            }
            if load.underway == 0 {
                load.arrived_ns = due_ns.max(load.arrived_ns);
            }
            load.underway += here;
            if put_publish(&self.plan, &sender.topic, id, &load.payload, &mut conn.out).is_err() {
                self.trouble("the payload is too long for MQTT".to_owned());
            }
        }
        self.counts.sent += 1;
        self.mark(at);
    }
}
