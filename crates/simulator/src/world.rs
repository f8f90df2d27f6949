//! The world of a run: the house, its clients, and everything between and below them, moved by one queue of
//! happenings. What each happening does is in `happen`; when troubles come, in `troubles`.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::fmt;
use std::fmt::Write as _;
use std::sync::Arc;

use model::limits::Limits;
use model::{DeviceNumber, Millis};
use protocols::mqtt::PROTOCOL;
use testkit::{Errand, House, LineId};

use crate::client::Client;
use crate::history::{Disk, Fact, History, How, Key, Who};
use crate::nature::{Crowd, Nature};
use crate::network::{Way, Wire};
use crate::rng::Rng;

/// Something that happens at its time.
#[derive(Debug)]
pub enum Happening {
    /// A client does something by itself.
    Act(Who),
    /// A client connects, if it has no line.
    Connect(Who),
    /// A client acknowledges what it may.
    Acknowledge(Who),
    /// A client notices that its line is dead.
    Notice(Who, usize),
    /// Something has come to the house on a line.
    Up(usize),
    /// Something has come to the client on a line.
    Down(usize),
    /// The client of a line reads again.
    Unstick(usize),
    /// The house gives its peers what waits for them.
    Flush,
    /// Half a second has passed.
    Tick,
    /// An errand is done.
    Errand(usize),
    /// The disk has taken a batch, or has not.
    Kept(usize),
    /// A queue was read.
    Came(usize),
    /// Somebody sends garbage.
    Garbage,
    /// The platform pushes something.
    Push,
    /// A trouble begins.
    Trouble,
    /// The disk is well again.
    DiskWell,
    /// Somebody ends a program that cannot go on.
    Die,
    /// The program starts again.
    Born,
    /// Time to look whether somebody waits in vain.
    Look,
}

/// What is asked of a run.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// Decides everything.
    pub seed: u64,
    /// How long troubles go on, in simulated minutes.
    pub minutes: u64,
    /// How many clients; 0 leaves it to the seed.
    pub clients: usize,
    /// Everything that happens is remembered in words, and not the last of it alone.
    pub whole: bool,
}

/// The world.
pub struct World {
    /// Microseconds since the run began.
    pub now: u64,
    pub(crate) rng: Rng,
    pub(crate) house: House,
    pub(crate) clients: Vec<Client>,
    /// The line of each client, as it knows it.
    pub(crate) line_of: Vec<Option<usize>>,
    pub(crate) devices: BTreeMap<DeviceNumber, Who>,
    pub(crate) wires: Vec<Wire>,
    wire_of: BTreeMap<LineId, usize>,
    queue: BinaryHeap<Reverse<(u64, u64, usize)>>,
    happenings: Vec<Option<Happening>>,
    free: Vec<usize>,
    ordinal: u64,
    pub(crate) errands: Vec<Option<Errand>>,
    /// Batches that the disk is writing, by errand, in order.
    pub(crate) writing: Vec<usize>,
    /// When the last mail of a pair of shards arrives.
    mail_last: BTreeMap<(usize, usize), u64>,
    /// Everything of an earlier life of the program is void.
    flush_at: u64,
    pub(crate) up: bool,
    pub(crate) disk: Disk,
    /// How far the wall clock is ahead.
    pub(crate) ahead_ms: i64,
    /// What everybody knows.
    pub history: History,
    /// Troubles are over.
    pub(crate) calm: bool,
    pub(crate) crowd: Crowd,
    /// When something was last not as it should be.
    pub(crate) ill_at: u64,
    pub(crate) pushes: BTreeMap<u64, Key>,
    pub(crate) trouble_ms: u64,
    /// When the client of a line last began to read again.
    pub(crate) unstuck_at: BTreeMap<usize, u64>,
    /// Whoever has left stays away.
    pub(crate) leaving: bool,
    /// The last things that happened, in words, for a failure.
    pub trace: VecDeque<String>,
    whole: bool,
}

