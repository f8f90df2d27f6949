//! A connection that the house makes: to a remote that refuses, that is left, that comes back; and the
//! session that is begun before the remote was ever there.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use contract::{Answer, Bus, Context, Delivery, Event, Fault, Gate, Hello, Login, Session};
use model::limits::Limits;
use net::{Dial, Shards, SystemClock};
use socket2::{Domain, Socket, Type};
use testkit::TestGate;

const PATIENCE: Duration = Duration::from_secs(20);

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

fn expect(line: &mut TcpStream, wanted: &[u8]) {
    let mut got = vec![0; wanted.len()];
    line.set_read_timeout(Some(PATIENCE)).unwrap();
    line.read_exact(&mut got).unwrap();
    assert_eq!(got, wanted);
}

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
        session: "bridge-shed".into(),
        reserve: Some(Box::new(Reserve(told_reserve))),
        open: Box::new(|_| Box::new(Echo)),
        told: Box::new(move |close, _| tell.lock().unwrap().send(format!("{} {}", close.fault.as_str(), close.why)).unwrap()),
    });
    let gate: Arc<dyn Gate> = Arc::new(TestGate::default());
    let running = shards.start(&[], gate, Arc::new(NoBus), Arc::new(SystemClock::new()), Limits::default()).unwrap();
    let next = || told.recv_timeout(PATIENCE).unwrap();

    assert_eq!(next(), "reserved bridge-shed", "on the shard that is its home, for it was not handed over");
    let refused = next();
    assert!(refused.starts_with(&format!("line cannot reach {addr}: ")), "{refused}");

    remote.listen(4).unwrap();
    let listener: TcpListener = remote.into();
    let (mut line, _) = listener.accept().unwrap();
    expect(&mut line, b"hi");
    line.write_all(b"q").unwrap();
    assert_eq!(next(), "refused the remote said q", "what its own machine says");

    let (mut line, _) = listener.accept().unwrap();
    expect(&mut line, b"hi");
    line.write_all(b"there").unwrap();
    expect(&mut line, b"there");
    let stopping = std::thread::spawn(move || running.stop(None, "the test is over"));
    expect(&mut line, b"bye");
    drop(line);
    stopping.join().unwrap();
    assert!(told.try_recv().is_err(), "a stop is no loss");
}
