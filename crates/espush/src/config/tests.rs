//! The settings as their users meet them: precedence, places in errors, suggestions.

use model::Qos;
use protocols::mqtt::bridge::Direction;

use super::*;

fn no_session(_: contract::session::Peer) -> Box<dyn contract::Session> {
    unreachable!("settings open no connections")
}

const PROTOCOLS: [Protocol; 3] = [
    Protocol { name: "mqtt", listen_default: "0.0.0.0:1883", push_bytes_max: 1, twins: true, open: no_session },
    Protocol { name: "espush", listen_default: "0.0.0.0:10081", push_bytes_max: 1, twins: true, open: no_session },
    Protocol { name: "coap", listen_default: "", push_bytes_max: 1, twins: true, open: no_session },
];

fn load(file: Option<&str>, environment: &[(&str, &str)], set: &[&str]) -> Result<Config, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("espush.toml");
    if let Some(text) = file {
        std::fs::write(&path, text).unwrap();
    }
    let sources = Sources {
        file: file.map(|_| path.clone()),
        environment: environment.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
        data: None,
        set: set.iter().map(|s| s.to_string()).collect(),
    };
    let dir_name = format!("{}/", dir.path().display());
    Config::load(&PROTOCOLS, &sources).map_err(|error| error.to_string().replace(&dir_name, ""))
}

fn mqtt(config: &Config) -> Option<String> {
    config.listen[0].addr.map(|a| a.to_string())
}

#[test]
fn without_sources_the_defaults_stand() {
    let config = load(None, &[], &[]).unwrap();
    assert_eq!(config.data, PathBuf::from("./espush-data"));
    assert_eq!(config.http.listen.unwrap().to_string(), "0.0.0.0:8080");
    assert_eq!(mqtt(&config).as_deref(), Some("0.0.0.0:1883"));
    assert_eq!(config.listen[2].addr, None, "a protocol may be off by default");
    assert!(!config.auth.anonymous && config.auth.bootstrap_token.is_none());
    assert_eq!((config.shards, config.log.level), (0, LevelFilter::INFO));
}

#[test]
fn the_option_beats_the_variable_beats_the_file_beats_the_default() {
    let file = Some("[mqtt]\nlisten = '127.0.0.1:1'\n");
    let variable = [("ESPUSH_MQTT__LISTEN", "127.0.0.1:2")];
    let option = ["mqtt.listen=127.0.0.1:3"];
    assert_eq!(mqtt(&load(file, &[], &[]).unwrap()).unwrap(), "127.0.0.1:1");
    assert_eq!(mqtt(&load(file, &variable, &[]).unwrap()).unwrap(), "127.0.0.1:2");
    assert_eq!(mqtt(&load(file, &variable, &option).unwrap()).unwrap(), "127.0.0.1:3");
}

#[test]
fn every_kind_of_value_is_read_from_a_file_and_from_text() {
    let file = "data = '/srv/e'\nshards = 4\nhttp.listen = ''\nhttp.base_url = 'https://push.example.org/'\n\
                auth = { anonymous = true, bootstrap_token = 'long enough' }\n[log]\nlevel = 'debug'\n";
    let from_file = load(Some(file), &[], &[]).unwrap();
    let set = [
        "data=/srv/e",
        "shards=4",
        "http.listen=",
        "http.base_url=https://push.example.org/",
        "auth.anonymous=true",
        "auth.bootstrap_token=long enough",
        "log.level=debug",
    ];
    assert_eq!(from_file, load(None, &[], &set).unwrap());
    assert_eq!(from_file.http.listen, None, "\"\" is off");
    assert_eq!(from_file.http.base_url.as_deref(), Some("https://push.example.org"));
    let text = format!("{from_file:?}");
    assert!(!text.contains("long enough"), "the token must not be printed: {text}");
}

#[test]
fn a_wrong_key_is_refused_with_its_place_and_the_nearest_known_one() {
    let error = load(Some("data = 'x'\n\n[mqtt]\n  lisen = '127.0.0.1:1'\n"), &[], &[]).unwrap_err();
    assert_eq!(error, "espush.toml:4:3: unknown key \"mqtt.lisen\"; did you mean \"mqtt.listen\"?");
    let error = load(None, &[("ESPUSH_MQTT_LISTEN", "127.0.0.1:1")], &[]).unwrap_err();
    assert_eq!(error, "ESPUSH_MQTT_LISTEN: unknown key \"mqtt_listen\"; did you mean \"mqtt.listen\"?");
    let error = load(None, &[], &["auth.anonymos=true"]).unwrap_err();
    assert_eq!(error, "--set auth.anonymos: unknown key \"auth.anonymos\"; did you mean \"auth.anonymous\"?");
    let error = load(None, &[], &["colour=red"]).unwrap_err();
    assert!(error.contains("known keys: data, http.listen") && error.contains("coap.listen"), "{error}");
}

