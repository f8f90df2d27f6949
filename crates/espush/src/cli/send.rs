//! `espush send`: a message to a number, whoever has it, and what is written back. For conversations of the
//! moment; what must arrive is a push.

use std::io::{IsTerminal, Read};
use std::process::ExitCode;

use anyhow::Context;
use serde_json::{Value, json};
use ureq::http::Method;

use super::client::{Client, Reach};
use super::push::shown;
use super::sse::{Event, Events};
use super::table::plain;
use super::{say, say_json};

#[derive(clap::Args)]
#[command(after_help = "Exit codes:\n  \
    0  sent to an open line, or kept for a device whose MQTT session is kept; that it was read is told by nobody\n  \
    1  not sent: no server, nobody there, no right; the sentence says which\n  \
    64 wrong usage")]
pub struct Args {
    /// A number, or the id of a device
    #[arg(value_name = "NUMBER|DEVICE")]
    to: String,
    /// What to send; from stdin when it is not given
    text: Option<String>,
    /// TEXT is hex digits, blanks allowed: "0c 01"
    #[arg(long)]
    hex: bool,
    /// Then print what is written to this token's number, until it is interrupted
    #[arg(long)]
    listen: bool,
    /// With --listen: end after so many messages
    #[arg(short = 'n', long, value_name = "N", requires = "listen")]
    count: Option<u64>,
    #[command(flatten)]
    reach: Reach,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let client = Client::find(&args.reach)?;
    let message = message(&args)?;
    // Before anything is sent: an answer may be faster than a second call.
    let listening = args.listen.then(|| listen(&client)).transpose()?;
    let sent = client.call(Method::POST, "/api/v1/send", Some(&message))?;
    match (args.reach.json, &listening) {
        (true, None) => say_json(&sent),
        // A line for each, as what follows has.
        (true, Some(_)) => say(&sent),
        (false, _) => eprintln!("espush: {}", sentence(&sent)),
    }
    let Some(mut events) = listening else { return Ok(ExitCode::SUCCESS) };
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 {
        let event = events.next()?.context("the server closed the line; what is written now is not heard")?;
        if let Some(line) = line(&event, args.reach.json) {
            say(line);
            left -= 1;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A stream on which messages to this token come; the server has said so.
fn listen(client: &Client) -> anyhow::Result<Events<impl std::io::BufRead + use<>>> {
    let mut events = Events::new(client.live("/api/v1/events?addressed=true&events=false", None)?, None);
    let hello = events.next()?.filter(|event| event.name == "hello");
    hello.context("the server does not tell a number; it is older than this program")?;
    Ok(events)
}

/// The body of the call. A device's id is never digits alone, so those are a number.
fn message(args: &Args) -> anyhow::Result<Value> {
    let to = match args.to.bytes().all(|b| b.is_ascii_digit()) {
        true => json!(args.to.parse::<u32>().context("a number is 1 to 4294967295")?),
        false => json!(args.to),
    };
    Ok(match (&args.text, args.hex) {
        (Some(hex), true) => json!({ "to": to, "hex": hex }),
        (Some(text), false) => json!({ "to": to, "text": text }),
        (None, _) => {
            let mut stdin = std::io::stdin();
            anyhow::ensure!(!stdin.is_terminal(), "nothing to send: give TEXT, or pipe it in");
            let mut bytes = Vec::new();
            stdin.read_to_end(&mut bytes).context("cannot read stdin")?;
            json!({ "to": to, "hex": model::text::to_hex(&bytes) })
        }
    })
}

fn sentence(sent: &Value) -> String {
    let how = match sent["state"].as_str() {
        Some("kept") => "kept until it is back",
        _ => "given to an open line",
    };
    format!("{} to {}: {how}", sent["from"], sent["to"])
}

/// A message as a line; `None` for what this version does not know.
fn line(event: &Event, json: bool) -> Option<String> {
    let data: Value = serde_json::from_str(&event.data).ok().filter(|_| event.name == "addressed")?;
    if json {
        return Some(data.to_string());
    }
    let who = match data["device"].as_str() {
        Some(id) => format!("{} ({id})", data["from"]),
        None => data["from"].to_string(),
    };
    let clock = data["at"].as_str().and_then(|at| at.get(11..23)).unwrap_or("--:--:--.---");
    Some(plain(&format!("{clock} {who}: {}", shown(&data).unwrap_or_default())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_back_reads_as_a_line() {
        let event = |data: Value| Event { name: "addressed".into(), data: data.to_string() };
        let at = "2026-11-20T09:48:48.123Z";
        let device = event(json!({ "from": 7, "device": "lamp", "to": 1, "at": at, "text": "on" }));
        assert_eq!(line(&device, false).as_deref(), Some("09:48:48.123 7 (lamp): on"));
        let page = event(json!({ "from": 4_000_000_000_u32, "to": 1, "at": at, "hex": "00ff" }));
        assert_eq!(line(&page, false).as_deref(), Some("09:48:48.123 4000000000: hex 00ff"));
        assert_eq!(line(&Event { name: "presence".into(), ..device }, false), None);
    }
}
