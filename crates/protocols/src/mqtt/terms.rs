//! What a level 5 client and we agreed on with CONNECT and CONNACK, and what keeping to it needs: the
//! publishes that are open, and the topics that aliases stand for. Boxed in the machine, so that the older
//! levels pay one pointer for it.

use contract::Welcome;
use model::{Topic, limits};

use super::auth::Proving;
use super::codec::{Properties, Property, PropertyList, Reason, TooLong};
use super::scram;

/// 5.0 counts a packet with its header, which has at most so many bytes at the sizes that we take.
const HEAD_BYTES: u32 = 4;

/// The terms of one connection; none of them outlives it (section 3.1.2.11).
pub(super) struct Terms {
    /// Seconds that the session is kept without a line.
    pub keep_s: u32,
    /// How many deliveries the client takes before it acknowledges.
    pub receive_max: u16,
    /// The largest packet that the client takes, header included.
    pub packet_bytes_max: usize,
    /// Whether the client wants reasons in words.
    pub wants_words: bool,
    /// Whether the client left its name to us.
    pub nameless: bool,
    /// The keep-alive that the client is to use in place of its own.
    pub keep_alive_s: Option<u16>,
    /// The client's proof of who it is, while it is under way.
    pub proving: Option<Box<Proving>>,
    /// Who has proved it so, and may once more.
    pub proven: Option<Box<str>>,
    /// Publishes of the client's above QoS 0 that are not acknowledged to the end.
    open: u16,
    /// What the client's aliases stand for, at the place of their number less one. Grows with use.
    aliases_in: Vec<Option<Topic>>,
    /// How many aliases the client lets us use.
    alias_max: u16,
    /// What our aliases stand for.
    aliases_out: Vec<Box<str>>,
}

