//! Reads Mosquitto's ACL file and says the same in our rules. There, for one client: the lines of its
//! user (or those before the first `user`, for clients without a name) are asked first, then the
//! patterns; in both, denials before permissions; what nothing allows is denied. Our rules are asked in
//! their order, so writing them down in that order gives the same answers.

use std::collections::BTreeMap;

use model::topic::{Filter, Space};
use model::{Access, Concerns, Rule};

use super::Notes;

/// An ACL file.
#[derive(Debug, Default)]
pub struct Acl {
    anonymous: Vec<Rule>,
    users: BTreeMap<String, Vec<Rule>>,
    patterns: Vec<Rule>,
}

impl Acl {
    /// Reads the text; what cannot be carried over is noted with its line.
    pub fn read(name: &str, text: &str, notes: &mut Notes) -> Acl {
        let mut acl = Acl::default();
        let mut user: Option<String> = None;
        for (number, line) in text.lines().enumerate() {
            let place = format!("{name}:{}", number + 1);
            let line = line.trim_end();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (word, rest) = line.trim_start().split_once(' ').unwrap_or((line.trim_start(), ""));
            let rest = rest.trim();
            match word {
                "user" if !rest.is_empty() => {
                    acl.users.entry(rest.to_owned()).or_default();
                    user = Some(rest.to_owned());
                }
                "topic" | "pattern" => {
                    let Some(rule) = read_rule(word == "pattern", rest, &place, line, notes) else { continue };
                    match (&user, word) {
                        (_, "pattern") => acl.patterns.push(rule),
                        (Some(user), _) => acl.users.entry(user.clone()).or_default().push(rule),
                        (None, _) => acl.anonymous.push(rule),
                    }
                }
                _ => notes.left_out(&place, line, "this is no line of an ACL file"),
            }
        }
        acl
    }

    /// Everybody who has a `user` line.
    pub fn users(&self) -> impl Iterator<Item = &str> {
        self.users.keys().map(String::as_str)
    }

    /// The rules of a user, as our own.
    pub fn rules_of(&self, user: &str) -> Vec<Rule> {
        in_order(self.users.get(user).map(Vec::as_slice).unwrap_or_default(), &self.patterns)
    }

    /// The rules of clients without a name. Patterns with `%u` do not speak of them.
    pub fn rules_of_anonymous(&self) -> Vec<Rule> {
        let nameless = self.patterns.iter().filter(|rule| !rule.filter.as_str().contains("%u"));
        in_order(&self.anonymous, &nameless.cloned().collect::<Vec<Rule>>())
    }
}

fn in_order(own: &[Rule], patterns: &[Rule]) -> Vec<Rule> {
    let mut rules = Vec::new();
    for group in [own, patterns] {
        rules.extend(group.iter().filter(|rule| !rule.allow).cloned());
        rules.extend(group.iter().filter(|rule| rule.allow).cloned());
    }
    if rules.is_empty() {
        // With an ACL file, whoever is not named in it may do nothing; without rules we would allow.
        rules.push(Rule::new(false, Concerns::Both, "#").expect("# is a filter"));
    }
    rules
}

