//! Connections in TLS, in WebSocket, behind a PROXY header, over real sockets and two shards: the
//! handshake, bytes in pieces, the hand-over of a connection with its TLS state to its home shard; and how
//! many of them one address may hold.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use contract::keep::Kept;
use contract::{Bus, Event};
use model::limits::Limits;
use net::{Listener, Running, Shards, Surroundings, SystemClock, TlsServer, TlsSettings, Transport};
use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{SslConnector, SslMethod, SslStream};
use openssl::x509::extension::BasicConstraints;
use openssl::x509::{X509, X509Name};
use protocols::mqtt::PROTOCOL;
use testkit::{MemoryVault, TestGate};
use tokio::runtime::{Handle, Runtime};

/// Longer than anything here takes on a busy machine; only a failure waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

/// The house's common runtime, one for all tests.
fn runtime() -> Handle {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
    RUNTIME.handle().clone()
}
const DEVICES: usize = 24;

/// Hears who came online, and from where.
#[derive(Default)]
struct Heard(Mutex<Vec<SocketAddr>>);

impl Bus for Heard {
    fn emit(&self, batch: &mut Vec<Event>) {
        for event in batch.drain(..) {
            if let Event::LineOpened { remote, .. } = event {
                self.0.lock().unwrap().push(remote);
            }
        }
    }

    fn watched(&self) -> bool {
        false
    }
}

struct Server {
    shards: Arc<Shards>,
    running: Option<Running>,
    heard: Arc<Heard>,
    addr: SocketAddr,
    dir: tempfile::TempDir,
}

impl Server {
    fn start(tls: bool, proxy_protocol: bool) -> Server {
        Server::start_with(tls, proxy_protocol, None)
    }

    fn start_with(tls: bool, proxy_protocol: bool, client_ca: Option<&X509>) -> Server {
        Server::start_limited(tls, proxy_protocol, client_ca, 0)
    }

    fn start_limited(tls: bool, proxy_protocol: bool, client_ca: Option<&X509>, connections_per_address: u32) -> Server {
        let dir = tempfile::tempdir().unwrap();
        let client_ca = client_ca.map(|ca| {
            let file = dir.path().join("ca.pem");
            std::fs::write(&file, ca.to_pem().unwrap()).unwrap();
            file
        });
        let mut pairs = Vec::new();
        for pair in net::self_signed(&["localhost".to_owned()], unix_s()).unwrap() {
            let [certificate, key] = ["crt", "key"].map(|kind| dir.path().join(format!("{}.{kind}", pair.kind)));
            std::fs::write(&certificate, pair.certificate).unwrap();
            std::fs::write(&key, pair.key).unwrap();
            pairs.push((certificate, key));
        }
        let settings = TlsSettings { section: "mqtt.tls".to_owned(), pairs, client_ca, psk: false, record_bytes_max: 512 };
        let transport = Transport { proxy_protocol, tls: tls.then(|| TlsServer::load(settings).unwrap()) };
        let shards = Shards::new(2);
        let gate = Arc::new(TestGate::default());
        for number in 0..DEVICES {
            gate.add_device(&format!("lamp{number}"), "secret", 7);
        }
        let heard = Arc::new(Heard::default());
        let listener = Listener::bind_with("mqtt.tls", &PROTOCOL, transport, ([127, 0, 0, 1], 0).into()).unwrap();
        let addr = listener.addr();
        let limits = Limits { connections_per_address, ..Limits::default() };
        let (vault, clock) = (Arc::new(MemoryVault::default()), Arc::new(SystemClock::new()));
        let house = Surroundings { gate, bus: heard.clone(), vault, clock, limits, runtime: runtime() };
        let running = shards.start(&[listener], &house, Kept::default()).unwrap();
        Server { shards, running: Some(running), heard, addr, dir }
    }

    fn line(&self) -> TcpStream {
        let line = TcpStream::connect(self.addr).unwrap();
        line.set_read_timeout(Some(PATIENCE)).unwrap();
        line.set_nodelay(true).unwrap();
        line
    }

