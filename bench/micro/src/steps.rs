//! Codec and matching, alone.

use model::{Filter, Qos};
use protocols::mqtt::codec::{Level, Packet, Properties, Publish};

/// A publish as bytes, and room to write one.
pub struct Steps {
    bytes: Vec<u8>,
    out: Vec<u8>,
}

impl Default for Steps {
    fn default() -> Steps {
        let mut steps = Steps { bytes: Vec::new(), out: Vec::new() };
        steps.encode();
        steps.bytes.clone_from(&steps.out);
        steps
    }
}

impl Steps {
    /// Reads a PUBLISH of 64 bytes at QoS 1.
    pub fn decode(&self) -> usize {
        match Packet::read(Level::V311, &self.bytes) {
            Ok(Some((Packet::Publish(publish), used))) => publish.payload.len() + used,
            other => panic!("a whole PUBLISH is there, not {other:?}"),
        }
    }

    /// Writes one.
    pub fn encode(&mut self) -> usize {
        let (topic, props, payload) = ("house/kitchen/temperature", Properties::NONE, &[b'x'; 64][..]);
        self.out.clear();
        Publish { dup: false, qos: Qos::AtLeastOnce, retain: false, topic, id: 7, props, payload }
            .encode(Level::V311, &mut self.out)
            .expect("its fields are short");
        self.out.len()
    }
}

/// Three filters that match `house/kitchen/temperature`: as it is, and with each wildcard.
pub fn filters() -> [Filter; 3] {
    ["house/kitchen/temperature", "house/+/temperature", "house/#"].map(|text| Filter::parse(text).expect("they are right"))
}