/// What happens, in words, up to a length.
pub(crate) struct Words {
    text: String,
    left: usize,
}

impl fmt::Write for Words {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let fits = more.floor_char_boundary(self.left);
        self.text.push_str(&more[..fits]);
        self.left -= fits;
        if fits < more.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

/// How much of what happened is remembered in words, unless all of it is.
const TRACE_MAX: usize = 400;
/// How many characters of each.
const WORDS_MAX: usize = 300;

const MS: u64 = 1000;

impl World {
    /// A world as its seed wants it.
    pub fn new(wish: Wish) -> World {
        let mut rng = Rng::new(wish.seed);
        let clients = if wish.clients > 0 { wish.clients } else { *rng.pick(&[20, 60, 60, 150, 400]) };
        let publishers = (clients / 5).clamp(2, 25);
        // So many publishes in a minute, whoever makes them.
        let a_minute = *rng.pick(&[200, 600, 1500]);
        let crowd = Crowd { publishers, publish_ms: publishers as u64 * 60_000 / a_minute };
        let limits = Limits { queue_messages: 1_000_000, queue_bytes: 1 << 30, ..Limits::default() };
        let mut house = House::with_limits(rng.within(1, 4) as u16, limits);
        house.drive_by_hand();
        house.gate().add_account("crowd", "secret", &[]);
        let mut world = World {
            now: 0,
            trouble_ms: *rng.pick(&[5_000, 15_000, 40_000]),
            house,
            clients: Vec::new(),
            line_of: vec![None; clients],
            devices: BTreeMap::new(),
            wires: Vec::new(),
            wire_of: BTreeMap::new(),
            queue: BinaryHeap::new(),
            happenings: Vec::new(),
            free: Vec::new(),
            ordinal: 0,
            errands: Vec::new(),
            writing: Vec::new(),
            mail_last: BTreeMap::new(),
            flush_at: u64::MAX,
            up: true,
            disk: Disk::Well,
            ahead_ms: 0,
            history: History::default(),
            calm: false,
            crowd,
            ill_at: 0,
            pushes: BTreeMap::new(),
            unstuck_at: BTreeMap::new(),
            leaving: false,
            trace: VecDeque::new(),
            whole: wish.whole,
            rng,
        };
        for who in 0..clients {
            let mut own = world.rng.fork();
            let nature = Nature::draw(who, &crowd, &mut own);
            if nature.is_device {
                let number = world.house.gate().add_device(&nature.user, "secret", 7);
                world.devices.insert(number, who);
            }
            world.clients.push(Client::new(who, nature, own));
            let wait = world.rng.below(5000) * MS;
            world.after(wait, Happening::Connect(who));
            world.after(wait + 100 * MS, Happening::Act(who));
        }
        for (wait_ms, happening) in [
            (0, Happening::Tick),
            (3000, Happening::Garbage),
            (2000, Happening::Push),
            (8000, Happening::Trouble),
            (1000, Happening::Look),
        ] {
            world.after(wait_ms * MS, happening);
        }
        world
    }

    // ---- the queue ----

    /// Something is to happen in so many microseconds.
    pub(crate) fn after(&mut self, us: u64, happening: Happening) {
        self.at(self.now + us, happening);
    }

    pub(crate) fn at(&mut self, at: u64, happening: Happening) {
        let place = match self.free.pop() {
            Some(place) => {
                self.happenings[place] = Some(happening);
                place
            }
            None => {
                self.happenings.push(Some(happening));
                self.happenings.len() - 1
            }
        };
        self.ordinal += 1;
        self.queue.push(Reverse((at, self.ordinal, place)));
    }

    /// Lets happen what happens until `end`.
    pub fn run_until(&mut self, end: u64) {
        while let Some(Reverse((at, _, place))) = self.queue.peek().copied()
            && at <= end
        {
            self.queue.pop();
            self.free.push(place);
            let Some(happening) = self.happenings[place].take() else { continue };
            self.set_now(at);
            self.happen(happening);
            self.follow();
        }
        self.set_now(end);
    }