    /// A client that trusts exactly our certificates.
    fn tls<S: Read + Write + std::fmt::Debug>(&self, line: S) -> SslStream<S> {
        self.tls_as(line, None)
    }

    /// The same with a certificate of its own.
    fn tls_as<S: Read + Write + std::fmt::Debug>(&self, line: S, own: Option<&(X509, PKey<Private>)>) -> SslStream<S> {
        let mut connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
        for kind in ["p256", "rsa"] {
            connector.set_ca_file(self.dir.path().join(format!("{kind}.crt"))).unwrap();
        }
        if let Some((certificate, key)) = own {
            connector.set_certificate(certificate).unwrap();
            connector.set_private_key(key).unwrap();
        }
        connector.build().connect("localhost", line).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop(None, "the test is over");
        }
    }
}

fn unix_s() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64
}

fn connect(id: &str) -> Vec<u8> {
    let mut body = b"\0\x04MQTT\x04\xc2\0\x3c\0\0".to_vec();
    for text in [id, "secret"] {
        body.extend((text.len() as u16).to_be_bytes());
        body.extend(text.as_bytes());
    }
    [&[0x10, body.len() as u8][..], &body].concat()
}

fn publish(topic: &str, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x30];
    let mut length = 2 + topic.len() + payload.len();
    while length > 127 {
        packet.push(length as u8 | 0x80);
        length >>= 7;
    }
    packet.push(length as u8);
    packet.extend((topic.len() as u16).to_be_bytes());
    packet.extend(topic.as_bytes());
    packet.extend(payload);
    packet
}

const CONNACK: [u8; 4] = [0x20, 2, 0, 0];
const PINGREQ: [u8; 2] = [0xc0, 0];
const PINGRESP: [u8; 2] = [0xd0, 0];

#[track_caller]
fn expect(line: &mut impl Read, wanted: &[u8]) {
    let mut got = vec![0; wanted.len()];
    line.read_exact(&mut got).unwrap();
    assert!(got == wanted, "wanted {wanted:02x?}, got {got:02x?}");
}

/// The devices of one home shard and then those of the other. In the order of their numbers the homes would
/// alternate, and so may the shards that accept: then nobody would have to move.
fn both_homes() -> impl Iterator<Item = usize> {
    (0..DEVICES).step_by(2).chain((1..DEVICES).step_by(2))
}

/// Subscribes to a topic and speaks there with a long payload, which comes back whole.
fn converse(line: &mut (impl Read + Write), id: &str) {
    line.write_all(&connect(id)).unwrap();
    expect(line, &CONNACK);
    line.write_all(b"\x82\x0a\0\x01\0\x05all/a\0").unwrap();
    expect(line, b"\x90\x03\0\x01\0");
    let packet = publish("all/a", &vec![7; 20_000]);
    line.write_all(&packet).unwrap();
    expect(line, &packet);
    line.write_all(&PINGREQ).unwrap();
    expect(line, &PINGRESP);
}

#[test]
fn devices_in_tls_go_to_their_home_shards_and_stay_connected() {
    let server = Server::start(true, false);
    // One after the other: each converses alone on the topic.
    for number in both_homes() {
        let mut line = server.tls(server.line());
        converse(&mut line, &format!("lamp{number}"));
        line.shutdown().unwrap();
    }
    let start = std::time::Instant::now();
    let moved = || server.shards.stats().iter().map(|s| s.handed_over).sum::<u64>();
    while moved() == 0 && start.elapsed() < PATIENCE {
        std::thread::yield_now();
    }
    assert!(moved() > 0, "of {DEVICES} devices some were accepted away from home");
}

