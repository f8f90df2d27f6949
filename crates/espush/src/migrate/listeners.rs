//! Mosquitto's listeners as addresses to listen on. There is one of each kind here, with and without TLS;
//! every further one is told.

use std::collections::BTreeMap;
use std::path::Path;

use super::conf::{self, Directive};
use super::{Notes, Plan, Setting};

/// A listener, its lines gathered.
#[derive(Default)]
pub struct Listener {
    pub place: String,
    pub line: String,
    pub port: u16,
    pub host: String,
    pub websockets: bool,
    /// The lines about TLS, by their key.
    pub tls: BTreeMap<String, Directive>,
}

/// All of them.
#[derive(Default)]
pub struct Listeners {
    /// The one that `port` and `bind_address` speak of.
    default: Option<Listener>,
    others: Vec<Listener>,
}

impl Listeners {
    /// The one that `port` and `bind_address` speak of.
    pub fn default_one(&mut self) -> &mut Listener {
        self.default.get_or_insert_with(|| Listener { port: 1883, ..Listener::default() })
    }

    /// One more.
    pub fn add(&mut self, listener: Listener) {
        self.others.push(listener);
    }

    /// The one that a line speaks of: the last, or the default one while there is no other.
    pub fn current(&mut self) -> &mut Listener {
        if self.others.is_empty() {
            return self.default_one();
        }
        self.others.last_mut().expect("it is not empty")
    }

    /// Whether there is none: then Mosquitto serves this machine only, and lets anybody in.
    pub fn is_empty(&self) -> bool {
        self.default.is_none() && self.others.is_empty()
    }
}

/// Listeners to addresses.
pub fn listen(listeners: Listeners, beside: &Path, plan: &mut Plan) {
    if listeners.is_empty() {
        let from = "no listener: this machine only".to_owned();
        plan.settings.push(Setting { key: "mqtt.listen", value: "127.0.0.1:1883".into(), from });
        return;
    }
    let all = listeners.default.into_iter().chain(listeners.others);
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
            true => plan.settings.extend(tls_settings(address, (&place, &line), &tls, beside, &mut plan.notes)),
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

/// A listener with TLS. One that wants certificates of its clients is left out whole: here it would let in
/// whoever has none.
fn tls_settings(
    address: String,
    (place, line): (&str, &str),
    tls: &BTreeMap<String, Directive>,
    beside: &Path,
    notes: &mut Notes,
) -> Vec<Setting> {
    if let Some(wants) = tls.get("require_certificate").filter(|directive| directive.value == "true") {
        let why = "espush does not ask clients for certificates, so the listener is left out; give the clients accounts";
        notes.left_out(place, line, why);
        notes.left_out(&wants.place, &wants.shown(), "see its listener");
        return Vec::new();
    }
    let whole = tls.get("certfile").is_some_and(|directive| has_chain(&conf::locate(beside, &directive.value)));
    for directive in ["cafile", "capath", "require_certificate"].iter().filter_map(|key| tls.get(*key)) {
        let (place, line) = (&directive.place, directive.shown());
        if directive.key == "require_certificate" || whole {
            notes.not_needed(place, &line, "it is for certificates of clients, which are not asked for");
        } else {
            let why = "Mosquitto also takes from here what stands between its certificate and the root; espush shows what is in \
                       certfile and no more, so append the certificates of intermediate CAs to that file, if there are any";
            notes.differs(place, &line, why);
        }
    }
    let from = format!("{place}: {line}");
    let file = |key: &'static str, directive: &Directive| Setting {
        key,
        value: conf::locate(beside, &directive.value).display().to_string().into(),
        from: format!("{}: {}", directive.place, directive.shown()),
    };
    let mut settings = vec![Setting { key: "mqtt.tls.listen", value: address.into(), from }];
    settings.extend(tls.get("certfile").map(|directive| file("mqtt.tls.certificate", directive)));
    settings.extend(tls.get("keyfile").map(|directive| file("mqtt.tls.key", directive)));
    settings
}

/// Whether a certificate's file holds more than the certificate.
fn has_chain(file: &Path) -> bool {
    std::fs::read_to_string(file).is_ok_and(|pem| pem.matches("-----BEGIN CERTIFICATE").count() > 1)
}
