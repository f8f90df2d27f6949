//! Server-sent events out of lines, and when to call again after a line broke. Deliberately absent: sockets
//! and clocks.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use crate::models::Event;

/// After so much silence the line is dead: the server says something every 15 seconds.
pub(crate) const SILENCE: Duration = Duration::from_secs(45);

/// Takes lines as they come, gives events as they are whole.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    kind: String,
    data: Option<String>,
    id: Option<String>,
}

impl Parser {
    /// A line without its end.
    pub fn line(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            let Parser { kind, data, id } = std::mem::take(self);
            let kind = if kind.is_empty() { "message".to_owned() } else { kind };
            return data.and_then(|data| Some(Event { kind, data: serde_json::from_str(&data).ok()?, id }));
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "event" => self.kind = value.to_owned(),
            "id" => self.id = Some(value.to_owned()),
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            "" if value.starts_with("some events since Last-Event-ID") => {
                return Some(Event { kind: "gap".to_owned(), data: serde_json::json!({ "why": value }), id: None });
            }
            _ => {}
        }
        None
    }
}

/// How long to wait before the next call: half a second at first, twice as long each time, a minute at
/// most, and by chance less, so that many clients do not come back at once.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    pub fn stood(&mut self) {
        self.failures = 0;
    }

    pub fn pause(&mut self) -> Duration {
        let whole = Duration::from_millis(500).saturating_mul(1 << self.failures).min(Duration::from_secs(60));
        self.failures = (self.failures + 1).min(10);
        // Chance without a crate for it: each of these hashes with keys of its own.
        let chance = RandomState::new().hash_one(0_u8) % 1_000;
        whole.mul_f64(0.5 + chance as f64 / 2_000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_whole_when_their_empty_line_has_come() {
        let mut parser = Parser::default();
        let lines = ": hello\n\nid: 7\nevent: message\ndata: {\"text\":\ndata: \"灯\"}\n\n: some events since Last-Event-ID are forgotten\n\n\
            id:8\nevent:alarm\ndata:{}\n\nid: 9\n\nid: 10\nevent: alarm\ndata: {\"unf";
        let found: Vec<_> = lines.lines().filter_map(|line| parser.line(line)).collect();
        let event = |kind: &str, id: Option<&str>, data| Event { kind: kind.into(), data, id: id.map(str::to_owned) };
        assert_eq!(
            found,
            [
                event("message", Some("7"), serde_json::json!({ "text": "灯" })),
                event("gap", None, serde_json::json!({ "why": "some events since Last-Event-ID are forgotten" })),
                event("alarm", Some("8"), serde_json::json!({})),
            ]
        );
    }

    #[test]
    fn pauses_grow_to_a_minute_and_end_with_success() {
        let mut backoff = Backoff::default();
        for whole in [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000, 60_000, 60_000] {
            let pause = backoff.pause().as_millis();
            assert!((whole / 2..=whole).contains(&pause), "{pause} of {whole}");
        }
        backoff.stood();
        assert!(backoff.pause().as_millis() <= 500);
    }
}
