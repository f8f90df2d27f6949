//! What must hold for any MQTT bytes: packets survive the way out and back, nothing panics, and however
//! a stream is split, the same comes of it.

use arbitrary::{Arbitrary, Unstructured};
use arbtest::arbtest;
use model::Qos;
use protocols::mqtt::codec::{
    Ack, Connack, Connect, Disconnect, Kind, Level, Options, Packet, Properties, Property, PropertyList, Publish, Reason,
    RetainHandling, Suback, Subscribe, Unsuback, Unsubscribe, Will, put_ack, put_empty,
};
use protocols::mqtt::fuzz::{fuzz_packets, fuzz_session};

type Drawn<T> = arbitrary::Result<T>;

fn text<'a>(u: &mut Unstructured<'a>) -> Drawn<&'a str> {
    let text = <&str>::arbitrary(u)?;
    Ok(text.split('\0').next().unwrap_or_default())
}

fn qos(u: &mut Unstructured<'_>) -> Drawn<Qos> {
    u.choose(&[Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce]).copied()
}

fn id(u: &mut Unstructured<'_>) -> Drawn<u16> {
    u.int_in_range(1..=u16::MAX)
}

fn level(u: &mut Unstructured<'_>) -> Drawn<Level> {
    u.choose(&[Level::V311, Level::V5]).copied()
}

/// Any property that may stand in a PUBLISH and a will, and be repeated there or not.
fn said(u: &mut Unstructured<'_>) -> Drawn<PropertyList> {
    let mut list = PropertyList::default();
    if u.arbitrary()? {
        list.push(Property::PayloadFormat(u.arbitrary()?)).unwrap();
    }
    if u.arbitrary()? {
        list.push(Property::MessageExpiryS(u.arbitrary()?)).unwrap();
    }
    if u.arbitrary()? {
        list.push(Property::ContentType(text(u)?)).unwrap();
    }
    if u.arbitrary()? {
        list.push(Property::CorrelationData(u.arbitrary()?)).unwrap();
    }
    for _ in 0..u.int_in_range(0..=3)? {
        list.push(Property::User(text(u)?, text(u)?)).unwrap();
    }
    Ok(list)
}

/// Reason string and user properties, as acknowledgements have them.
fn words(u: &mut Unstructured<'_>, level: Level) -> Drawn<PropertyList> {
    let mut list = PropertyList::default();
    if level == Level::V5 && u.arbitrary()? {
        list.push(Property::User(text(u)?, text(u)?)).unwrap();
        list.push(Property::ReasonString(text(u)?)).unwrap();
    }
    Ok(list)
}

fn reason(u: &mut Unstructured<'_>, level: Level, kind: Kind) -> Drawn<Reason> {
    let reason = Reason::from_u8(kind, u.arbitrary()?).filter(|_| level == Level::V5);
    Ok(reason.unwrap_or(Reason::Success))
}

fn connect<'a, 's: 'a>(u: &mut Unstructured<'s>, level: Level, said: &'a PropertyList) -> Drawn<Connect<'a>> {
    let user = if u.arbitrary()? { Some(text(u)?) } else { None };
    let props = if level == Level::V5 { said.view() } else { Properties::NONE };
    let will = match u.arbitrary()? {
        true => Some(Will { topic: text(u)?, payload: u.arbitrary()?, qos: qos(u)?, retain: u.arbitrary()?, props }),
        false => None,
    };
    Ok(Connect {
        level,
        clean: u.arbitrary()?,
        keep_alive_s: u.arbitrary()?,
        props: Properties::NONE,
        client: text(u)?,
        will,
        user,
        password: if user.is_some() || level == Level::V5 { u.arbitrary()? } else { None },
    })
}

fn publish<'a, 's: 'a>(u: &mut Unstructured<'s>, level: Level, said: &'a PropertyList) -> Drawn<Publish<'a>> {
    let qos = qos(u)?;
    let numbered = qos != Qos::AtMostOnce;
    Ok(Publish {
        dup: numbered && u.arbitrary()?,
        qos,
        retain: u.arbitrary()?,
        topic: text(u)?,
        id: if numbered { id(u)? } else { 0 },
        props: if level == Level::V5 { said.view() } else { Properties::NONE },
        payload: u.arbitrary()?,
    })
}

fn options(u: &mut Unstructured<'_>, level: Level) -> Drawn<Options> {
    if level != Level::V5 {
        return Ok(Options::at(qos(u)?));
    }
    let retained = *u.choose(&[RetainHandling::Always, RetainHandling::IfNew, RetainHandling::Never])?;
    Ok(Options { qos: qos(u)?, no_local: u.arbitrary()?, as_published: u.arbitrary()?, retained })
}

/// Reads back the one packet that was written.
fn back(level: Level, bytes: &[u8]) -> Packet<'_> {
    let (packet, used) = Packet::read(level, bytes).expect("what we write is well formed").expect("and whole");
    assert_eq!(used, bytes.len());
    packet
}

#[test]
fn connect_and_publish_survive_the_way_out_and_back() {
    arbtest(|u| {
        let level = *u.choose(&[Level::V31, Level::V311, Level::V5])?;
        let said = said(u)?;
        let (connect, mut out) = (connect(u, level, &said)?, Vec::new());
        connect.encode(&mut out).unwrap();
        assert_eq!(back(level, &out), Packet::Connect(connect));

        let (publish, mut out) = (publish(u, level, &said)?, Vec::new());
        publish.encode(level, &mut out).unwrap();
        assert_eq!(back(level, &out), Packet::Publish(publish));
        Ok(())
    });
}

