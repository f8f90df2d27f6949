//! The bridges of the configuration: has each dialled, and keeps what can be told of it for the log, the
//! status and the metrics. What a bridge says on its line is `protocols::mqtt::bridge`'s.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use api::BridgeStatus;
use contract::{Clock, Close, Session};
use model::UnixMs;
use net::{Dial, Shards, TlsClient};
use parking_lot::Mutex;
use protocols::mqtt::bridge::{Machine, Note, Reserve};

use crate::config::Bridge;

/// The label of bridges in metrics and logs, in the place of a protocol's name.
const LABEL: &str = "bridge";

/// All bridges.
pub struct Bridges(Vec<Arc<Kept>>);

/// What is known of one bridge.
struct Kept {
    status: Mutex<BridgeStatus>,
    /// Whether the remote has not yet refused to hear that a bridge calls.
    private: AtomicBool,
    clock: Arc<dyn Clock>,
}

impl Bridges {
    /// Has every bridge dialled until the shards stop.
    pub fn start(bridges: &[Bridge], shards: &Shards, clock: &Arc<dyn Clock>) -> anyhow::Result<Arc<Bridges>> {
        let kept = bridges.iter().map(|bridge| {
            let tls = bridge.tls.then(|| TlsClient::new(&bridge.address, bridge.ca.as_deref())).transpose();
            let tls = tls.with_context(|| format!("bridge {}", bridge.plan.name))?;
            Ok(dial(bridge, tls, shards, clock.clone()))
        });
        Ok(Arc::new(Bridges(kept.collect::<anyhow::Result<_>>()?)))
    }

    /// Each as it is now.
    pub fn status(&self) -> Vec<BridgeStatus> {
        self.0.iter().map(|kept| kept.status.lock().clone()).collect()
    }

    /// Their lines of `/metrics`.
    pub fn metrics(&self, out: &mut String) {
        let name = "espush_bridge_connected";
        if !self.0.is_empty() {
            let _ = writeln!(out, "# HELP {name} Whether a bridge is connected to its remote.\n# TYPE {name} gauge");
        }
        for bridge in self.status() {
            let _ = writeln!(out, "{name}{{name=\"{}\"}} {}", bridge.name, u8::from(bridge.connected));
        }
    }
}

fn dial(bridge: &Bridge, tls: Option<TlsClient>, shards: &Shards, clock: Arc<dyn Clock>) -> Arc<Kept> {
    let plan = Arc::new(bridge.plan.clone());
    let status = BridgeStatus {
        name: plan.name.clone(),
        address: bridge.address.clone(),
        connected: false,
        since: clock.unix(),
        why: Some("not reached yet".to_owned()),
        next: None,
    };
    let kept = Arc::new(Kept { status: Mutex::new(status), private: AtomicBool::new(plan.try_private), clock });
    let (hears, loses, remembers) = (kept.clone(), kept.clone(), kept.clone());
    let tell = Arc::new(move |note: Note<'_>| hears.note(note));
    shards.dial(Dial {
        protocol: LABEL,
        addr: bridge.address.clone(),
        tls,
        session: plan.session(),
        reserve: Reserve::new(plan.clone()).map(|machine| Box::new(machine) as Box<dyn Session>),
        open: Box::new(move |peer| {
            Box::new(Machine::new(plan.clone(), peer, remembers.private.load(Ordering::Relaxed), tell.clone()))
        }),
        told: Box::new(move |close, pause| loses.lost(close, pause)),
    });
    kept
}

impl Kept {
    fn note(&self, note: Note<'_>) {
        let mut status = self.status.lock();
        match note {
            Note::Connected => {
                tracing::info!("bridge {}: connected to {}", status.name, status.address);
                (status.connected, status.since) = (true, self.clock.unix());
                (status.why, status.next) = (None, None);
            }
            Note::NotGranted(filter) => {
                let why = format!("the remote does not grant the filter {filter:?}; allow it in the remote's rules");
                tracing::warn!("bridge {}: {why}", status.name);
                status.why = Some(why);
            }
            Note::LeftOut { topic, bytes } => {
                let topic: String = topic.chars().take(80).collect();
                let what = format!("a message on {topic:?} is left out");
                // A camera sends one a second.
                if !status.why.as_ref().is_some_and(|why| why.starts_with(&what)) {
                    let why = format!("{what}: it has {bytes} bytes; raise limits.packet_bytes");
                    tracing::warn!("bridge {}: {why}", status.name);
                    status.why = Some(why);
                }
            }
            Note::NoBridges => self.private.store(false, Ordering::Relaxed),
        }
    }

    fn lost(&self, close: &Close, pause: Duration) {
        let now = self.clock.unix();
        let mut status = self.status.lock();
        let news = status.connected || status.why.as_deref() != Some(&*close.why);
        let (name, why) = (&status.name, &close.why);
        // A remote that is away for a week is worth one line, not ten thousand.
        if news {
            tracing::warn!("bridge {name}: {why}; next attempt in {} s", pause.as_secs_f32().round());
        } else {
            tracing::debug!("bridge {name}: {why}; next attempt in {} s", pause.as_secs_f32().round());
        }
        if status.connected {
            (status.connected, status.since) = (false, now);
        }
        status.why = Some(close.why.to_string());
        status.next = Some(UnixMs(now.0 + pause.as_millis() as i64));
    }
}

#[cfg(test)]
mod tests {
    use contract::Fault;
    use net::SystemClock;

    use super::*;

    #[test]
    fn a_bridge_is_told_of_from_its_first_failure_to_its_connection_and_back() {
        let status =
            BridgeStatus { name: "old".into(), address: "h:1".into(), connected: false, since: UnixMs(0), why: None, next: None };
        let clock = Arc::new(SystemClock::new());
        let kept = Arc::new(Kept { status: Mutex::new(status), private: AtomicBool::new(true), clock });
        let all = Bridges(vec![kept.clone()]);
        let metrics = || {
            let mut out = String::new();
            all.metrics(&mut out);
            out
        };
        kept.lost(&Close { fault: Fault::Line, why: "cannot reach h:1".into() }, Duration::from_secs(2));
        let now = all.status().remove(0);
        assert_eq!((now.why.as_deref(), now.since), (Some("cannot reach h:1"), UnixMs(0)), "away since it is away");
        assert!(now.next.is_some() && metrics().ends_with("espush_bridge_connected{name=\"old\"} 0\n"));
        kept.note(Note::NoBridges);
        assert!(!kept.private.load(Ordering::Relaxed));
        kept.note(Note::Connected);
        let now = all.status().remove(0);
        assert!(now.connected && now.since > UnixMs(0) && now.why.is_none() && now.next.is_none());
        assert!(metrics().ends_with("espush_bridge_connected{name=\"old\"} 1\n"));
        kept.note(Note::LeftOut { topic: "camera", bytes: 300_000 });
        kept.note(Note::LeftOut { topic: "camera", bytes: 300_001 });
        assert!(all.status()[0].why.as_deref().unwrap().contains("300000 bytes; raise"), "the first is told");
        kept.note(Note::NotGranted("a/#"));
        assert!(all.status()[0].connected && all.status()[0].why.as_deref().unwrap().contains("\"a/#\""));
    }
}