fn read_rule(pattern: bool, rest: &str, place: &str, line: &str, notes: &mut Notes) -> Option<Rule> {
    // Without an access word it is both; a lone word is the topic, even `read`.
    let (access, topic) = rest.split_once(' ').map_or(("readwrite", rest), |(access, topic)| (access, topic.trim()));
    let (allow, concerns) = match access {
        "read" => (true, Concerns::Only(Access::Subscribe)),
        "write" => (true, Concerns::Only(Access::Publish)),
        "readwrite" => (true, Concerns::Both),
        "deny" => (false, Concerns::Both),
        _ => {
            notes.left_out(place, line, "the access is none of read, write, readwrite, deny");
            return None;
        }
    };
    if !pattern && (topic.contains("%u") || topic.contains("%c")) {
        notes.left_out(place, line, "Mosquitto takes %u and %c in a topic line as they stand, espush would fill them in");
        return None;
    }
    match Filter::parse(topic).as_ref().map(Filter::space) {
        Err(why) => {
            notes.left_out(place, line, &format!("no client can use such a topic here: {why}"));
            return None;
        }
        Ok(Space::Device { .. } | Space::App { .. }) => {
            let give = if allow { ", or give the account the rule by hand if devices registered here are meant" } else { "" };
            let why = format!("dev/… and app/… belong to the devices of espush; use another first level{give}");
            notes.left_out(place, line, &why);
            return None;
        }
        Ok(Space::Me { .. }) => {
            notes.left_out(place, line, "me/… means a device's own topics in espush; use another first level");
            return None;
        }
        Ok(Space::System) if !topic.starts_with("$SYS/") => {
            notes.left_out(place, line, "espush has no such topics");
            return None;
        }
        Ok(_) => {}
    }
    // Everything that could be wrong with it was looked at.
    Rule::new(allow, concerns, topic).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(rules: Vec<Rule>) -> Vec<String> {
        rules.iter().map(Rule::to_string).collect()
    }

    #[test]
    fn denials_come_first_and_patterns_last() {
        let mut notes = Notes::default();
        let text = "topic read news/#\ntopic deny news/secret\n\nuser ann\ntopic home/#\ntopic write a b\ntopic deny home/safe\n\
                    pattern readwrite p/%u/%c\npattern deny p/+/bad\nuser bob\npattern read c/%c\n";
        let acl = Acl::read("acl", text, &mut notes);
        assert!(notes.is_empty(), "{notes:?}");
        let patterns = ["deny both p/+/bad", "allow both p/%u/%c", "allow subscribe c/%c"];
        let ann = ["deny both home/safe", "allow both home/#", "allow publish a b"];
        assert_eq!(shown(acl.rules_of("ann")), [&ann[..], &patterns].concat());
        assert_eq!(shown(acl.rules_of("bob")), patterns);
        assert_eq!(shown(acl.rules_of("not in the file")), patterns);
        assert_eq!(
            shown(acl.rules_of_anonymous()),
            ["deny both news/secret", "allow subscribe news/#", "deny both p/+/bad", "allow subscribe c/%c"]
        );
        assert_eq!(acl.users().collect::<Vec<_>>(), ["ann", "bob"]);
    }

    #[test]
    fn who_has_no_rule_has_no_right() {
        assert_eq!(shown(Acl::default().rules_of("ann")), ["deny both #"]);
    }

    #[test]
    fn what_does_not_carry_over_is_told_with_its_line() {
        let mut notes = Notes::default();
        let text = "topic readwrite dev/x\ntopic me/x\ntopic $share/x\ntopic read $SYS/#\ntopic fetch x\nnonsense\ntopic a/#/b\n\
                    topic u/%u\nuser\n";
        let acl = Acl::read("acl", text, &mut notes);
        assert_eq!(shown(acl.rules_of_anonymous()), ["allow subscribe $SYS/#"]);
        let places: Vec<&str> = notes.places().collect();
        assert_eq!(places, ["acl:1", "acl:2", "acl:3", "acl:5", "acl:6", "acl:7", "acl:8", "acl:9"]);
    }

    /// Whatever stands in a file: no panic, and rules that the server takes.
    #[test]
    fn any_file_becomes_rules_that_can_be_read_again() {
        const WORDS: [&str; 16] = [
            "topic",
            "pattern",
            "user",
            "read",
            "write",
            "readwrite",
            "deny",
            "a/#",
            "+",
            "%u/%c",
            "dev/x",
            "$SYS/#",
            " ",
            "\n",
            "#",
            "灯\0",
        ];
        arbtest::arbtest(|u| {
            let mut text = String::new();
            for _ in 0..u.int_in_range(0..=30)? {
                text.push_str(u.choose(&WORDS)?);
                text.push_str(u.choose(&[" ", " ", "\n"])?);
            }
            let acl = Acl::read("acl", &text, &mut Notes::default());
            let users: Vec<String> = acl.users().map(str::to_owned).collect();
            let all = users.iter().map(|user| acl.rules_of(user)).chain([acl.rules_of_anonymous()]);
            for rules in all {
                assert!(!rules.is_empty());
                for rule in rules {
                    assert_eq!(Rule::parse(&rule.to_string()), Ok(rule));
                }
            }
            Ok(())
        });
    }
}
