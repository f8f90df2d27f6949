//! `espush tail`: what happens, as it happens. Survives a restart of the server: it comes back and asks
//! for what it missed by the last event's id.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

use super::client::{ApiError, Client, Reach, with_query};
use super::data::value;
use super::push::shown;
use super::say;
use super::sse::{Event, Events};
use super::table::plain;

/// Pause before a new attempt: long enough not to trouble a server that starts up.
const RETRY_S: u64 = 1;

#[derive(clap::Args)]
pub struct Args {
    /// Only what concerns one device
    #[arg(long, value_name = "ID")]
    device: Option<String>,
    /// End after so many events
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u64>,
    #[command(flatten)]
    reach: Reach,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let client = Client::find(&args.reach)?;
    let path = with_query("/api/v1/events", &[("device", args.device.clone())]);
    let mut left = args.count.unwrap_or(u64::MAX);
    let mut last_id = None;
    let mut was_connected = false;
    loop {
        match client.live(&path, last_id.as_deref()) {
            Ok(lines) => {
                eprintln!("espush: following {}", client.base);
                was_connected = true;
                let mut events = Events::new(lines, last_id.take());
                let why = loop {
                    match events.next() {
                        Ok(Some(event)) => {
                            print(&event, args.reach.json);
                            left -= 1;
                            if left == 0 {
                                return Ok(ExitCode::SUCCESS);
                            }
                        }
                        Ok(None) => break "the server closed the line".to_owned(),
                        Err(error) => break error.to_string(),
                    }
                };
                last_id = events.last_id;
                eprintln!("espush: {why}; trying again");
            }
            // Only a server that was there once is worth waiting for.
            Err(ApiError::Unreachable { .. }) if was_connected => {}
            Err(error) => return Err(error.into()),
        }
        std::thread::sleep(Duration::from_secs(RETRY_S));
    }
}

fn print(event: &Event, json: bool) {
    let data: Value = serde_json::from_str(&event.data).unwrap_or(Value::Null);
    if json {
        say(serde_json::json!({ "event": event.name, "data": data }));
    } else if let Some(line) = line(&event.name, &data) {
        say(plain(&line));
    }
}

/// An event as a line for people; `None` for those that this version does not know.
fn line(name: &str, data: &Value) -> Option<String> {
    let text = |key: &str| data[key].as_str().unwrap_or("-");
    let clock = |at: &str| at.get(11..23).map_or_else(|| "--:--:--.---".to_owned(), str::to_owned);
    let device = text("device");
    Some(match name {
        "presence" => {
            let state = if data["online"] == true { "online" } else { "offline" };
            format!(
                "{} {device} is {state}: {} ({} from {})",
                clock(text("since")),
                text("why"),
                text("protocol"),
                text("remote")
            )
        }
        "device" => format!("{} {device} {}", clock(""), text("change")),
        "message" => {
            let arrow = if data["direction"] == "up" { "->" } else { "<-" };
            let body = shown(data).unwrap_or_default();
            format!("{} {device} {arrow} {} {body}", clock(text("at")), text("topic"))
        }
        "points" => {
            let items = data["items"].as_array().into_iter().flatten();
            let pairs: Vec<String> =
                items.clone().map(|p| format!("{}={}", p["stream"].as_str().unwrap_or("-"), value(&p["value"]))).collect();
            let at = items.clone().next().and_then(|p| p["at"].as_str()).unwrap_or_default();
            format!("{} {device} measured {}", clock(at), pairs.join(" "))
        }
        "delivery" => {
            let detail = data["detail"].as_str().map(|d| format!(": {d}")).unwrap_or_default();
            let answer = shown(&data["answer"]).map(|a| format!(" answer {a}")).unwrap_or_default();
            format!("{} {device} push {} {}{detail}{answer}", clock(text("at")), data["push"], text("state"))
        }
        "twin" => {
            let (by, patch) = (text("who"), &data["patch"]);
            format!("{} {device} {} version {} by {by}: {patch}", clock(text("at")), text("part"), data["version"])
        }
        "knock" => {
            format!(
                "{} refused {} from {} ({}): {}",
                clock(text("at")),
                text("claim"),
                text("remote"),
                text("protocol"),
                text("reason")
            )
        }
        "fault" => {
            let whose = data["device"].as_str().unwrap_or("somebody");
            format!("{} {whose} at {} ({}) lost the line: {}", clock(text("at")), text("remote"), text("protocol"), text("why"))
        }
        "alarm" => {
            let state = if data["raised"] == true { "ALARM" } else { "over" };
            format!("{} {state} {}: {}", clock(text("at")), text("alarm"), text("why"))
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_event_reads_as_a_sentence() {
        let at = "2026-11-20T09:48:48.123Z";
        let rows = [
            (
                "presence",
                json!({"device":"lamp","online":true,"since":at,"why":"logged in","protocol":"mqtt","remote":"127.0.0.1:9"}),
                "09:48:48.123 lamp is online: logged in (mqtt from 127.0.0.1:9)",
            ),
            (
                "message",
                json!({"device":"lamp","at":at,"direction":"down","topic":"dev/lamp/push","text":"on"}),
                "09:48:48.123 lamp <- dev/lamp/push on",
            ),
            (
                "points",
                json!({"device":"lamp","items":[{"stream":"t","at":at,"value":21.5},{"stream":"s","at":at,"value":"on"}]}),
                "09:48:48.123 lamp measured t=21.5 s=on",
            ),
            (
                "delivery",
                json!({"device":"lamp","push":7,"state":"applied","at":at,"answer":{"hex":"00ff"}}),
                "09:48:48.123 lamp push 7 applied answer hex 00ff",
            ),
            (
                "twin",
                json!({"device":"lamp","part":"desired","version":3,"at":at,"who":"ci","patch":{"led":null},"owed":true}),
                "09:48:48.123 lamp desired version 3 by ci: {\"led\":null}",
            ),
            (
                "knock",
                json!({"protocol":"mqtt","remote":"1.2.3.4:5","claim":"user \"x\"","reason":"no","at":at}),
                "09:48:48.123 refused user \"x\" from 1.2.3.4:5 (mqtt): no",
            ),
            (
                "alarm",
                json!({"alarm":"store_full","raised":true,"why":"the store is full","at":at}),
                "09:48:48.123 ALARM store_full: the store is full",
            ),
        ];
        for (name, data, want) in rows {
            assert_eq!(line(name, &data).as_deref(), Some(want));
        }
        assert_eq!(line("from_the_future", &json!({})), None);
    }
}
