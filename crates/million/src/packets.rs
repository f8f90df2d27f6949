//! The few packets of MQTT 3.1.1 that a device sends here, byte by byte: the generator must cost little.

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u16).to_be_bytes());
    out.extend(text.as_bytes());
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    assert!(body.len() < 128, "one byte of length is enough here");
    [&[first, body.len() as u8], body].concat()
}

/// CONNECT with a clean session.
pub fn connect(client: &str, user: &str, password: &str, keep_alive_s: u16) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, "MQTT");
    body.extend([4, 0b1100_0010]);
    body.extend(keep_alive_s.to_be_bytes());
    [client, user, password].into_iter().for_each(|part| text(&mut body, part));
    packet(0x10, &body)
}

/// SUBSCRIBE at QoS 1.
pub fn subscribe(filter: &str) -> Vec<u8> {
    let mut body = vec![0, 1];
    text(&mut body, filter);
    body.push(1);
    packet(0x82, &body)
}

/// PUBLISH at QoS 0.
pub fn publish(topic: &str, payload: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, topic);
    body.extend(payload);
    packet(0x30, &body)
}

/// PUBACK.
pub fn puback(id: [u8; 2]) -> Vec<u8> {
    packet(0x40, &id)
}

/// PINGREQ.
pub const PINGREQ: &[u8] = &[0xc0, 0];
/// What is said to one who may come in with a new session.
pub const CONNACK: &[u8] = &[0x20, 2, 0, 0];
/// What is said to [`subscribe`].
pub const SUBACK: &[u8] = &[0x90, 3, 0, 1, 1];
/// What is said to [`PINGREQ`].
pub const PINGRESP: &[u8] = &[0xd0, 0];
