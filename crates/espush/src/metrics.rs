//! What the shards and the store add to `/metrics`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use api::metrics::metric;
use net::{ShardStats, Shards};
use store::Store;
use webhook::{View, Webhooks};

use crate::events::Events;

/// Writes the figures of webhooks.
pub fn of_webhooks(webhooks: Arc<Webhooks>) -> api::MetricsSource {
    Box::new(move |out| {
        let all = webhooks.list();
        let sum = |of: fn(&View) -> u64| all.iter().map(of).sum::<u64>();
        let mut gauge = |name, help, of| metric(out, "gauge", name, help, sum(of));
        gauge("espush_webhooks", "Webhooks that are on.", |view| view.webhook.active.into());
        gauge("espush_webhooks_failing", "Webhooks whose last attempt failed.", |view| {
            view.webhook.health.failing_since.is_some().into()
        });
        gauge("espush_webhook_deliveries_waiting", "Events that are still to be delivered.", |view| view.counts.waiting);
        gauge("espush_webhook_deliveries_failed", "Events that failed for good and can be replayed.", |view| view.counts.failed);
    })
}

/// Writes the figures of shards, events and store.
pub fn source(shards: Arc<Shards>, events: Arc<Events>, store: Arc<Store>) -> api::MetricsSource {
    Box::new(move |out| {
        let all = shards.stats();
        let sum = |of: fn(&ShardStats) -> u64| all.iter().map(of).sum::<u64>();
        let mut gauge = |name, help, of| metric(out, "gauge", name, help, sum(of));
        gauge("espush_connections", "Open connections of devices and MQTT clients.", |s| s.connections);
        gauge("espush_sessions", "Sessions, with and without a line.", |s| s.hub.sessions);
        gauge("espush_sessions_away", "Sessions without a line.", |s| s.hub.sessions_away);
        gauge("espush_subscriptions", "Subscriptions.", |s| s.hub.subscriptions);
        gauge("espush_retained_messages", "Retained messages.", |s| s.hub.retained);
        let mut counter = |name, help, of| metric(out, "counter", name, help, sum(of));
        counter("espush_connections_accepted_total", "Connections accepted.", |s| s.accepted);
        counter("espush_connections_refused_total", "Connections closed at once: too many from one address.", |s| s.refused);
        counter("espush_connections_handed_over_total", "Connections that moved to their home shard.", |s| s.handed_over);
        counter("espush_logins_total", "Logins let in.", |s| s.hub.welcomed);
        counter("espush_logins_refused_total", "Logins refused.", |s| s.hub.refused);
        counter("espush_messages_published_total", "Messages from peers.", |s| s.hub.published);
        counter("espush_messages_delivered_total", "Messages to peers.", |s| s.hub.delivered);
        counter("espush_messages_dropped_total", "Messages dropped from full queues.", |s| s.hub.dropped + s.inbox_dropped);
        counter("espush_messages_expired_total", "Messages dropped because their time ran out.", |s| s.hub.expired);
        counter("espush_denied_total", "Publishes and subscriptions that were not allowed.", |s| s.hub.denied);
        counter("espush_bytes_in_total", "Bytes from peers.", |s| s.bytes_in);
        counter("espush_bytes_out_total", "Bytes to peers.", |s| s.bytes_out);
        metric(
            out,
            "counter",
            "espush_events_dropped_total",
            "Events that the platform could not keep up with.",
            events.dropped(),
        );
        metric(out, "counter", "espush_store_commits_total", "Commits, each one fsync for all that waited.", store.commits());

        let standing = store.standing();
        let mut gauge = |name, help, value| metric(out, "gauge", name, help, value);
        gauge("espush_store_used_bytes", "Bytes that the store holds, its log included.", standing.used_bytes);
        gauge("espush_store_max_bytes", "The most that it may hold; 0 is no limit.", standing.budget.max_bytes);
        gauge("espush_store_free_bytes", "Bytes left on its file system.", standing.free_bytes);
        gauge("espush_store_full", "1 while nothing may grow.", standing.full.is_some().into());
        gauge(
            "espush_store_failed",
            "1 after its disk failed: nothing is acknowledged any more.",
            standing.failed.is_some().into(),
        );
        gauge("espush_store_damaged", "1 after damaged data was met.", standing.damaged.is_some().into());

        let mut ended: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for (key, count) in all.iter().flat_map(|s| &s.ended) {
            *ended.entry(*key).or_default() += count;
        }
        let name = "espush_connections_ended_total";
        let _ = writeln!(out, "# HELP {name} Connections that ended, by protocol and whose fault it was.\n# TYPE {name} counter");
        for ((protocol, fault), count) in ended {
            let _ = writeln!(out, "{name}{{protocol=\"{protocol}\",fault=\"{fault}\"}} {count}");
        }
    })
}
