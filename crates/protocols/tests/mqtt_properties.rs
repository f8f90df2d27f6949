//! What must hold for any MQTT bytes: packets survive the way out and back, nothing panics, and however
//! a stream is split, the same comes of it.

use arbitrary::{Arbitrary, Unstructured};
use arbtest::arbtest;
use model::Qos;
use protocols::mqtt::codec::{
    Connack, Connect, ConnectCode, Kind, Level, Packet, Publish, Suback, Subscribe, SubscribeCode, Unsubscribe, Will, put_ack,
    put_empty,
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

fn connect<'a>(u: &mut Unstructured<'a>) -> Drawn<Connect<'a>> {
    let user = if u.arbitrary()? { Some(text(u)?) } else { None };
    let will = match u.arbitrary()? {
        true => Some(Will { topic: text(u)?, payload: u.arbitrary()?, qos: qos(u)?, retain: u.arbitrary()? }),
        false => None,
    };
    Ok(Connect {
        level: *u.choose(&[Level::V31, Level::V311])?,
        clean: u.arbitrary()?,
        keep_alive_s: u.arbitrary()?,
        client: text(u)?,
        will,
        user,
        password: if user.is_some() { u.arbitrary()? } else { None },
    })
}

fn publish<'a>(u: &mut Unstructured<'a>) -> Drawn<Publish<'a>> {
    let qos = qos(u)?;
    let numbered = qos != Qos::AtMostOnce;
    Ok(Publish {
        dup: numbered && u.arbitrary()?,
        qos,
        retain: u.arbitrary()?,
        topic: text(u)?,
        id: if numbered { id(u)? } else { 0 },
        payload: u.arbitrary()?,
    })
}

/// Reads back the one packet that was written.
fn back(bytes: &[u8]) -> Packet<'_> {
    let (packet, used) = Packet::read(bytes).expect("what we write is well formed").expect("and whole");
    assert_eq!(used, bytes.len());
    packet
}

#[test]
fn connect_and_publish_survive_the_way_out_and_back() {
    arbtest(|u| {
        let (connect, mut out) = (connect(u)?, Vec::new());
        connect.encode(&mut out).unwrap();
        assert_eq!(back(&out), Packet::Connect(connect));

        let (publish, mut out) = (publish(u)?, Vec::new());
        publish.encode(&mut out).unwrap();
        assert_eq!(back(&out), Packet::Publish(publish));
        Ok(())
    });
}

#[test]
fn lists_survive_the_way_out_and_back() {
    arbtest(|u| {
        let id = id(u)?;
        let filters = (0..u.int_in_range(1..=5)?).map(|_| Ok((text(u)?, qos(u)?))).collect::<Drawn<Vec<_>>>()?;
        let mut out = Vec::new();
        Subscribe::encode(&mut out, id, &filters).unwrap();
        let Packet::Subscribe(subscribe) = back(&out) else { panic!("a SUBSCRIBE") };
        assert_eq!((subscribe.id, subscribe.filters().collect::<Vec<_>>()), (id, filters.clone()));

        let names: Vec<&str> = filters.iter().map(|(filter, _)| *filter).collect();
        let mut out = Vec::new();
        Unsubscribe::encode(&mut out, id, &names).unwrap();
        let Packet::Unsubscribe(unsubscribe) = back(&out) else { panic!("an UNSUBSCRIBE") };
        assert_eq!((unsubscribe.id, unsubscribe.filters().collect::<Vec<_>>()), (id, names));

        let mut codes: Vec<_> = filters.iter().map(|(_, qos)| SubscribeCode::Granted(*qos)).collect();
        codes.push(SubscribeCode::Failure);
        let mut out = Vec::new();
        Suback::encode(&mut out, id, &codes).unwrap();
        let Packet::Suback(suback) = back(&out) else { panic!("a SUBACK") };
        assert_eq!((suback.id, suback.codes().collect::<Vec<_>>()), (id, codes));
        Ok(())
    });
}

#[test]
fn every_answer_to_a_connect_survives_the_way_out_and_back() {
    for number in 0..=255 {
        let Some(code) = ConnectCode::from_u8(number) else { continue };
        let connack = Connack { session_present: code == ConnectCode::Accepted, code };
        let mut out = Vec::new();
        connack.encode(&mut out);
        assert_eq!(back(&out), Packet::Connack(connack));
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
        let mut connect = connect(u)?;
        connect.client = "c";
        connect.will = None;
        connect.encode(&mut stream).unwrap();
        for _ in 0..u.int_in_range(0..=12)? {
            match u.int_in_range(0..=9)? {
                0..=3 => publish(u)?.encode(&mut stream).unwrap(),
                4 => Subscribe::encode(&mut stream, id(u)?, &[(u.choose(&["a", "a/#", "me/push"])?, qos(u)?)]).unwrap(),
                5 => Unsubscribe::encode(&mut stream, id(u)?, &["a"]).unwrap(),
                6 => put_ack(&mut stream, Kind::Pubrel, id(u)?),
                7 => put_ack(&mut stream, *u.choose(&[Kind::Puback, Kind::Pubrec, Kind::Pubcomp])?, id(u)?),
                8 => put_empty(&mut stream, Kind::Pingreq),
                _ => put_empty(&mut stream, *u.choose(&[Kind::Pingreq, Kind::Disconnect])?),
            }
        }
        fuzz_session(&stream);
        Ok(())
    });
}