#[test]
fn a_wrong_value_is_refused_with_its_place_and_what_was_expected() {
    let error = load(Some("# a comment\nmqtt.listen = 1883\n"), &[], &[]).unwrap_err();
    assert!(error.starts_with("espush.toml:2:15: mqtt.listen takes an address with a port"), "{error}");
    assert!(error.ends_with("found 1883"), "{error}");
    let error = load(Some("[auth]\nanonymous = 'maybe'\n"), &[], &[]).unwrap_err();
    assert_eq!(error, "espush.toml:2:13: auth.anonymous takes true or false; found \"maybe\"");
    let error = load(None, &[("ESPUSH_SHARDS", "many")], &[]).unwrap_err();
    assert_eq!(error, "ESPUSH_SHARDS: shards takes a number from 0 (half the cores) to 1024; found \"many\"");
    let error = load(None, &[], &["log.level=loud"]).unwrap_err();
    assert_eq!(error, "--set log.level: log.level takes one of off, error, warn, info, debug, trace; found \"loud\"");
    let error = load(None, &[], &["auth.bootstrap_token=secret"]).unwrap_err();
    assert!(!error.contains("found \"secret\"") && error.contains("at least 8 characters"), "{error}");
    assert!(load(None, &[], &["http.base_url=push.example.org"]).is_err(), "a URL needs its scheme");
}

#[test]
fn a_broken_file_and_a_broken_option_name_themselves() {
    let error = load(Some("data = 'x'\nmqtt listen\n"), &[], &[]).unwrap_err();
    assert!(error.starts_with("espush.toml:2:"), "{error}");
    assert!(load(None, &[], &["mqtt.listen"]).unwrap_err().contains("expected KEY=VALUE"));
    let absent = Sources { file: Some("/no/such/file.toml".into()), ..Sources::default() };
    assert!(Config::load(&PROTOCOLS, &absent).unwrap_err().to_string().starts_with("/no/such/file.toml: cannot read"));
}

#[test]
fn variables_that_are_not_settings_are_let_be() {
    let others =
        [("ESPUSH_SERVER", "http://h"), ("ESPUSH_TOKEN", "t"), ("ESPUSH_SERVICE_HOST", "10.0.0.1"), ("ESPUSH_PORT", "tcp://x")];
    assert_eq!(load(None, &others, &[]).unwrap(), load(None, &[], &[]).unwrap());
}

#[test]
fn files_come_as_a_list_or_as_text_with_commas() {
    let file =
        "[mqtt.tls]\nlisten = '0.0.0.0:8883'\ncertificate = ['a.pem', 'b.pem']\nkey = 'a.key, b.key'\nrecord_bytes_max = 1024\n";
    let set = [
        "mqtt.tls.listen=0.0.0.0:8883",
        "mqtt.tls.certificate=a.pem,b.pem",
        "mqtt.tls.key=a.key,b.key",
        "mqtt.tls.record_bytes_max=1024",
    ];
    let config = load(Some(file), &[], &[]).unwrap();
    assert_eq!(config, load(None, &[], &set).unwrap());
    assert_eq!(config.listen[0].tls.key, [PathBuf::from("a.key"), PathBuf::from("b.key")]);
    assert_eq!(config.listen[1].tls, TlsListen::off(512), "what is set for one protocol is not set for another");
    let error = load(None, &[], &["mqtt.tls.record_bytes_max=9"]).unwrap_err();
    assert!(error.ends_with("mqtt.tls.record_bytes_max takes a number from 64 to 16384; found \"9\""), "{error}");
    let error = load(Some("mqtt.tls.key = [1]\n"), &[], &[]).unwrap_err();
    assert!(error.contains("mqtt.tls.key takes a PEM file"), "{error}");
    let error = load(None, &[], &["mqtt.tls.lisen=1"]).unwrap_err();
    assert!(error.contains("did you mean \"mqtt.tls.listen\"?"), "{error}");
}

#[test]
fn a_load_balancer_may_stand_before_one_protocol() {
    let config = load(None, &[("ESPUSH_MQTT__PROXY_PROTOCOL", "true")], &[]).unwrap();
    assert!(config.listen[0].proxy_protocol && !config.listen[1].proxy_protocol);
}

#[test]
fn localhost_is_an_address() {
    assert_eq!(mqtt(&load(None, &[], &["mqtt.listen=localhost:0"]).unwrap()).unwrap(), "127.0.0.1:0");
}

#[test]
fn help_names_every_key() {
    let text = help(&PROTOCOLS);
    for key in ["data", "http.listen", "auth.bootstrap_token", "shards", "mqtt.listen", "coap.listen"] {
        assert!(text.contains(&format!("  {key} ")), "{key} is missing in:\n{text}");
    }
}

const BRIDGE: &str = "[[bridge]]\nname = 'old'\naddress = 'broker.example.org'\ntopics = [{ pattern = 'lamps/#' }]\n";

