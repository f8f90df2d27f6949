//! SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK (sections 3.8 to 3.11). The lists stay borrowed: they are
//! checked once when decoded and read again by the iterators.

use contract::kit::Cursor;
use model::Qos;

use super::connect::{Level, properties};
use super::properties::{Place, Properties};
use super::wire::{self, TooLong};
use super::{DecodeError, Kind, Reason};

/// The client wants topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// The packet id.
    pub id: u16,
    /// What 5.0 says beside it.
    pub props: Properties<'a>,
    level: Level,
    filters: &'a [u8],
}

/// How a subscription is to be carried; before 5.0 only the QoS can be said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The highest QoS wanted.
    pub qos: Qos,
    /// Not what this client publishes itself.
    pub no_local: bool,
    /// With the retain flag as it was published.
    pub as_published: bool,
    /// Which retained messages are wanted now.
    pub retained: RetainHandling,
}

/// Which retained messages a subscription brings at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RetainHandling {
    /// All that match.
    #[default]
    Always,
    /// All that match, if the subscription is new.
    IfNew,
    /// None.
    Never,
}

const NO_LOCAL: u8 = 0x04;
const AS_PUBLISHED: u8 = 0x08;
const RESERVED: u8 = 0xc0;

impl Options {
    /// What 3.1.1 can ask for.
    pub const fn at(qos: Qos) -> Options {
        Options { qos, no_local: false, as_published: false, retained: RetainHandling::Always }
    }

    fn from_u8(level: Level, byte: u8) -> Result<Options, DecodeError> {
        if level != Level::V5 {
            return Qos::from_u8(byte).map(Options::at).ok_or(DecodeError::Qos); // also the reserved bits [MQTT-3.8.3-4]
        }
        if byte & RESERVED != 0 {
            return Err(DecodeError::Options); // [MQTT-3.8.3-5]
        }
        let retained = match byte >> 4 {
            0 => RetainHandling::Always,
            1 => RetainHandling::IfNew,
            2 => RetainHandling::Never,
            _ => return Err(DecodeError::RetainHandling),
        };
        let qos = Qos::from_u8(byte & 3).ok_or(DecodeError::Qos)?;
        Ok(Options { qos, no_local: byte & NO_LOCAL != 0, as_published: byte & AS_PUBLISHED != 0, retained })
    }

    fn to_u8(self, level: Level) -> u8 {
        let Options { qos, no_local, as_published, retained } = self;
        match level {
            Level::V5 => {
                let no_local = if no_local { NO_LOCAL } else { 0 };
                let as_published = if as_published { AS_PUBLISHED } else { 0 };
                qos as u8 | no_local | as_published | (retained as u8) << 4
            }
            _ => qos as u8,
        }
    }
}

impl<'a> Subscribe<'a> {
    /// Decodes the body and checks every filter's form as text and its options.
    pub fn decode(level: Level, body: &'a [u8]) -> Result<Subscribe<'a>, DecodeError> {
        let mut cursor = Cursor::new(body);
        let id = wire::packet_id(&mut cursor)?;
        let props = properties(level, &mut cursor, Place::Of(Kind::Subscribe))?;
        let filters = cursor.rest();
        if filters.is_empty() {
            return Err(DecodeError::NoFilter); // [MQTT-3.8.3-3]
        }
        while !cursor.is_empty() {
            filter_and_options(level, &mut cursor)?;
        }
        Ok(Subscribe { id, props, level, filters })
    }

    /// The filters with what is wanted of each, in their order.
    pub fn filters(&self) -> impl Iterator<Item = (&'a str, Options)> + use<'a> {
        let (level, mut cursor) = (self.level, Cursor::new(self.filters));
        // `decode` has checked the list, so that only its end stops here.
        std::iter::from_fn(move || filter_and_options(level, &mut cursor).ok())
    }

    /// Appends the packet.
    pub fn encode(
        level: Level,
        out: &mut Vec<u8>,
        id: u16,
        props: Properties<'_>,
        filters: &[(&str, Options)],
    ) -> Result<(), TooLong> {
        let mut bytes = 0;
        for (filter, _) in filters {
            bytes += wire::field_bytes(filter.as_bytes())? + 1;
        }
        put_head(level, out, Kind::Subscribe, id, props, bytes)?;
        for (filter, options) in filters {
            wire::put_field(out, filter.as_bytes());
            out.push(options.to_u8(level));
        }
        Ok(())
    }
}

fn filter_and_options<'a>(level: Level, cursor: &mut Cursor<'a>) -> Result<(&'a str, Options), DecodeError> {
    let filter = wire::text(cursor)?;
    Ok((filter, Options::from_u8(level, cursor.u8()?)?))
}

/// Writes what all four packets begin with; `bytes` are still to follow.
fn put_head(level: Level, out: &mut Vec<u8>, kind: Kind, id: u16, props: Properties<'_>, bytes: usize) -> Result<(), TooLong> {
    let props_bytes = if level == Level::V5 { props.wire_bytes() } else { 0 };
    wire::put_head(out, (kind as u8) << 4 | kind.flags(), 2 + props_bytes + bytes)?;
    out.extend_from_slice(&id.to_be_bytes());
    if level == Level::V5 {
        props.put(out);
    }
    Ok(())
}

/// The answer to a SUBSCRIBE: one reason a filter [MQTT-3.8.4-5].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suback<'a> {
    /// The packet id of the SUBSCRIBE.
    pub id: u16,
    /// What 5.0 says beside it.
    pub props: Properties<'a>,
    level: Level,
    codes: &'a [u8],
}

