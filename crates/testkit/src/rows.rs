//! The wire-row language: one text file of cases, each a list of "send these bytes, expect those", with
//! the clause it shows in its name. Language-neutral on purpose; the same rows run on the bare machines
//! in a [`House`] and over real sockets.
//!
//! ```text
//! # comment
//! case [MQTT-3.1.0-1] the first packet must be CONNECT
//! device lamp secret app=7             a registered device
//! app 1234 <key> closed single espush.text=gbk      an app; the words after the key are optional
//! token ci hunter2 owner               an API token
//! anonymous                            anybody may come in
//! keep no                              what is published to be kept is refused
//! push lamp push "on"                  the platform pushes: device, rest of the topic, payload
//! kick lamp                            the platform ends the device's lines
//! a> 10 0c 00 04 "MQTT" 04 02 00 3c    line `a` (opened at first mention) sends
//! a< 20 02 00 00                       exactly these bytes came since the last look; `??` is any byte
//! a<>                                  nothing came
//! a! peer                              the connection ended, by this fault
//! a cut                                the line breaks
//! wait 30000                           the clock moves, in milliseconds
//! event delivered                      a push went this step since the last such row
//! ```

use std::collections::HashMap;

use contract::{Event, Protocol, Refusal, Step};
use model::{Message, PushId, Qos, Receipt, Role, Topic};

use crate::house::{House, Keep, LineId};

/// One case.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its name, with the clause.
    pub name: String,
    /// Its rows with their line numbers.
    pub rows: Vec<(usize, Row)>,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    /// A registered device: id, secret, app.
    Device(String, String, u32),
    /// An app: number, key, flags.
    App(u32, String, Vec<String>),
    /// An API token: name, token, role.
    Token(String, String, Role),
    /// Anybody may come in.
    Anonymous,
    /// Whether what is published to be kept is.
    Keep(bool),
    /// The platform pushes: device id, rest of the topic, payload.
    Push(String, String, Vec<u8>),
    /// The platform ends a device's lines.
    Kick(String),
    /// A line sends.
    Send(String, Vec<u8>),
    /// A line received exactly this; `None` is any byte.
    Expect(String, Vec<Option<u8>>),
    /// A line ended by this fault.
    Closed(String, String),
    /// A line breaks.
    Cut(String),
    /// The clock moves.
    Wait(u64),
    /// A push went this step.
    Step(String),
}

/// Reads a file of rows. The error names the line.
pub fn parse(text: &str) -> Result<Vec<Case>, String> {
    let mut cases: Vec<Case> = Vec::new();
    for (number, line) in text.lines().enumerate().map(|(i, line)| (i + 1, line.trim())) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix("case ") {
            cases.push(Case { name: name.trim().to_owned(), rows: Vec::new() });
            continue;
        }
        let row = parse_row(line).ok_or_else(|| format!("line {number}: not a row: {line}"))?;
        let case = cases.last_mut().ok_or_else(|| format!("line {number}: a row before the first case"))?;
        case.rows.push((number, row));
    }
    Ok(cases)
}

fn parse_row(line: &str) -> Option<Row> {
    let words: Vec<&str> = line.split_whitespace().collect();
    Some(match words.as_slice() {
        ["device", id, secret, rest @ ..] => {
            let app = rest.iter().find_map(|w| w.strip_prefix("app=")).map_or(Some(1), |n| n.parse().ok())?;
            Row::Device(id.to_string(), secret.to_string(), app)
        }
        ["app", id, key, flags @ ..] => {
            Row::App(id.parse().ok()?, key.to_string(), flags.iter().map(|f| f.to_string()).collect())
        }
        ["token", name, token, role] => Row::Token(name.to_string(), token.to_string(), Role::parse(role)?),
        ["anonymous"] => Row::Anonymous,
        ["keep", "yes"] => Row::Keep(true),
        ["keep", "no"] => Row::Keep(false),
        ["push", device, rest, ..] => {
            // Behind the third word, wherever the same word stood before (`push lamp push "on"`).
            let after = line.split_once(device)?.1.split_once(rest)?.1;
            Row::Push(device.to_string(), rest.to_string(), bytes(after)?.into_iter().collect::<Option<_>>()?)
        }
        ["kick", device] => Row::Kick(device.to_string()),
        ["wait", ms] => Row::Wait(ms.parse().ok()?),
        ["event", step] => Row::Step(step.to_string()),
        [line, "cut"] => Row::Cut(line.to_string()),
        [first, ..] if first.ends_with("<>") => Row::Expect(first.trim_end_matches("<>").to_owned(), Vec::new()),
        [first, fault] if first.ends_with('!') => Row::Closed(first.trim_end_matches('!').to_owned(), fault.to_string()),
        [first, ..] if first.ends_with('>') => {
            Row::Send(first.trim_end_matches('>').to_owned(), bytes(&line[first.len()..])?.into_iter().collect::<Option<_>>()?)
        }
        [first, ..] if first.ends_with('<') => Row::Expect(first.trim_end_matches('<').to_owned(), bytes(&line[first.len()..])?),
        _ => return None,
    })
}

