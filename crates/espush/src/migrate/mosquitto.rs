//! What each line of a Mosquitto installation becomes. Written against the manual page of Mosquitto 2.0;
//! a key that is not listed here is told as left out, never passed over in silence.

use std::path::Path;

use model::limits;
use serde_json::Value;

use super::bridge::{self, Block};
use super::conf::{self, Directive};
use super::listeners::{Listener, Listeners, listen};
use super::people::{Doors, Named, people};
use super::{Plan, Setting};
use crate::config::{Config, Sources};

/// Everything that more than one line has a part in.
#[derive(Default)]
struct Gathered {
    listeners: Listeners,
    doors: Doors,
}

/// Reads an installation by its `mosquitto.conf`.
pub fn plan(path: &Path) -> anyhow::Result<Plan> {
    let beside = path.parent().unwrap_or(Path::new("."));
    let mut plan = Plan::default();
    let mut gathered = Gathered::default();
    // The lines after a `connection` that speak of bridges are its; all others are the broker's, wherever they stand.
    let mut blocks: Vec<Block> = Vec::new();
    for directive in conf::read(path)? {
        match blocks.last_mut() {
            _ if directive.key == "connection" => blocks.push(vec![directive]),
            Some(block) if is_bridge_key(&directive.key) => block.push(directive),
            _ => gather(directive, beside, &mut gathered, &mut plan),
        }
    }
    let Gathered { listeners, mut doors } = gathered;
    if listeners.is_empty() {
        // Then Mosquitto serves this machine only, and lets anybody in.
        doors.anonymous.get_or_insert((true, "no listener: anybody on this machine".to_owned()));
    }
    listen(listeners, beside, &mut plan);
    people(doors, &mut plan)?;
    refuse_unknown(&mut plan);
    plan.bridges = blocks.iter().filter_map(|block| bridge::plan(block, &mut plan.notes)).collect();
    Ok(plan)
}

fn is_bridge_key(key: &str) -> bool {
    const OWN: [&str; 18] = [
        "address",
        "addresses",
        "topic",
        "cleansession",
        "clientid",
        "idle_timeout",
        "keepalive_interval",
        "lazy",
        "notifications",
        "notifications_local_only",
        "notification_topic",
        "password",
        "restart_timeout",
        "round_robin",
        "start_type",
        "threshold",
        "try_private",
        "username",
    ];
    OWN.contains(&key) || ["bridge_", "remote_", "local_"].iter().any(|prefix| key.starts_with(prefix))
}

