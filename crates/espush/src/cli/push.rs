//! `espush push`: one push to one device or to many, and what became of it. Prints the state and the device's
//! answer, or how many devices are in which state; the exit code tells the same to a script. Who is meant
//! is `audience`, what many did is `crowd`.

use std::io::{IsTerminal, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::Context;
use model::DeliveryState;
use serde_json::{Value, json};
use ureq::http::Method;

use super::audience::To;
use super::client::{Client, Reach};
use super::crowd;
use super::duration::{now, parse_ahead, parse_ms};
use super::table::plain;
use super::{say, say_json, wrong_usage};

#[derive(clap::Args)]
#[command(after_help = "Exit codes:\n  \
    0  delivered (the protocol acknowledged it), or applied (the device answered)\n  \
    1  not pushed: no server, no such device, no right; the sentence says which\n  \
    2  on its way: queued until the device is back or --ttl ends, or sent and not acknowledged\n  \
    3  refused, failed, expired, replaced or cancelled\n  \
    4  an answer was wanted and none came in time; the push itself goes on\n  \
    to many: the highest of these that one of the devices had\n  \
    64 wrong usage")]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// The device's id; left out when an option says who is meant
    #[arg(value_name = "DEVICE")]
    first: Option<String>,
    /// What to send; from stdin when neither this nor --file is given
    #[arg(value_name = "TEXT")]
    second: Option<String>,
    #[command(flatten)]
    audience: To,
    /// Tell who would get it and who would not, and push nothing
    #[arg(long)]
    preview: bool,
    /// TEXT is hex digits, blanks allowed: "0c 01"
    #[arg(long)]
    hex: bool,
    /// Send a file's bytes as they are; - is stdin
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
    /// Ask for an answer and print it
    #[arg(long)]
    ask: bool,
    /// An order that the firmware itself understands, such as reboot or gpio.write; needs no TEXT
    #[arg(long, value_name = "VERB", conflicts_with = "ask")]
    command: Option<String>,
    /// How long to wait for the outcome: 500ms, 5s; 0 does not wait
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_ms)]
    wait: u64,
    /// How long to keep it for a device that is away: 10m, 2h, 7d [default: the server's, four days]
    #[arg(long, value_name = "TIME", value_parser = parse_ms)]
    ttl: Option<u64>,
    /// A key of your own: the same key again does not push again
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Takes the place of what still waits for the device with the same key
    #[arg(long, value_name = "KEY")]
    collapse: Option<String>,
    /// high, normal or low: which of what waits goes first when the device is back
    #[arg(long, value_name = "PRIORITY", value_parser = ["high", "normal", "low"])]
    priority: Option<String>,
    /// To many: at most so many devices a second get it
    #[arg(long, value_name = "DEVICES")]
    per_second: Option<u32>,
    /// Not now: 2026-11-20T09:48:48Z, or in 10m, 2h, 7d
    #[arg(long, value_name = "MOMENT")]
    at: Option<String>,
    #[command(flatten)]
    reach: Reach,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// Push the same once more to the devices that did not get it (a device called `resend`: --to-device resend)
    Resend(Resend),
}

#[derive(clap::Args)]
struct Resend {
    /// The push's number
    id: u64,
    /// Which deliveries: failed, expired, refused, cancelled, replaced; repeat [default: the first three]
    #[arg(long = "state", value_name = "STATE")]
    states: Vec<String>,
    /// How long to wait for the outcome: 500ms, 5s; 0 does not wait
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_ms)]
    wait: u64,
    /// How long to keep it for a device that is away [default: as the first time]
    #[arg(long, value_name = "TIME", value_parser = parse_ms)]
    ttl: Option<u64>,
    /// A key of your own: the same key again does not push again
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    #[command(flatten)]
    reach: Reach,
}

impl Args {
    fn wants_answer(&self) -> bool {
        self.ask || self.command.is_some()
    }
}

