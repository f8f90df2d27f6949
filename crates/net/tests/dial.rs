//! A connection that the house makes: to a remote that refuses, that is left, that comes back; and the
//! session that is begun before the remote was ever there.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use contract::keep::Kept;
use contract::{Answer, Bus, Context, Delivery, Event, Fault, Hello, Login, Session};
use model::limits::Limits;
use net::{Dial, Running, Shards, Surroundings, SystemClock, TlsClient, TrustError, self_signed};
use openssl::ssl::{SslAcceptor, SslFiletype, SslMethod};
use socket2::{Domain, Socket, Type};
use testkit::{MemoryVault, TestGate};
use tokio::runtime::{Handle, Runtime};

const PATIENCE: Duration = Duration::from_secs(20);

/// The house's common runtime, one for all tests.
fn runtime() -> Handle {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
    RUNTIME.handle().clone()
}

/// Greets, gives back what it gets, and ends on `q`.
struct Echo;

impl Session for Echo {
    fn on_open(&mut self, cx: &mut Context<'_>) {
        cx.out.extend_from_slice(b"hi");
    }

    fn on_bytes(&mut self, cx: &mut Context<'_>, input: &[u8]) -> usize {
        if input.contains(&b'q') {
            cx.close(Fault::Refused, "the remote said q");
        }
        cx.out.extend_from_slice(input);
        input.len()
    }

