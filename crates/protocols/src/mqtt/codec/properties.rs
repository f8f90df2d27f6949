//! The properties of MQTT 5.0 (section 2.2.2): which exist, where each may stand, and what it may say.
//! A packet's properties stay borrowed: they are checked once when decoded and read again by the iterator.
//! What the values mean is the machine's business.

use contract::kit::Cursor;

use super::wire::{self, TooLong};
use super::{DecodeError, Kind};

/// One property, named as in table 2-4.
#[derive(Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the specification")]
pub enum Property<'a> {
    /// Whether the payload is UTF-8 text.
    PayloadFormat(bool),
    MessageExpiryS(u32),
    ContentType(&'a str),
    ResponseTopic(&'a str),
    CorrelationData(&'a [u8]),
    SubscriptionId(u32),
    SessionExpiryS(u32),
    AssignedClientId(&'a str),
    ServerKeepAliveS(u16),
    AuthMethod(&'a str),
    AuthData(&'a [u8]),
    RequestProblemInfo(bool),
    WillDelayS(u32),
    RequestResponseInfo(bool),
    ResponseInfo(&'a str),
    ServerReference(&'a str),
    ReasonString(&'a str),
    ReceiveMax(u16),
    TopicAliasMax(u16),
    TopicAlias(u16),
    /// Whether QoS 1 is taken, where QoS 2 is not.
    QosMax(bool),
    RetainAvailable(bool),
    User(&'a str, &'a str),
    PacketBytesMax(u32),
    WildcardsAvailable(bool),
    SubscriptionIdsAvailable(bool),
    SharedAvailable(bool),
}

/// The largest number that a variable byte integer can say, and so the largest subscription id.
pub const SUBSCRIPTION_ID_MAX: u32 = wire::REMAINING_LENGTH_MAX as u32;

/// What properties belong to: a packet, or the will within a CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Of(Kind),
    Will,
}

impl Place {
    /// Whether the property with this identifier may stand here (table 2-4).
    fn takes(self, id: u8) -> bool {
        use Kind::*;
        match (id, self) {
            (0x26, _) => true,
            (0x01..=0x03 | 0x08 | 0x09, place) => matches!(place, Place::Of(Publish) | Place::Will),
            (0x18, place) => place == Place::Will,
            (_, Place::Will) => false,
            (0x0b, Place::Of(kind)) => matches!(kind, Publish | Subscribe),
            (0x11, Place::Of(kind)) => matches!(kind, Connect | Connack | Disconnect),
            (0x15 | 0x16, Place::Of(kind)) => matches!(kind, Connect | Connack | Auth),
            (0x17 | 0x19, Place::Of(kind)) => kind == Connect,
            (0x21 | 0x22 | 0x27, Place::Of(kind)) => matches!(kind, Connect | Connack),
            (0x12 | 0x13 | 0x1a | 0x24 | 0x25 | 0x28..=0x2a, Place::Of(kind)) => kind == Connack,
            (0x1c, Place::Of(kind)) => matches!(kind, Connack | Disconnect),
            (0x1f, Place::Of(kind)) => !matches!(kind, Connect | Publish | Subscribe | Unsubscribe | Pingreq | Pingresp),
            (0x23, Place::Of(kind)) => kind == Publish,
            _ => false,
        }
    }

    /// Whether it may stand here more than once: user properties everywhere, subscription ids in a
    /// PUBLISH that several subscriptions brought (section 3.3.2.3.8).
    fn takes_many(self, id: u8) -> bool {
        id == 0x26 || (id == 0x0b && self == Place::Of(Kind::Publish))
    }
}

impl<'a> Property<'a> {
    /// The identifier on the wire.
    pub fn id(&self) -> u8 {
        use Property::*;
        match self {
            PayloadFormat(_) => 0x01,
            MessageExpiryS(_) => 0x02,
            ContentType(_) => 0x03,
            ResponseTopic(_) => 0x08,
            CorrelationData(_) => 0x09,
            SubscriptionId(_) => 0x0b,
            SessionExpiryS(_) => 0x11,
            AssignedClientId(_) => 0x12,
            ServerKeepAliveS(_) => 0x13,
            AuthMethod(_) => 0x15,
            AuthData(_) => 0x16,
            RequestProblemInfo(_) => 0x17,
            WillDelayS(_) => 0x18,
            RequestResponseInfo(_) => 0x19,
            ResponseInfo(_) => 0x1a,
            ServerReference(_) => 0x1c,
            ReasonString(_) => 0x1f,
            ReceiveMax(_) => 0x21,
            TopicAliasMax(_) => 0x22,
            TopicAlias(_) => 0x23,
            QosMax(_) => 0x24,
            RetainAvailable(_) => 0x25,
            User(..) => 0x26,
            PacketBytesMax(_) => 0x27,
            WildcardsAvailable(_) => 0x28,
            SubscriptionIdsAvailable(_) => 0x29,
            SharedAvailable(_) => 0x2a,
        }
    }

    /// Reads the next property with the rules of its value.
    fn read(cursor: &mut Cursor<'a>) -> Result<Property<'a>, DecodeError> {
        use Property::*;
        // All identifiers are below 128, so that their variable byte integer is one byte; a longer one is
        // no identifier that we know.
        let id = cursor.u8()?;
        let property = match id {
            0x01 => PayloadFormat(flag(cursor, id)?),
            0x02 => MessageExpiryS(cursor.u32()?),
            0x03 => ContentType(wire::text(cursor)?),
            0x08 => ResponseTopic(wire::text(cursor)?),
            0x09 => CorrelationData(wire::binary(cursor)?),
            0x0b => SubscriptionId(wire::varint(cursor)? as u32),
            0x11 => SessionExpiryS(cursor.u32()?),
            0x12 => AssignedClientId(wire::text(cursor)?),
            0x13 => ServerKeepAliveS(cursor.u16()?),
            0x15 => AuthMethod(wire::text(cursor)?),
            0x16 => AuthData(wire::binary(cursor)?),
            0x17 => RequestProblemInfo(flag(cursor, id)?),
            0x18 => WillDelayS(cursor.u32()?),
            0x19 => RequestResponseInfo(flag(cursor, id)?),
            0x1a => ResponseInfo(wire::text(cursor)?),
            0x1c => ServerReference(wire::text(cursor)?),
            0x1f => ReasonString(wire::text(cursor)?),
            0x21 => ReceiveMax(cursor.u16()?),
            0x22 => TopicAliasMax(cursor.u16()?),
            0x23 => TopicAlias(cursor.u16()?),
            0x24 => QosMax(flag(cursor, id)?),
            0x25 => RetainAvailable(flag(cursor, id)?),
            0x26 => User(wire::text(cursor)?, wire::text(cursor)?),
            0x27 => PacketBytesMax(cursor.u32()?),
            0x28 => WildcardsAvailable(flag(cursor, id)?),
            0x29 => SubscriptionIdsAvailable(flag(cursor, id)?),
            0x2a => SharedAvailable(flag(cursor, id)?),
            _ => return Err(DecodeError::Property(id)),
        };
        match property {
            // Sections 3.1.2.11.3, 3.1.2.11.4, 3.3.2.3.8 and [MQTT-3.3.2-8]: none of these may be 0.
            ReceiveMax(0) | PacketBytesMax(0) | SubscriptionId(0) | TopicAlias(0) => Err(DecodeError::PropertyValue(id)),
            // A response topic is a topic name [MQTT-3.3.2-14].
            ResponseTopic(topic) if topic.is_empty() || topic.contains(['+', '#']) => Err(DecodeError::PropertyValue(id)),
            good => Ok(good),
        }
    }

    /// Appends the property, or nothing if it does not fit its length field.
    fn put(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        use Property::*;
        let from = out.len();
        out.push(self.id());
        match *self {
            PayloadFormat(yes)
            | RequestProblemInfo(yes)
            | RequestResponseInfo(yes)
            | QosMax(yes)
            | RetainAvailable(yes)
            | WildcardsAvailable(yes)
            | SubscriptionIdsAvailable(yes)
            | SharedAvailable(yes) => out.push(u8::from(yes)),
            MessageExpiryS(number) | SessionExpiryS(number) | WillDelayS(number) | PacketBytesMax(number) => {
                out.extend_from_slice(&number.to_be_bytes());
            }
            ServerKeepAliveS(number) | ReceiveMax(number) | TopicAliasMax(number) | TopicAlias(number) => {
                out.extend_from_slice(&number.to_be_bytes());
            }
            SubscriptionId(number) => wire::put_varint(out, number.min(SUBSCRIPTION_ID_MAX) as usize),
            ContentType(text)
            | ResponseTopic(text)
            | AssignedClientId(text)
            | AuthMethod(text)
            | ResponseInfo(text)
            | ServerReference(text)
            | ReasonString(text) => put_field(out, from, text.as_bytes())?,
            CorrelationData(data) | AuthData(data) => put_field(out, from, data)?,
            User(name, value) => {
                put_field(out, from, name.as_bytes())?;
                put_field(out, from, value.as_bytes())?;
            }
        }
        Ok(())
    }
}

/// Writes `data` with its length in front; takes back what was written since `from` if it does not fit.
fn put_field(out: &mut Vec<u8>, from: usize, data: &[u8]) -> Result<(), TooLong> {
    if let Err(too_long) = wire::field_bytes(data) {
        out.truncate(from);
        return Err(too_long);
    }
    wire::put_field(out, data);
    Ok(())
}

/// A byte that is 0 or 1.
fn flag(cursor: &mut Cursor<'_>, id: u8) -> Result<bool, DecodeError> {
    match cursor.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(DecodeError::PropertyValue(id)),
    }
}

impl std::fmt::Debug for Property<'_> {
    /// By number only: what clients say of their messages is as private as the messages.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Property({:#04x})", self.id())
    }
}

/// All properties of a packet or will, known to be well formed and in place.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Properties<'a> {
    bytes: &'a [u8],
}

impl<'a> Properties<'a> {
    /// None at all, which is also all that the older levels have.
    pub const NONE: Properties<'static> = Properties { bytes: &[] };

    /// Reads the property length and checks every property behind it.
    pub(super) fn decode(cursor: &mut Cursor<'a>, place: Place) -> Result<Properties<'a>, DecodeError> {
        let length = wire::varint(cursor)?;
        let bytes = cursor.take(length)?;
        let mut inside = Cursor::new(bytes);
        let mut seen = 0u64; // by identifier; all that exist are below 64
        let (mut method, mut data) = (false, false);
        while let Some(&id) = inside.rest().first() {
            if !place.takes(id) {
                return Err(DecodeError::Property(id));
            }
            let property = Property::read(&mut inside)?;
            if seen & 1 << id != 0 && !place.takes_many(id) {
                return Err(DecodeError::PropertyTwice(id));
            }
            seen |= 1 << id;
            method |= matches!(property, Property::AuthMethod(_));
            data |= matches!(property, Property::AuthData(_));
        }
        if data && !method {
            return Err(DecodeError::PropertyValue(0x16)); // section 3.1.2.11.10
        }
        Ok(Properties { bytes })
    }

    /// The properties in their order, which matters for user properties [MQTT-3.3.2-18].
    pub fn iter(&self) -> impl Iterator<Item = Property<'a>> + use<'a> {
        let mut cursor = Cursor::new(self.bytes);
        // They were checked when decoded or written by `PropertyList`, so that only the end stops here.
        std::iter::from_fn(move || Property::read(&mut cursor).ok())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes on the wire, the length in front included.
    pub(super) fn wire_bytes(&self) -> usize {
        wire::varint_bytes(self.bytes.len()) + self.bytes.len()
    }

    /// Appends them with their length in front.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        wire::put_varint(out, self.bytes.len());
        out.extend_from_slice(self.bytes);
    }
}

impl std::fmt::Debug for Properties<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_list().entries(self.iter()).finish()
    }
}

/// Properties to be sent, in the order in which they are pushed.
#[derive(Clone, Debug, Default)]
pub struct PropertyList {
    bytes: Vec<u8>,
}

impl PropertyList {
    /// Adds one at the end; nothing if its text is longer than a length field can say.
    pub fn push(&mut self, property: Property<'_>) -> Result<(), TooLong> {
        property.put(&mut self.bytes)
    }

    /// Removes all and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// What a packet is built with.
    pub fn view(&self) -> Properties<'_> {
        Properties { bytes: &self.bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(place: Place, bytes: &[u8]) -> Result<Properties<'_>, DecodeError> {
        let mut cursor = Cursor::new(bytes);
        let properties = Properties::decode(&mut cursor, place)?;
        wire::end(&cursor)?;
        Ok(properties)
    }

    const PUBLISH: Place = Place::Of(Kind::Publish);
    const CONNECT: Place = Place::Of(Kind::Connect);

    #[test]
    fn each_is_written_as_it_is_read_and_in_its_order() {
        let all = [
            Property::User("b", "1"),
            Property::PayloadFormat(true),
            Property::MessageExpiryS(0x0102_0304),
            Property::ContentType("text/plain"),
            Property::ResponseTopic("re"),
            Property::CorrelationData(b"\0\xff"),
            Property::SubscriptionId(SUBSCRIPTION_ID_MAX),
            Property::SubscriptionId(1),
            Property::TopicAlias(7),
            Property::User("a", "2"),
        ];
        let mut list = PropertyList::default();
        for property in all {
            list.push(property).unwrap();
        }
        let mut bytes = Vec::new();
        list.view().put(&mut bytes);
        assert_eq!(bytes.len(), list.view().wire_bytes());
        assert_eq!(decode(PUBLISH, &bytes).unwrap().iter().collect::<Vec<_>>(), all);
    }

    #[test]
    fn what_does_not_belong_there_is_refused() {
        assert_eq!(decode(PUBLISH, b"\x02\x00\x00").err(), Some(DecodeError::Property(0)));
        assert_eq!(decode(PUBLISH, b"\x02\x80\x01").err(), Some(DecodeError::Property(0x80)));
        assert_eq!(decode(PUBLISH, b"\x03\x21\0\x09").err(), Some(DecodeError::Property(0x21)));
        assert_eq!(decode(CONNECT, b"\x03\x21\0\x09").err(), None);
        assert_eq!(decode(CONNECT, b"\x05\x18\0\0\0\x09").err(), Some(DecodeError::Property(0x18)));
        assert_eq!(decode(Place::Will, b"\x05\x18\0\0\0\x09").err(), None);
        // Table 2-4 by the number of packets (the will is one) that each property may stand in.
        let kinds = (1..=15).filter_map(Kind::from_u8).map(Place::Of).chain([Place::Will]);
        let count = |id| kinds.clone().filter(|place| place.takes(id)).count();
        let want = [(0x01, 2), (0x0b, 2), (0x11, 3), (0x12, 1), (0x15, 3), (0x17, 1), (0x18, 1), (0x1c, 2), (0x1f, 9), (0x22, 2)];
        for (id, places) in want {
            assert_eq!(count(id), places, "{id:#04x}");
        }
        assert_eq!(count(0x04), 0);
    }

    #[test]
    fn twice_is_once_too_often_but_for_user_properties_and_subscription_ids() {
        assert_eq!(decode(PUBLISH, b"\x04\x01\x01\x01\x01").err(), Some(DecodeError::PropertyTwice(1)));
        assert_eq!(decode(PUBLISH, b"\x04\x0b\x01\x0b\x02").err(), None);
        assert_eq!(decode(Place::Of(Kind::Subscribe), b"\x04\x0b\x01\x0b\x02").err(), Some(DecodeError::PropertyTwice(0x0b)));
        assert_eq!(decode(PUBLISH, b"\x0e\x26\0\x01a\0\x01b\x26\0\x01a\0\x01b").err(), None);
    }

    #[test]
    fn values_and_lengths_are_checked() {
        let error = |place, bytes| decode(place, bytes).err();
        assert_eq!(error(PUBLISH, b"\x02\x01\x02"), Some(DecodeError::PropertyValue(1)));
        assert_eq!(error(PUBLISH, b"\x03\x23\0\0"), Some(DecodeError::PropertyValue(0x23)));
        assert_eq!(error(PUBLISH, b"\x02\x0b\0"), Some(DecodeError::PropertyValue(0x0b)));
        assert_eq!(error(PUBLISH, b"\x06\x08\0\x03a/+"), Some(DecodeError::PropertyValue(8)));
        assert_eq!(error(PUBLISH, b"\x04\x03\0\x01\0"), Some(DecodeError::Text));
        assert_eq!(error(PUBLISH, b"\x04\x03\0\x02a"), Some(DecodeError::Short), "longer than the properties");
        assert_eq!(error(PUBLISH, b"\x03\x01\x01"), Some(DecodeError::Short), "longer than the packet");
        assert_eq!(error(PUBLISH, b"\x80\x00"), Some(DecodeError::Length), "longer than it need be");
        assert_eq!(error(CONNECT, b"\x04\x16\0\x01x"), Some(DecodeError::PropertyValue(0x16)), "data without a method");
        let mut list = PropertyList::default();
        assert_eq!(list.push(Property::User("a", &"x".repeat(65_536))), Err(TooLong));
        assert!(list.view().is_empty(), "nothing half-written");
    }
}
