//! The reason codes of MQTT 5.0 (table 2-6). The machine and the virtual devices speak in reasons at every
//! level; the codec turns them into the few codes that 3.1.1 knows, and back.

use super::Kind;

/// Defines [`Reason`] from one table: name, number, meaning, the packets that may carry it.
macro_rules! reasons {
    ($($name:ident = $number:literal, $text:literal, [$($kind:ident)*];)*) => {
        /// Why something went as it did. From 0x80 on it is a failure.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Reason {
            $(#[doc = $text] $name = $number,)*
        }

        impl Reason {
            /// The reason of a number, if a packet of this kind may carry it.
            pub fn from_u8(kind: Kind, number: u8) -> Option<Reason> {
                match number {
                    $($number => Some(Reason::$name),)*
                    _ => None,
                }
                .filter(|reason| reason.may_stand_in(kind))
            }

            /// Whether a packet of this kind may carry it.
            pub fn may_stand_in(self, kind: Kind) -> bool {
                match self {
                    $(Reason::$name => matches!(kind, $(Kind::$kind)|*),)*
                }
            }

            /// What it means, for people.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Reason::$name => $text,)*
                }
            }
        }
    };
}

reasons! {
    Success = 0x00, "success", [Connack Puback Pubrec Pubrel Pubcomp Suback Unsuback Auth Disconnect];
    GrantedQos1 = 0x01, "granted QoS 1", [Suback];
    GrantedQos2 = 0x02, "granted QoS 2", [Suback];
    WithWill = 0x04, "disconnect with will message", [Disconnect];
    NoMatchingSubscribers = 0x10, "no matching subscribers", [Puback Pubrec];
    NoSubscription = 0x11, "no subscription existed", [Unsuback];
    ContinueAuth = 0x18, "continue authentication", [Auth];
    ReAuth = 0x19, "re-authenticate", [Auth];
    Unspecified = 0x80, "unspecified error", [Connack Puback Pubrec Suback Unsuback Disconnect];
    Malformed = 0x81, "malformed packet", [Connack Disconnect];
    ProtocolError = 0x82, "protocol error", [Connack Disconnect];
    Implementation = 0x83, "implementation specific error", [Connack Puback Pubrec Suback Unsuback Disconnect];
    Version = 0x84, "unsupported protocol version", [Connack];
    ClientId = 0x85, "client identifier not valid", [Connack];
    BadLogin = 0x86, "bad user name or password", [Connack];
    NotAuthorised = 0x87, "not authorized", [Connack Puback Pubrec Suback Unsuback Disconnect];
    Unavailable = 0x88, "server unavailable", [Connack];
    Busy = 0x89, "server busy", [Connack Disconnect];
    Banned = 0x8a, "banned", [Connack];
    ShuttingDown = 0x8b, "server shutting down", [Disconnect];
    BadAuthMethod = 0x8c, "bad authentication method", [Connack Disconnect];
    KeepAlive = 0x8d, "keep alive timeout", [Disconnect];
    TakenOver = 0x8e, "session taken over", [Disconnect];
    BadFilter = 0x8f, "topic filter invalid", [Suback Unsuback Disconnect];
    BadTopic = 0x90, "topic name invalid", [Connack Puback Pubrec Disconnect];
    PacketIdInUse = 0x91, "packet identifier in use", [Puback Pubrec Suback Unsuback];
    PacketIdUnknown = 0x92, "packet identifier not found", [Pubrel Pubcomp];
    ReceiveMax = 0x93, "receive maximum exceeded", [Disconnect];
    BadTopicAlias = 0x94, "topic alias invalid", [Disconnect];
    TooLarge = 0x95, "packet too large", [Connack Disconnect];
    RateTooHigh = 0x96, "message rate too high", [Disconnect];
    Quota = 0x97, "quota exceeded", [Connack Puback Pubrec Suback Disconnect];
    Administrative = 0x98, "administrative action", [Disconnect];
    BadPayload = 0x99, "payload format invalid", [Connack Puback Pubrec Disconnect];
    NoRetain = 0x9a, "retain not supported", [Connack Disconnect];
    NoSuchQos = 0x9b, "QoS not supported", [Connack Disconnect];
    UseAnother = 0x9c, "use another server", [Connack Disconnect];
    Moved = 0x9d, "server moved", [Connack Disconnect];
    NoShared = 0x9e, "shared subscriptions not supported", [Suback Disconnect];
    ConnectRate = 0x9f, "connection rate exceeded", [Connack Disconnect];
    ConnectTime = 0xa0, "maximum connect time", [Disconnect];
    NoSubscriptionIds = 0xa1, "subscription identifiers not supported", [Suback Disconnect];
    NoWildcards = 0xa2, "wildcard subscriptions not supported", [Suback Disconnect];
}

