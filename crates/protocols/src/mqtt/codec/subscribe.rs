//! SUBSCRIBE, SUBACK, UNSUBSCRIBE (sections 3.8 to 3.10). The lists stay borrowed: they are checked once
//! when decoded and read again by the iterators.

use contract::kit::Cursor;
use model::Qos;

use super::wire::{self, TooLong};
use super::{DecodeError, Kind};

/// The client wants topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// The packet id.
    pub id: u16,
    filters: &'a [u8],
}

impl<'a> Subscribe<'a> {
    /// Decodes the body and checks every filter's form as text and its QoS.
    pub fn decode(body: &'a [u8]) -> Result<Subscribe<'a>, DecodeError> {
        let mut cursor = Cursor::new(body);
        let id = wire::packet_id(&mut cursor)?;
        let filters = cursor.rest();
        if filters.is_empty() {
            return Err(DecodeError::NoFilter); // [MQTT-3.8.3-3]
        }
        while !cursor.is_empty() {
            filter_and_qos(&mut cursor)?;
        }
        Ok(Subscribe { id, filters })
    }

    /// The filters with the QoS wanted, in their order.
    pub fn filters(&self) -> impl Iterator<Item = (&'a str, Qos)> + use<'a> {
        let mut cursor = Cursor::new(self.filters);
        // `decode` has checked the list, so that only its end stops here.
        std::iter::from_fn(move || filter_and_qos(&mut cursor).ok())
    }

    /// Appends the packet.
    pub fn encode(out: &mut Vec<u8>, id: u16, filters: &[(&str, Qos)]) -> Result<(), TooLong> {
        let mut bytes = 2;
        for (filter, _) in filters {
            bytes += wire::field_bytes(filter.as_bytes())? + 1;
        }
        wire::put_head(out, (Kind::Subscribe as u8) << 4 | Kind::Subscribe.flags(), bytes)?;
        out.extend_from_slice(&id.to_be_bytes());
        for (filter, qos) in filters {
            wire::put_field(out, filter.as_bytes());
            out.push(*qos as u8);
        }
        Ok(())
    }
}

fn filter_and_qos<'a>(cursor: &mut Cursor<'a>) -> Result<(&'a str, Qos), DecodeError> {
    let filter = wire::text(cursor)?;
    let qos = Qos::from_u8(cursor.u8()?).ok_or(DecodeError::Qos)?; // also the reserved bits [MQTT-3.8.3-4]
    Ok((filter, qos))
}

/// What one filter of a SUBSCRIBE was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscribeCode {
    /// Granted, up to this QoS.
    Granted(Qos),
    /// Refused.
    Failure,
}

impl SubscribeCode {
    /// The byte on the wire.
    pub fn to_u8(self) -> u8 {
        match self {
            SubscribeCode::Granted(qos) => qos as u8,
            SubscribeCode::Failure => 0x80,
        }
    }

    /// The code of a byte; others are reserved [MQTT-3.9.3-2].
    pub fn from_u8(number: u8) -> Option<SubscribeCode> {
        match number {
            0x80 => Some(SubscribeCode::Failure),
            other => Qos::from_u8(other).map(SubscribeCode::Granted),
        }
    }
}

/// The answer to a SUBSCRIBE: one code a filter [MQTT-3.8.4-5].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suback<'a> {
    /// The packet id of the SUBSCRIBE.
    pub id: u16,
    codes: &'a [u8],
}

impl<'a> Suback<'a> {
    /// Decodes the body.
    pub fn decode(body: &'a [u8]) -> Result<Suback<'a>, DecodeError> {
        let mut cursor = Cursor::new(body);
        let id = wire::packet_id(&mut cursor)?;
        let codes = cursor.rest();
        if codes.is_empty() {
            return Err(DecodeError::NoFilter);
        }
        match codes.iter().find(|code| SubscribeCode::from_u8(**code).is_none()) {
            Some(code) => Err(DecodeError::ReturnCode(*code)),
            None => Ok(Suback { id, codes }),
        }
    }

    /// The codes, in the order of the filters.
    pub fn codes(&self) -> impl Iterator<Item = SubscribeCode> + use<'a> {
        self.codes.iter().filter_map(|code| SubscribeCode::from_u8(*code))
    }

