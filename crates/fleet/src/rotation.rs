//! New secrets. The old one ends at once with the lines that came in by it, or works beside the new one for a
//! while, so that devices can be told the new one one after the other; which of the two a device used last is
//! shown until then.

use contract::event::Change;
use contract::store::SecretHash;
use model::{DeviceNumber, PartyKey, UnixMs, limits};
use parking_lot::Mutex;

use crate::devices::refused;
use crate::roster::{Record, Roster};
use crate::{Fleet, FleetError, secrets};

/// A secret that was just made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSecret {
    /// The secret, shown this once.
    pub secret: String,
    /// Until when the one before works too.
    pub old_until: Option<UnixMs>,
}

/// The secret before the newest, as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OldSecretView {
    /// Until when it works.
    pub until: UnixMs,
    /// Which one the device showed last, and when, since the new one was made or the server was started.
    pub used: Option<(Which, UnixMs)>,
}

/// One of two secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The one before.
    Old,
    /// The newest.
    New,
}

impl Which {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Which::Old => "old",
            Which::New => "new",
        }
    }
}

/// The secret before the newest, while it works.
pub(crate) struct OldSecret {
    hash: SecretHash,
    until: UnixMs,
    used: Mutex<Used>,
}

#[derive(Clone, Copy, Default)]
struct Used {
    last: Option<(Which, UnixMs)>,
    /// From when on only the new one was shown.
    new_since: Option<UnixMs>,
}

impl OldSecret {
    pub(crate) fn new(hash: SecretHash, until: UnixMs) -> OldSecret {
        OldSecret { hash, until, used: Mutex::default() }
    }

    fn note(&self, which: Which, now: UnixMs) {
        let mut used = self.used.lock();
        used.last = Some((which, now));
        used.new_since = match which {
            Which::Old => None,
            Which::New => used.new_since.or(Some(now)),
        };
    }

    /// Whether a line of the device may have come in by this secret.
    fn is_on_a_line_of(&self, record: &Record) -> bool {
        let used = *self.used.lock();
        // One line alone, opened after the device began to show the new one only, came in by that.
        let all_new = record.lines == 1 && used.new_since.is_some_and(|since| record.since().is_some_and(|at| at >= since));
        record.lines > 0 && !all_new
    }
}

impl Roster {
    /// Which of a device's secrets has this hash. It counts as used.
    pub(crate) fn which_secret(&self, record: &Record, given: &SecretHash, now: UnixMs) -> Option<Which> {
        let which = if secrets::same(&record.secret_hash, given) {
            Which::New
        } else {
            let old = self.old_secrets.get(&record.number)?;
            (now < old.until && secrets::same(&old.hash, given)).then_some(Which::Old)?
        };
        self.secret_used(record.number, which, now);
        Some(which)
    }

    /// A device has shown one of its secrets, or proved it.
    pub(crate) fn secret_used(&self, device: DeviceNumber, which: Which, now: UnixMs) {
        if let Some(old) = self.old_secrets.get(&device) {
            old.note(which, now);
        }
    }

    /// The secret before a device's newest.
    pub(crate) fn old_secret(&self, device: DeviceNumber) -> Option<OldSecretView> {
        let old = self.old_secrets.get(&device)?;
        Some(OldSecretView { until: old.until, used: old.used.lock().last })
    }
}

impl Fleet {
    /// Gives a device a new secret. The old one works for `overlap_s` more; with 0 it ends now, and so do the
    /// lines that came in with it. One that was still working from an earlier time ends in any case.
    pub async fn rotate_secret(&self, id: &str, overlap_s: u64) -> Result<NewSecret, FleetError> {
        if overlap_s > limits::SECRET_OVERLAP_S_MAX {
            return Err(FleetError::BadOverlap);
        }
        let id = id.to_owned();
        self.to_its_end(move |fleet| async move {
            let _turn = fleet.edits.lock().await;
            let number = fleet.number_of(&id).ok_or(FleetError::NoSuchDevice(id))?;
            let secret = secrets::new_device_secret();
            let now = fleet.clock.unix();
            let old_until = (overlap_s > 0).then(|| UnixMs(now.0.saturating_add_unsigned(overlap_s * 1000)));
            fleet.registry.rotate_secret(number, secret.clone(), old_until).await?;
            let ends = {
                let mut roster = fleet.roster.write();
                let roster = &mut *roster;
                let Some(record) = roster.devices.get_mut(number) else { return Ok(NewSecret { secret, old_until }) };
                let before = std::mem::replace(&mut record.secret_hash, secrets::hash(secret.as_bytes()));
                let older = roster.old_secrets.remove(&number);
                if let Some(until) = old_until {
                    roster.old_secrets.insert(number, OldSecret::new(before, until));
                }
                let ends = old_until.is_none() || older.is_some();
                if ends {
                    roster.turned.note(number, fleet.clock.millis());
                }
                ends
            };
            if ends {
                fleet.line.kick(PartyKey::Device(number), refused("the device was given a new secret"), false);
            }
            fleet.tell_change(number, Change::Edited);
            Ok(NewSecret { secret, old_until })
        })
        .await
    }

    /// Ends the old secrets whose time is over, and the lines that came in with them.
    pub(crate) async fn end_old_secrets(&self) -> Result<(), FleetError> {
        let now = self.clock.unix();
        let over: Vec<DeviceNumber> = {
            let roster = self.roster.read();
            roster.old_secrets.iter().filter(|(_, old)| old.until <= now).map(|(number, _)| *number).collect()
        };
        for number in over {
            let _turn = self.edits.lock().await;
            // It may have been given another meanwhile.
            if self.roster.read().old_secrets.get(&number).is_none_or(|old| now < old.until) {
                continue;
            }
            self.registry.drop_old_secret(number).await?;
            let ends = {
                let mut roster = self.roster.write();
                let old = roster.old_secrets.remove(&number);
                roster.turned.note(number, self.clock.millis());
                old.zip(roster.devices.get(number)).is_some_and(|(old, record)| old.is_on_a_line_of(record))
            };
            if ends {
                self.line.kick(PartyKey::Device(number), refused("the time of the device's old secret is over"), false);
            }
            self.tell_change(number, Change::Edited);
        }
        Ok(())
    }
}
