//! What each happening does to the world.

use std::fmt::Write as _;

use contract::store::StoreError;
use contract::{Event, Refusal};
use model::message::SharedMessage;
use model::{Message, PushId, Qos, Receipt, Topic};
use testkit::Errand;

use crate::client::payload_of;
use crate::history::{Disk, Fact, How, Kind, Sheet, Step, Who};
use crate::network::Item;
use crate::world::{Happening, World};

const MS: u64 = 1000;
const S: u64 = 1000 * MS;

/// How long anybody may wait for an answer while nothing is wrong.
const PATIENCE_US: u64 = 40 * S;

impl World {
    pub(crate) fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Act(who) => self.act(who),
            Happening::Connect(who) => self.connect(who),
            Happening::Acknowledge(who) => {
                self.clients[who].acknowledge(&mut self.history);
                self.speak(who);
            }
            Happening::Notice(who, at) => {
                if self.line_of[who] == Some(at) {
                    self.leave(who, How::Broken, true);
                }
            }
            Happening::Up(at) => self.arrived_up(at),
            Happening::Down(at) => self.arrived_down(at),
            Happening::Unstick(at) => {
                self.wires[at].stuck = false;
                self.unstuck_at.insert(at, self.now);
                if !self.wires[at].over {
                    self.house.set_stuck(self.wires[at].line, false);
                }
                self.arrived_down(at);
            }
            Happening::Flush => self.flush(),
            Happening::Tick => {
                if self.up {
                    self.house.tick();
                }
                self.after(500 * MS, Happening::Tick);
            }
            Happening::Errand(place) => self.do_errand(place),
            Happening::Kept(place) => self.kept(place),
            Happening::Came(place) => {
                if let Some(Errand::Load(shard, session_place, session)) = self.errands[place].take() {
                    let fails = self.disk == Disk::Broken || !self.calm && self.rng.percent(5);
                    let rows =
                        if fails { Err(StoreError::Engine("cannot read".into())) } else { Ok(self.house.vault().queue(session)) };
                    self.say(|out| write!(out, "the queue of {session:?} came: {:?} rows", rows.as_ref().map(Vec::len).ok()));
                    self.house.came(shard, session_place, rows);
                }
            }
            Happening::Garbage => self.garbage(),
            Happening::Push => self.push(),
            Happening::Trouble => self.trouble(),
            Happening::DiskWell => self.disk_is(Disk::Well),
            Happening::Die => {
                if self.up && self.disk == Disk::Broken {
                    self.die();
                }
            }
            Happening::Born => self.born(),
            Happening::Look => self.look(),
        }
    }

    // ---- clients ----

    fn connect(&mut self, who: Who) {
        if self.clients[who].has_line() || self.leaving {
            return;
        }
        if !self.up {
            return self.after(700 * MS, Happening::Connect(who));
        }
        let at = self.dial(Some(who));
        self.clients[who].connect(&mut self.history);
        self.say(|out| write!(out, "client {who} connects on line {at}"));
        self.speak(who);
    }

    /// A client does something by itself, and comes back to it.
    fn act(&mut self, who: Who) {
        let nature = &self.clients[who].nature;
        let (publish_ms, line_ms) = (nature.publish_ms, nature.line_ms);
        let every_ms = if publish_ms > 0 { publish_ms } else { 4000 };
        let wait = if self.calm { 2 * S } else { self.rng.around(every_ms) * MS };
        self.after(wait.max(MS), Happening::Act(who));
        if !self.clients[who].is_open() {
            return;
        }
        if self.clients[who].must_speak(self.now / MS) || self.rng.percent(10) {
            self.clients[who].ping(&mut self.history);
        }
        if !self.calm {
            if publish_ms > 0 {
                for _ in 0..self.rng.within(1, 3) {
                    self.clients[who].publish(&mut self.history);
                }
            }
            if self.rng.percent(3) {
                self.clients[who].change_mind(&mut self.history);
            }
            if line_ms > 0 && self.rng.below(line_ms) < every_ms {
                self.speak(who);
                return self.line_trouble(who);
            }
        }
        self.clients[who].acknowledge(&mut self.history);
        self.speak(who);
    }

    /// Something happens to a client's line.
    fn line_trouble(&mut self, who: Who) {
        let kind = self.rng.below(100);
        self.say(|out| write!(out, "trouble {kind} on the line of client {who}"));
        match kind {
            0..25 => {
                self.clients[who].goodbye();
                self.speak(who);
                // It waits for the server to end the line, but not for ever.
                if let Some(at) = self.line_of[who] {
                    self.after(10 * S, Happening::Notice(who, at));
                }
            }
            25..55 => self.leave(who, How::Broken, true),
            // Half open: nobody tells the server.
            55..75 => self.leave(who, How::Broken, false),
            // At once again, so that the server has to take the old line over.
            75..88 => {
                let told = self.rng.percent(30);
                self.leave(who, How::Broken, told);
                self.after(self.now % 3 * MS, Happening::Connect(who));
            }
            _ => {
                if let Some(at) = self.line_of[who] {
                    self.wires[at].stuck = true;
                    if !self.wires[at].over {
                        self.house.set_stuck(self.wires[at].line, true);
                    }
                    let wait = self.rng.within(100, 15_000);
                    self.after(wait * MS, Happening::Unstick(at));
                }
            }
        }
    }

    // ---- lines ----

    fn arrived_up(&mut self, at: usize) {
        while let Some(item) = self.wires[at].up.take(self.now) {
            let line = self.wires[at].line;
            match item {
                _ if self.wires[at].over || !self.up => {}
                Item::Bytes(bytes) => drop(self.house.send(line, &bytes)),
                Item::End => self.house.cut(line),
            }
        }
    }

    fn arrived_down(&mut self, at: usize) {
        let Some(who) = self.wires[at].who else { return };
        while !self.wires[at].stuck
            && let Some(item) = self.wires[at].down.take(self.now)
        {
            if self.line_of[who] != Some(at) {
                continue;
            }
            match item {
                Item::Bytes(bytes) => {
                    self.clients[who].on_bytes(&bytes, &mut self.history);
                    self.speak(who);
                    if let Some(due) = self.clients[who].acknowledges_at() {
                        self.at((due * MS).max(self.now), Happening::Acknowledge(who));
                    }
                }
                Item::End => {
                    self.wires[at].over = true;
                    self.leave(who, How::Polite, true);
                }
            }
        }
    }

    fn garbage(&mut self) {
        if self.calm {
            return;
        }
        let wait = self.rng.around(3 * S);
        self.after(wait, Happening::Garbage);
        if !self.up {
            return;
        }
        let at = self.dial(None);
        let mut bytes: Vec<u8> = Vec::new();
        // Sometimes what begins as a client should.
        if self.rng.percent(60) {
            bytes.extend(b"\x10\x1a\0\x04MQTT\x04\xc2\0\x05\0\x01e\0\x03evl\0\x06secret");
        }
        let count = self.rng.within(1, 40);
        let noise: Vec<u8> = (0..count).map(|_| self.rng.next() as u8).collect();
        bytes.extend(noise);
        self.send(at, &bytes);
        if self.rng.percent(50) {
            let arrival = self.wires[at].up.tear(self.now, 10 * MS, &mut self.rng);
            self.at(arrival, Happening::Up(at));
        }
    }

    // ---- the platform ----

    fn push(&mut self) {
        if self.calm {
            return;
        }
        let wait = self.rng.around(2 * S);
        self.after(wait, Happening::Push);
        let devices: Vec<_> = self.devices.iter().map(|(number, who)| (*number, *who)).collect();
        if !self.up || devices.is_empty() {
            return;
        }
        let (device, who) = *self.rng.pick(&devices);
        let qos = Qos::AtLeastOnce;
        let (kind, topic) = (Kind::Push, "me/push".to_owned());
        let key = self.history.sheet(Sheet { who, kind, topic, qos, retain: false, empty: false, expiry_s: None });
        self.tell(Fact::Pushed(key));
        let push = PushId(key as u64 + 1);
        self.pushes.insert(push.0, key);
        let Ok(topic) = Topic::parse(&format!("dev/d{who}/push")) else { return };
        let receipt = Some(Receipt { push, device });
        self.house.push(device, Message { qos, receipt, ..Message::new(topic, payload_of(key), self.house.unix()) });
    }

    /// What the platform hears.
    pub(crate) fn hear(&mut self) {
        for event in self.house.events() {
            let Event::Receipt { receipt, step, .. } = event else { continue };
            let Some(key) = self.pushes.get(&receipt.push.0).copied() else { continue };
            let step = match step {
                contract::Step::Sent | contract::Step::SentAtMostOnce => Step::Sent,
                contract::Step::Delivered => Step::Delivered,
                _ => Step::Over,
            };
            self.tell(Fact::Stepped(key, step));
        }
    }

    fn do_errand(&mut self, place: usize) {
        match self.errands[place].take() {
            Some(Errand::Mail { to, mail, .. }) => self.house.arrived(to, mail),
            Some(Errand::Move(moving)) => self.house.moved(moving),
            Some(Errand::Up(ticket, message)) => {
                let result = match self.rng.percent(95) || self.calm {
                    true => Ok(()),
                    false => Err(*self.rng.pick(&[Refusal::Unavailable, Refusal::BadPayload])),
                };
                if result.is_ok() {
                    self.stored(&message);
                }
                self.house.published(ticket, result);
            }
            _ => {}
        }
    }

    fn stored(&mut self, message: &SharedMessage) {
        let text = String::from_utf8_lossy(&message.payload);
        let digits: String = text.chars().skip(1).take_while(char::is_ascii_digit).collect();
        if let Ok(key) = digits.parse() {
            self.tell(Fact::Stored(key));
        }
    }

    // ---- the disk ----

    fn kept(&mut self, place: usize) {
        let Some(Errand::Keep(shard, notes)) = self.errands[place].take() else { return };
        self.writing.retain(|other| *other != place);
        let result = match self.disk {
            Disk::Broken => Err(StoreError::Engine("fsync failed".into())),
            Disk::Full if notes.iter().any(contract::Note::grows) => Err(StoreError::Full("the disk is full".into())),
            _ => Ok(()),
        };
        let taken = result.is_ok();
        self.say(|out| {
            write!(out, "the disk {} {} notes of shard {shard}: {notes:?}", if taken { "takes" } else { "refuses" }, notes.len())
        });
        if taken {
            self.house.vault_mut().keep(&notes);
        }
        self.house.kept(shard, result);
    }

    // ---- who waits in vain ----

    fn look(&mut self) {
        self.after(5 * S, Happening::Look);
        if self.ill() {
            self.ill_at = self.now;
        }
        for who in 0..self.clients.len() {
            let Some(at) = self.line_of[who] else { continue };
            let Some((since_ms, what)) = self.clients[who].waits() else { continue };
            let since = (since_ms * MS).max(self.ill_at).max(self.unstuck_at.get(&at).copied().unwrap_or(0));
            if !self.wires[at].stuck && self.now > since + PATIENCE_US {
                self.tell(Fact::Starved(who, what));
                self.leave(who, How::Broken, true);
            }
        }
    }

    /// Whether anything is not as it should be.
    fn ill(&self) -> bool {
        !self.up || self.disk != Disk::Well
    }
}