/// How a push ended, as an exit code; of many the last of these that one of them had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    /// Delivered or applied.
    Good = 0,
    /// On its way.
    Queued = 2,
    /// It will not happen.
    Bad = 3,
    /// Wanted an answer, got none.
    NoAnswer = 4,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    if let Some(Verb::Resend(again)) = args.verb {
        return resend(again);
    }
    let (device, text, audience) = match meant(&args) {
        Ok(meant) => meant,
        Err(error) => return Ok(wrong_usage(error)),
    };
    let client = Client::find(&args.reach)?;
    let order = order(&args, text, audience)?;
    if args.preview {
        return crowd::preview(&client, order, args.reach.json);
    }
    if args.at.is_some() {
        return later(&client, order, args.reach.json);
    }
    let Some(device) = device else { return crowd::push(&client, "/api/v1/push", order, args.wait, args.reach.json) };
    let waiting = format!("waiting for {}", plain(device));
    let result =
        with_spinner(&waiting, args.wait > 0 && !args.reach.json, || client.call(Method::POST, "/api/v1/push", Some(&order)))?;
    let delivery = result["deliveries"].get(0).context("the server's answer tells of no delivery")?;
    let word = delivery["state"].as_str().unwrap_or_default();
    let state = DeliveryState::parse(word).with_context(|| format!("the server told of an unknown state {word:?}"))?;
    if args.reach.json {
        say_json(&result);
    } else {
        let detail = delivery["detail"].as_str().map(|d| format!(": {}", plain(d))).unwrap_or_default();
        say(format_args!("{}{detail}", state.as_str()));
        if let Some(answer) = shown(&delivery["answer"]).filter(|answer| !answer.is_empty()) {
            say(answer);
        }
    }
    Ok(ExitCode::from(ending(state, args.wants_answer()) as u8))
}

/// One that starts later: there is nothing to wait for.
fn later(client: &Client, mut order: Value, json: bool) -> anyhow::Result<ExitCode> {
    order["wait_ms"] = 0.into();
    let push = client.call(Method::POST, "/api/v1/push", Some(&order))?;
    if json {
        say_json(&push);
    } else {
        let at = plain(push["at"].as_str().unwrap_or_default());
        say(format_args!(
            "push {}: to {} devices, starts {at}; espush pushes cancel {0} takes it back",
            push["id"], push["devices"]
        ));
    }
    Ok(ExitCode::from(Ending::Queued as u8))
}

fn resend(args: Resend) -> anyhow::Result<ExitCode> {
    let client = Client::find(&args.reach)?;
    let mut order = json!({});
    if !args.states.is_empty() {
        order["states"] = args.states.into();
    }
    if let Some(ms) = args.ttl {
        order["ttl_s"] = ms.div_ceil(1000).into();
    }
    if let Some(key) = args.idempotency_key {
        order["idempotency_key"] = key.into();
    }
    crowd::push(&client, &format!("/api/v1/pushes/{}/resend", args.id), order, args.wait, args.reach.json)
}

/// The one device, the text and the audience. With an option that says who is meant, the first word is
/// already the text.
fn meant(args: &Args) -> anyhow::Result<(Option<&str>, Option<&str>, Value)> {
    let (device, text, audience) = match (args.audience.read()?, args.first.as_deref(), args.second.as_deref()) {
        (Some(_), _, Some(extra)) => {
            anyhow::bail!("{:?} is one word too many: the options already say who is meant", plain(extra))
        }
        (Some(audience), text, None) => (None, text, audience),
        (None, Some(device), text) => (Some(device), text, json!({ "device": device })),
        (None, None, _) => {
            anyhow::bail!("who is meant? name a DEVICE, or use --to-tag, --to-app, --query … (see espush push --help)")
        }
    };
    anyhow::ensure!(text.is_none() || args.file.is_none(), "give either TEXT or --file");
    anyhow::ensure!(text.is_some() || !args.hex, "--hex wants TEXT");
    Ok((device, text, audience))
}

/// What a state means to the one who pushed.
pub(super) fn ending(state: DeliveryState, wants_answer: bool) -> Ending {
    use DeliveryState::*;
    match state {
        Applied => Ending::Good,
        Delivered | Sent if wants_answer => Ending::NoAnswer,
        Delivered => Ending::Good,
        Queued | Sent => Ending::Queued,
        Failed | Expired | Replaced | Refused | Cancelled => Ending::Bad,
    }
}