/// Hex bytes, `??`, `"text"` and `XX*N` (byte XX, N times), in any order.
fn bytes(text: &str) -> Option<Vec<Option<u8>>> {
    let mut bytes = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        if let Some(quoted) = rest.strip_prefix('"') {
            let (inside, after) = quoted.split_once('"')?;
            bytes.extend(inside.bytes().map(Some));
            rest = after;
        } else {
            let end = rest.find(|c: char| c.is_whitespace() || c == '"').unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            match word.split_once('*') {
                Some((byte, count)) => bytes.extend(vec![Some(u8::from_str_radix(byte, 16).ok()?); count.parse().ok()?]),
                None if word == "|" => {}
                None if word == "??" => bytes.push(None),
                None => bytes.extend(model::text::from_hex(word)?.into_iter().map(Some)),
            }
            rest = after;
        }
        rest = rest.trim_start();
    }
    Some(bytes)
}

/// Whether `got` is what a row expects.
pub fn fits(want: &[Option<u8>], got: &[u8]) -> bool {
    want.len() == got.len() && want.iter().zip(got).all(|(want, got)| want.is_none_or(|want| want == *got))
}

/// What a row expects, as it is written.
pub fn show(want: &[Option<u8>]) -> String {
    let byte = |b: &Option<u8>| b.map_or("??".to_owned(), |b| format!("{b:02x}"));
    want.iter().map(byte).collect::<Vec<_>>().join(" ")
}

/// Runs one case on a house of `shards` shards; `split` cuts every send into pieces of so many bytes
/// (0 leaves it whole). The error tells the line and what came instead.
pub fn run(case: &Case, protocol: &Protocol, shards: u16, split: usize) -> Result<(), String> {
    let mut house = House::new(shards);
    let mut lines: HashMap<String, LineId> = HashMap::new();
    let mut numbers = HashMap::new();
    let mut steps: Vec<&'static str> = Vec::new();
    for (at, row) in &case.rows {
        let fail = |what: String| Err(format!("{}: line {at}: {what}", case.name));
        match row {
            Row::Device(id, secret, app) => {
                numbers.insert(id.clone(), house.gate().add_device(id, secret, *app));
            }
            Row::App(id, key, flags) => house.gate().add_app(*id, key, &flags.iter().map(String::as_str).collect::<Vec<_>>()),
            Row::Token(name, token, role) => house.gate().add_token(name, token, *role),
            Row::Anonymous => house.gate().open_to_all(),
            Row::Keep(yes) => house.set_keep(if *yes { Keep::Yes } else { Keep::No(Refusal::Unavailable) }),
            Row::Push(device, rest, payload) => {
                let number = *numbers.entry(device.clone()).or_insert_with(|| house.gate().add_device(device, "", 0));
                let receipt = Some(Receipt { push: PushId(1), device: number });
                let topic = Topic::of_device(device, rest);
                let message = Message { qos: Qos::AtLeastOnce, receipt, ..Message::new(topic, payload.clone(), house.unix()) };
                house.push(number, message);
            }
            Row::Kick(device) => {
                let number = *numbers.entry(device.clone()).or_insert_with(|| house.gate().add_device(device, "", 0));
                house.kick(number, "ended by its owner", true);
            }
            Row::Wait(ms) => house.advance_ms(*ms),
            Row::Send(name, bytes) => {
                let line = *lines.entry(name.clone()).or_insert_with(|| house.connect(protocol));
                let size = if split == 0 { bytes.len().max(1) } else { split };
                for piece in bytes.chunks(size) {
                    house.send(line, piece);
                }
            }
            Row::Expect(name, want) => {
                let line = *lines.entry(name.clone()).or_insert_with(|| house.connect(protocol));
                let got = house.received(line);
                if !fits(want, &got) {
                    let got = got.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ");
                    return fail(format!("on {name} expected [{}], got [{got}]", show(want)));
                }
            }
            Row::Closed(name, fault) => {
                let line = *lines.entry(name.clone()).or_insert_with(|| house.connect(protocol));
                match house.closed(line) {
                    Some(close) if close.fault.as_str() == fault => {}
                    other => return fail(format!("expected {name} to be closed by {fault}, found {other:?}")),
                }
            }
            Row::Cut(name) => {
                if let Some(line) = lines.remove(name) {
                    house.cut(line);
                }
            }
            Row::Step(word) => {
                steps.extend(house.events().iter().filter_map(step_word));
                match steps.iter().position(|step| step == word) {
                    Some(place) => drop(steps.drain(..=place)),
                    None => return fail(format!("no push went the step {word}; seen {steps:?}")),
                }
            }
        }
    }
    Ok(())
}

/// The word for a push's step, as an `event` row names it; `None` for other events.
pub fn step_word(event: &Event) -> Option<&'static str> {
    let Event::Receipt { step, .. } = event else { return None };
    Some(match step {
        Step::Sent | Step::SentAtMostOnce => "sent",
        Step::Delivered => "delivered",
        Step::Applied(_) => "applied",
        Step::Failed(..) => "failed",
        Step::Refused(_) => "refused",
        Step::Nobody { .. } => "nobody",
        Step::Lost => "lost",
    })
}

/// Runs every case of a file on one and on two shards, whole and byte by byte; lists all that failed.
pub fn run_file(text: &str, protocol: &Protocol) -> Result<usize, String> {
    let cases = parse(text)?;
    let mut failures = Vec::new();
    for case in &cases {
        for (shards, split) in [(1, 0), (2, 0), (2, 1)] {
            if let Err(failure) = run(case, protocol, shards, split) {
                failures.push(format!("{failure} ({shards} shards, split {split})"));
                break;
            }
        }
    }
    if failures.is_empty() {
        Ok(cases.len())
    } else {
        Err(format!("{} of {} cases failed:\n{}", failures.len(), cases.len(), failures.join("\n")))
    }
}
