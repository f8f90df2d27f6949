//! Which devices hold a line, since when and why, from the hub's events. Changes are told at once and
//! written lazily, at most once a second and in batches: presence that a crash forgets is corrected when
//! the devices come back. Also answers `dev/<id>/time`, the one topic that belongs to this room.

use std::collections::HashSet;
use std::mem;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use contract::event::Change;
use contract::store::{Later, StoreError};
use contract::{Close, Consumer, Event, Ticket};
use model::topic::Space;
use model::{DeviceNumber, Message, PartyKey, UnixMs, limits};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::devices::REMOVED;
use crate::knocks::Knock;
use crate::{Fleet, FleetError, clip};

/// Devices of one write.
const BATCH_MAX: usize = 1_000;

/// How long a token may outlive its time on an open line.
const TOKENS_LOOKED_AT_EVERY: Duration = Duration::from_secs(60);

/// What memory knows and the store does not yet.
#[derive(Default)]
pub(crate) struct Unkept {
    changed: Mutex<Changed>,
    /// One flush at a time: the last one, at the end, must not overtake an earlier one.
    flushing: tokio::sync::Mutex<()>,
    stopped: AtomicBool,
    pub(crate) wake: Arc<Notify>,
}

#[derive(Default)]
struct Changed {
    presence: HashSet<DeviceNumber>,
    firmware: HashSet<DeviceNumber>,
}

impl Unkept {
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.wake.notify_one();
    }
}

impl Consumer for Fleet {
    fn on_event(&self, event: &Event) {
        match event {
            Event::LineOpened { device, protocol, remote, firmware, at } => {
                self.opened(*device, protocol, *remote, firmware.as_deref(), *at);
            }
            Event::LineClosed { device, close, at, .. } => self.closed(*device, close, *at),
            Event::Knocked { protocol, remote, claim, device, refusal, at } => self.knocked(Knock {
                protocol,
                remote: *remote,
                claim: claim.clone(),
                device: device.clone(),
                code: refusal.code(),
                reason: refusal.to_string(),
                at: *at,
            }),
            Event::Up { message, ticket, .. } => self.asked_time(message, *ticket),
            _ => {}
        }
    }
}

impl Fleet {
    fn opened(&self, device: DeviceNumber, protocol: &str, remote: SocketAddr, firmware: Option<&str>, at: UnixMs) {
        let (presence, new_firmware) = {
            let mut roster = self.roster.write();
            let roster = &mut *roster;
            let Some(record) = roster.devices.get_mut(device) else {
                // Removed while its line was being opened, perhaps too late for the kick of that moment.
                self.line.kick(PartyKey::Device(device), REMOVED, true);
                return;
            };
            if record.lines == 0 {
                roster.online += 1;
                record.set_since(at);
                record.why = roster.texts.share(&format!("connected by {protocol}"));
            }
            record.lines = record.lines.saturating_add(1);
            record.protocol = roster.texts.share(protocol);
            record.remote = Some(remote.into());
            let firmware = firmware.map(readable).filter(|firmware| !firmware.is_empty() && *firmware != *record.firmware);
            if let Some(firmware) = &firmware {
                record.firmware = roster.texts.share(firmware);
            }
            (record.presence(), firmware.is_some())
        };
        {
            let mut changed = self.unkept.changed.lock();
            changed.presence.insert(device);
            if new_firmware {
                changed.firmware.insert(device);
            }
        }
        self.unkept.wake.notify_one();
        self.tell(Event::PresenceChanged { device, presence });
        if new_firmware {
            self.tell_change(device, Change::Edited);
        }
    }

    fn closed(&self, device: DeviceNumber, close: &Close, at: UnixMs) {
        let presence = {
            let mut roster = self.roster.write();
            let roster = &mut *roster;
            let Some(record) = roster.devices.get_mut(device) else { return };
            if record.lines != 1 {
                // It has other lines, or the opening of this one was before our time.
                record.lines = record.lines.saturating_sub(1);
                return;
            }
            record.lines = 0;
            roster.online -= 1;
            record.set_since(at);
            record.why = roster.texts.share(clip(&close.why, limits::NAME_BYTES_MAX));
            record.presence()
        };
        self.unkept.changed.lock().presence.insert(device);
        self.unkept.wake.notify_one();
        self.tell(Event::PresenceChanged { device, presence });
    }