#[test]
fn the_proxy_header_tells_who_the_peer_is_in_front_of_tls_too() {
    for tls in [false, true] {
        let server = Server::start(tls, true);
        let mut line = server.line();
        line.write_all(b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 8883\r\n").unwrap();
        if tls {
            converse(&mut server.tls(line), "lamp0")
        } else {
            converse(&mut line, "lamp0")
        }
        assert_eq!(*server.heard.0.lock().unwrap(), ["192.0.2.7:56324".parse().unwrap()]);
    }
}

#[test]
fn header_and_first_packet_may_come_together() {
    let server = Server::start(false, true);
    let mut line = server.line();
    let block = [192, 0, 2, 7, 198, 51, 100, 1, 0xdc, 4, 7, 0x5b];
    line.write_all(&[&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..], &block, &connect("lamp0")].concat()).unwrap();
    expect(&mut line, &CONNACK);
}

#[test]
fn who_sends_no_header_is_sent_away() {
    let server = Server::start(false, true);
    let mut line = server.line();
    line.write_all(&connect("lamp0")).unwrap();
    assert_eq!(line.read(&mut [0]).unwrap(), 0);
}

/// A certificate for `name`, by `issuer` or by itself.
fn certificate(name: &str, issuer: Option<&(X509, PKey<Private>)>) -> (X509, PKey<Private>) {
    let curve = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&curve).unwrap()).unwrap();
    let mut subject = X509Name::builder().unwrap();
    subject.append_entry_by_nid(Nid::COMMONNAME, name).unwrap();
    let subject = subject.build();
    let mut made = X509::builder().unwrap();
    made.set_version(2).unwrap();
    made.set_serial_number(&BigNum::from_u32(name.len() as u32).unwrap().to_asn1_integer().unwrap()).unwrap();
    made.set_subject_name(&subject).unwrap();
    made.set_issuer_name(issuer.map_or(&*subject, |(ca, _)| ca.subject_name())).unwrap();
    made.set_pubkey(&key).unwrap();
    made.set_not_before(&Asn1Time::from_unix(unix_s() - 60).unwrap()).unwrap();
    made.set_not_after(&Asn1Time::from_unix(unix_s() + 3600).unwrap()).unwrap();
    if issuer.is_none() {
        made.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
    }
    made.sign(issuer.map_or(&key, |(_, key)| key), MessageDigest::sha256()).unwrap();
    (made.build(), key)
}

/// A CONNECT without user name and password.
const NAMELESS: &[u8] = b"\x10\x0c\0\x04MQTT\x04\x02\0\x3c\0\0";
/// A CONNACK that refuses the login.
const NOT_AUTHORIZED: [u8; 4] = [0x20, 2, 0, 5];
const BAD_CREDENTIALS: [u8; 4] = [0x20, 2, 0, 4];

#[test]
fn a_certificate_speaks_for_the_device_that_it_names() {
    let ca = certificate("our boards", None);
    let server = Server::start_with(true, false, Some(&ca.0));
    for number in 0..DEVICES {
        let own = certificate(&format!("lamp{number}"), Some(&ca));
        let mut line = server.tls_as(server.line(), Some(&own));
        line.write_all(NAMELESS).unwrap();
        expect(&mut line, &CONNACK);
        // The device's own space is open to it.
        line.write_all(b"\x82\x0c\0\x01\0\x07me/push\0").unwrap();
        expect(&mut line, b"\x90\x03\0\x01\0");
    }
    let stranger = certificate("nobody", Some(&ca));
    let mut line = server.tls_as(server.line(), Some(&stranger));
    line.write_all(NAMELESS).unwrap();
    expect(&mut line, &BAD_CREDENTIALS);
    let two = certificate("lamp0\0x", Some(&ca));
    let mut line = server.tls_as(server.line(), Some(&two));
    line.write_all(NAMELESS).unwrap();
    expect(&mut line, &BAD_CREDENTIALS);
}

#[test]
fn without_a_certificate_a_password_is_needed_as_ever() {
    let ca = certificate("our boards", None);
    let server = Server::start_with(true, false, Some(&ca.0));
    converse(&mut server.tls(server.line()), "lamp0");
    let mut line = server.tls(server.line());
    line.write_all(NAMELESS).unwrap();
    expect(&mut line, &NOT_AUTHORIZED);
    // Who presents something is asked by that, whatever the certificate says.
    let own = certificate("lamp1", Some(&ca));
    let mut line = server.tls_as(server.line(), Some(&own));
    line.write_all(&connect("nobody")).unwrap();
    expect(&mut line, &BAD_CREDENTIALS);
}