#[test]
fn acknowledgements_and_goodbyes_survive_the_way_out_and_back() {
    arbtest(|u| {
        let level = level(u)?;
        let words = words(u, level)?;
        let props = words.view();
        let kind = *u.choose(&[Kind::Puback, Kind::Pubrec, Kind::Pubrel, Kind::Pubcomp])?;
        let (ack, mut out) = (Ack { id: id(u)?, reason: reason(u, level, kind)?, props }, Vec::new());
        ack.encode(level, kind, &mut out).unwrap();
        let read = match back(level, &out) {
            Packet::Puback(ack) | Packet::Pubrec(ack) | Packet::Pubrel(ack) | Packet::Pubcomp(ack) => ack,
            other => panic!("{other:?} is no acknowledgement"),
        };
        assert_eq!(read, ack);

        let (disconnect, mut out) = (Disconnect { reason: reason(u, level, Kind::Disconnect)?, props }, Vec::new());
        disconnect.encode(level, Kind::Disconnect, &mut out).unwrap();
        assert_eq!(back(level, &out), Packet::Disconnect(disconnect));
        Ok(())
    });
}

#[test]
fn lists_survive_the_way_out_and_back() {
    arbtest(|u| {
        let (level, id) = (level(u)?, id(u)?);
        let words = words(u, level)?;
        let props = words.view();
        let filters = (0..u.int_in_range(1..=5)?).map(|_| Ok((text(u)?, options(u, level)?))).collect::<Drawn<Vec<_>>>()?;
        let mut out = Vec::new();
        Subscribe::encode(level, &mut out, id, Properties::NONE, &filters).unwrap();
        let Packet::Subscribe(subscribe) = back(level, &out) else { panic!("a SUBSCRIBE") };
        assert_eq!((subscribe.id, subscribe.filters().collect::<Vec<_>>()), (id, filters.clone()));

        let names: Vec<&str> = filters.iter().map(|(filter, _)| *filter).collect();
        let mut out = Vec::new();
        Unsubscribe::encode(level, &mut out, id, Properties::NONE, &names).unwrap();
        let Packet::Unsubscribe(unsubscribe) = back(level, &out) else { panic!("an UNSUBSCRIBE") };
        assert_eq!((unsubscribe.id, unsubscribe.filters().collect::<Vec<_>>()), (id, names));

        let mut reasons: Vec<_> = filters.iter().map(|(_, options)| Reason::granted(options.qos)).collect();
        reasons.push(Reason::Unspecified);
        let mut out = Vec::new();
        Suback::encode(level, &mut out, id, props, &reasons).unwrap();
        let Packet::Suback(suback) = back(level, &out) else { panic!("a SUBACK") };
        assert_eq!((suback.id, suback.props, suback.reasons().collect::<Vec<_>>()), (id, props, reasons));

        let reasons = if level == Level::V5 { vec![Reason::Success, Reason::NoSubscription] } else { Vec::new() };
        let mut out = Vec::new();
        Unsuback::encode(level, &mut out, id, props, &reasons).unwrap();
        let Packet::Unsuback(unsuback) = back(level, &out) else { panic!("an UNSUBACK") };
        assert_eq!((unsuback.id, unsuback.props, unsuback.reasons().collect::<Vec<_>>()), (id, props, reasons));
        Ok(())
    });
}

#[test]
fn every_answer_to_a_connect_survives_the_way_out_and_back() {
    for number in 0..=255 {
        for (level, reason) in
            [(Level::V311, Reason::from_return_code(number)), (Level::V5, Reason::from_u8(Kind::Connack, number))]
        {
            let Some(reason) = reason else { continue };
            let connack = Connack { session_present: reason == Reason::Success, reason, props: Properties::NONE };
            let mut out = Vec::new();
            connack.encode(level, &mut out).unwrap();
            assert_eq!(back(level, &out), Packet::Connack(connack));
        }
    }
}

#[test]
fn any_bytes_are_survived() {
    arbtest(|u| {
        fuzz_packets(u.bytes(u.len())?);
        Ok(())
    })
    .size_max(4096);
    arbtest(|u| {
        fuzz_session(u.bytes(u.len())?);
        Ok(())
    })
    .size_max(4096);
}

/// A client's stream that is valid but for what it says: every split and every answer is tried on it.
#[test]
fn any_split_of_what_a_client_sends_gives_the_same() {
    arbtest(|u| {
        let mut stream = u.arbitrary::<[u8; 8]>()?.to_vec();
        let level = level(u)?;
        let said = said(u)?;
        let mut connect = connect(u, level, &said)?;
        connect.client = "c";
        connect.will = None;
        connect.encode(&mut stream).unwrap();
        let none = Properties::NONE;
        for _ in 0..u.int_in_range(0..=12)? {
            match u.int_in_range(0..=9)? {
                0..=3 => publish(u, level, &said)?.encode(level, &mut stream).unwrap(),
                4 => {
                    let filter = *u.choose(&["a", "a/#", "me/push", "$share/g/a"])?;
                    Subscribe::encode(level, &mut stream, id(u)?, none, &[(filter, options(u, level)?)]).unwrap();
                }
                5 => Unsubscribe::encode(level, &mut stream, id(u)?, none, &["a"]).unwrap(),
                6 => put_ack(&mut stream, Kind::Pubrel, id(u)?),
                7 => {
                    let kind = *u.choose(&[Kind::Puback, Kind::Pubrec, Kind::Pubcomp])?;
                    Ack { id: id(u)?, reason: reason(u, level, kind)?, props: none }.encode(level, kind, &mut stream).unwrap();
                }
                8 => put_empty(&mut stream, Kind::Pingreq),
                _ => put_empty(&mut stream, *u.choose(&[Kind::Pingreq, Kind::Disconnect])?),
            }
        }
        fuzz_session(&stream);
        Ok(())
    });
}
