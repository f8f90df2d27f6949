//! What each line of a Mosquitto installation becomes. Written against the manual page of Mosquitto 2.0;
//! a key that is not listed here is told as left out, never passed over in silence.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use model::account::{ANONYMOUS, is_account_name};
use model::{Rule, limits};
use serde_json::Value;

use super::acl::Acl;
use super::bridge::{self, Block};
use super::conf::{self, Directive};
use super::{Notes, Plan, PlannedAccount, Setting};
use crate::config::{Config, Sources};

/// A listener, its lines gathered.
#[derive(Default)]
struct Listener {
    place: String,
    line: String,
    port: u16,
    host: String,
    websockets: bool,
    /// The lines about TLS, by their key.
    tls: BTreeMap<String, Directive>,
}

/// A file that another line names.
struct Named {
    place: String,
    line: String,
    path: PathBuf,
}

/// Everything that more than one line has a part in.
#[derive(Default)]
struct Gathered {
    /// The listener that `port` and `bind_address` speak of.
    default: Option<Listener>,
    listeners: Vec<Listener>,
    anonymous: Option<bool>,
    password_files: Vec<Named>,
    acl_files: Vec<Named>,
    other_gates: bool,
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
    listen(&mut gathered, &mut plan);
    people(gathered, &mut plan)?;
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
            let listener = gathered.default.get_or_insert_with(|| Listener { port: 1883, ..Listener::default() });
            (listener.place, listener.line) = (place.clone(), line);
            match key.as_str() {
                "port" => listener.port = value.parse().unwrap_or(1883),
                _ => listener.host = value.clone(),
            }
        }
        "listener" => {
            let (port, host) = value.split_once(char::is_whitespace).unwrap_or((value, ""));
            let (port, host) = (port.parse().unwrap_or(0), host.trim().to_owned());
            gathered.listeners.push(Listener { place: place.clone(), line, port, host, ..Listener::default() });
        }
        "protocol" => {
            let listener = current(gathered);
            match value.as_str() {
                "mqtt" => {}
                "websockets" => listener.websockets = true,
                _ => notes.left_out(place, &line, "espush does not know this protocol"),
            }
        }
        "cafile" | "capath" | "certfile" | "keyfile" | "require_certificate" => {
            let key = key.clone();
            current(gathered).tls.insert(key, directive);
        }
        "allow_anonymous" => gathered.anonymous = Some(value == "true"),
        "password_file" => gathered.password_files.push(named()),
        "acl_file" => gathered.acl_files.push(named()),
        "psk_file" | "psk_hint" | "use_identity_as_username" | "use_subject_as_username" | "crlfile" => {
            gathered.other_gates = true;
            notes.left_out(place, &line, "keys and certificates as user names are not carried over; give these clients accounts");
        }
        "plugin" | "auth_plugin" => {
            gathered.other_gates = true;
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
        "message_size_limit" | "max_packet_size" => {
            let ours = limits::MQTT_PACKET_BYTES_MAX;
            let why = match number {
                Some(bytes) if bytes > 0 && bytes <= ours as u64 => format!("espush takes packets of up to {ours} bytes"),
                _ => format!("espush takes packets of up to {ours} bytes; larger things go by HTTP"),
            };
            notes.differs(place, &line, &why);
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
        "user" | "pid_file" | "set_tcp_nodelay" | "allow_duplicate_messages" | "memory_limit" => {
            notes.not_needed(place, &line, "run espush as a user of its own; it needs no setting for it");
        }
        "max_connections" => notes.left_out(place, &line, "the bound is the open-file limit of the process (ulimit -n)"),
        "max_keepalive"
        | "persistent_client_expiration"
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

/// The listener that a line speaks of: the last one, or the default one while there is none.
fn current(gathered: &mut Gathered) -> &mut Listener {
    if gathered.listeners.is_empty() {
        return gathered.default.get_or_insert_with(|| Listener { port: 1883, ..Listener::default() });
    }
    gathered.listeners.last_mut().expect("it is not empty")
}

/// Listeners to addresses. There is one of each kind here; further ones are told.
fn listen(gathered: &mut Gathered, plan: &mut Plan) {
    if gathered.default.is_none() && gathered.listeners.is_empty() {
        // Without a listener Mosquitto serves this machine only, and lets anybody in.
        gathered.anonymous.get_or_insert(true);
        let from = "no listener: this machine only".to_owned();
        plan.settings.push(Setting { key: "mqtt.listen", value: "127.0.0.1:1883".into(), from });
        return;
    }
    let all = gathered.default.take().into_iter().chain(std::mem::take(&mut gathered.listeners));
    let (mut plain, mut sealed) = (false, false);
    for listener in all {
        let Listener { place, line, port, host, websockets, tls } = listener;
        if websockets {
            let why = "MQTT over WebSocket is at the console's address (http.listen), path /mqtt; tell the clients that address";
            plan.notes.left_out(&place, &line, why);
            continue;
        }
        let Some(address) = address(&host, port) else {
            plan.notes.left_out(&place, &line, "this is no address and port that espush can listen on");
            continue;
        };
        let encrypted = tls.contains_key("certfile");
        let taken = if encrypted { &mut sealed } else { &mut plain };
        if std::mem::replace(taken, true) {
            plan.notes.left_out(&place, &line, "espush has one listener of this kind; let the clients use the first one's port");
            continue;
        }
        let from = format!("{place}: {line}");
        match encrypted {
            false => plan.settings.push(Setting { key: "mqtt.listen", value: address.into(), from }),
            true => plan.settings.extend(tls_settings(address, from, &tls, &mut plan.notes)),
        }
    }
    if !plain {
        let from = "no listener without TLS".to_owned();
        plan.settings.push(Setting { key: "mqtt.listen", value: "".into(), from });
    }
}

/// `host:port` as a socket address; an empty host is all addresses.
fn address(host: &str, port: u16) -> Option<String> {
    if port == 0 {
        return None;
    }
    match host {
        "" => Some(format!("0.0.0.0:{port}")),
        "localhost" => Some(format!("127.0.0.1:{port}")),
        host => host.parse().ok().map(|ip: std::net::IpAddr| std::net::SocketAddr::new(ip, port).to_string()),
    }
}

fn tls_settings(address: String, from: String, tls: &BTreeMap<String, Directive>, notes: &mut Notes) -> Vec<Setting> {
    for directive in tls.values() {
        notes.left_out(
            &directive.place,
            &directive.shown(),
            "TLS is not carried over; set it up as docs/en/configuration.md says",
        );
    }
    let why = format!("an MQTT listener with TLS at {address} is not carried over");
    notes.left_out(&from, "", &why);
    Vec::new()
}

/// Password and ACL files to accounts.
fn people(gathered: Gathered, plan: &mut Plan) -> anyhow::Result<()> {
    let anonymous = gathered.anonymous.unwrap_or(false);
    let from = match gathered.anonymous {
        Some(_) => "allow_anonymous",
        None => "allow_anonymous is false unless said otherwise",
    };
    plan.settings.push(Setting { key: "auth.anonymous", value: anonymous.into(), from: from.to_owned() });

    let mut acl_files = gathered.acl_files.into_iter();
    let acl = acl_files.next().map(|file| -> anyhow::Result<Acl> {
        Ok(Acl::read(&file.path.display().to_string(), &read(&file.path)?, &mut plan.notes))
    });
    let acl = acl.transpose()?;
    for file in acl_files {
        plan.notes.left_out(&file.place, &file.line, "only the first ACL file is carried over; add its rules by hand");
    }
    let mut passwords: Vec<(String, String, String)> = Vec::new();
    for file in &gathered.password_files {
        let name = file.path.display().to_string();
        for (number, line) in read(&file.path)?.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let place = format!("{name}:{}", number + 1);
            match line.trim_end().split_once(':') {
                Some((user, hash)) if hash.starts_with("$7$") || hash.starts_with("$6$") => {
                    passwords.push((place, user.to_owned(), hash.to_owned()));
                }
                Some((user, _)) => {
                    plan.notes.left_out(&place, user, "the password is not hashed; run `mosquitto_passwd -U FILE` first");
                }
                None => plan.notes.left_out(&place, "…", "this is no line of a password file"),
            }
        }
    }
    if gathered.password_files.is_empty() && !gathered.other_gates {
        let why = match anonymous {
            true => {
                "without a password file Mosquitto takes any user name and password; espush refuses names that it does \
                     not know, so let the clients send none, or make accounts"
            }
            false => "without a password file nobody can come in; make accounts with `espush account add`",
        };
        plan.notes.differs("(no password_file)", "", why);
    }
    if anonymous && let Some(acl) = &acl {
        add(plan, "(anonymous clients)", ANONYMOUS, None, acl.rules_of_anonymous());
    }
    for (place, user, hash) in &passwords {
        let rules = acl.as_ref().map_or(Vec::new(), |acl| acl.rules_of(user));
        if user == ANONYMOUS {
            plan.notes.left_out(place, user, "espush calls clients without credentials so; give this user another name");
        } else if !is_account_name(user) {
            plan.notes.left_out(
                place,
                user,
                "no account can have this name: digits alone are app ids, `token` is for API tokens, + and # are wildcards",
            );
        } else if plan.accounts.iter().any(|account| account.name == *user) {
            plan.notes.left_out(place, user, "the user stands in the password file twice");
        } else {
            add(plan, place, user, Some(hash.clone()), rules);
        }
    }
    for user in acl.iter().flat_map(Acl::users) {
        if !passwords.iter().any(|(_, name, _)| name == user) {
            plan.notes.left_out(
                "(acl_file)",
                &format!("user {user}"),
                "has no line in the password file, so nobody can log in so",
            );
        }
    }
    Ok(())
}

fn add(plan: &mut Plan, place: &str, name: &str, password_hash: Option<String>, rules: Vec<Rule>) {
    if rules.len() > limits::RULES_PER_ACCOUNT_MAX {
        let why = format!("{} rules are more than the {} an account may have", rules.len(), limits::RULES_PER_ACCOUNT_MAX);
        plan.notes.left_out(place, name, &why);
        return;
    }
    let rules = rules.iter().map(Rule::to_string).collect();
    plan.accounts.push(PlannedAccount { name: name.to_owned(), password_hash, rules });
}

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

fn read(path: &Path) -> anyhow::Result<String> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
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