/// The API's order.
fn order(args: &Args, text: Option<&str>, audience: Value) -> anyhow::Result<Value> {
    let mut order = json!({ "audience": audience, "wait_ms": args.wait });
    match (text, &args.file) {
        (Some(hex), _) if args.hex => order["hex"] = hex.into(),
        (Some(text), _) => order["text"] = text.into(),
        (None, Some(path)) if path.as_os_str() != "-" => {
            let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            order["hex"] = model::text::to_hex(&bytes).into();
        }
        (None, None) if args.command.is_some() || args.preview => order["text"] = "".into(),
        (None, file) => {
            let mut stdin = std::io::stdin();
            anyhow::ensure!(file.is_some() || !stdin.is_terminal(), "nothing to push: give TEXT, --file PATH, or pipe it in");
            let mut bytes = Vec::new();
            stdin.read_to_end(&mut bytes).context("cannot read stdin")?;
            order["hex"] = model::text::to_hex(&bytes).into();
        }
    }
    if args.ask {
        order["ask"] = true.into();
    }
    if let Some(verb) = &args.command {
        order["command"] = verb.as_str().into();
    }
    if let Some(ms) = args.ttl {
        order["ttl_s"] = ms.div_ceil(1000).into();
    }
    if let Some(priority) = &args.priority {
        order["priority"] = priority.as_str().into();
    }
    if let Some(devices) = args.per_second {
        order["per_second"] = devices.into();
    }
    if let Some(at) = &args.at {
        order["at"] = serde_json::to_value(parse_ahead(at, now()).map_err(anyhow::Error::msg)?)?;
    }
    if let Some(key) = &args.collapse {
        order["collapse"] = key.as_str().into();
    }
    if let Some(key) = &args.idempotency_key {
        order["idempotency_key"] = key.as_str().into();
    }
    Ok(order)
}

/// Bytes as the API shows them: `{text}` as it is, `{hex}` named as such.
pub fn shown(bytes: &Value) -> Option<String> {
    match (&bytes["text"], &bytes["hex"]) {
        (Value::String(text), _) => Some(text.clone()),
        (_, Value::String(hex)) => Some(format!("hex {hex}")),
        _ => None,
    }
}

/// Runs `work` with a turning sign on stderr, when that is a terminal.
fn with_spinner<T>(text: &str, wanted: bool, work: impl FnOnce() -> T) -> T {
    let mut err = std::io::stderr();
    if !wanted || !err.is_terminal() {
        return work();
    }
    let (done, is_done) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let begun = Instant::now();
            // Nothing for the first moment: most devices answer before an eye could read it.
            while is_done.recv_timeout(Duration::from_millis(120)) == Err(mpsc::RecvTimeoutError::Timeout) {
                let elapsed = begun.elapsed();
                let sign = ['|', '/', '-', '\\'][(elapsed.as_millis() / 120 % 4) as usize];
                let _ = write!(err, "\r{sign} {text} {:.1} s ", elapsed.as_secs_f32()).and_then(|()| err.flush());
            }
            let _ = write!(err, "\r\x1b[K").and_then(|()| err.flush());
        });
        let result = work();
        drop(done);
        result
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_says_no_more_than_happened() {
        use DeliveryState::*;
        for (state, plain, asked) in [
            (Applied, Ending::Good, Ending::Good),
            (Delivered, Ending::Good, Ending::NoAnswer),
            (Sent, Ending::Queued, Ending::NoAnswer),
            (Queued, Ending::Queued, Ending::Queued),
            (Refused, Ending::Bad, Ending::Bad),
            (Failed, Ending::Bad, Ending::Bad),
            (Expired, Ending::Bad, Ending::Bad),
        ] {
            assert_eq!((ending(state, false), ending(state, true)), (plain, asked), "{state:?}");
        }
    }

    #[test]
    fn bytes_are_shown_as_text_or_named_hex() {
        assert_eq!(shown(&json!({"text": "on"})).as_deref(), Some("on"));
        assert_eq!(shown(&json!({"hex": "0c01"})).as_deref(), Some("hex 0c01"));
        assert_eq!(shown(&Value::Null), None);
    }
}
