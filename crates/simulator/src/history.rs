//! What the clients and the outside world know of a run, in its order: the only thing that the checker sees.

use std::collections::BTreeMap;
use std::fmt;

use model::Qos;

/// A client, by its number.
pub type Who = usize;

/// A message, by its number; its payload says it.
pub type Key = usize;

/// How long a session is kept without a line, in seconds; `u32::MAX` is for ever.
pub type KeepS = u32;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Published by a client.
    Publish,
    /// Published by a client for the platform to keep.
    Upload,
    /// A client's will.
    Will {
        /// Seconds that it waits for the client's return.
        delay_s: u32,
    },
    /// Pushed to a client by the platform.
    Push,
}

/// A message as its sender means it.
#[derive(Clone, Debug)]
pub struct Sheet {
    /// Who sends it; whom it is for when it is a push.
    pub who: Who,
    /// What it is.
    pub kind: Kind,
    /// Where it goes.
    pub topic: String,
    /// How it is carried.
    pub qos: Qos,
    /// Whether it is retained.
    pub retain: bool,
    /// Whether it has no payload, so that nobody can tell it from others.
    pub empty: bool,
    /// Seconds after which it is no longer worth delivering.
    pub expiry_s: Option<u32>,
}

/// How a line ended, as its client knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// The client said goodbye, and the server has heard it.
    Polite,
    /// The client said goodbye, and does not know whether it was heard.
    Goodbye,
    /// It broke, or the server ended it.
    Broken,
}

/// A step of a push, as the platform is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Written to the device's line.
    Sent,
    /// The device has acknowledged it.
    Delivered,
    /// It will not come by this try: no line, or the line broke.
    Over,
}

/// How the disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    /// It keeps what it is given, soon.
    Well,
    /// It keeps what it is given after seconds.
    Slow,
    /// There is no room for more.
    Full,
    /// It fails until the program is started again.
    Broken,
}

/// A fact.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// A client has sent its CONNECT.
    Hello {
        /// The client.
        who: Who,
        /// It wants an earlier session forgotten.
        clean: bool,
        /// How long it wants this one kept.
        keep_s: KeepS,
    },
    /// It was let in.
    Opened {
        /// The client.
        who: Who,
        /// An earlier session goes on.
        present: bool,
        /// Its will.
        will: Option<Key>,
    },
    /// Its line is over.
    Closed {
        /// The client.
        who: Who,
        /// How.
        how: How,
    },
    /// It publishes.
    Sent(Key),
    /// It publishes once more what was not acknowledged.
    Resent(Key),
    /// The publish was acknowledged.
    Acked(Key),
    /// The publish was refused.
    Rejected(Key),
    /// It has given up on a publish, because its session was gone.
    Abandoned(Key),
    /// The platform has kept an upload.
    Stored(Key),
    /// It asks for a filter.
    Asked(Who, String, Qos),
    /// It was granted.
    Granted(Who, String, Qos),
    /// It no longer wants it.
    Unasked(Who, String),
    /// That was acknowledged.
    Ungranted(Who, String),
    /// A message came.
    Received {
        /// To whom.
        who: Who,
        /// Which; `None` when nobody can tell.
        key: Option<Key>,
        /// By which topic.
        topic: String,
        /// By which QoS.
        qos: Qos,
        /// It says that it may have come before.
        dup: bool,
        /// It is an old one, for a new subscription.
        retain: bool,
        /// The client takes it as new: false for an exactly-once message whose exchange is open.
        fresh: bool,
    },
    /// A client says that it has a message.
    Receipted(Who, Key),
    /// A client asks whether somebody is there.
    Pinged(Who),
    /// Somebody is: everything that was sent before is read.
    Ponged(Who),
    /// The platform gives a push to its device.
    Pushed(Key),
    /// The platform is told of it.
    Stepped(Key, Step),
    /// The program died.
    Died,
    /// It is there again.
    Born,
    /// The disk is otherwise from now on.
    Disk(Disk),
    /// The wall clock was set ahead by so many milliseconds, or back.
    ClockSet(i64),
    /// A client has seen all retained messages of a filter.
    Seen(Who, String),
    /// A client waited for an answer that must come, longer than anybody should.
    Starved(Who, String),
    /// The server said what makes no sense.
    Nonsense(Who, String),
}

/// A fact and when it was.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Milliseconds since the run began.
    pub at: u64,
    /// The fact.
    pub fact: Fact,
}

/// The history of a run.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Everything, in order.
    pub entries: Vec<Entry>,
    /// The messages.
    pub sheets: Vec<Sheet>,
    /// The time of the next fact.
    pub now: u64,
}

impl History {
    /// Something is so.
    pub fn tell(&mut self, fact: Fact) {
        self.entries.push(Entry { at: self.now, fact });
    }

    /// A new message.
    pub fn sheet(&mut self, sheet: Sheet) -> Key {
        self.sheets.push(sheet);
        self.sheets.len() - 1
    }

    /// A number that another history hardly ever has.
    pub fn digest(&self) -> u64 {
        let text = self.entries.iter().map(|entry| format!("{} {:?}\n", entry.at, entry.fact));
        text.flat_map(String::into_bytes)
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }

    /// How often things happened, by name.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for entry in &self.entries {
            let text = format!("{:?}", entry.fact);
            let name = text.split(['(', ' ', '{']).next().unwrap_or_default().to_owned();
            *counts.entry(name).or_insert(0) += 1;
        }
        counts
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:>9.3} s  {:?}", self.at as f64 / 1000.0, self.fact)
    }
}