#[test]
fn bridges_are_read_with_mosquittos_defaults() {
    let file = format!(
        "{BRIDGE}\n[[bridge]]\nname = 'site-2'\naddress = '[::1]:11883'\nclient_id = 'c'\nusername = 'u'\npassword = 'hidden one'\n\
         clean = true\nkeep_alive_s = 30\ntry_private = false\nnotification_topic = 'site/2/state'\n\
         [[bridge.topics]]\npattern = '#'\ndirection = 'both'\nqos = 2\nlocal_prefix = 'site2/'\nremote_prefix = 'all/'\n"
    );
    let config = load(Some(&file), &[], &[]).unwrap();
    let [old, site] = &config.bridges[..] else { panic!("{config:?}") };
    assert_eq!((old.address.as_str(), old.plan.client_id.as_str()), ("broker.example.org:1883", "espush-old"));
    assert_eq!((old.plan.clean, old.plan.keep_alive_s, old.plan.try_private), (false, 60, true));
    let topic = &old.plan.topics[0];
    assert_eq!((topic.direction, topic.qos, topic.remote().as_str()), (Direction::Out, Qos::AtMostOnce, "lamps/#"));
    assert_eq!((site.address.as_str(), site.plan.username.as_deref()), ("[::1]:11883", Some("u")));
    assert_eq!(site.plan.topics[0].to_local("all/x").as_deref(), Some("site2/x"));
    assert_eq!((site.tls, site.ca.as_deref()), (false, None));
    let tls = load(Some(&BRIDGE.replace("name =", "tls = true\nca = '/ca.crt'\nname =")), &[], &[]).unwrap();
    assert_eq!((tls.bridges[0].address.as_str(), tls.bridges[0].tls), ("broker.example.org:8883", true));
    assert!(!format!("{config:?}").contains("hidden one"), "the password must not be printed");
}

#[test]
fn a_bridge_that_cannot_be_is_refused_with_its_place() {
    let error = |file: &str| load(Some(file), &[], &[]).unwrap_err();
    let with = |line: &str| error(&BRIDGE.replace("name = 'old'\n", &format!("name = 'old'\n{line}\n")));
    assert_eq!(with("adress = 'x'"), "espush.toml:3:1: unknown key \"adress\"; did you mean \"address\"?");
    assert_eq!(with("clean = 'maybe'"), "espush.toml:3:9: clean takes true or false");
    assert_eq!(with("keep_alive_s = 4"), "espush.toml:3:16: keep_alive_s takes seconds from 5 to 65535, or 0 for none");
    assert!(with("password = 'p'").starts_with("espush.toml:3:12: MQTT 3.1.1 knows no password without a user name"));
    assert!(with("username = 'u'\npassword_file = '/no/such/file'").starts_with("espush.toml:4:17: cannot read the password"));
    assert_eq!(with("ca = '/ca.crt'"), "espush.toml:3:6: there are certificates in TLS only; add tls = true");
    assert!(error("[[bridge]]\nname = 'a b'\n").starts_with("espush.toml:2:8: name takes"));
    assert!(error("[[bridge]]\nname = 'a'\n").starts_with("espush.toml:1:1: address is missing here"));
    assert!(error(&format!("{BRIDGE}{BRIDGE}")).contains("two bridges called \"old\""));
    for address in ["", "a b", "::1", "x:0", "x:99999", ":1883", "mqtt://x"] {
        assert!(error(&BRIDGE.replace("broker.example.org", address)).contains("address takes a host"), "{address}");
    }
    let topic = |topic: &str| error(&BRIDGE.replace("{ pattern = 'lamps/#' }", topic));
    assert_eq!(topic("{ pattern = 'x', qos = 3 }"), "espush.toml:4:34: qos takes 0, 1 or 2");
    assert!(topic("{ pattern = 'me/#' }").contains("dev/<device id>/"));
    assert!(topic("'lamps/#'").contains("topics takes a list such as"));
    assert!(error("[bridge]\nname = 'old'\n").contains("two brackets"));
    assert!(load(None, &[("ESPUSH_BRIDGE", "old")], &[]).unwrap_err().contains("[[bridge]] table"));
}

#[test]
fn a_bridges_password_may_stand_in_a_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "from a file\n").unwrap();
    let line = format!("name = 'old'\nusername = 'u'\npassword_file = '{}'\n", file.path().display());
    let config = load(Some(&BRIDGE.replace("name = 'old'\n", &line)), &[], &[]).unwrap();
    assert_eq!(config.bridges[0].plan.password.as_deref(), Some("from a file"));
}

#[test]
fn the_pages_about_bridges_show_what_is_taken() {
    for page in [include_str!("../../../../docs/en/bridge.md"), include_str!("../../../../docs/zh/bridge.md")] {
        let example = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        let file: String =
            example.lines().filter(|line| !line.starts_with("password_file")).map(|line| format!("{line}\n")).collect();
        let config = load(Some(&file), &[], &[]).unwrap();
        assert_eq!(config.bridges[0].plan.topics[1].to_local("sensors/shed/temp").as_deref(), Some("old/shed/temp"));
    }
}
