//! Who may publish and subscribe where. Decided from the party alone, before anything is matched:
//! a device has its own `dev/<id>/…`, its app's `app/<id>/…` to listen to, and the free topics that the
//! owner's devices share; a token has everything that is not the broker's own; a broker account has what
//! its rules say; anonymous clients have the free topics.

use contract::Refusal;
use model::limits::Limits;
use model::topic::{Space, TopicError};
use model::{Access, Filter, Party, Role, Scope, Topic};

use crate::address::{is_addressed, is_from};
use crate::shared;

/// `me/<rest>` written out for a device. `None` when the text is not in the `me` space.
fn expand(party: &Party, text: &str) -> Result<Option<String>, Refusal> {
    match (Space::of(text), party) {
        (Space::Me { rest }, Party::Device { id, .. }) if !rest.is_empty() => Ok(Some(format!("dev/{id}/{rest}"))),
        (Space::Me { .. }, Party::Device { .. }) => Err(Refusal::BadTopic),
        // Whoever is no device has no "me".
        (Space::Me { .. }, _) => Err(Refusal::NotAllowed),
        _ => Ok(None),
    }
}

/// Whether a topic or filter is within what the owner allows.
fn check_size(text: &str, limits: &Limits) -> Result<(), Refusal> {
    // One level more than there are slashes. Counted in bytes, for this is asked for every message.
    let levels = 1 + text.bytes().filter(|byte| *byte == b'/').count();
    let fits = text.len() <= limits.topic_bytes && levels <= limits.topic_levels;
    if fits { Ok(()) } else { Err(Refusal::BadTopic) }
}

/// The canonical topic that `party` means by `text`, if it may publish there.
pub fn topic_to_publish(party: &Party, text: &str, limits: &Limits) -> Result<Topic, Refusal> {
    let expanded = expand(party, text)?;
    let topic = Topic::parse(expanded.as_deref().unwrap_or(text)).map_err(|_: TopicError| Refusal::BadTopic)?;
    check_size(topic.as_str(), limits)?;
    let allowed = match (topic.space(), party) {
        (Space::System, _) => false,
        // Only the device itself writes in its name, and only the hub tells it who wrote.
        (Space::Device { id, rest }, _) if is_addressed(rest) => {
            !is_from(rest) && matches!(party, Party::Device { id: own, .. } if id == own.as_str())
        }
        (_, Party::Account { rules, .. }) => rules.allow(Access::Publish, &topic),
        (Space::Free, Party::Token { role, .. }) => role.includes(Role::Operator),
        (Space::Free, _) => true,
        (Space::Device { id, rest }, Party::Device { id: own, .. }) => id == own.as_str() && !rest.is_empty(),
        (_, Party::Token { role, .. }) => role.includes(Role::Operator),
        _ => false,
    };
    if allowed { Ok(topic) } else { Err(Refusal::NotAllowed) }
}

/// A filter that a party may use.
#[derive(Debug, PartialEq, Eq)]
pub struct Grant {
    /// The canonical filter.
    pub filter: Filter,
    /// The group that shares the subscription, if any.
    pub group: Option<String>,
    /// Whether the device wrote `me/…`, and so wants to see it again.
    pub as_me: bool,
    /// Whether the filter may reach into `dev/…` and `app/…` through a wildcard in first place.
    pub reach: bool,
    /// Whether it names the device's own space.
    pub own: bool,
    /// Whether the rules allow only a part of it, so that each message is to be looked at.
    pub checked: bool,
}

impl Grant {
    /// The subscription as the session remembers it: with its group, if it is shared.
    pub fn held(&self) -> Filter {
        match &self.group {
            None => self.filter.clone(),
            // Both parts are valid and the whole may be longer than what one may write by the prefix alone.
            Some(group) => Filter::shared(group, &self.filter),
        }
    }
}

/// Whether `party` may receive from `topic`, for subscriptions that are to be checked.
pub fn may_receive(party: &Party, topic: &Topic) -> bool {
    party.rules().is_none_or(|rules| rules.allow(Access::Subscribe, topic))
}

