//! What a publisher says about its message, between the wire's properties and the house's
//! [`Props`]: read from a PUBLISH or will, written to a PUBLISH. Passed on unchanged and in order
//! [MQTT-3.3.2-4], [MQTT-3.3.2-15], [MQTT-3.3.2-16], [MQTT-3.3.2-17], [MQTT-3.3.2-18], [MQTT-3.3.2-20].

use bytes::Bytes;
use model::limits;
use model::message::Props;

use super::codec::{Properties, Property, PropertyList, TooLong};

/// The properties of a PUBLISH or will.
#[derive(Default)]
pub(super) struct Said {
    /// Seconds after which the message is worth nothing.
    pub expiry_s: Option<u32>,
    /// What is passed on, if anything.
    pub props: Option<Box<Props>>,
    /// A number in place of the topic, or for later use in its place.
    pub alias: Option<u16>,
    /// Whether there is a subscription id, which only servers may send.
    pub subscription: bool,
    /// How long a will waits.
    pub delay_s: u32,
    /// Whether there are more user properties than we carry: the message is to be refused.
    pub too_much: bool,
}

impl Said {
    /// Reads them.
    pub fn read(properties: &Properties<'_>) -> Said {
        let mut said = Said::default();
        let mut props = Props::default();
        for property in properties.iter() {
            match property {
                Property::PayloadFormat(utf8) => props.utf8 = utf8,
                Property::MessageExpiryS(s) => said.expiry_s = Some(s),
                Property::ContentType(text) => props.content_type = Some(text.to_owned()),
                Property::ResponseTopic(topic) => props.response_topic = Some(topic.to_owned()),
                Property::CorrelationData(data) => props.correlation = Some(Bytes::copy_from_slice(data)),
                Property::User(..) if props.user.len() >= limits::MQTT_USER_PROPERTIES_MAX => said.too_much = true,
                Property::User(name, value) => props.user.push((name.to_owned(), value.to_owned())),
                Property::TopicAlias(alias) => said.alias = Some(alias),
                Property::SubscriptionId(_) => said.subscription = true,
                Property::WillDelayS(s) => said.delay_s = s,
                _ => {}
            }
        }
        said.props = (!props.is_empty()).then(|| Box::new(props));
        said
    }
}

/// Writes what is passed on with a message.
pub(super) fn write(
    list: &mut PropertyList,
    expiry_s: Option<u32>,
    props: Option<&Props>,
    subscriptions: &[u32],
) -> Result<(), TooLong> {
    if let Some(s) = expiry_s {
        list.push(Property::MessageExpiryS(s))?;
    }
    if let Some(Props { content_type, response_topic, correlation, utf8, user }) = props {
        if *utf8 {
            list.push(Property::PayloadFormat(true))?;
        }
        if let Some(text) = content_type {
            list.push(Property::ContentType(text))?;
        }
        if let Some(topic) = response_topic {
            list.push(Property::ResponseTopic(topic))?;
        }
        if let Some(data) = correlation {
            list.push(Property::CorrelationData(data))?;
        }
        for (name, value) in user {
            list.push(Property::User(name, value))?;
        }
    }
    for id in subscriptions {
        list.push(Property::SubscriptionId(*id))?;
    }
    Ok(())
}
