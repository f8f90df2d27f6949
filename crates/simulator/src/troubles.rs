//! What goes wrong with the program, its disk and its clock, and how a run comes to its end.

use std::fmt::Write as _;

use model::Qos;

use crate::client::Client;
use crate::history::{Disk, Fact, How};
use crate::nature::Nature;
use crate::world::{Happening, World};

const MS: u64 = 1000;
const S: u64 = 1000 * MS;

/// How long everything may take to become quiet when all is well again.
const QUIET_S_MAX: u64 = 3600;

impl World {
    /// One more trouble.
    pub(crate) fn trouble(&mut self) {
        if self.calm {
            return;
        }
        let wait = self.rng.around(self.trouble_ms) + 200;
        self.after(wait * MS, Happening::Trouble);
        match self.rng.below(100) {
            0..45 if self.up => {
                self.die();
            }
            45..75 if self.disk == Disk::Well => {
                let disk = *self.rng.pick(&[Disk::Slow, Disk::Slow, Disk::Full, Disk::Broken]);
                self.disk_is(disk);
                let wait = self.rng.within(500, 20_000);
                if disk == Disk::Broken {
                    // Only another start helps; somebody sees to it.
                    self.after(wait * MS, Happening::Die);
                } else {
                    self.after(wait * MS, Happening::DiskWell);
                }
            }
            75..88 => {
                let far = *self.rng.pick(&[60_000, 3_600_000, 86_400_000, 3 * 86_400_000]);
                let by = self.rng.below(far) as i64 * if self.rng.percent(50) { 1 } else { -1 };
                self.ahead_ms += by;
                self.say(|out| write!(out, "the wall clock is set by {by} ms"));
                self.tell(Fact::ClockSet(by));
            }
            _ => {}
        }
    }

    pub(crate) fn disk_is(&mut self, disk: Disk) {
        // A broken one is mended by a start alone.
        if self.disk == disk || self.disk == Disk::Broken && self.up {
            return;
        }
        self.ill_at = self.now;
        self.disk = disk;
        self.say(|out| write!(out, "the disk is {disk:?}"));
        self.tell(Fact::Disk(disk));
    }

    /// The program starts from what is on disk.
    pub(crate) fn born(&mut self) {
        if self.up {
            return;
        }
        if self.disk == Disk::Broken {
            self.disk_is(Disk::Well);
        }
        let shards = self.rng.within(1, 4) as u16;
        self.house.crash(shards);
        self.up = true;
        self.ill_at = self.now;
        self.say(|out| write!(out, "the program starts with {shards} shards"));
        self.tell(Fact::Born);
    }

    /// All becomes well, everybody comes back, everything comes to its end. What is still open then, in words.
    pub fn finale(&mut self) -> Vec<String> {
        self.calm = true;
        self.clients.iter_mut().for_each(|client| client.calm = true);
        if self.disk == Disk::Broken && self.up {
            self.die();
        }
        self.disk_is(Disk::Well);
        for at in 0..self.wires.len() {
            if self.wires[at].stuck {
                self.happen(Happening::Unstick(at));
            }
        }
        // Half-open lines and wills come to their end.
        self.run_until(self.now + 60 * S);
        for who in 0..self.clients.len() {
            if !self.clients[who].has_line() {
                self.after(0, Happening::Connect(who));
            }
        }
        // Twice, because a will that waited may speak when all seems done.
        let until = self.now + QUIET_S_MAX * S;
        for _ in 0..2 {
            while !self.is_quiet() && self.now < until {
                self.run_until(self.now + S);
            }
            self.run_until(self.now + 5 * S);
        }
        while !self.is_quiet() && self.now < until {
            self.run_until(self.now + S / 10);
        }
        let mut open = Vec::new();
        if !self.is_quiet() {
            let waiting = self.house.vault().waiting();
            open.push(format!("{} notes and promises are open, {waiting} messages wait on disk", self.house.unfinished()));
            let kept = self.house.vault().kept().sessions;
            let rows = kept.iter().map(|s| (&s.session, self.house.vault().queue(s.session.id)));
            open.extend(rows.filter(|(_, rows)| !rows.is_empty()).map(|(session, rows)| format!("{session:?} has {rows:?}")));
            let unhappy = self.clients.iter().filter(|client| !client.is_open() || !client.is_done());
            open.extend(
                unhappy
                    .map(|client| format!("client {} is open: {}, waits for {:?}", client.who, client.is_open(), client.waits())),
            );
        }
        self.witness();
        self.everybody_leaves(&mut open);
        open
    }

    fn is_quiet(&self) -> bool {
        self.up
            && self.clients.iter().all(|client| client.is_open() && client.is_done())
            && self.house.unfinished() == 0
            && self.house.vault().waiting() == 0
    }

    /// A newcomer looks at the retained messages.
    fn witness(&mut self) {
        let who = self.clients.len();
        let mut rng = self.rng.fork();
        let mut nature = Nature::draw(who, &self.crowd, &mut rng);
        (nature.user, nature.client, nature.is_device) = ("crowd".into(), "witness".into(), false);
        (nature.keep_s, nature.filters, nature.will, nature.publish_ms) = (0, Vec::new(), None, 0);
        (nature.latency_ms, nature.receive_max) = (1, 0);
        let mut client = Client::new(who, nature, rng);
        client.calm = true;
        self.clients.push(client);
        self.line_of.push(None);
        self.happen(Happening::Connect(who));
        self.run_until(self.now + 5 * S);
        self.clients[who].ask_for("r/#", Qos::AtLeastOnce, &mut self.history);
        self.speak(who);
        self.run_until(self.now + 5 * S);
        self.tell(Fact::Seen(who, "r/#".into()));
    }

    fn everybody_leaves(&mut self, open: &mut Vec<String>) {
        for who in 0..self.clients.len() {
            self.clients[who].goodbye();
            self.speak(who);
        }
        self.leaving = true;
        self.run_until(self.now + 20 * S);
        let until = self.now + 60 * S;
        while self.house.unfinished() > 0 && self.now < until {
            self.run_until(self.now + S / 10);
        }
        if self.house.connections() > 0 {
            open.push(format!("{} connections are open though everybody has left", self.house.connections()));
        }
        let (claims, sessions): (usize, usize) = {
            let kept = self.house.vault().kept();
            (kept.sessions.iter().map(|s| s.claims.len()).sum(), kept.sessions.len())
        };
        let (all, away) = self.house.sessions();
        if self.house.unfinished() > 0 || claims > 0 || sessions as u64 != all || all != away {
            let unfinished = self.house.unfinished();
            open.push(format!(
                "{unfinished} notes and promises, {claims} claims left; {sessions} sessions on disk, {all} in memory, {away} away"
            ));
        }
        for who in 0..self.clients.len() {
            self.clients[who].lost(How::Polite, &mut self.history);
        }
    }
}