/// The canonical filter that `party` means by `text`, if it may subscribe to it.
pub fn filter_to_subscribe(party: &Party, text: &str, limits: &Limits) -> Result<Grant, Refusal> {
    if let Some(shared) = shared::split(text) {
        // A share of a share is nothing.
        let (group, filter) = shared.filter(|(_, filter)| shared::split(filter).is_none()).ok_or(Refusal::BadTopic)?;
        let grant = filter_to_subscribe(party, filter, limits)?;
        if grant.checked {
            // The group would choose a member that may not have the message, and nobody would get it.
            return Err(Refusal::NotAllowed);
        }
        return Ok(Grant { group: Some(group.to_owned()), ..grant });
    }
    let expanded = expand(party, text)?;
    let filter = Filter::parse(expanded.as_deref().unwrap_or(text)).map_err(|_: TopicError| Refusal::BadTopic)?;
    check_size(filter.as_str(), limits)?;
    let own = matches!((filter.space(), party), (Space::Device { id, .. }, Party::Device { id: own, .. }) if id == own.as_str());
    let scope = match party {
        Party::Account { rules, .. } => rules.scope(&filter),
        _ => Scope::All,
    };
    let allowed = match (filter.space(), party) {
        (_, Party::Account { .. }) => scope != Scope::Nothing,
        // The broker's own figures are for its owner. `$share` was taken apart before.
        (Space::System, Party::Token { role, .. }) => role.includes(Role::Owner) && filter.as_str().starts_with("$SYS/"),
        (Space::System, _) => false,
        (Space::Free, _) | (_, Party::Token { .. }) => true,
        (Space::Device { .. }, _) => own,
        (Space::App { id, .. }, Party::Device { app, .. }) => id == app.to_string(),
        _ => false,
    };
    if !allowed {
        return Err(Refusal::NotAllowed);
    }
    let named = matches!(party, Party::Token { .. }) || party.rules().is_some_and(|rules| rules.names_reserved());
    let reach = named || !filter.as_str().starts_with(['+', '#']);
    let checked = scope == Scope::Some;
    Ok(Grant { filter, group: None, as_me: expanded.is_some(), reach, own, checked })
}

#[cfg(test)]
mod tests {
    use model::{AppId, DeviceId, DeviceNumber};

    use super::*;

    fn lamp() -> Party {
        Party::Device { number: DeviceNumber(1), id: DeviceId::parse("lamp").unwrap(), app: AppId(7) }
    }

    fn token(role: Role) -> Party {
        Party::Token { id: 1, name: "ci".into(), role }
    }

    #[test]
    fn a_device_publishes_to_its_own_and_to_free_topics_only() {
        let to = |text| topic_to_publish(&lamp(), text, &Limits::default()).map(|t| t.as_str().to_owned());
        assert_eq!(to("me/data").as_deref(), Ok("dev/lamp/data"));
        assert_eq!(to("dev/lamp/data").as_deref(), Ok("dev/lamp/data"));
        assert_eq!(to("foo_topic").as_deref(), Ok("foo_topic"));
        for denied in ["dev/door/push", "app/7/push", "$SYS/x", "dev/lamp", "dev"] {
            assert_eq!(to(denied), Err(Refusal::NotAllowed), "{denied}");
        }
        for bad in ["", "me/", "me", "a/+", "me/#"] {
            assert_eq!(to(bad), Err(Refusal::BadTopic), "{bad}");
        }
    }

    #[test]
    fn the_owner_may_want_shorter_and_flatter_topics() {
        let limits = Limits { topic_bytes: 8, topic_levels: 2, ..Limits::default() };
        assert!(topic_to_publish(&lamp(), "a/234567", &limits).is_ok());
        for bad in ["a/2345678", "a/b/c"] {
            assert_eq!(topic_to_publish(&lamp(), bad, &limits), Err(Refusal::BadTopic), "{bad}");
            assert_eq!(filter_to_subscribe(&lamp(), bad, &limits).err(), Some(Refusal::BadTopic), "{bad}");
        }
    }

    #[test]
    fn a_device_subscribes_to_its_own_its_app_and_free_topics_only() {
        let grant = filter_to_subscribe(&lamp(), "me/ask/+", &Limits::default()).unwrap();
        assert_eq!((grant.filter.as_str(), grant.as_me, grant.own), ("dev/lamp/ask/+", true, true));
        assert!(filter_to_subscribe(&lamp(), "app/7/push", &Limits::default()).is_ok());
        assert!(!filter_to_subscribe(&lamp(), "#", &Limits::default()).unwrap().reach);
        for denied in ["dev/door/push", "dev/+/push", "dev/#", "app/8/push", "app/+/push", "$SYS/#", "$share/g/dev/door/push"] {
            assert_eq!(filter_to_subscribe(&lamp(), denied, &Limits::default()), Err(Refusal::NotAllowed), "{denied}");
        }
    }