    fn set_now(&mut self, now: u64) {
        self.now = self.now.max(now);
        self.history.now = self.now / MS;
        self.house.set_time(Millis(1000 + self.now / MS), self.ahead_ms);
    }

    /// Remembers what happens. As much of it as `whole` asks for: a batch can be very long.
    pub(crate) fn say(&mut self, what: impl FnOnce(&mut Words) -> fmt::Result) {
        let mut words = Words { text: String::new(), left: if self.whole { usize::MAX } else { WORDS_MAX } };
        // It can only fail because there is enough of it.
        let _ = what(&mut words);
        if !self.whole && self.trace.len() == TRACE_MAX {
            self.trace.pop_front();
        }
        self.trace.push_back(format!("{:>10.3} ms  {}", self.now as f64 / 1000.0, words.text));
    }

    // ---- between house and clients ----

    /// What the house has written and ended goes on its way; what it has left to be done is done in time.
    fn follow(&mut self) {
        for line in self.house.touched() {
            let Some(&at) = self.wire_of.get(&line) else { continue };
            let bytes = self.house.received(line);
            let latency = self.latency(at);
            let wire = &mut self.wires[at];
            let mut arrivals = wire.down.put(self.now, latency, &bytes, &mut self.rng);
            if !wire.over && self.house.closed(line).is_some() {
                wire.over = true;
                wire.up.vanish();
                arrivals.extend(wire.down.end(self.now, latency, &mut self.rng));
            }
            for arrival in arrivals {
                self.at(arrival, Happening::Down(at));
            }
        }
        if self.up {
            let soon = self.now + self.rng.below(300);
            self.flush_by(soon);
        }
    }

    /// The house gets to its flush by then.
    pub(crate) fn flush_by(&mut self, at: u64) {
        if at < self.flush_at {
            self.flush_at = at;
            self.at(at, Happening::Flush);
        }
    }

    /// The house flushes; errands set out.
    pub(crate) fn flush(&mut self) {
        if self.flush_at > self.now || !self.up {
            return;
        }
        self.flush_at = u64::MAX;
        for errand in self.house.errands() {
            let place = self.errands.len();
            let delay = self.rng.around(200);
            let in_order = |last: &mut u64| {
                *last = (*last).max(self.now + delay);
                *last
            };
            let (at, happening) = match &errand {
                Errand::Mail { from, to, .. } => {
                    (in_order(self.mail_last.entry((*from, *to)).or_default()), Happening::Errand(place))
                }
                Errand::Move(moving) => {
                    (in_order(self.mail_last.entry((moving.from, moving.to)).or_default()), Happening::Errand(place))
                }
                Errand::Keep(..) => {
                    self.writing.push(place);
                    (self.now + self.fsync_us(), Happening::Kept(place))
                }
                Errand::Load(..) => (self.now + self.fsync_us() / 2, Happening::Came(place)),
                Errand::Up(..) => (self.now + self.rng.around(20 * MS), Happening::Errand(place)),
            };
            self.errands.push(Some(errand));
            self.at(at, happening);
        }
        if let Some(due) = self.house.batch_due() {
            let at = due.0.saturating_sub(1000) * MS;
            self.flush_by(at.max(self.now + 1));
        }
        self.hear();
    }

    fn latency(&self, wire: usize) -> u64 {
        self.wires[wire].who.map_or(5, |who| self.clients[who].nature.latency_ms) * MS
    }

    /// A new line into the house. Its client says hello by itself.
    pub(crate) fn dial(&mut self, who: Option<Who>) -> usize {
        let line = self.house.connect(&PROTOCOL);
        let (up, down) = (Way::default(), Way::default());
        self.wires.push(Wire { line, who, up, down, stuck: false, over: false });
        let at = self.wires.len() - 1;
        self.wire_of.insert(line, at);
        if let Some(who) = who {
            self.line_of[who] = Some(at);
        }
        at
    }