/// Why a PUBLISH breaks the terms: the reason on the wire and a sentence.
pub(super) type Breach = (Reason, &'static str);

impl Terms {
    /// The terms that a CONNECT offers; what it leaves out has the standard's defaults.
    pub fn offered(props: &Properties<'_>) -> Terms {
        let mut terms = Terms {
            keep_s: 0,
            receive_max: u16::MAX,
            packet_bytes_max: usize::MAX,
            wants_words: true,
            nameless: false,
            keep_alive_s: None,
            proving: None,
            proven: None,
            open: 0,
            aliases_in: Vec::new(),
            alias_max: 0,
            aliases_out: Vec::new(),
        };
        for property in props.iter() {
            match property {
                Property::SessionExpiryS(s) => terms.keep_s = s,
                Property::ReceiveMax(count) => terms.receive_max = count,
                Property::PacketBytesMax(bytes) => terms.packet_bytes_max = bytes as usize,
                Property::TopicAliasMax(count) => terms.alias_max = count.min(limits::MQTT_TOPIC_ALIASES_MAX),
                Property::RequestProblemInfo(yes) => terms.wants_words = yes,
                _ => {}
            }
        }
        terms
    }

    /// Our own terms, for the CONNACK. What is left out is the default: all of QoS,
    /// retained messages, wildcards, subscription ids and shared subscriptions are there, and the client's
    /// keep-alive and session expiry are taken as they are.
    pub fn answer(&self, welcome: &Welcome, packet_bytes_max: u32) -> Result<PropertyList, TooLong> {
        let mut list = PropertyList::default();
        if self.nameless {
            list.push(Property::AssignedClientId(&welcome.client))?; // [MQTT-3.1.3-7]
        }
        list.push(Property::ReceiveMax(limits::MQTT_RECEIVE_MAX))?;
        list.push(Property::PacketBytesMax(packet_bytes_max.saturating_add(HEAD_BYTES)))?;
        list.push(Property::TopicAliasMax(limits::MQTT_TOPIC_ALIASES_MAX))?;
        if let Some(s) = self.keep_alive_s {
            list.push(Property::ServerKeepAliveS(s))?; // [MQTT-3.2.2-21]
        }
        if let Some(proof) = self.proving.as_ref().and_then(|proving| proving.our_proof()) {
            list.push(Property::AuthMethod(scram::METHOD))?; // [MQTT-4.12.0-5]
            list.push(Property::AuthData(proof.as_bytes()))?;
        }
        Ok(list)
    }

    /// The client begins a publish above QoS 0. Whether it may have one more open [MQTT-3.3.4-7].
    pub fn begin(&mut self) -> bool {
        let may = self.open < limits::MQTT_RECEIVE_MAX;
        self.open += u16::from(may);
        may
    }

    /// A publish of the client's was acknowledged to the end. The last step of one that was begun on an
    /// earlier connection comes here too, so that the count may be lower than what is open, never higher.
    pub fn finish(&mut self) {
        self.open = self.open.saturating_sub(1);
    }

    /// The topic of a PUBLISH: `None` when it stands there itself. Remembers what a new alias stands for.
    pub fn resolve(&mut self, topic: &str, alias: Option<u16>) -> Result<Option<Topic>, Breach> {
        let Some(alias) = alias else {
            return match topic {
                "" => Err((Reason::ProtocolError, "a PUBLISH with neither a topic nor an alias")),
                _ => Ok(None),
            };
        };
        if alias > limits::MQTT_TOPIC_ALIASES_MAX {
            return Err((Reason::BadTopicAlias, "a topic alias above the maximum of the CONNACK")); // [MQTT-3.3.2-9]
        }
        let place = usize::from(alias - 1); // the codec refuses 0 [MQTT-3.3.2-8]
        if topic.is_empty() {
            let known = self.aliases_in.get(place).cloned().flatten();
            return known.map(Some).ok_or((Reason::ProtocolError, "a topic alias that stands for nothing"));
        }
        if self.aliases_in.len() <= place {
            self.aliases_in.resize(place + 1, None);
        }
        // What is no topic is refused by the hub, and the alias then stands for nothing.
        self.aliases_in[place] = Topic::parse(topic).ok();
        Ok(None)
    }

    /// The alias for a topic to be sent: its number and whether the client knows it already. First come,
    /// first served; when all are taken, the others go by their names.
    pub fn alias_of(&self, topic: &str) -> Option<(u16, bool)> {
        match self.aliases_out.iter().position(|known| **known == *topic) {
            Some(place) => Some((place as u16 + 1, true)),
            None if self.aliases_out.len() < usize::from(self.alias_max) => Some((self.aliases_out.len() as u16 + 1, false)),
            None => None,
        }
    }

    /// The client was sent `topic` with the next new alias.
    pub fn alias_sent(&mut self, topic: &str) {
        self.aliases_out.push(topic.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_stand_for_what_was_said_last() {
        let mut terms = Terms::offered(&Properties::NONE);
        let mut resolve = |topic, alias| terms.resolve(topic, alias).map(|topic| topic.map(|t| t.to_string()));
        assert_eq!(resolve("a", None), Ok(None));
        assert!(matches!(resolve("", None), Err((Reason::ProtocolError, _))));
        assert!(matches!(resolve("", Some(2)), Err((Reason::ProtocolError, _))));
        assert_eq!(resolve("a", Some(2)), Ok(None));
        assert_eq!(resolve("", Some(2)), Ok(Some("a".into())));
        assert!(matches!(resolve("", Some(1)), Err((Reason::ProtocolError, _))));
        assert_eq!(resolve("b", Some(2)), Ok(None));
        assert_eq!(resolve("", Some(2)), Ok(Some("b".into())));
        assert_eq!(resolve("b/#", Some(2)), Ok(None));
        assert!(resolve("", Some(2)).is_err(), "what is no topic is not remembered");
        assert!(matches!(resolve("a", Some(limits::MQTT_TOPIC_ALIASES_MAX + 1)), Err((Reason::BadTopicAlias, _))));
    }

    #[test]
    fn our_aliases_keep_to_the_clients_maximum() {
        let mut list = PropertyList::default();
        list.push(Property::TopicAliasMax(1)).unwrap();
        let mut terms = Terms::offered(&list.view());
        assert_eq!(terms.alias_of("a"), Some((1, false)));
        terms.alias_sent("a");
        assert_eq!((terms.alias_of("a"), terms.alias_of("b")), (Some((1, true)), None));
        assert_eq!(Terms::offered(&Properties::NONE).alias_of("a"), None);
    }

    #[test]
    fn open_publishes_are_counted() {
        let mut terms = Terms::offered(&Properties::NONE);
        terms.finish();
        assert!((0..limits::MQTT_RECEIVE_MAX).all(|_| terms.begin()));
        assert!(!terms.begin());
        terms.finish();
        assert!(terms.begin() && !terms.begin());
    }
}