    /// A device asked what time it is. Our own answer is not told as `Up`, so it is not answered again.
    fn asked_time(&self, message: &Message, ticket: Option<Ticket>) {
        if !matches!(message.topic.space(), Space::Device { rest: "time", .. }) {
            return;
        }
        if let Some(ticket) = ticket {
            self.line.published(ticket, Ok(()));
        }
        let now = self.clock.unix();
        self.line.publish(Message::new(message.topic.clone(), now.0.to_string(), now));
    }

    /// Writes what the store does not know yet. What cannot be written is tried again next time.
    pub(crate) async fn flush(&self) -> Result<(), FleetError> {
        let _turn = self.unkept.flushing.lock().await;
        let changed = mem::take(&mut *self.unkept.changed.lock());
        let kept = match self.keep_presence(&changed.presence).await {
            Ok(()) => self.keep_firmware(&changed.firmware).await,
            Err(error) => Err(error),
        };
        if kept.is_err() {
            let mut unkept = self.unkept.changed.lock();
            unkept.presence.extend(changed.presence);
            unkept.firmware.extend(changed.firmware);
            self.unkept.wake.notify_one();
        }
        kept.map_err(FleetError::from)
    }

    async fn keep_presence(&self, devices: &HashSet<DeviceNumber>) -> Result<(), StoreError> {
        let mut devices: Vec<DeviceNumber> = devices.iter().copied().collect();
        // In the order in which they lie on disk: otherwise nearly every row would touch a page of its own.
        devices.sort_unstable();
        for numbers in devices.chunks(BATCH_MAX) {
            let batch: Vec<_> = {
                let roster = self.roster.read();
                numbers.iter().filter_map(|number| roster.devices.get(*number)).map(|r| (r.number, r.presence())).collect()
            };
            self.registry.put_presence(batch).await?;
        }
        Ok(())
    }

    async fn keep_firmware(&self, devices: &HashSet<DeviceNumber>) -> Result<(), StoreError> {
        let devices: Vec<DeviceNumber> = devices.iter().copied().collect();
        for numbers in devices.chunks(BATCH_MAX) {
            // With the other edits, so that none of them is overwritten and no device is gone meanwhile.
            let _turn = self.edits.lock().await;
            let writes: Vec<Later<()>> = {
                let roster = self.roster.read();
                let known = numbers.iter().filter_map(|number| roster.devices.get(*number));
                known.map(|record| self.registry.put_device(record.device(), None)).collect()
            };
            for write in writes {
                write.await?;
            }
        }
        Ok(())
    }
}

/// The fleet's task: waits until there is something to write, and then at least a second. Between times
/// it ends the tokens and old secrets that ran out, because what they opened must not stay open.
pub(crate) async fn keep(fleet: Weak<Fleet>, wake: Arc<Notify>) {
    loop {
        let _ = tokio::time::timeout(TOKENS_LOOKED_AT_EVERY, wake.notified()).await;
        let Some(fleet) = fleet.upgrade() else { return };
        if fleet.unkept.stopped.load(Ordering::Acquire) {
            return;
        }
        if let Err(error) = fleet.end_dead_tokens().await {
            tracing::warn!(%error, "a token that ran out could not be removed and is tried again");
        }
        if let Err(error) = fleet.end_old_secrets().await {
            tracing::warn!(%error, "an old secret whose time is over could not be removed and is tried again");
        }
        match fleet.flush().await {
            Ok(()) => {}
            Err(FleetError::Store(StoreError::Closed)) => return,
            // Nothing is written any more, and the store has said so once.
            Err(FleetError::Store(StoreError::Disk(_))) => {}
            Err(error) => tracing::warn!(%error, "presence could not be written and is tried again"),
        }
        drop(fleet);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Firmware as devices tell it, made fit to be shown.
fn readable(firmware: &str) -> String {
    let shown: String = firmware.chars().filter(|c| !c.is_control()).collect();
    clip(shown.trim(), limits::NAME_BYTES_MAX).to_owned()
}
