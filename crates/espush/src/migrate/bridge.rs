//! Mosquitto's `connection` blocks as our `[[bridge]]` tables. A bridge whose TLS is of a kind that bridges
//! do not have here is left out whole: a part of it would send in the clear what was sealed before.

use protocols::mqtt::bridge::{BridgeTopic, Direction};
use serde::Serialize;

use super::Notes;
use super::conf::Directive;

/// A bridge as our configuration says it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PlannedBridge {
    name: String,
    address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    /// Written into our file only, which is its owner's alone.
    #[serde(skip)]
    password: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    clean: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keep_alive_s: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    try_private: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    notification_topic: Option<String>,
    /// Set with TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    ca: Option<String>,
    topics: Vec<PlannedTopic>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct PlannedTopic {
    pattern: String,
    direction: String,
    qos: u8,
    local_prefix: String,
    remote_prefix: String,
}

/// The lines of one `connection` block, itself first.
pub type Block = Vec<Directive>;

/// TLS of other kinds than trusting the CA of a file.
const OTHER_TLS: [&str; 8] = [
    "bridge_alpn",
    "bridge_capath",
    "bridge_certfile",
    "bridge_identity",
    "bridge_insecure",
    "bridge_keyfile",
    "bridge_psk",
    "bridge_require_ocsp",
];

/// What becomes of a block.
pub fn plan(block: &Block, notes: &mut Notes) -> Option<PlannedBridge> {
    let (first, rest) = block.split_first()?;
    let other = |directive: &&Directive| OTHER_TLS.contains(&directive.key.as_str()) && directive.value != "false";
    if let Some(tls) = rest.iter().find(other) {
        let why = "bridges trust the CA of a file and nothing else here, so the whole bridge is left out; set it up by hand";
        notes.left_out(&tls.place, &tls.shown(), why);
        return None;
    }
    let mut bridge = PlannedBridge { name: name_of(&first.value), ..PlannedBridge::default() };
    if bridge.name != first.value {
        notes.differs(&first.place, &first.shown(), &format!("the bridge is called {:?} here", bridge.name));
    }
    for directive in rest {
        line(directive, &mut bridge, notes);
    }
    let missing = match (bridge.address.is_empty(), bridge.topics.is_empty()) {
        (true, _) => "it has no address",
        (_, true) => "none of its topics can be carried over",
        _ => return Some(bridge),
    };
    notes.left_out(&first.place, &first.shown(), missing);
    None
}

fn line(directive: &Directive, bridge: &mut PlannedBridge, notes: &mut Notes) {
    let Directive { place, key, value } = directive;
    let flag = || Some(value == "true");
    match key.as_str() {
        "address" | "addresses" => {
            let mut all = value.split_whitespace();
            bridge.address = all.next().unwrap_or_default().to_owned();
            if all.next().is_some() {
                notes.differs(place, &directive.shown(), "a bridge has one address here: the first");
            }
        }
        "topic" => match topic(value) {
            Ok(topic) => bridge.topics.push(topic),
            Err(why) => notes.left_out(place, &directive.shown(), &why),
        },
        "clientid" | "remote_clientid" => bridge.client_id = Some(value.clone()),
        "username" | "remote_username" => bridge.username = Some(value.clone()),
        "password" | "remote_password" => bridge.password = Some(value.clone()),
        "cleansession" => bridge.clean = flag(),
        "try_private" => bridge.try_private = flag(),
        "keepalive_interval" => bridge.keep_alive_s = value.parse().ok(),
        "notification_topic" => bridge.notification_topic = Some(value.clone()),
        "bridge_cafile" => bridge.ca = Some(value.clone()),
        "bridge_insecure" | "bridge_require_ocsp" => {}
        "bridge_tls_version" => notes.not_needed(place, &directive.shown(), "TLS 1.2 and 1.3 are spoken here"),
        "notifications" if value == "true" => {
            notes.differs(
                place,
                &directive.shown(),
                "whether the bridge is up is published where notification_topic says, and only then",
            );
        }
        "notifications" | "restart_timeout" | "bridge_attempt_unsubscribe" => {
            notes.not_needed(place, &directive.shown(), "a bridge that lost its line tries again by itself");
        }
        "start_type" if value == "automatic" => {}
        "bridge_protocol_version" if value == "mqttv311" => {}
        _ => notes.left_out(place, &directive.shown(), "bridges have no such setting here"),
    }
}

/// `pattern [[[out | in | both] qos] local-prefix remote-prefix]`, `""` being nothing.
fn topic(value: &str) -> Result<PlannedTopic, String> {
    let mut words = value.split_whitespace().map(|word| if word == "\"\"" { "" } else { word });
    let pattern = words.next().unwrap_or_default().to_owned();
    let direction = words.next().unwrap_or("out").to_owned();
    let qos = words.next().unwrap_or("0").parse().unwrap_or(u8::MAX);
    let (local_prefix, remote_prefix) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let parsed = Direction::parse(&direction).ok_or("the direction is none of in, out, both")?;
    let qos_parsed = model::Qos::from_u8(qos).ok_or("the QoS is none of 0, 1, 2")?;
    BridgeTopic::new(&pattern, parsed, qos_parsed, local_prefix, remote_prefix).map_err(|why| why.to_string())?;
    Ok(PlannedTopic { pattern, direction, qos, local_prefix: local_prefix.to_owned(), remote_prefix: remote_prefix.to_owned() })
}

