//! A line that does nothing but acknowledge is read a moment later (`net/src/leisure.rs`): whatever else it
//! says then is heard all the same, and in its order.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use contract::keep::Kept;
use contract::{Bus, Event};
use model::limits::Limits;
use net::{Listener, Running, Shards, Surroundings, SystemClock};
use testkit::{MemoryVault, TestGate};
use tokio::runtime::Runtime;

/// Longer than anything here takes on a busy machine; only a failure waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

struct Nobody;

impl Bus for Nobody {
    fn emit(&self, batch: &mut Vec<Event>) {
        batch.clear();
    }

    fn watched(&self) -> bool {
        false
    }
}

struct Server {
    shards: Arc<Shards>,
    running: Option<Running>,
    addr: SocketAddr,
}

impl Server {
    fn start() -> Server {
        static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
        let shards = Shards::new(1);
        let gate = Arc::new(TestGate::default());
        gate.open_to_all();
        let listener = Listener::bind(&protocols::mqtt::PROTOCOL, ([127, 0, 0, 1], 0).into()).unwrap();
        let addr = listener.addr();
        let house = Surroundings {
            gate,
            bus: Arc::new(Nobody),
            vault: Arc::new(MemoryVault::default()),
            clock: Arc::new(SystemClock::new()),
            limits: Limits::default(),
            runtime: RUNTIME.handle().clone(),
        };
        let running = shards.start(&[listener], &house, Kept::default()).unwrap();
        Server { shards, running: Some(running), addr }
    }

    /// A clean MQTT 3.1.1 session that has subscribed to `filter` at QoS 1.
    fn client(&self, name: &str, filter: &str) -> TcpStream {
        let mut line = TcpStream::connect(self.addr).unwrap();
        line.set_read_timeout(Some(PATIENCE)).unwrap();
        line.set_nodelay(true).unwrap();
        send(&mut line, 0x10, &[b"\0\x04MQTT\x04\x02\0\x3c", &text(name)[..]].concat());
        assert_eq!(packet(&mut line), (0x20, vec![0, 0]));
        send(&mut line, 0x82, &[b"\0\x01", &text(filter)[..], b"\x01"].concat());
        assert_eq!(packet(&mut line), (0x90, vec![0, 1, 1]));
        line
    }

    fn left_to_leisure(&self) -> u64 {
        self.shards.stats().iter().map(|stats| stats.left_to_leisure).sum()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.running.take().unwrap().stop(None, "the test is over");
    }
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat()
}

fn send(line: &mut TcpStream, head: u8, body: &[u8]) {
    line.write_all(&[&[head, u8::try_from(body.len()).unwrap()], body].concat()).unwrap();
}

fn packet(line: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    line.read_exact(&mut head).unwrap();
    let mut body = vec![0; head[1].into()];
    line.read_exact(&mut body).unwrap();
    (head[0], body)
}

/// A message at QoS 1, taken and acknowledged by its reader.
fn one_message(writer: &mut TcpStream, reader: &mut TcpStream) {
    send(writer, 0x32, &[&text("up")[..], b"\0\x07hello"].concat());
    assert_eq!(packet(writer), (0x40, vec![0, 7]));
    let (head, body) = packet(reader);
    assert_eq!((head & 0xf0, &body[6..]), (0x30, &b"hello"[..]));
    send(reader, 0x40, &body[4..6]);
}

/// Messages, until their reader was left to leisure.
fn until_at_leisure(server: &Server, writer: &mut TcpStream, reader: &mut TcpStream) {
    let (start, before) = (Instant::now(), server.left_to_leisure());
    while server.left_to_leisure() == before {
        one_message(writer, reader);
        assert!(start.elapsed() < PATIENCE, "the reader never came to leisure");
    }
}

#[test]
fn what_else_a_line_at_leisure_says_is_heard() {
    let server = Server::start();
    let (mut writer, mut reader) = (server.client("writer", "down"), server.client("reader", "up"));
    for _ in 0..2 {
        until_at_leisure(&server, &mut writer, &mut reader);
        send(&mut reader, 0x30, &[&text("down")[..], b"and I say"].concat());
        assert_eq!(packet(&mut writer).1, [&text("down")[..], b"and I say"].concat());
        send(&mut reader, 0xc0, b"");
        assert_eq!(packet(&mut reader), (0xd0, vec![]));
    }
}

#[test]
fn a_last_word_comes_before_the_line_that_takes_over() {
    let server = Server::start();
    let (mut writer, mut reader) = (server.client("writer", "down"), server.client("reader", "up"));
    until_at_leisure(&server, &mut writer, &mut reader);
    send(&mut reader, 0x30, &[&text("down")[..], b"last"].concat());
    let mut second = server.client("reader", "up");
    send(&mut second, 0x30, &[&text("down")[..], b"first"].concat());
    assert!(packet(&mut writer).1.ends_with(b"last"));
    assert!(packet(&mut writer).1.ends_with(b"first"));
}

#[test]
fn a_line_at_leisure_that_ends_has_ended() {
    let server = Server::start();
    let (mut writer, mut reader) = (server.client("writer", "down"), server.client("reader", "up"));
    until_at_leisure(&server, &mut writer, &mut reader);
    drop(reader);
    let start = Instant::now();
    while server.shards.stats().iter().map(|stats| stats.connections).sum::<u64>() > 1 {
        assert!(start.elapsed() < PATIENCE, "the line is still there");
        std::thread::yield_now();
    }
}