impl<'a> Suback<'a> {
    /// Decodes the body.
    pub fn decode(level: Level, body: &'a [u8]) -> Result<Suback<'a>, DecodeError> {
        let mut cursor = Cursor::new(body);
        let id = wire::packet_id(&mut cursor)?;
        let props = properties(level, &mut cursor, Place::Of(Kind::Suback))?;
        let codes = cursor.rest();
        if codes.is_empty() {
            return Err(DecodeError::NoFilter);
        }
        match codes.iter().find(|code| Suback::reason(level, **code).is_none()) {
            Some(code) => Err(DecodeError::ReturnCode(*code)),
            None => Ok(Suback { id, props, level, codes }),
        }
    }

    fn reason(level: Level, code: u8) -> Option<Reason> {
        if level == Level::V5 { Reason::from_u8(Kind::Suback, code) } else { Reason::from_grant_code(code) }
    }

    /// The reasons, in the order of the filters.
    pub fn reasons(&self) -> impl Iterator<Item = Reason> + use<'a> {
        let level = self.level;
        self.codes.iter().filter_map(move |code| Suback::reason(level, *code))
    }

    /// Appends the packet.
    pub fn encode(level: Level, out: &mut Vec<u8>, id: u16, props: Properties<'_>, reasons: &[Reason]) -> Result<(), TooLong> {
        put_head(level, out, Kind::Suback, id, props, reasons.len())?;
        let code = |reason: &Reason| if level == Level::V5 { *reason as u8 } else { reason.to_grant_code() };
        out.extend(reasons.iter().map(code));
        Ok(())
    }
}

/// The client no longer wants topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    /// The packet id.
    pub id: u16,
    /// What 5.0 says beside it.
    pub props: Properties<'a>,
    filters: &'a [u8],
}

impl<'a> Unsubscribe<'a> {
    /// Decodes the body and checks every filter's form as text.
    pub fn decode(level: Level, body: &'a [u8]) -> Result<Unsubscribe<'a>, DecodeError> {
        let mut cursor = Cursor::new(body);
        let id = wire::packet_id(&mut cursor)?;
        let props = properties(level, &mut cursor, Place::Of(Kind::Unsubscribe))?;
        let filters = cursor.rest();
        if filters.is_empty() {
            return Err(DecodeError::NoFilter); // [MQTT-3.10.3-2]
        }
        while !cursor.is_empty() {
            wire::text(&mut cursor)?;
        }
        Ok(Unsubscribe { id, props, filters })
    }

    /// The filters, in their order.
    pub fn filters(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let mut cursor = Cursor::new(self.filters);
        std::iter::from_fn(move || wire::text(&mut cursor).ok())
    }

    /// Appends the packet.
    pub fn encode(level: Level, out: &mut Vec<u8>, id: u16, props: Properties<'_>, filters: &[&str]) -> Result<(), TooLong> {
        let mut bytes = 0;
        for filter in filters {
            bytes += wire::field_bytes(filter.as_bytes())?;
        }
        put_head(level, out, Kind::Unsubscribe, id, props, bytes)?;
        for filter in filters {
            wire::put_field(out, filter.as_bytes());
        }
        Ok(())
    }
}

/// The answer to an UNSUBSCRIBE: before 5.0 the packet id alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsuback<'a> {
    /// The packet id of the UNSUBSCRIBE.
    pub id: u16,
    /// What 5.0 says beside it.
    pub props: Properties<'a>,
    codes: &'a [u8],
}

impl<'a> Unsuback<'a> {
    /// Decodes the body.
    pub fn decode(level: Level, body: &'a [u8]) -> Result<Unsuback<'a>, DecodeError> {
        let mut cursor = Cursor::new(body);
        let id = wire::packet_id(&mut cursor)?;
        let props = properties(level, &mut cursor, Place::Of(Kind::Unsuback))?;
        let codes = cursor.rest();
        match (level, codes.iter().find(|code| Reason::from_u8(Kind::Unsuback, **code).is_none())) {
            (Level::V5, _) if codes.is_empty() => Err(DecodeError::NoFilter),
            (Level::V5, Some(code)) => Err(DecodeError::ReturnCode(*code)),
            (Level::V31 | Level::V311, _) if !codes.is_empty() => Err(DecodeError::Trailing),
            _ => Ok(Unsuback { id, props, codes }),
        }
    }

    /// The reasons, in the order of the filters; none before 5.0.
    pub fn reasons(&self) -> impl Iterator<Item = Reason> + use<'a> {
        self.codes.iter().filter_map(|code| Reason::from_u8(Kind::Unsuback, *code))
    }