    /// What a client has to say goes on its way.
    pub(crate) fn speak(&mut self, who: Who) {
        let bytes = std::mem::take(&mut self.clients[who].out);
        if let Some(at) = self.line_of[who] {
            self.send(at, &bytes);
        }
    }

    pub(crate) fn send(&mut self, at: usize, bytes: &[u8]) {
        let latency = self.latency(at);
        for arrival in self.wires[at].up.put(self.now, latency, bytes, &mut self.rng) {
            self.at(arrival, Happening::Up(at));
        }
    }

    /// A client's line is over for it. With `told` the house hears of it.
    pub(crate) fn leave(&mut self, who: Who, how: How, told: bool) {
        // Goodbye was heard if that is why the house ended the line.
        let heard =
            self.line_of[who].and_then(|at| self.house.closed(self.wires[at].line)).is_some_and(|c| c.why == "disconnected");
        let how = if how == How::Polite && !heard { How::Broken } else { how };
        self.clients[who].lost(how, &mut self.history);
        if let Some(at) = self.line_of[who].take() {
            let latency = self.latency(at);
            self.wires[at].down.vanish();
            if !self.wires[at].over && told {
                let arrival = self.wires[at].up.tear(self.now, latency, &mut self.rng);
                self.at(arrival, Happening::Up(at));
            } else {
                self.wires[at].up.break_off(&mut self.rng);
            }
        }
        let away = self.clients[who].nature.away_ms;
        if self.leaving {
            return;
        }
        let wait = if self.calm { 100 } else { self.rng.around(away) };
        self.after(wait * MS, Happening::Connect(who));
    }

    /// All lines end with the program; some clients are not told.
    pub(crate) fn all_lines_end(&mut self) {
        for at in 0..self.wires.len() {
            if self.wires[at].over {
                continue;
            }
            let latency = self.latency(at);
            let wire = &mut self.wires[at];
            wire.over = true;
            wire.up.vanish();
            if self.rng.percent(80) {
                let arrival = wire.down.tear(self.now, latency, &mut self.rng);
                self.at(arrival, Happening::Down(at));
            } else {
                wire.down.break_off(&mut self.rng);
                if let Some(who) = wire.who {
                    let wait = self.rng.within(1, 30);
                    self.after(wait * 1000 * MS, Happening::Notice(who, at));
                }
            }
        }
    }

    /// Nothing that the program has begun is finished any more.
    pub(crate) fn forget_errands(&mut self) {
        self.errands.iter_mut().for_each(|errand| *errand = None);
        self.writing.clear();
        self.mail_last.clear();
        self.flush_at = u64::MAX;
    }

    /// What the disk needs for what it is given now.
    fn fsync_us(&mut self) -> u64 {
        match self.disk {
            Disk::Slow => self.rng.within(1000, 6000) * MS,
            _ => 200 + self.rng.around(4 * MS),
        }
    }

    pub(crate) fn tell(&mut self, fact: Fact) {
        self.history.tell(fact);
    }

    /// What is on disk of a batch that the program died over is all or nothing.
    pub(crate) fn die(&mut self) {
        for place in std::mem::take(&mut self.writing) {
            let Some(Errand::Keep(_, notes)) = self.errands[place].take() else { continue };
            let takes = match self.disk {
                Disk::Broken => false,
                Disk::Full => !notes.iter().any(contract::Note::grows),
                _ => true,
            };
            if takes && self.rng.percent(50) {
                let notes: &Arc<Vec<_>> = &notes;
                self.house.vault_mut().keep(notes);
                self.say(|out| write!(out, "the disk still takes {} notes: {notes:?}", notes.len()));
            }
        }
        self.forget_errands();
        self.all_lines_end();
        self.up = false;
        self.tell(Fact::Died);
        self.say(|out| out.write_str("the program dies"));
        let wait = self.rng.within(50, 4000);
        self.after(wait * MS, Happening::Born);
    }
}