/// The name with what a name here cannot have written as `-`.
fn name_of(name: &str) -> String {
    let good = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    name.chars().map(good).take(64).collect()
}

impl PlannedBridge {
    /// The table; its password only with `secrets`.
    pub fn toml(&self, secrets: bool) -> String {
        // Text in JSON's spelling is text in TOML's: both escape alike what stands in a line.
        let json = |value: &str| serde_json::Value::from(value).to_string();
        let mut text = format!("\n[[bridge]]\nname = {}\naddress = {}\n", json(&self.name), json(&self.address));
        let mut line = |key: &str, value: Option<String>| {
            if let Some(value) = value {
                text.push_str(&format!("{key} = {value}\n"));
            }
        };
        line("client_id", self.client_id.as_deref().map(json));
        line("username", self.username.as_deref().map(json));
        match secrets {
            true => line("password", self.password.as_deref().map(json)),
            false => line("# password", self.password.as_deref().map(|_| "\"…\" is written with --out only".to_owned())),
        }
        line("clean", self.clean.map(|clean| clean.to_string()));
        line("keep_alive_s", self.keep_alive_s.map(|s| s.to_string()));
        line("try_private", self.try_private.map(|private| private.to_string()));
        line("notification_topic", self.notification_topic.as_deref().map(json));
        line("tls", self.ca.as_ref().map(|_| "true".to_owned()));
        line("ca", self.ca.as_deref().map(json));
        text.push_str("topics = [\n");
        for PlannedTopic { pattern, direction, qos, local_prefix, remote_prefix } in &self.topics {
            text.push_str(&format!("  {{ pattern = {}, direction = {}, qos = {qos}", json(pattern), json(direction)));
            for (key, prefix) in [("local_prefix", local_prefix), ("remote_prefix", remote_prefix)] {
                if !prefix.is_empty() {
                    text.push_str(&format!(", {key} = {}", json(prefix)));
                }
            }
            text.push_str(" },\n");
        }
        text.push_str("]\n");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(lines: &str) -> Block {
        let directive = |(number, line): (usize, &str)| {
            let (key, value) = line.split_once(' ').unwrap();
            Directive { place: format!("m:{}", number + 1), key: key.to_owned(), value: value.to_owned() }
        };
        lines.lines().enumerate().map(directive).collect()
    }

    #[test]
    fn a_block_becomes_a_table_and_its_password_stays_out_of_sight() {
        let mut notes = Notes::default();
        let lines = "connection to the cloud\naddress a.example:1884 b.example\ntopic # both 1 house/ remote/house/\ntopic lamp\n\
                     topic \"\" in 0 here there\nremote_username ann\nremote_password geheim\ncleansession true\nkeepalive_interval 30\n\
                     start_type lazy\ntopic x sideways\n";
        let bridge = plan(&block(lines), &mut notes).unwrap();
        let shown = bridge.toml(false);
        assert!(!shown.contains("geheim") && !serde_json::to_string(&bridge).unwrap().contains("geheim"), "{shown}");
        let want = "\n[[bridge]]\nname = \"to-the-cloud\"\naddress = \"a.example:1884\"\nusername = \"ann\"\npassword = \"geheim\"\n\
                    clean = true\nkeep_alive_s = 30\ntopics = [\n  { pattern = \"#\", direction = \"both\", qos = 1, local_prefix = \
                    \"house/\", remote_prefix = \"remote/house/\" },\n  { pattern = \"lamp\", direction = \"out\", qos = 0 },\n  { pattern = \
                    \"\", direction = \"in\", qos = 0, local_prefix = \"here\", remote_prefix = \"there\" },\n]\n";
        assert_eq!(bridge.toml(true), want);
        assert_eq!(notes.places().collect::<Vec<_>>(), ["m:1", "m:2", "m:10", "m:11"]);
    }

    #[test]
    fn a_bridge_that_trusts_the_ca_of_a_file_still_does() {
        let mut notes = Notes::default();
        let lines = "connection a\naddress x:8883\ntopic #\nbridge_cafile /etc/ca.crt\nbridge_insecure false\n";
        let text = plan(&block(lines), &mut notes).unwrap().toml(true);
        assert!(text.contains("\ntls = true\nca = \"/etc/ca.crt\"\n"), "{text}");
        assert_eq!(notes.places().count(), 0);
    }

    #[test]
    fn a_bridge_with_tls_of_another_kind_or_that_says_nothing_is_left_out_whole() {
        for lines in [
            "connection a\naddress x\ntopic #\nbridge_cafile ca.crt\nbridge_insecure true\n",
            "connection a\naddress x\ntopic #\nbridge_psk 00ff\n",
            "connection a\ntopic #\n",
            "connection a\naddress x\n",
        ] {
            let mut notes = Notes::default();
            assert_eq!(plan(&block(lines), &mut notes), None);
            assert_eq!(notes.places().count(), 1, "{lines}");
        }
    }
}