    /// Appends the packet.
    pub fn encode(level: Level, out: &mut Vec<u8>, id: u16, props: Properties<'_>, reasons: &[Reason]) -> Result<(), TooLong> {
        let reasons = if level == Level::V5 { reasons } else { &[] };
        put_head(level, out, Kind::Unsuback, id, props, reasons.len())?;
        out.extend(reasons.iter().map(|reason| *reason as u8));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_specification() {
        // Section 3.8.3.1: a/b with QoS 1, c/d with QoS 2.
        let body = b"\0\x0a\0\x03a/b\x01\0\x03c/d\x02";
        let subscribe = Subscribe::decode(Level::V311, body).unwrap();
        let want = [("a/b", Options::at(Qos::AtLeastOnce)), ("c/d", Options::at(Qos::ExactlyOnce))];
        assert_eq!(subscribe.filters().collect::<Vec<_>>(), want);
        let mut out = Vec::new();
        Subscribe::encode(Level::V311, &mut out, 10, Properties::NONE, &want).unwrap();
        assert_eq!(out, [&b"\x82\x0e"[..], body].concat());

        let unsubscribe = Unsubscribe::decode(Level::V311, b"\0\x0a\0\x03a/b\0\x03c/d").unwrap();
        assert_eq!(unsubscribe.filters().collect::<Vec<_>>(), ["a/b", "c/d"]);
    }

    #[test]
    fn lists_are_not_empty_and_well_formed() {
        let subscribe = |body| Subscribe::decode(Level::V311, body).err();
        assert_eq!(subscribe(b"\0\x01"), Some(DecodeError::NoFilter));
        assert_eq!(subscribe(b"\0\0\0\x01a\0"), Some(DecodeError::PacketId));
        assert_eq!(subscribe(b"\0\x01\0\x01a"), Some(DecodeError::Short));
        assert_eq!(subscribe(b"\0\x01\0\x01a\x03"), Some(DecodeError::Qos));
        assert_eq!(subscribe(b"\0\x01\0\x01a\x04"), Some(DecodeError::Qos), "reserved bits");
        assert_eq!(Unsubscribe::decode(Level::V311, b"\0\x01").err(), Some(DecodeError::NoFilter));
        assert_eq!(Unsubscribe::decode(Level::V311, b"\0\x01\0\x02a").err(), Some(DecodeError::Short));
        assert_eq!(Suback::decode(Level::V311, b"\0\x01\x03").err(), Some(DecodeError::ReturnCode(3)));
        assert_eq!(Suback::decode(Level::V311, b"\0\x01").err(), Some(DecodeError::NoFilter));
    }

    #[test]
    fn the_options_of_level_5() {
        let options = |byte| Options::from_u8(Level::V5, byte);
        let all = Options { qos: Qos::ExactlyOnce, no_local: true, as_published: true, retained: RetainHandling::Never };
        assert_eq!(options(0x2e), Ok(all));
        assert_eq!((all.to_u8(Level::V5), all.to_u8(Level::V311)), (0x2e, 2));
        assert_eq!(options(0x03), Err(DecodeError::Qos));
        assert_eq!(options(0x30), Err(DecodeError::RetainHandling));
        assert_eq!((options(0x40), options(0x80)), (Err(DecodeError::Options), Err(DecodeError::Options)));
    }

    #[test]
    fn answers_have_a_reason_a_filter() {
        let reasons = [Reason::GrantedQos1, Reason::NotAuthorised];
        let mut out = Vec::new();
        Suback::encode(Level::V5, &mut out, 1, Properties::NONE, &reasons).unwrap();
        Suback::encode(Level::V311, &mut out, 1, Properties::NONE, &reasons).unwrap();
        assert_eq!(out, b"\x90\x05\0\x01\0\x01\x87\x90\x04\0\x01\x01\x80");
        assert_eq!(Suback::decode(Level::V5, b"\0\x01\0\x01\x87").unwrap().reasons().collect::<Vec<_>>(), reasons);

        let reasons = [Reason::Success, Reason::NoSubscription];
        let mut out = Vec::new();
        Unsuback::encode(Level::V5, &mut out, 1, Properties::NONE, &reasons).unwrap();
        Unsuback::encode(Level::V311, &mut out, 1, Properties::NONE, &reasons).unwrap();
        assert_eq!(out, b"\xb0\x05\0\x01\0\0\x11\xb0\x02\0\x01");
        assert_eq!(Unsuback::decode(Level::V5, b"\0\x01\0\0\x11").unwrap().reasons().collect::<Vec<_>>(), reasons);
        assert_eq!(Unsuback::decode(Level::V5, b"\0\x01\0").err(), Some(DecodeError::NoFilter));
        assert_eq!(Unsuback::decode(Level::V5, b"\0\x01\0\x01").err(), Some(DecodeError::ReturnCode(1)));
        assert_eq!(Unsuback::decode(Level::V311, b"\0\x01\0").err(), Some(DecodeError::Trailing));
    }
}
