//! The packets that a connection sends, encoded with the server's own codec: it allocates nothing and
//! appends to what waits to be written.

use model::Qos;
use protocols::mqtt::codec::{Connect, Kind, Level, Options, Properties, Property, PropertyList, Publish, Subscribe, put_empty};

use crate::plan::{Mqtt, Plan};

/// The one packet id of a SUBSCRIBE; those of publishes are counted from 1.
const SUBSCRIBE_ID: u16 = u16::MAX;
/// How long a kept session of MQTT 5.0 outlives its connection: longer than any run, not for ever.
const KEPT_S: u32 = 24 * 3600;

/// A field that was longer than MQTT allows.
#[derive(Debug, thiserror::Error)]
#[error("a topic, name or payload is too long for MQTT")]
pub struct TooLong;

impl Mqtt {
    /// The same in the codec's words.
    pub(crate) fn level(self) -> Level {
        match self {
            Mqtt::V311 => Level::V311,
            Mqtt::V5 => Level::V5,
        }
    }
}

/// The QoS of a plan.
pub fn qos(plan: &Plan) -> Qos {
    Qos::from_u8(plan.qos).unwrap_or(Qos::AtMostOnce)
}

/// The CONNECT of connection `index`: with `kept`, for a session that outlives it.
pub fn put_connect(plan: &Plan, index: u32, kept: bool, clean: bool, out: &mut Vec<u8>) -> Result<(), TooLong> {
    let (user, password, client) = plan.login(index);
    let mut props = PropertyList::default();
    if kept && plan.mqtt == Mqtt::V5 {
        props.push(Property::SessionExpiryS(KEPT_S)).map_err(|_| TooLong)?;
    }
    let connect = Connect {
        level: plan.mqtt.level(),
        clean,
        keep_alive_s: plan.keep_alive_s,
        props: props.view(),
        client: &client,
        will: None,
        user: user.as_deref(),
        password: password.as_deref().map(str::as_bytes),
    };
    connect.encode(out).map_err(|_| TooLong)
}

/// The SUBSCRIBE for the topic with this number.
pub fn put_subscribe(plan: &Plan, topic: u32, out: &mut Vec<u8>) -> Result<(), TooLong> {
    let filters = [(&*plan.topic(topic), Options::at(qos(plan)))];
    Subscribe::encode(plan.mqtt.level(), out, SUBSCRIBE_ID, Properties::NONE, &filters).map_err(|_| TooLong)
}

/// A message.
pub fn put_publish(plan: &Plan, topic: &str, id: u16, payload: &[u8], out: &mut Vec<u8>) -> Result<(), TooLong> {
    let publish = Publish { dup: false, qos: qos(plan), retain: false, topic, id, props: Properties::NONE, payload };
    publish.encode(plan.mqtt.level(), out).map_err(|_| TooLong)
}

/// The goodbye.
pub fn put_goodbye(out: &mut Vec<u8>) {
    put_empty(out, Kind::Disconnect);
}
