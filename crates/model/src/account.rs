//! Broker accounts: for programs and people who use espush as a plain MQTT broker. An account has a
//! name and an ordered list of rules; the first rule that speaks of an access and a topic decides it,
//! and what no rule allows is denied. An account without rules has the free topics, all of them.
//! Deliberately absent: passwords.
//!
//! "First match decides" is enough to say everything that Mosquitto's ACL files say: there, a user's
//! denials come before the user's permissions, and both before the patterns, whatever their order in
//! the file. Written down in that order the answers are the same.

use std::borrow::Cow;
use std::fmt;

use crate::limits;
use crate::text;
use crate::topic::{Filter, Space, Topic};

/// The account whose rules hold for clients that show no credentials, while those are let in at all.
pub const ANONYMOUS: &str = "anonymous";

/// An account as it is kept, its password apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its number: given once, never used again.
    pub id: u64,
    /// The MQTT user name.
    pub name: String,
    /// What it may do.
    pub rules: Rules,
    /// When it was made.
    pub created: crate::time::UnixMs,
}

/// Whether `name` may be an account's. Never digits alone (those are app ids), never `token` (API
/// tokens), and without wildcards, because rules put it into topics.
pub fn is_account_name(name: &str) -> bool {
    text::is_name(name) && name != "token" && !name.contains(['+', '#']) && !name.bytes().all(|b| b.is_ascii_digit())
}

/// What one does with a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Sends to it.
    Publish,
    /// Receives from it.
    Subscribe,
}

/// Which accesses a rule speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Concerns {
    /// One.
    Only(Access),
    /// Both.
    Both,
}

impl Concerns {
    fn includes(self, access: Access) -> bool {
        match self {
            Concerns::Only(only) => only == access,
            Concerns::Both => true,
        }
    }
}

/// One rule, written `allow publish sensors/%u/#`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    /// Whether it allows or denies.
    pub allow: bool,
    /// What it speaks of.
    pub concerns: Concerns,
    /// Where. May hold `%u` (the account's name) and `%c` (the client id).
    pub filter: Filter,
}

/// Why a text is no rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// Not of the form.
    #[error("{0:?} is not a rule: write allow or deny, then publish, subscribe or both, then a topic filter")]
    Form(String),
    /// The filter is none.
    #[error("{filter:?}: {why}")]
    Filter {
        /// What stands there.
        filter: String,
        /// What is wrong with it.
        why: crate::topic::TopicError,
    },
    /// A space where rules have no say.
    #[error("{0:?}: rules cannot name me/… (accounts are no devices), nor of $… anything but $SYS/…")]
    Space(String),
    /// Too many of them.
    #[error("an account has at most {} rules; a rule with a wildcard can take the place of many", limits::RULES_PER_ACCOUNT_MAX)]
    TooMany,
}

impl Rule {
    /// Reads `allow|deny publish|subscribe|both FILTER`. The filter is the rest of the line, because
    /// topics may hold blanks.
    pub fn parse(line: &str) -> Result<Rule, RuleError> {
        let form = || RuleError::Form(line.chars().take(80).collect());
        let (first, rest) = line.trim().split_once(' ').ok_or_else(form)?;
        let (second, filter) = rest.trim_start().split_once(' ').ok_or_else(form)?;
        let allow = match first {
            "allow" => true,
            "deny" => false,
            _ => return Err(form()),
        };
        let concerns = match second {
            "publish" => Concerns::Only(Access::Publish),
            "subscribe" => Concerns::Only(Access::Subscribe),
            "both" => Concerns::Both,
            _ => return Err(form()),
        };
        Rule::new(allow, concerns, filter.trim_start())
    }

    /// A rule about `filter`.
    pub fn new(allow: bool, concerns: Concerns, filter: &str) -> Result<Rule, RuleError> {
        let shown = || filter.chars().take(80).collect();
        let filter = Filter::parse(filter).map_err(|why| RuleError::Filter { filter: shown(), why })?;
        match filter.space() {
            Space::Me { .. } => Err(RuleError::Space(shown())),
            Space::System if !filter.as_str().starts_with("$SYS/") => Err(RuleError::Space(shown())),
            _ => Ok(Rule { allow, concerns, filter }),
        }
    }

