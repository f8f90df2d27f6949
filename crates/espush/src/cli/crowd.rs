//! A push to many on the command line: the counts while it runs, what became of it, and what it would do.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use model::DeliveryState;
use serde_json::Value;
use ureq::http::Method;

use super::client::Client;
use super::push::{Ending, ending};
use super::table::{Table, plain};
use super::{say, say_json};

/// How often the counts are asked for. The server counts the deliveries each time.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Pushes, and shows the counts until every device has been dealt with and the wait is over.
pub(super) fn push(client: &Client, path: &str, mut order: Value, wait_ms: u64, json: bool) -> anyhow::Result<ExitCode> {
    order["wait_ms"] = 0.into();
    let begun = Instant::now();
    let made = client.call(Method::POST, path, Some(&order))?;
    let wants_answer = made["order"] != "message";
    let id = made["id"].as_u64().context("the server's answer tells of no push")?;
    let path = format!("/api/v1/pushes/{id}?deliveries=false");
    let mut counts = Counts::begin();
    let push = loop {
        let push = client.get(&path)?;
        counts.show(&push);
        // Who does not wait at all is told what is certain.
        let over = wait_ms == 0 || (push["remaining"] == 0 && begun.elapsed() >= Duration::from_millis(wait_ms));
        if over || is_through(&push, wants_answer) {
            break push;
        }
        thread::sleep(LOOK_EVERY);
    };
    counts.end();
    if json {
        say_json(&push);
    } else {
        say(format_args!("push {id}: {}", line(&push)));
    }
    let mut worst = if push["remaining"] == 0 { Ending::Good } else { Ending::Queued };
    for (word, _) in states(&push) {
        let state = DeliveryState::parse(word).with_context(|| format!("the server told of an unknown state {word:?}"))?;
        worst = worst.max(ending(state, wants_answer));
    }
    Ok(ExitCode::from(worst as u8))
}

/// The states that there are, with how many deliveries are in each.
fn states(push: &Value) -> impl Iterator<Item = (&str, u64)> {
    let counts = push["counts"].as_object().into_iter().flatten();
    counts.filter_map(|(state, count)| Some((state.as_str(), count.as_u64()?))).filter(|(_, count)| *count > 0)
}

/// Whether nothing more is to be expected of any device.
fn is_through(push: &Value, wants_answer: bool) -> bool {
    let through = |state: DeliveryState| state.is_final() || (state == DeliveryState::Delivered && !wants_answer);
    push["remaining"] == 0 && states(push).all(|(word, _)| DeliveryState::parse(word).is_some_and(through))
}

/// `2500 devices: 2000 delivered, 400 queued, 100 to come`.
fn line(push: &Value) -> String {
    let mut parts: Vec<String> = states(push).map(|(state, count)| format!("{count} {state}")).collect();
    if push["remaining"] != 0 {
        parts.push(format!("{} to come", push["remaining"]));
    }
    format!("{} devices: {}", push["devices"], parts.join(", "))
}

/// The line of counts on stderr: drawn over itself on a terminal, else a new one when it changed.
struct Counts {
    terminal: bool,
    last: String,
}

impl Counts {
    fn begin() -> Counts {
        Counts { terminal: std::io::stderr().is_terminal(), last: String::new() }
    }

    fn show(&mut self, push: &Value) {
        let line = line(push);
        if line == self.last {
            return;
        }
        let mut err = std::io::stderr();
        // A terminal that went away is no reason to stop.
        let _ = if self.terminal {
            write!(err, "\r\x1b[K{line}").and_then(|()| err.flush())
        } else {
            writeln!(err, "espush: {line}")
        };
        self.last = line;
    }

    fn end(&self) {
        if self.terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

/// Tells what a push would do.
pub(super) fn preview(client: &Client, mut order: Value, json: bool) -> anyhow::Result<ExitCode> {
    if let Some(order) = order.as_object_mut() {
        order.remove("wait_ms");
    }
    let preview = client.call(Method::POST, "/api/v1/push/preview", Some(&order))?;
    if json {
        say_json(&preview);
        return Ok(ExitCode::SUCCESS);
    }
    let count = |name: &str| preview["counts"][name].to_string();
    say(format_args!("{} devices: {} now, {} later, {} not", preview["devices"], count("now"), count("later"), count("not")));
    for reason in preview["reasons"].as_array().into_iter().flatten() {
        say(format_args!("  {} not: {}", reason["devices"], plain(reason["detail"].as_str().unwrap_or_default())));
    }
    let mut table = Table::new(&["DEVICE", "STATE", "PROTOCOL", "WOULD GET IT"]);
    for item in preview["items"].as_array().into_iter().flatten() {
        let text = |name: &str| item[name].as_str().unwrap_or_default().to_owned();
        let state = if item["online"] == true { "online" } else { "offline" };
        let outcome = match item["reason"].as_str() {
            Some(reason) => format!("{}: {reason}", text("outcome")),
            None => text("outcome"),
        };
        table.row(vec![text("device"), state.to_owned(), text("protocol"), outcome]);
    }
    if !preview["next"].is_null() {
        table.row(vec!["… more".to_owned()]);
    }
    if !table.is_empty() {
        say(table);
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_line_of_counts_says_what_is_to_come() {
        let push = json!({"devices": 7, "remaining": 3, "counts": {"queued": 1, "delivered": 3, "sent": 0}});
        assert_eq!(line(&push), "7 devices: 3 delivered, 1 queued, 3 to come");
        assert!(!is_through(&push, false));
        let done = json!({"devices": 4, "remaining": 0, "counts": {"delivered": 3, "refused": 1}});
        assert!(is_through(&done, false) && !is_through(&done, true));
    }
}