    /// Appends the packet.
    pub fn encode(out: &mut Vec<u8>, id: u16, codes: &[SubscribeCode]) -> Result<(), TooLong> {
        wire::put_head(out, (Kind::Suback as u8) << 4, 2 + codes.len())?;
        out.extend_from_slice(&id.to_be_bytes());
        out.extend(codes.iter().map(|code| code.to_u8()));
        Ok(())
    }
}

/// The client no longer wants topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    /// The packet id.
    pub id: u16,
    filters: &'a [u8],
}

impl<'a> Unsubscribe<'a> {
    /// Decodes the body and checks every filter's form as text.
    pub fn decode(body: &'a [u8]) -> Result<Unsubscribe<'a>, DecodeError> {
        let mut cursor = Cursor::new(body);
        let id = wire::packet_id(&mut cursor)?;
        let filters = cursor.rest();
        if filters.is_empty() {
            return Err(DecodeError::NoFilter); // [MQTT-3.10.3-2]
        }
        while !cursor.is_empty() {
            wire::text(&mut cursor)?;
        }
        Ok(Unsubscribe { id, filters })
    }

    /// The filters, in their order.
    pub fn filters(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let mut cursor = Cursor::new(self.filters);
        std::iter::from_fn(move || wire::text(&mut cursor).ok())
    }

    /// Appends the packet.
    pub fn encode(out: &mut Vec<u8>, id: u16, filters: &[&str]) -> Result<(), TooLong> {
        let mut bytes = 2;
        for filter in filters {
            bytes += wire::field_bytes(filter.as_bytes())?;
        }
        wire::put_head(out, (Kind::Unsubscribe as u8) << 4 | Kind::Unsubscribe.flags(), bytes)?;
        out.extend_from_slice(&id.to_be_bytes());
        for filter in filters {
            wire::put_field(out, filter.as_bytes());
        }
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
        let subscribe = Subscribe::decode(body).unwrap();
        let want = [("a/b", Qos::AtLeastOnce), ("c/d", Qos::ExactlyOnce)];
        assert_eq!(subscribe.filters().collect::<Vec<_>>(), want);
        let mut out = Vec::new();
        Subscribe::encode(&mut out, 10, &want).unwrap();
        assert_eq!(out, [&b"\x82\x0e"[..], body].concat());

        let unsubscribe = Unsubscribe::decode(b"\0\x0a\0\x03a/b\0\x03c/d").unwrap();
        assert_eq!(unsubscribe.filters().collect::<Vec<_>>(), ["a/b", "c/d"]);
    }

    #[test]
    fn lists_are_not_empty_and_well_formed() {
        assert_eq!(Subscribe::decode(b"\0\x01").err(), Some(DecodeError::NoFilter));
        assert_eq!(Subscribe::decode(b"\0\0\0\x01a\0").err(), Some(DecodeError::PacketId));
        assert_eq!(Subscribe::decode(b"\0\x01\0\x01a").err(), Some(DecodeError::Short));
        assert_eq!(Subscribe::decode(b"\0\x01\0\x01a\x03").err(), Some(DecodeError::Qos));
        assert_eq!(Subscribe::decode(b"\0\x01\0\x01a\x04").err(), Some(DecodeError::Qos), "reserved bits");
        assert_eq!(Unsubscribe::decode(b"\0\x01").err(), Some(DecodeError::NoFilter));
        assert_eq!(Unsubscribe::decode(b"\0\x01\0\x02a").err(), Some(DecodeError::Short));
        assert_eq!(Suback::decode(b"\0\x01\x03").err(), Some(DecodeError::ReturnCode(3)));
        assert_eq!(Suback::decode(b"\0\x01").err(), Some(DecodeError::NoFilter));
    }
}