fn gather(directive: Directive, beside: &Path, gathered: &mut Gathered, plan: &mut Plan) {
    let Directive { place, key, value } = &directive;
    let line = directive.shown();
    let notes = &mut plan.notes;
    let named = || Named { place: place.clone(), line: line.clone(), path: conf::locate(beside, value) };
    let mut set = |key: &'static str, value: Value| plan.settings.push(Setting { key, value, from: format!("{place}: {line}") });
    let number = value.parse::<u64>().ok();
    match key.as_str() {
        "port" | "bind_address" => {
            let listener = gathered.listeners.default_one();
            (listener.place, listener.line) = (place.clone(), line);
            match key.as_str() {
                "port" => listener.port = value.parse().unwrap_or(1883),
                _ => listener.host = value.clone(),
            }
        }
        "listener" => {
            let (port, host) = value.split_once(char::is_whitespace).unwrap_or((value, ""));
            let (port, host) = (port.parse().unwrap_or(0), host.trim().to_owned());
            gathered.listeners.add(Listener { place: place.clone(), line, port, host, ..Listener::default() });
        }
        "protocol" => {
            let listener = gathered.listeners.current();
            match value.as_str() {
                "mqtt" => {}
                "websockets" => listener.websockets = true,
                _ => notes.left_out(place, &line, "espush does not know this protocol"),
            }
        }
        "cafile" | "capath" | "certfile" | "keyfile" | "require_certificate" => {
            let key = key.clone();
            gathered.listeners.current().tls.insert(key, directive);
        }
        "allow_anonymous" => {
            // Said more than once, it is said for several listeners: then the strictest holds for all.
            let open = value == "true";
            match &gathered.doors.anonymous {
                Some((earlier, _)) if *earlier != open => {
                    notes.differs(
                        place,
                        &line,
                        "espush lets clients without credentials in everywhere or nowhere: nowhere, then",
                    );
                    gathered.doors.anonymous = Some((false, format!("{place}: {line}")));
                }
                _ => gathered.doors.anonymous = Some((open, format!("{place}: {line}"))),
            }
        }
        "password_file" => gathered.doors.password_files.push(named()),
        "acl_file" => gathered.doors.acl_files.push(named()),
        "psk_file" | "psk_hint" | "use_identity_as_username" | "use_subject_as_username" | "crlfile" => {
            gathered.doors.others = true;
            notes.left_out(place, &line, "keys and certificates as user names are not carried over; give these clients accounts");
        }
        "plugin" | "auth_plugin" => {
            gathered.doors.others = true;
            notes.left_out(place, &line, "espush has no plugins; make the accounts it knows with `espush account add`");
        }
        _ if key.starts_with("auth_opt_") || key.starts_with("plugin_opt_") => {
            notes.left_out(place, &line, "belongs to a plugin");
        }
        "per_listener_settings" if value == "true" => {
            notes.differs(place, &line, "espush has one set of accounts for all listeners: those of all files are put together");
        }
        "max_inflight_messages" | "max_queued_messages" | "max_queued_bytes" if number == Some(0) => {
            notes.left_out(place, &line, "0 is no limit, and espush always has one: set limits.… as high as it must be");
        }
        "max_inflight_messages" => set("limits.in_flight", number.into()),
        "max_queued_messages" => set("limits.queue_messages", number.into()),
        "max_queued_bytes" => set("limits.queue_bytes", number.into()),
        "sys_interval" => set("sys.interval_s", number.into()),
        "max_keepalive" => set("limits.keep_alive_s", number.into()),
        "message_size_limit" | "max_packet_size" if number == Some(0) => {
            notes.differs(
                place,
                &line,
                "0 is no limit, and espush always has one: set limits.packet_bytes as high as it must be",
            );
        }
        "message_size_limit" | "max_packet_size" => {
            // The one is about payloads, the other about packets with the topic in them. The narrower counts.
            let beside = if key == "message_size_limit" { limits::TOPIC_BYTES_MAX as u64 } else { 0 };
            let bytes = number.map(|bytes| bytes.saturating_add(beside));
            let narrower = |setting: &Setting| setting.key == PACKET_BYTES && setting.value.as_u64() <= bytes;
            if !plan.settings.iter().any(narrower) {
                plan.settings.retain(|setting| setting.key != PACKET_BYTES);
                plan.settings.push(Setting { key: PACKET_BYTES, value: bytes.into(), from: format!("{place}: {line}") });
            }
        }
        "log_dest" | "log_facility" | "log_timestamp" | "log_timestamp_format" | "log_type" | "connection_messages" => {
            notes.not_needed(place, &line, "espush logs to stderr (journald keeps it); log.level says how much");
        }
        "persistence" if value == "false" => {
            notes.differs(place, &line, "espush always keeps what it must keep, in its data directory");
        }
        "persistence" | "persistence_location" | "persistence_file" | "autosave_interval" | "autosave_on_changes" => {
            notes.differs(
                place,
                &line,
                "espush keeps its own data directory; messages in mosquitto.db are not carried over, so let retained \
                 values be published again",
            );
        }
        "user" => notes.not_needed(place, &line, "start espush as the user that it is to run as"),
        "pid_file" | "set_tcp_nodelay" | "allow_duplicate_messages" | "memory_limit" => {
            notes.not_needed(place, &line, "espush does without");
        }
        "max_connections" => notes.left_out(place, &line, "the bound is the open-file limit of the process (ulimit -n)"),
        "persistent_client_expiration"
        | "queue_qos0_messages"
        | "upgrade_outgoing_qos"
        | "retain_available"
        | "check_retain_source"
        | "max_topic_alias"
        | "max_qos"
        | "allow_zero_length_clientid"
        | "auto_id_prefix" => {
            notes.left_out(place, &line, "espush has a fixed behaviour here; see docs/en/coming-from-mosquitto.md");
        }
        "clientid_prefixes" | "use_username_as_clientid" => {
            notes.left_out(place, &line, "a rule with %c says which client ids may do what; sessions are per account anyway");
        }
        "mount_point" => {
            notes.left_out(place, &line, "topics are not renamed for a listener; put the prefix into rules and clients")
        }
        "socket_domain" | "bind_interface" | "http_dir" | "websockets_log_level" | "websockets_headers_size" => {
            notes.left_out(place, &line, "no counterpart; name the address to listen on instead");
        }
        "per_listener_settings" => {}
        "ciphers" | "ciphers_tls1.3" | "tls_version" | "dhparamfile" | "tls_engine" | "tls_engine_kpass_sha1" | "tls_keyform" => {
            notes.left_out(place, &line, "espush chooses TLS versions and ciphers by itself");
        }
        _ => notes.left_out(place, &line, "not known to this program"),
    }
}

