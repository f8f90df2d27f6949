//! From a refusal of the house to MQTT's own terms. 5.0 has a reason for everything. 3.1.1 can refuse a
//! CONNECT with a code and a filter with 0x80; for a PUBLISH it knows nothing between a positive
//! acknowledgement and closing the connection [MQTT-3.3.5-2], so that choice is made here too.

use contract::{Fault, Refusal};
use model::Qos;

use super::codec::Reason;

/// What a refused login is told; the codec has 3.1.1's code for it.
pub fn connect_reason(refusal: Refusal) -> Reason {
    match refusal {
        Refusal::BadCredentials | Refusal::BadAppKey => Reason::BadLogin,
        // The chip id of a device that registers itself is its client id.
        Refusal::BadClientId | Refusal::BadChipId => Reason::ClientId,
        Refusal::Quota | Refusal::TooManyGuesses => Reason::Quota,
        Refusal::Unavailable => Reason::Unavailable,
        _ => Reason::NotAuthorised,
    }
}

/// What a refused PUBLISH is told in 5.0.
pub fn publish_reason(refusal: Refusal) -> Reason {
    match refusal {
        Refusal::BadTopic => Reason::BadTopic,
        Refusal::BadPayload => Reason::BadPayload,
        Refusal::Quota | Refusal::Full => Reason::Quota,
        Refusal::Unreachable => Reason::NoMatchingSubscribers,
        // Valid, and we cannot take it.
        Refusal::Unavailable => Reason::Implementation,
        _ => Reason::NotAuthorised,
    }
}

/// What acknowledges a refused PUBLISH in 5.0. Who is told that nobody was there has still been heard, and
/// would go on with an exactly-once exchange that there is not: that one ends here [MQTT-4.3.3].
pub fn ack_reason(refusal: Refusal, qos: Qos) -> Reason {
    match publish_reason(refusal) {
        Reason::NoMatchingSubscribers if qos == Qos::ExactlyOnce => Reason::Implementation,
        reason => reason,
    }
}

/// What a refused filter is told, in a SUBACK or UNSUBACK.
pub fn filter_reason(refusal: Refusal) -> Reason {
    match refusal {
        Refusal::BadTopic => Reason::BadFilter,
        other => publish_reason(other),
    }
}

/// Whose fault a refusal is, for the close that follows it.
pub fn fault(refusal: Refusal) -> Fault {
    match refusal {
        Refusal::Unavailable => Fault::Ours,
        Refusal::BadTopic | Refusal::BadPayload => Fault::Peer,
        _ => Fault::Refused,
    }
}

/// What a publisher is told of a refused PUBLISH before 5.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// The ordinary acknowledgement; the message is dropped and the owner hears of it.
    Acknowledged,
    /// Nothing; the connection stays.
    Nothing,
    /// Nothing, and the connection is closed.
    Closed,
}

/// How a refused PUBLISH ends before 5.0. `acknowledged` says whether it waits for an acknowledgement (QoS 1 or 2).
pub fn publish(refusal: Refusal, acknowledged: bool) -> Told {
    match refusal {
        // Sending it again would not help, and nobody was promised that it is kept: as mosquitto does.
        // Whoever does not hear or read must not cost the line of one who writes to him.
        Refusal::NotAllowed | Refusal::Unreachable | Refusal::Full if acknowledged => Told::Acknowledged,
        // Not MQTT at all: a wildcard or nothing in the topic of a PUBLISH [MQTT-3.3.2-2], [MQTT-4.7.3-1].
        Refusal::BadTopic => Told::Closed,
        // An acknowledgement would claim that it is kept. Without one the client still has it.
        _ if acknowledged => Told::Closed,
        // QoS 0 promises nothing.
        _ => Told::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_acknowledged_that_should_have_been_kept() {
        for refusal in [Refusal::Unavailable, Refusal::Quota, Refusal::BadPayload, Refusal::BadTopic] {
            assert_eq!(publish(refusal, true), Told::Closed, "{refusal:?}");
        }
        for refusal in [Refusal::NotAllowed, Refusal::Unreachable, Refusal::Full] {
            assert_eq!((publish(refusal, true), publish(refusal, false)), (Told::Acknowledged, Told::Nothing), "{refusal:?}");
        }
        assert_eq!(publish(Refusal::Unavailable, false), Told::Nothing);
        assert_eq!(publish(Refusal::BadTopic, false), Told::Closed);
    }
}
