//! The log of recent messages: a short ring per device, in memory only, for people who watch a board at
//! work. It forgets: old messages first within a device, and the longest-silent devices first when all
//! rings together grow too large.

use std::collections::{BTreeMap, HashMap, VecDeque};

use bytes::Bytes;
use model::{DeviceNumber, Message, Qos, Topic, UnixMs, limits};

/// Which way a message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the device.
    Up,
    /// To the device.
    Down,
}

impl Direction {
    /// The word, as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Direction::Up => "up",
            Direction::Down => "down",
        }
    }
}

/// A message as it is remembered and shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Logged {
    /// When it passed.
    pub at: UnixMs,
    /// Which way.
    pub direction: Direction,
    /// Its topic.
    pub topic: Topic,
    /// Its payload, or the beginning of it.
    pub payload: Bytes,
    /// How long the whole payload was.
    pub bytes: usize,
    /// Its QoS.
    pub qos: Qos,
    /// Whether it was to be retained.
    pub retain: bool,
}

impl Logged {
    /// What is remembered of `message`. The payload is copied, so that a long one is not held by its beginning.
    pub fn of(message: &Message, direction: Direction, at: UnixMs) -> Logged {
        let shown = message.payload.len().min(limits::MESSAGE_LOG_PAYLOAD_BYTES_MAX);
        Logged {
            at,
            direction,
            topic: message.topic.clone(),
            payload: Bytes::copy_from_slice(&message.payload[..shown]),
            bytes: message.payload.len(),
            qos: message.qos,
            retain: message.retain,
        }
    }

    /// Whether the payload was longer than what is remembered.
    pub fn is_cut(&self) -> bool {
        self.payload.len() < self.bytes
    }

    fn cost_bytes(&self) -> usize {
        self.payload.len() + self.topic.as_str().len() + 96
    }
}

#[derive(Default)]
struct Ring {
    messages: VecDeque<Logged>,
    bytes: usize,
    // When it last grew, counted in messages.
    turn: u64,
}

/// The rings of all devices.
pub(crate) struct Log {
    rings: HashMap<DeviceNumber, Ring>,
    // Rings by when they last grew: the first is the longest silent.
    by_turn: BTreeMap<u64, DeviceNumber>,
    turn: u64,
    bytes: usize,
    bytes_max: usize,
}

impl Log {
    pub fn new(bytes_max: usize) -> Log {
        Log { rings: HashMap::new(), by_turn: BTreeMap::new(), turn: 0, bytes: 0, bytes_max }
    }

    pub fn add(&mut self, device: DeviceNumber, message: Logged) {
        self.turn += 1;
        let ring = self.rings.entry(device).or_default();
        self.by_turn.remove(&ring.turn);
        ring.turn = self.turn;
        self.by_turn.insert(self.turn, device);
        if ring.messages.len() == limits::MESSAGE_LOG_PER_DEVICE_MAX
            && let Some(oldest) = ring.messages.pop_front()
        {
            ring.bytes -= oldest.cost_bytes();
            self.bytes -= oldest.cost_bytes();
        }
        ring.bytes += message.cost_bytes();
        self.bytes += message.cost_bytes();
        ring.messages.push_back(message);
        while self.bytes > self.bytes_max
            && let Some((_, silent)) = self.by_turn.first_key_value()
        {
            self.forget(*silent);
        }
    }

    /// A device's messages, newest last.
    pub fn of(&self, device: DeviceNumber) -> Vec<Logged> {
        self.rings.get(&device).map(|ring| ring.messages.iter().cloned().collect()).unwrap_or_default()
    }

    pub fn forget(&mut self, device: DeviceNumber) {
        if let Some(ring) = self.rings.remove(&device) {
            self.by_turn.remove(&ring.turn);
            self.bytes -= ring.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(payload: &[u8]) -> Logged {
        Logged::of(
            &Message::new(Topic::of_device("lamp", "data"), Bytes::copy_from_slice(payload), UnixMs(1)),
            Direction::Up,
            UnixMs(2),
        )
    }

    fn payloads(log: &Log, device: u32) -> Vec<Bytes> {
        log.of(DeviceNumber(device)).into_iter().map(|message| message.payload).collect()
    }

    #[test]
    fn a_ring_keeps_the_newest() {
        let mut log = Log::new(limits::MESSAGE_LOG_BYTES_MAX);
        for i in 0..=limits::MESSAGE_LOG_PER_DEVICE_MAX {
            log.add(DeviceNumber(1), message(i.to_string().as_bytes()));
        }
        let kept = payloads(&log, 1);
        assert_eq!(kept.len(), limits::MESSAGE_LOG_PER_DEVICE_MAX);
        assert_eq!((&kept[0][..], &kept[kept.len() - 1][..]), (&b"1"[..], &b"100"[..]));
        assert_eq!(log.bytes, log.rings[&DeviceNumber(1)].messages.iter().map(Logged::cost_bytes).sum::<usize>());
        assert!(payloads(&log, 2).is_empty());
    }

    #[test]
    fn long_payloads_are_cut_and_marked() {
        let long = message(&vec![b'x'; limits::MESSAGE_LOG_PAYLOAD_BYTES_MAX + 1]);
        assert!(long.is_cut());
        assert_eq!(
            (long.payload.len(), long.bytes),
            (limits::MESSAGE_LOG_PAYLOAD_BYTES_MAX, limits::MESSAGE_LOG_PAYLOAD_BYTES_MAX + 1)
        );
        assert!(!message(b"on").is_cut());
    }

    #[test]
    fn the_longest_silent_device_is_forgotten_first() {
        let one = message(b"on").cost_bytes();
        let mut log = Log::new(3 * one);
        for device in [1, 2, 1] {
            log.add(DeviceNumber(device), message(b"on"));
        }
        log.add(DeviceNumber(3), message(b"on"));
        assert_eq!((payloads(&log, 1).len(), payloads(&log, 2).len(), payloads(&log, 3).len()), (2, 0, 1));
        log.forget(DeviceNumber(1));
        assert_eq!((log.bytes, log.by_turn.len()), (one, 1));
    }
}