    #[test]
    fn tokens_reach_everywhere_but_a_viewer_only_reads() {
        assert!(filter_to_subscribe(&token(Role::Viewer), "dev/+/data", &Limits::default()).unwrap().reach);
        assert!(topic_to_publish(&token(Role::Operator), "dev/lamp/push", &Limits::default()).is_ok());
        assert_eq!(topic_to_publish(&token(Role::Viewer), "foo", &Limits::default()), Err(Refusal::NotAllowed));
        assert_eq!(topic_to_publish(&token(Role::Owner), "me/data", &Limits::default()), Err(Refusal::NotAllowed));
        assert_eq!(topic_to_publish(&Party::Anonymous, "dev/lamp/push", &Limits::default()), Err(Refusal::NotAllowed));
        assert!(topic_to_publish(&Party::Anonymous, "foo", &Limits::default()).is_ok());
        for (role, may) in [(Role::Owner, true), (Role::Operator, false), (Role::Viewer, false)] {
            assert_eq!(filter_to_subscribe(&token(role), "$SYS/#", &Limits::default()).is_ok(), may, "{role:?}");
        }
    }

    #[test]
    fn nobody_writes_for_a_device_or_as_the_hub() {
        let rules = model::Rules::parse(["allow both dev/#"]).unwrap();
        let account = Party::Account { id: 1, name: "ann".into(), rules: std::sync::Arc::new(rules) };
        let door = Party::Device { number: DeviceNumber(2), id: DeviceId::parse("door").unwrap(), app: AppId(7) };
        let to = |party: &Party, topic| topic_to_publish(party, topic, &Limits::default());
        assert!(to(&account, "dev/lamp/push").is_ok());
        for party in [token(Role::Owner), account, door, Party::Anonymous] {
            for topic in ["dev/lamp/to/5", "dev/lamp/from/5"] {
                assert_eq!(to(&party, topic), Err(Refusal::NotAllowed), "{party:?} {topic}");
            }
        }
        assert!(to(&lamp(), "me/to/5").is_ok() && to(&lamp(), "dev/lamp/to/5").is_ok());
        assert_eq!(to(&lamp(), "me/from/5"), Err(Refusal::NotAllowed));
    }

    #[test]
    fn an_account_has_what_its_rules_say() {
        let account = |lines: &[&str]| {
            let rules = model::Rules::parse(lines.iter().copied()).unwrap();
            std::sync::Arc::new(Party::Account { id: 1, name: "ann".into(), rules: rules.into() }).as_client("phone")
        };
        let free = account(&[]);
        assert!(
            topic_to_publish(&free, "foo", &Limits::default()).is_ok()
                && filter_to_subscribe(&free, "#", &Limits::default()).is_ok_and(|g| !g.checked && !g.reach)
        );
        for reserved in ["dev/lamp/push", "app/7/push", "me/data", "$SYS/x"] {
            assert_eq!(topic_to_publish(&free, reserved, &Limits::default()), Err(Refusal::NotAllowed), "{reserved}");
            assert_eq!(filter_to_subscribe(&free, reserved, &Limits::default()), Err(Refusal::NotAllowed), "{reserved}");
        }
        let ann = account(&["deny both home/safe", "allow both home/#", "allow publish %u/%c", "allow subscribe dev/+/data"]);
        assert!(
            topic_to_publish(&ann, "home/door", &Limits::default()).is_ok()
                && topic_to_publish(&ann, "ann/phone", &Limits::default()).is_ok()
        );
        assert_eq!(topic_to_publish(&ann, "home/safe", &Limits::default()), Err(Refusal::NotAllowed));
        assert_eq!(topic_to_publish(&ann, "dev/lamp/data", &Limits::default()), Err(Refusal::NotAllowed));
        for (filter, checked) in [("home/door", Some(false)), ("home/#", Some(true)), ("#", Some(true)), ("home/safe", None)] {
            assert_eq!(
                filter_to_subscribe(&ann, filter, &Limits::default()).ok().map(|grant| grant.checked),
                checked,
                "{filter}"
            );
        }
        assert!(filter_to_subscribe(&ann, "#", &Limits::default()).unwrap().reach, "a rule names dev/…");
        assert!(filter_to_subscribe(&ann, "$share/g/home/+/x", &Limits::default()).is_ok());
        assert_eq!(
            filter_to_subscribe(&ann, "$share/g/home/#", &Limits::default()),
            Err(Refusal::NotAllowed),
            "only whole filters are shared"
        );
    }
}