    fn has_placeholder(&self) -> bool {
        self.filter.as_str().contains("%u") || self.filter.as_str().contains("%c")
    }

    /// A rule that begins with a wildcard does not reach into `dev/…` and `app/…`: whoever means them says so.
    fn speaks_of(&self, topic: &Topic) -> bool {
        let short = self.filter.as_str().starts_with(['+', '#']) && topic.space() != Space::Free;
        !short && self.filter.matches(topic.as_str())
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let effect = if self.allow { "allow" } else { "deny" };
        let concerns = match self.concerns {
            Concerns::Only(Access::Publish) => "publish",
            Concerns::Only(Access::Subscribe) => "subscribe",
            Concerns::Both => "both",
        };
        write!(out, "{effect} {concerns} {}", self.filter)
    }
}

/// What the rules say of a filter as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everything that it matches may be received.
    All,
    /// Some of it may: each message is to be looked at.
    Some,
    /// Nothing.
    Nothing,
}

/// Rules in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rules(Vec<Rule>);

impl Rules {
    /// Rules in the order in which they are asked.
    pub fn new(rules: Vec<Rule>) -> Result<Rules, RuleError> {
        if rules.len() > limits::RULES_PER_ACCOUNT_MAX { Err(RuleError::TooMany) } else { Ok(Rules(rules)) }
    }

    /// Rules from their lines.
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<Rules, RuleError> {
        // One more than the limit is enough to know.
        let lines = lines.into_iter().take(limits::RULES_PER_ACCOUNT_MAX + 1);
        Rules::new(lines.map(Rule::parse).collect::<Result<_, _>>()?)
    }

    /// The rules.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.0.iter()
    }

    /// Whether there are none: then the free topics are allowed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a rule has `%u` or `%c` in it, so that [`Rules::for_client`] is needed before they are asked.
    pub fn has_placeholders(&self) -> bool {
        self.0.iter().any(Rule::has_placeholder)
    }

    /// Whether a rule speaks of `dev/…` or `app/…` by name.
    pub fn names_reserved(&self) -> bool {
        self.0.iter().any(|rule| matches!(rule.filter.space(), Space::Device { .. } | Space::App { .. }))
    }

    /// The rules with the names of one client in them. A client id that holds `+` or `#` would turn a
    /// rule about one client into a rule about all: at the first rule with a placeholder such a client's
    /// rules end. A name that makes no filter (too long) ends them as well.
    pub fn for_client(&self, account: &str, client: &str) -> Rules {
        let fit = |rule: &Rule| -> Option<Rule> {
            if !rule.has_placeholder() {
                return Some(rule.clone());
            }
            if client.contains(['+', '#']) || account.contains(['+', '#']) {
                return None;
            }
            let text = filled(rule.filter.as_str(), account, client);
            // Nobody becomes a speaker for devices by the name he chooses.
            let filter = Filter::parse(&text).ok().filter(|f| rule.filter.space() != Space::Free || f.space() == Space::Free)?;
            Some(Rule { filter, ..rule.clone() })
        };
        let mut rules: Vec<Rule> = self.0.iter().map_while(fit).collect();
        if rules.is_empty() && !self.0.is_empty() {
            // An empty list would mean "everything free".
            rules.push(Rule { allow: false, concerns: Concerns::Both, filter: Filter::parse("#").expect("# is a filter") });
        }
        Rules(rules)
    }

    /// Whether `access` to `topic` is allowed.
    pub fn allow(&self, access: Access, topic: &Topic) -> bool {
        if self.0.is_empty() {
            return topic.space() == Space::Free;
        }
        self.0.iter().find(|rule| rule.concerns.includes(access) && rule.speaks_of(topic)).is_some_and(|rule| rule.allow)
    }

    /// How much of what `filter` matches may be received.
    pub fn scope(&self, filter: &Filter) -> Scope {
        if self.0.is_empty() {
            return if filter.space() == Space::Free { Scope::All } else { Scope::Nothing };
        }
        // A filter with a wildcard in first place may also see reserved topics that rules name.
        let reaching = filter.as_str().starts_with(['+', '#']) && self.names_reserved();
        let mut some = false;
        let mut denied = false;
        for rule in self.0.iter().filter(|rule| rule.concerns.includes(Access::Subscribe)) {
            // Neither sees through its wildcard what the other names.
            let short = rule.filter.as_str().starts_with(['+', '#']) && filter.space() != Space::Free;
            let system = filter.as_str().starts_with(['+', '#']) && rule.filter.space() == Space::System;
            if short || system || !meet(rule.filter.as_str(), filter.as_str()) {
                continue;
            }
            let whole = !reaching && covers(rule.filter.as_str(), filter.as_str());
            match (rule.allow, whole) {
                (true, true) if !denied => return Scope::All,
                (true, true) => return Scope::Some,
                (false, true) => break,
                (true, false) => some = true,
                (false, false) => denied = true,
            }
        }
        if some { Scope::Some } else { Scope::Nothing }
    }
}