#[test]
fn a_certificate_of_another_ca_does_not_come_in() {
    let (ca, other) = (certificate("our boards", None), certificate("our boards", None));
    let server = Server::start_with(true, false, Some(&ca.0));
    let own = certificate("lamp0", Some(&other));
    let mut line = server.tls_as(server.line(), Some(&own));
    let _ = line.write_all(NAMELESS);
    assert!(line.read_exact(&mut [0; 4]).is_err());
    // Nor does one where nobody asked for certificates.
    let server = Server::start(true, false);
    let mut line = server.tls_as(server.line(), Some(&own));
    line.write_all(NAMELESS).unwrap();
    expect(&mut line, &NOT_AUTHORIZED);
}

#[test]
fn plain_bytes_on_the_tls_port_end_the_line() {
    let server = Server::start(true, false);
    let mut line = server.line();
    line.write_all(&connect("lamp0")).unwrap();
    assert_eq!(line.read(&mut [0]).unwrap(), 0);
}

/// Logs in; whether the server took the connection.
fn is_taken(line: &mut (impl Read + Write), id: &str) -> bool {
    let mut answer = [0; 4];
    match line.write_all(&connect(id)).and_then(|()| line.read_exact(&mut answer)) {
        Ok(()) => assert_eq!(answer, CONNACK),
        Err(error) => {
            assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "neither taken nor closed");
            return false;
        }
    }
    true
}

/// A line that was taken, tried again until the server has noticed that another has gone.
fn taken(server: &Server, id: &str) -> TcpStream {
    let start = std::time::Instant::now();
    while start.elapsed() < PATIENCE {
        let mut line = server.line();
        if is_taken(&mut line, id) {
            return line;
        }
    }
    panic!("{id} was never let in");
}

#[test]
fn an_address_holds_so_many_connections_wherever_they_live() {
    let server = Server::start_limited(false, false, None, 2);
    let mut open = std::collections::VecDeque::new();
    for number in both_homes() {
        let id = format!("lamp{number}");
        if open.len() == 2 {
            assert!(!is_taken(&mut server.line(), &id), "a third connection");
            open.pop_front();
        }
        open.push_back(taken(&server, &id));
    }
    for line in &mut open {
        line.write_all(&PINGREQ).unwrap();
        expect(line, &PINGRESP);
    }
    let start = std::time::Instant::now();
    let sum = |of: fn(&net::ShardStats) -> u64| server.shards.stats().iter().map(of).sum::<u64>();
    while (sum(|s| s.handed_over) == 0 || sum(|s| s.refused) < DEVICES as u64 - 2) && start.elapsed() < PATIENCE {
        std::thread::yield_now();
    }
    assert!(sum(|s| s.handed_over) > 0, "of {DEVICES} devices some were accepted away from home");
    assert!(sum(|s| s.refused) >= DEVICES as u64 - 2);
}

#[test]
fn behind_a_load_balancer_each_peer_counts_for_itself() {
    let server = Server::start_limited(false, true, None, 1);
    let from = |host: u8| {
        let mut line = server.line();
        line.write_all(format!("PROXY TCP4 192.0.2.{host} 198.51.100.1 56324 1883\r\n").as_bytes()).unwrap();
        line
    };
    // One after the other: two headers at once may be read in any order.
    let mut first = from(7);
    assert!(is_taken(&mut first, "lamp0"));
    assert!(!is_taken(&mut from(7), "lamp1"));
    assert!(is_taken(&mut from(8), "lamp2"));
}

#[test]
fn a_refused_connection_costs_no_handshake() {
    let server = Server::start_limited(true, false, None, 1);
    let mut first = server.tls(server.line());
    assert_eq!(server.line().read(&mut [0]).unwrap(), 0);
    converse(&mut first, "lamp0");
}
