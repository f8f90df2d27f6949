//! The wire rows of every protocol again, this time over real sockets and two shards. What needs a moved
//! clock stays with the house; everything else must come out the same.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use contract::keep::Kept;
use contract::{Bus, Event, Fault, Line, Protocol, Refusal};
use model::limits::Limits;
use model::{DeviceNumber, Message, PartyKey, PushId, Qos, Receipt, Topic, UnixMs};
use net::{Listener, Running, Shards, Surroundings, SystemClock};
use testkit::rows::{self, Case, Row};
use testkit::{MemoryVault, TestGate};
use tokio::runtime::{Handle, Runtime};

/// Longer than anything here takes on a busy machine; only a failure waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

/// The house's common runtime, one for all tests.
fn runtime() -> Handle {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
    RUNTIME.handle().clone()
}

/// Stands in for the platform: answers publishes that wait, and remembers the steps of pushes.
struct Platform {
    shards: Arc<Shards>,
    keep: Mutex<bool>,
    steps: Mutex<Sender<&'static str>>,
}

impl Bus for Platform {
    fn emit(&self, batch: &mut Vec<Event>) {
        for event in batch.drain(..) {
            if let Some(word) = rows::step_word(&event) {
                let _ = self.steps.lock().unwrap().send(word);
            }
            if let Event::Up { ticket: Some(ticket), .. } = event {
                let result = if *self.keep.lock().unwrap() { Ok(()) } else { Err(Refusal::Unavailable) };
                self.shards.published(ticket, result);
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
    gate: Arc<TestGate>,
    platform: Arc<Platform>,
    steps: Receiver<&'static str>,
    addr: std::net::SocketAddr,
    sent_bytes: u64,
}

impl Server {
    fn start(protocol: &Protocol) -> Server {
        let shards = Shards::new(2);
        let gate = Arc::new(TestGate::default());
        let (sender, steps) = channel();
        let platform = Arc::new(Platform { shards: shards.clone(), keep: Mutex::new(true), steps: Mutex::new(sender) });
        let listener = Listener::bind(protocol, ([127, 0, 0, 1], 0).into()).unwrap();
        let addr = listener.addr();
        let (vault, clock) = (Arc::new(MemoryVault::default()), Arc::new(SystemClock::new()));
        let house = Surroundings {
            gate: gate.clone(),
            bus: platform.clone(),
            vault,
            clock,
            limits: Limits::default(),
            runtime: runtime(),
        };
        let running = shards.start(&[listener], &house, Kept::default()).unwrap();
        Server { shards, running: Some(running), gate, platform, steps, addr, sent_bytes: 0 }
    }

    /// Sends, and waits until the server has dealt with it: the next row may be for another line.
    fn send(&mut self, line: &mut TcpStream, bytes: &[u8]) {
        // A line that the server has closed takes nothing more; the row after this one tells whether that was right.
        if line.write_all(bytes).is_err() {
            return;
        }
        self.sent_bytes += bytes.len() as u64;
        let start = std::time::Instant::now();
        while self.shards.bytes_in() < self.sent_bytes && start.elapsed() < PATIENCE {
            if is_closed(line) {
                self.sent_bytes = self.shards.bytes_in();
                return;
            }
            std::thread::yield_now();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop(None, "the test is over");
        }
    }
}

fn is_closed(line: &TcpStream) -> bool {
    line.set_nonblocking(true).unwrap();
    let closed = matches!(line.peek(&mut [0]), Ok(0))
        || matches!(line.peek(&mut [0]), Err(e) if e.kind() != std::io::ErrorKind::WouldBlock);
    line.set_nonblocking(false).unwrap();
    closed
}

fn run(case: &Case, protocol: &Protocol) -> Result<(), String> {
    let mut server = Server::start(protocol);
    let mut lines: HashMap<String, TcpStream> = HashMap::new();
    let mut numbers: HashMap<String, DeviceNumber> = HashMap::new();
    let connect = |server: &Server| {
        let line = TcpStream::connect(server.addr).unwrap();
        line.set_read_timeout(Some(PATIENCE)).unwrap();
        line.set_nodelay(true).unwrap();
        line
    };
    for (at, row) in &case.rows {
        let fail = |what: String| Err(format!("{}: line {at}: {what}", case.name));
        match row {
            Row::Device(id, secret, app) => drop(numbers.insert(id.clone(), server.gate.add_device(id, secret, *app))),
            Row::App(id, key, flags) => server.gate.add_app(*id, key, &flags.iter().map(String::as_str).collect::<Vec<_>>()),
            Row::Token(name, token, role) => server.gate.add_token(name, token, *role),
            Row::Anonymous => server.gate.open_to_all(),
            Row::Keep(yes) => *server.platform.keep.lock().unwrap() = *yes,
            Row::Push(device, rest, payload) => {
                let number = *numbers.entry(device.clone()).or_insert_with(|| server.gate.add_device(device, "", 0));
                let receipt = Some(Receipt { push: PushId(1), device: number });
                let message = Message::new(Topic::of_device(device, rest), payload.clone(), UnixMs(0));
                server.shards.push(number, Message { qos: Qos::AtLeastOnce, receipt, ..message });
            }
            Row::Kick(device) => {
                let number = *numbers.entry(device.clone()).or_insert_with(|| server.gate.add_device(device, "", 0));
                server.shards.kick(
                    PartyKey::Device(number),
                    contract::Close { fault: Fault::Nobody, why: "ended by its owner".into() },
                    true,
                );
            }
            Row::Wait(_) => unreachable!("cases that move the clock are left out"),
            Row::Send(name, bytes) => {
                let mut line = lines.remove(name).unwrap_or_else(|| connect(&server));
                server.send(&mut line, bytes);
                lines.insert(name.clone(), line);
            }
            // "Nothing came" cannot be seen over a socket; what should not have come shows in the next row.
            Row::Expect(_, want) if want.is_empty() => {}
            Row::Expect(name, want) => {
                let line = lines.entry(name.clone()).or_insert_with(|| connect(&server));
                let mut got = vec![0; want.len()];
                if let Err(error) = line.read_exact(&mut got) {
                    return fail(format!("on {name} expected [{}]: {error}", rows::show(want)));
                }
                if !rows::fits(want, &got) {
                    return fail(format!("on {name} expected [{}], got {got:02x?}", rows::show(want)));
                }
            }
            Row::Closed(name, fault) => {
                let line = lines.entry(name.clone()).or_insert_with(|| connect(&server));
                let mut rest = Vec::new();
                match line.read_to_end(&mut rest) {
                    Ok(0) => {}
                    Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
                    other => return fail(format!("expected {name} to be closed by {fault}, got {other:?} {rest:02x?}")),
                }
            }
            Row::Cut(name) => drop(lines.remove(name)),
            Row::Step(word) => loop {
                match server.steps.recv_timeout(PATIENCE) {
                    Ok(step) if step == word => break,
                    Ok(_) => {}
                    Err(_) => return fail(format!("no push went the step {word}")),
                }
            },
        }
    }
    Ok(())
}

/// A broken line is noticed when the kernel says so, not within the row: leave such cases to the house.
fn needs_the_house(case: &Case) -> bool {
    case.rows.iter().any(|(_, row)| matches!(row, Row::Wait(_) | Row::Cut(_)))
}

fn run_folder(protocol: &Protocol) {
    let folder = format!("{}/../protocols/src/{}/vectors", env!("CARGO_MANIFEST_DIR"), protocol.name);
    let mut cases = Vec::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|e| e == "rows") {
            cases.extend(rows::parse(&std::fs::read_to_string(&path).unwrap()).unwrap());
        }
    }
    let all = cases.len();
    cases.retain(|case| !needs_the_house(case));
    assert!(cases.len() > all / 2, "most cases can run over a socket");
    let failures: Vec<String> = cases.iter().filter_map(|case| run(case, protocol).err()).collect();
    assert!(failures.is_empty(), "{} of {} cases failed:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

/// [MQTT 3.1.1: 7.1.1-1]
/// [MQTT 5.0: 4.2.0-1]
#[test]
fn mqtt_rows_over_sockets() {
    run_folder(&protocols::mqtt::PROTOCOL);
}

#[test]
fn espush_rows_over_sockets() {
    run_folder(&protocols::espush::PROTOCOL);
}