/// `%u` and `%c` replaced, each once: a name that holds `%c` is not looked at again.
fn filled<'a>(pattern: &'a str, account: &str, client: &str) -> Cow<'a, str> {
    let mut whole = String::new();
    let mut rest = pattern;
    while let Some(at) = rest.find('%') {
        let name = match rest.as_bytes().get(at + 1) {
            Some(b'u') => account,
            Some(b'c') => client,
            _ => {
                whole.push_str(&rest[..=at]);
                rest = &rest[at + 1..];
                continue;
            }
        };
        whole.push_str(&rest[..at]);
        whole.push_str(name);
        rest = &rest[at + 2..];
    }
    whole.push_str(rest);
    Cow::Owned(whole)
}

/// Whether every topic that `inner` matches is matched by `outer`. May say no to a few that are covered
/// (`a/#` by `a` and `a/+/#` together, say), never yes to one that is not.
fn covers(outer: &str, inner: &str) -> bool {
    let mut inner = inner.split('/');
    for level in outer.split('/') {
        match (level, inner.next()) {
            ("#", _) => return true,
            ("+", Some(level)) if level != "#" => {}
            (level, Some(same)) if level == same => {}
            _ => return false,
        }
    }
    inner.next().is_none()
}

/// Whether some topic is matched by both.
fn meet(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one.split('/'), other.split('/'));
    loop {
        match (one.next(), other.next()) {
            (None, None) | (Some("#"), _) | (_, Some("#")) => return true,
            (Some("+"), Some(_)) | (Some(_), Some("+")) => {}
            (Some(a), Some(b)) if a == b => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(lines: &[&str]) -> Rules {
        Rules::parse(lines.iter().copied()).unwrap()
    }

    fn topic(text: &str) -> Topic {
        Topic::parse(text).unwrap()
    }

    fn scope(rules: &Rules, filter: &str) -> Scope {
        rules.scope(&Filter::parse(filter).unwrap())
    }

    #[test]
    fn a_rule_is_a_line() {
        for line in ["allow publish sensors/%u/#", "deny both a b/c", "allow subscribe +/state", "allow both dev/lamp/push"] {
            assert_eq!(Rule::parse(line).unwrap().to_string(), line);
        }
        assert_eq!(Rule::parse("  allow  both  x").unwrap().to_string(), "allow both x");
        for bad in [
            "",
            "allow",
            "allow both",
            "permit both x",
            "allow read x",
            "allow both a#",
            "allow both me/x",
            "deny both $share/g/x",
        ] {
            assert!(Rule::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(Rules::parse(vec!["allow both x"; 1 + limits::RULES_PER_ACCOUNT_MAX]), Err(RuleError::TooMany));
    }

    #[test]
    fn the_first_rule_that_speaks_of_it_decides() {
        let rules = rules(&["deny both a/secret", "allow publish a/+", "allow both b/#"]);
        let may = |access, text| rules.allow(access, &topic(text));
        assert!(may(Access::Publish, "a/x") && !may(Access::Subscribe, "a/x"));
        assert!(!may(Access::Publish, "a/secret"));
        assert!(may(Access::Subscribe, "b") && may(Access::Publish, "b/c/d"));
        assert!(!may(Access::Publish, "c"), "what no rule allows is denied");
    }

    #[test]
    fn reserved_topics_are_for_those_whom_a_rule_names_them_to() {
        let none = Rules::default();
        assert!(none.allow(Access::Publish, &topic("foo")) && !none.allow(Access::Publish, &topic("dev/lamp/push")));
        let all = rules(&["allow both #", "allow both +/lamp/#"]);
        assert!(all.allow(Access::Publish, &topic("foo")) && !all.allow(Access::Subscribe, &topic("dev/lamp/data")));
        assert_eq!(scope(&all, "dev/lamp/#"), Scope::Nothing);
        let said = rules(&["allow both #", "allow subscribe dev/+/data"]);
        assert!(said.allow(Access::Subscribe, &topic("dev/lamp/data")) && !said.allow(Access::Publish, &topic("dev/lamp/data")));
        assert_eq!(scope(&said, "#"), Scope::Some, "which also sees what the second rule allows");
        assert_eq!(scope(&said, "dev/+/data"), Scope::All);
        assert_eq!(scope(&said, "dev/#"), Scope::Some);
        let figures = rules(&["allow subscribe $SYS/broker/#"]);
        assert_eq!((scope(&figures, "$SYS/#"), scope(&figures, "#")), (Scope::Some, Scope::Nothing));
        assert_eq!(scope(&all, "$SYS/#"), Scope::Nothing);
    }

    #[test]
    fn placeholders_are_filled_once_and_never_widen_a_rule() {
        let rules = rules(&["allow both %u/%c/#", "allow both 100%/x"]);
        assert!(rules.has_placeholders());
        let lines = |account, client| rules.for_client(account, client).iter().map(|r| r.to_string()).collect::<Vec<_>>();
        assert_eq!(lines("ann", "phone"), ["allow both ann/phone/#", "allow both 100%/x"]);
        assert_eq!(lines("%c", "x/y"), ["allow both %c/x/y/#", "allow both 100%/x"]);
        for wide in ["+", "#", "a/#"] {
            assert_eq!(lines("ann", wide), ["deny both #"], "{wide}");
        }
        assert_eq!(lines("dev", "lamp"), ["deny both #"], "nor does a name open what no rule names");
    }

    #[test]
    fn names_that_mean_something_else_are_none() {
        for good in ["ann", "Ann Smith", "anonymous", "灯", "a/b"] {
            assert!(is_account_name(good), "{good}");
        }
        for bad in ["", "token", "123", "a+b", "#", "a\nb"] {
            assert!(!is_account_name(bad), "{bad}");
        }
    }

    /// Whatever the rules: a scope of all or nothing is what asking about each topic would say.
    #[test]
    fn a_scope_agrees_with_its_topics() {
        const LEVELS: [&str; 6] = ["a", "b", "+", "#", "dev", "app"];
        let mut topics = Vec::new();
        for first in ["a", "b", "dev", "app"] {
            topics.push(first.to_owned());
            for second in ["a", "b", "dev"] {
                topics.push(format!("{first}/{second}"));
                topics.extend(["a", "b"].map(|third| format!("{first}/{second}/{third}")));
            }
        }
        arbtest::arbtest(|u| {
            let mut list = Vec::new();
            for _ in 0..u.int_in_range(0..=4)? {
                let text =
                    (0..u.int_in_range(1..=3)?).map(|_| u.choose(&LEVELS).copied()).collect::<Result<Vec<_>, _>>()?.join("/");
                let concerns =
                    *u.choose(&[Concerns::Both, Concerns::Only(Access::Publish), Concerns::Only(Access::Subscribe)])?;
                list.extend(Rule::new(u.arbitrary()?, concerns, &text).ok());
            }
            let rules = Rules(list);
            let text = (0..u.int_in_range(1..=3)?).map(|_| u.choose(&LEVELS).copied()).collect::<Result<Vec<_>, _>>()?.join("/");
            let Ok(filter) = Filter::parse(&text) else { return Ok(()) };
            // What the hub would bring: a first-place wildcard sees reserved topics only if a rule names some.
            let reach = !filter.as_str().starts_with(['+', '#']) || rules.names_reserved();
            for topic in topics.iter().filter(|t| filter.matches(t)).map(|t| topic(t)) {
                if topic.space() != Space::Free && !reach {
                    continue;
                }
                let may = rules.allow(Access::Subscribe, &topic);
                match rules.scope(&filter) {
                    Scope::All => assert!(may, "{filter} is not all of {rules:?}: {topic}"),
                    Scope::Nothing => assert!(!may, "{filter} is not nothing of {rules:?}: {topic}"),
                    Scope::Some => {}
                }
            }
            Ok(())
        });
    }
}