/// The setting that two of Mosquitto's lines speak of.
const PACKET_BYTES: &str = "limits.packet_bytes";

/// A setting that our own configuration would refuse is told here, not at the next start.
fn refuse_unknown(plan: &mut Plan) {
    let Plan { settings, notes, .. } = plan;
    settings.retain(|Setting { key, value, from }| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let sources = Sources { set: vec![format!("{key}={text}")], ..Sources::default() };
        match Config::load(protocols::ALL, &sources) {
            Ok(_) => true,
            Err(error) => {
                notes.left_out(from, "", &error.what);
                false
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::*;

    fn planned(files: &[(&str, &str)]) -> Plan {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        plan(&dir.path().join("mosquitto.conf")).unwrap()
    }

    fn setting(plan: &Plan, key: &str) -> Option<Value> {
        plan.settings.iter().find(|setting| setting.key == key).map(|setting| setting.value.clone())
    }

    #[test]
    fn an_installation_becomes_settings_and_accounts() {
        let passwd = include_str!("../../../fleet/tests/fixtures/mosquitto.passwd");
        let conf = "listener 1884 127.0.0.1\nallow_anonymous true\npassword_file /no/such/place/passwd\nacl_file acl\n\
                    max_inflight_messages 20\nmax_queued_messages 500\npersistence true\nlog_type all\n";
        let plan = planned(&[
            ("mosquitto.conf", conf),
            ("passwd", &format!("{passwd}123:$7$1$a$b\nplain:password\n")),
            ("acl", "topic read news/#\nuser ann\ntopic home/#\nuser gone\ntopic x\n"),
        ]);
        assert_eq!(setting(&plan, "mqtt.listen"), Some("127.0.0.1:1884".into()));
        assert_eq!(setting(&plan, "auth.anonymous"), Some(true.into()));
        let names: Vec<&str> = plan.accounts.iter().map(|account| account.name.as_str()).collect();
        assert_eq!(names, ["anonymous", "ann", "bob", "old"]);
        assert_eq!(plan.accounts[0].rules, ["allow subscribe news/#"]);
        assert_eq!(plan.accounts[1].rules, ["allow both home/#"]);
        assert_eq!(plan.accounts[2].rules, ["deny both #"], "with an ACL file, who is not in it may nothing");
        assert!(plan.accounts[3].password_hash.as_deref().unwrap().starts_with("$6$"));
        let left: Vec<&str> =
            plan.notes.iter().filter(|note| note.outcome == Outcome::LeftOut).map(|note| note.line.as_str()).collect();
        assert_eq!(left, ["plain", "123", "user gone"], "{:?}", plan.notes);
        assert!(plan.toml(false).contains("mqtt.listen = \"127.0.0.1:1884\""));
    }

    #[test]
    fn without_an_acl_file_an_account_has_the_free_topics() {
        let plan = planned(&[("mosquitto.conf", "port 1885\npassword_file passwd\n"), ("passwd", "ann:$6$x$y\n")]);
        assert_eq!(setting(&plan, "mqtt.listen"), Some("0.0.0.0:1885".into()));
        assert_eq!(setting(&plan, "auth.anonymous"), Some(false.into()));
        assert_eq!(plan.accounts.len(), 1);
        assert!(plan.accounts[0].rules.is_empty());
    }

    #[test]
    fn where_listeners_differ_the_strictest_door_is_everybodys() {
        let conf = "per_listener_settings true\nlistener 1883\nallow_anonymous false\nlistener 1884\nallow_anonymous true\n";
        let plan = planned(&[("mosquitto.conf", conf)]);
        assert_eq!(setting(&plan, "auth.anonymous"), Some(false.into()));
        assert!(plan.accounts.is_empty());
    }

    #[test]
    fn nothing_said_means_this_machine_only() {
        let plan = planned(&[("mosquitto.conf", "# nothing\n")]);
        assert_eq!(setting(&plan, "mqtt.listen"), Some("127.0.0.1:1883".into()));
        assert_eq!(setting(&plan, "auth.anonymous"), Some(true.into()));
    }

    #[test]
    fn every_line_that_is_not_carried_over_is_told() {
        let conf = "listener 1883\nlistener 1885\nlistener 9001\nprotocol websockets\nlistener 0 /run/socket\n\
                    max_queued_messages 0\nplugin /x.so\nplugin_opt_a b\nsomething new\n";
        let plan = planned(&[("mosquitto.conf", conf)]);
        let lines: Vec<&str> = plan.notes.iter().map(|note| note.line.as_str()).collect();
        for line in [
            "listener 1885",
            "listener 9001",
            "listener 0 /run/socket",
            "max_queued_messages 0",
            "plugin /x.so",
            "plugin_opt_a b",
            "something new",
        ] {
            assert!(lines.contains(&line), "{line}: {lines:?}");
        }
    }

    #[test]
    fn how_long_and_how_large_things_may_be_comes_along() {
        for (lines, bytes) in [
            ("max_packet_size 4096\n", Some(4096)),
            ("message_size_limit 4096\n", Some(5120)),
            ("message_size_limit 4096\nmax_packet_size 8192\n", Some(5120)),
            ("max_packet_size 8192\nmessage_size_limit 4096\n", Some(5120)),
            ("max_packet_size 0\n", None),
            ("max_packet_size 100\n", None),
        ] {
            let plan = planned(&[("mosquitto.conf", &format!("listener 1883\n{lines}max_keepalive 600\n"))]);
            assert_eq!(setting(&plan, "limits.packet_bytes"), bytes.map(Value::from), "{lines}");
            assert_eq!(setting(&plan, "limits.keep_alive_s"), Some(600.into()));
            let told = plan.notes.iter().any(|note| note.line.starts_with("max_packet") || note.place.contains("max_packet"));
            assert_eq!(told, bytes.is_none(), "{lines}: what is not carried over is told");
        }
    }

    #[test]
    fn a_listener_with_tls_comes_along_unless_it_wants_certificates() {
        let plan = planned(&[
            (
                "mosquitto.conf",
                "listener 8883\ncafile /no/ca.crt\ncertfile /no/such/place/own.crt\nkeyfile /no/such/place/own.key\n",
            ),
            ("own.crt", ""),
        ]);
        assert_eq!(setting(&plan, "mqtt.tls.listen"), Some("0.0.0.0:8883".into()));
        assert!(setting(&plan, "mqtt.tls.certificate").unwrap().as_str().unwrap().ends_with("/own.crt"));
        assert_eq!(setting(&plan, "mqtt.tls.key"), Some("/no/such/place/own.key".into()));
        assert_eq!(setting(&plan, "mqtt.listen"), Some("".into()), "nothing in the clear that was not so before");
        let about_ca = |plan: &Plan| plan.notes.iter().find(|note| note.line.starts_with("cafile")).map(|note| note.outcome);
        assert_eq!(about_ca(&plan), Some(Outcome::Differs), "it may hold what stands between certificate and root");
        let block = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
        let conf = "listener 8883\ncafile /no/ca.crt\ncertfile own.crt\nkeyfile own.key\n";
        let plan = planned(&[("mosquitto.conf", conf), ("own.crt", &block.repeat(2))]);
        assert_eq!(about_ca(&plan), Some(Outcome::NotNeeded));
        let plan = planned(&[("mosquitto.conf", "listener 8883\ncertfile a\nkeyfile b\nrequire_certificate true\n")]);
        assert_eq!(setting(&plan, "mqtt.tls.listen"), None);
        assert!(plan.notes.iter().any(|note| note.line == "listener 8883" && note.outcome == Outcome::LeftOut));
    }

    /// The file that is written is one that the server takes.
    #[test]
    fn the_configuration_that_is_written_can_be_read() {
        let bridge =
            "connection up\naddress a.example\ntopic # both 2\nmax_queued_messages 500\nremote_username a\nremote_password b\n";
        let plan = planned(&[("mosquitto.conf", &format!("listener 1884 ::1\nallow_anonymous true\n{bridge}"))]);
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("espush.toml");
        std::fs::write(&file, plan.toml(true)).unwrap();
        let config = Config::load(protocols::ALL, &Sources { file: Some(file), ..Sources::default() }).unwrap();
        assert!(config.auth.anonymous);
        assert_eq!(config.limits.queue_messages, 500, "which stands below the bridge, but is none of its lines");
        assert_eq!((config.bridges.len(), config.bridges[0].address.as_str()), (1, "a.example:1883"));
        assert_eq!(config.bridges[0].plan.password.as_deref(), Some("b"));
        let mqtt = config.listen.iter().find(|listen| listen.protocol == "mqtt").unwrap();
        assert_eq!(mqtt.addr.unwrap().to_string(), "[::1]:1884");
    }
}