/// The return codes of a 3.1.1 CONNACK (its table 3.1), each at the place of its number.
const RETURN_CODES: [Reason; 6] =
    [Reason::Success, Reason::Version, Reason::ClientId, Reason::Unavailable, Reason::BadLogin, Reason::NotAuthorised];
/// The one failure that a 3.1.1 SUBACK knows.
const FAILURE: u8 = 0x80;

impl Reason {
    /// Whether something did not go well.
    pub fn is_error(self) -> bool {
        self as u8 >= 0x80
    }

    /// What a SUBACK says of a granted QoS.
    pub fn granted(qos: model::Qos) -> Reason {
        match qos {
            model::Qos::AtMostOnce => Reason::Success,
            model::Qos::AtLeastOnce => Reason::GrantedQos1,
            model::Qos::ExactlyOnce => Reason::GrantedQos2,
        }
    }

    /// The return code of a 3.1.1 CONNACK. What it has no word for is "unavailable" when trying again
    /// may help, else "not authorised".
    pub fn to_return_code(self) -> u8 {
        let nearest = match self {
            Reason::Quota | Reason::Busy | Reason::ConnectRate | Reason::ShuttingDown => Reason::Unavailable,
            other => other,
        };
        RETURN_CODES.iter().position(|code| *code == nearest).unwrap_or(5) as u8
    }

    /// The reason of a return code in a 3.1.1 CONNACK.
    pub fn from_return_code(number: u8) -> Option<Reason> {
        RETURN_CODES.get(usize::from(number)).copied()
    }

    /// The code in a 3.1.1 SUBACK: a granted QoS or the one failure [MQTT-3.9.3-2].
    pub fn to_grant_code(self) -> u8 {
        if self.is_error() { FAILURE } else { self as u8 }
    }

    /// The reason of a code in a 3.1.1 SUBACK.
    pub fn from_grant_code(number: u8) -> Option<Reason> {
        match number {
            FAILURE => Some(Reason::Unspecified),
            0..=2 => Reason::from_u8(Kind::Suback, number),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive_and_stand_only_where_they_may() {
        for number in 0..=255 {
            let reason = Reason::from_u8(Kind::Disconnect, number);
            assert!(reason.is_none_or(|reason| reason as u8 == number));
        }
        assert_eq!(Reason::from_u8(Kind::Pubrel, 0x92), Some(Reason::PacketIdUnknown));
        assert_eq!(Reason::from_u8(Kind::Puback, 0x92), None);
        assert_eq!(Reason::from_u8(Kind::Connack, 0x01), None);
        let allowed = |kind| (0..=255).filter(|number| Reason::from_u8(kind, *number).is_some()).count();
        // How many rows the tables of sections 3.2.2.2, 3.4.2.1, 3.6.2.1, 3.9.3, 3.11.3, 3.14.2.1 and 3.15.2.1
        // have; for DISCONNECT table 2-6 has one more (0x8c).
        let kinds = [Kind::Connack, Kind::Puback, Kind::Pubrel, Kind::Suback, Kind::Unsuback, Kind::Disconnect, Kind::Auth];
        assert_eq!(kinds.map(allowed), [22, 9, 2, 12, 7, 30, 3]);
    }

    #[test]
    fn the_older_levels_have_few_words() {
        for number in 0..6 {
            assert_eq!(Reason::from_return_code(number).unwrap().to_return_code(), number);
        }
        assert_eq!(Reason::from_return_code(6), None);
        assert_eq!((Reason::Quota.to_return_code(), Reason::Banned.to_return_code()), (3, 5));
        assert_eq!((Reason::Quota.to_grant_code(), Reason::GrantedQos2.to_grant_code()), (0x80, 2));
        assert_eq!(Reason::from_grant_code(3), None);
    }
}