    fn on_delivery(&mut self, _: &mut Context<'_>, _: &Delivery) {}

    fn on_answer(&mut self, cx: &mut Context<'_>, answer: Answer) {
        if let Answer::Closing { .. } = answer {
            cx.out.extend_from_slice(b"bye");
        }
    }

    fn on_timer(&mut self, _: &mut Context<'_>) {}
}

/// Begins a session without a line, and tells that it has.
struct Reserve(Sender<String>);

impl Session for Reserve {
    fn on_open(&mut self, cx: &mut Context<'_>) {
        cx.hub.hello(Hello {
            login: Login::Bridge { name: "shed".into() },
            client: "bridge-shed".into(),
            clean: false,
            keep_s: u32::MAX,
            will: None,
            inflight_max: 1,
            firmware: None,
        });
    }

    fn on_bytes(&mut self, _: &mut Context<'_>, input: &[u8]) -> usize {
        input.len()
    }

    fn on_delivery(&mut self, _: &mut Context<'_>, _: &Delivery) {}

    fn on_answer(&mut self, cx: &mut Context<'_>, answer: Answer) {
        if let Answer::Welcome(welcome) = answer {
            self.0.send(format!("reserved {}", welcome.client)).unwrap();
        }
        cx.close(Fault::Nobody, "reserved");
    }

    fn on_timer(&mut self, _: &mut Context<'_>) {}
}

struct NoBus;

impl Bus for NoBus {
    fn emit(&self, batch: &mut Vec<Event>) {
        batch.clear();
    }

    fn watched(&self) -> bool {
        false
    }
}

fn expect(line: &mut impl Read, wanted: &[u8]) {
    let mut got = vec![0; wanted.len()];
    line.read_exact(&mut got).unwrap();
    assert_eq!(got, wanted);
}

fn accept(listener: &TcpListener) -> TcpStream {
    let (line, _) = listener.accept().unwrap();
    line.set_read_timeout(Some(PATIENCE)).unwrap();
    line
}

fn start(shards: &Arc<Shards>) -> Running {
    let (gate, vault) = (Arc::new(TestGate::default()), Arc::new(MemoryVault::default()));
    let clock = Arc::new(SystemClock::new());
    let house = Surroundings { gate, bus: Arc::new(NoBus), vault, clock, limits: Limits::default(), runtime: runtime() };
    shards.start(&[], &house, Kept::default()).unwrap()
}

/// Has `addr` dialled over TLS with an [`Echo`]; what is told comes out at the end of the channel.
fn dial_tls(addr: &str, ca: &Path) -> (Running, Receiver<String>) {
    let (tell, told) = channel();
    let tell = Mutex::new(tell);
    let shards = Shards::new(1);
    shards.dial(Dial {
        protocol: "bridge",
        addr: addr.to_owned(),
        tls: Some(TlsClient::new(addr, Some(ca)).unwrap()),
        session: "bridge-shed".into(),
        reserve: None,
        open: Box::new(|_| Box::new(Echo)),
        told: Box::new(move |close, _| drop(tell.lock().unwrap().send(close.why.to_string()))),
    });
    (start(&shards), told)
}

/// [MQTT 3.1.1: 7.1.2-1]
#[test]
fn a_remote_that_refuses_and_is_left_is_dialled_until_it_stays() {
    // Bound but not listening: connections are refused, and nobody else gets the port.
    let remote = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    remote.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let addr = remote.local_addr().unwrap().as_socket().unwrap().to_string();

    let (tell, told) = channel();
    let told_reserve = tell.clone();
    let tell = Mutex::new(tell);
    let shards = Shards::new(3);
    shards.dial(Dial {
        protocol: "bridge",
        addr: addr.clone(),
        tls: None,
        session: "bridge-shed".into(),
        reserve: Some(Box::new(Reserve(told_reserve))),
        open: Box::new(|_| Box::new(Echo)),
        told: Box::new(move |close, _| tell.lock().unwrap().send(format!("{} {}", close.fault.as_str(), close.why)).unwrap()),
    });
    let running = start(&shards);
    let next = || told.recv_timeout(PATIENCE).unwrap();

    assert_eq!(next(), "reserved bridge-shed", "on the shard that is its home, for it was not handed over");
    let refused = next();
    assert!(refused.starts_with(&format!("line cannot reach {addr}: ")), "{refused}");

    remote.listen(4).unwrap();
    let listener: TcpListener = remote.into();
    let mut line = accept(&listener);
    expect(&mut line, b"hi");
    line.write_all(b"q").unwrap();
    assert_eq!(next(), "refused the remote said q", "what its own machine says");

    let mut line = accept(&listener);
    expect(&mut line, b"hi");
    line.write_all(b"there").unwrap();
    expect(&mut line, b"there");
    let stopping = std::thread::spawn(move || running.stop(None, "the test is over"));
    expect(&mut line, b"bye");
    drop(line);
    stopping.join().unwrap();
    assert!(told.try_recv().is_err(), "a stop is no loss");
}

#[test]
fn over_tls_only_the_host_with_the_right_certificate_is_spoken_to() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
    for name in ["localhost", "elsewhere.test"] {
        let pair = self_signed(&[name.to_owned()], now).unwrap().remove(0);
        std::fs::write(file(&format!("{name}.crt")), pair.certificate).unwrap();
        std::fs::write(file(&format!("{name}.key")), pair.key).unwrap();
    }
    let acceptor = |name: &str| {
        let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
        acceptor.set_certificate_file(file(&format!("{name}.crt")), SslFiletype::PEM).unwrap();
        acceptor.set_private_key_file(file(&format!("{name}.key")), SslFiletype::PEM).unwrap();
        acceptor.build()
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = format!("localhost:{}", listener.local_addr().unwrap().port());

    let (running, _told) = dial_tls(&addr, &file("localhost.crt"));
    let mut line = acceptor("localhost").accept(accept(&listener)).unwrap();
    expect(&mut line, b"hi");
    let long = vec![b'x'; 40_000];
    line.write_all(&long).unwrap();
    expect(&mut line, &long);
    drop(line);
    running.stop(None, "the test is over");

    // Whoever has another's certificate, or one that nobody vouches for, or none, gets nothing but the greeting of TLS.
    for (shown, trusted, says) in
        [("elsewhere.test", "elsewhere.test", "hostname mismatch"), ("localhost", "elsewhere.test", "is not trusted")]
    {
        let (running, told) = dial_tls(&addr, &file(&format!("{trusted}.crt")));
        assert!(acceptor(shown).accept(accept(&listener)).is_err());
        let why = told.recv_timeout(PATIENCE).unwrap();
        assert!(why.starts_with(&format!("no TLS with {addr}: ")) && why.contains(says), "{why}");
        running.stop(None, "the test is over");
    }
    let (running, told) = dial_tls(&addr, &file("localhost.crt"));
    accept(&listener).write_all(b"\x20\x02\x00\x00plain as can be").unwrap();
    let why = told.recv_timeout(PATIENCE).unwrap();
    assert!(why.starts_with("no TLS with"), "{why}");
    running.stop(None, "the test is over");

    std::fs::write(file("empty"), "").unwrap();
    for name in ["empty", "absent", "localhost.key"] {
        assert!(matches!(TlsClient::new(&addr, Some(&file(name))), Err(TrustError::File { .. })), "{name}");
    }
}
