//! `$SYS/broker/…`: the server's own figures as retained messages, under the names that Mosquitto uses, so
//! that dashboards made for it go on working. Read by owners alone; devices never see `$…`. Only what is
//! really counted here has a topic; a value is published when it has changed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use contract::{Clock, Line};
use model::{Message, Millis, Topic};
use net::{ShardStats, Shards};

/// Load averages are taken over so many minutes.
const WINDOWS_MIN: [(&str, f64); 3] = [("1min", 1.0), ("5min", 5.0), ("15min", 15.0)];

/// Publishes every `interval` until it is dropped.
pub async fn publish(shards: Arc<Shards>, line: Arc<dyn Line>, clock: Arc<dyn Clock>, interval: Duration) {
    let started = clock.millis();
    let mut told = Told { line, clock: clock.clone(), last: HashMap::new() };
    let mut loads = Loads::default();
    told.tell("version", format!("espush version {}", env!("CARGO_PKG_VERSION")));
    let mut turns = tokio::time::interval(interval);
    loop {
        turns.tick().await;
        let figures = Figures::of(&shards.stats());
        let now = clock.millis();
        told.tell("uptime", format!("{} seconds", now.since(started) / 1000));
        for (name, value) in figures.values() {
            told.tell(name, value.to_string());
        }
        for (name, value) in loads.advance(now, &figures) {
            told.tell(&name, format!("{value:.2}"));
        }
    }
}

/// What was published last, so that nothing is said twice.
struct Told {
    line: Arc<dyn Line>,
    clock: Arc<dyn Clock>,
    last: HashMap<String, String>,
}

impl Told {
    fn tell(&mut self, name: &str, value: String) {
        if self.last.get(name) == Some(&value) {
            return;
        }
        let Ok(topic) = Topic::parse(&format!("$SYS/broker/{name}")) else { return };
        self.line.publish(Message { retain: true, ..Message::new(topic, value.clone(), self.clock.unix()) });
        self.last.insert(name.to_owned(), value);
    }
}

/// The sums over all shards.
#[derive(Clone, Copy, Default)]
struct Figures {
    connected: u64,
    away: u64,
    accepted: u64,
    logins: u64,
    published: u64,
    delivered: u64,
    dropped: u64,
    bytes_in: u64,
    bytes_out: u64,
    subscriptions: u64,
    retained: u64,
}

impl Figures {
    fn of(shards: &[ShardStats]) -> Figures {
        let sum = |of: fn(&ShardStats) -> u64| shards.iter().map(of).sum();
        Figures {
            connected: sum(|s| s.hub.sessions - s.hub.sessions_away),
            away: sum(|s| s.hub.sessions_away),
            accepted: sum(|s| s.accepted),
            logins: sum(|s| s.hub.welcomed),
            published: sum(|s| s.hub.published),
            delivered: sum(|s| s.hub.delivered),
            dropped: sum(|s| s.hub.dropped + s.inbox_dropped),
            bytes_in: sum(|s| s.bytes_in),
            bytes_out: sum(|s| s.bytes_out),
            subscriptions: sum(|s| s.hub.subscriptions),
            retained: sum(|s| s.hub.retained),
        }
    }

    fn values(&self) -> [(&'static str, u64); 14] {
        [
            ("clients/total", self.connected + self.away),
            ("clients/connected", self.connected),
            ("clients/active", self.connected),
            ("clients/disconnected", self.away),
            ("clients/inactive", self.away),
            ("publish/messages/received", self.published),
            ("publish/messages/sent", self.delivered),
            ("publish/messages/dropped", self.dropped),
            ("bytes/received", self.bytes_in),
            ("bytes/sent", self.bytes_out),
            ("subscriptions/count", self.subscriptions),
            ("retained messages/count", self.retained),
            ("sockets/count", self.accepted),
            ("connections/count", self.logins),
        ]
    }

    /// What has a load average, by Mosquitto's name.
    fn counted(&self) -> [(&'static str, u64); 7] {
        [
            ("publish/received", self.published),
            ("publish/sent", self.delivered),
            ("publish/dropped", self.dropped),
            ("bytes/received", self.bytes_in),
            ("bytes/sent", self.bytes_out),
            ("sockets", self.accepted),
            ("connections", self.logins),
        ]
    }
}

/// Averages per minute that fade over 1, 5 and 15 minutes, as a Unix load average does.
#[derive(Default)]
struct Loads {
    before: Option<(Millis, Figures)>,
    averages: HashMap<(&'static str, &'static str), f64>,
}

impl Loads {
    /// Takes the figures of `now` in and gives the averages.
    fn advance(&mut self, now: Millis, figures: &Figures) -> Vec<(String, f64)> {
        let Some((then, before)) = self.before.replace((now, *figures)) else { return Vec::new() };
        let minutes = now.since(then) as f64 / 60_000.0;
        if minutes <= 0.0 {
            return Vec::new();
        }
        let mut averages = Vec::new();
        for ((name, count), (_, count_before)) in figures.counted().into_iter().zip(before.counted()) {
            let per_minute = count.saturating_sub(count_before) as f64 / minutes;
            for (window, length_min) in WINDOWS_MIN {
                let fade = (-minutes / length_min).exp();
                let average = self.averages.entry((name, window)).or_default();
                *average = *average * fade + per_minute * (1.0 - fade);
                averages.push((format!("load/{name}/{window}"), *average));
            }
        }
        averages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn average(averages: &[(String, f64)], name: &str) -> f64 {
        averages.iter().find(|(n, _)| n == name).unwrap().1
    }

    #[test]
    fn a_steady_rate_becomes_the_average_and_silence_lets_it_fade() {
        let mut loads = Loads::default();
        let mut figures = Figures::default();
        assert!(loads.advance(Millis(0), &figures).is_empty(), "one look is no rate");
        let mut last = Vec::new();
        for turn in 1..=600 {
            figures.published += 10; // ten every ten seconds: sixty a minute
            last = loads.advance(Millis(turn * 10_000), &figures);
        }
        for window in ["1min", "5min", "15min"] {
            let value = average(&last, &format!("load/publish/received/{window}"));
            assert!((value - 60.0).abs() < 0.5, "{window}: {value}");
        }
        last = loads.advance(Millis(600 * 10_000 + 60_000), &figures);
        let faded = average(&last, "load/publish/received/1min");
        assert!((faded - 60.0 / std::f64::consts::E).abs() < 0.5, "after one length a third is left: {faded}");
        assert!(average(&last, "load/publish/received/15min") > 50.0);
    }
}
