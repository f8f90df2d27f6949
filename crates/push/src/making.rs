//! Pushes to many whose deliveries are still to be made. Push and audience are on disk already; batches of
//! devices get their deliveries in turns, so that one push to a million neither fills the memory nor keeps
//! the others waiting. A slow push takes some devices and rests; one that starts later rests until then. As
//! values: what is to be made comes out, what was made is told.

use std::collections::VecDeque;
use std::sync::Arc;

use contract::store::{FreshDelivery, StoredPush, UnmadePush};
use model::{DeliveryState, DeviceNumber, Millis, PushId, Terms, limits};

use crate::book::{Book, Now};

/// A push in the making.
struct Unmade {
    push: Arc<StoredPush>,
    parts: VecDeque<(u32, Vec<DeviceNumber>)>,
    devices: usize,
    // What all that is left becomes from the start.
    verdict: Option<(DeliveryState, &'static str)>,
    // A slow push has its next turn then.
    rests: Option<Millis>,
}

impl Unmade {
    /// How long it is until some of its devices may have their turn, in milliseconds.
    fn left_ms(&self, now: Now) -> u64 {
        if self.verdict(now).is_some() {
            return 0;
        }
        let starts = self.push.terms.starts.map_or(0, |at| u64::try_from(at.0 - now.unix.0).unwrap_or(0));
        starts.max(self.rests.map_or(0, |at| at.since(now.millis)))
    }

    fn verdict(&self, now: Now) -> Option<(DeliveryState, &'static str)> {
        let late = self.push.expires.is_some_and(|expires| expires <= now.unix);
        self.verdict.or_else(|| late.then_some((DeliveryState::Expired, "its time ran out before the device's turn came")))
    }

    /// How many devices may have their turn at once, and how long the push rests then.
    fn step(&self) -> Option<(usize, u64)> {
        let per_second = self.push.terms.per_second?;
        let devices = (per_second / limits::PUSH_STEPS_PER_SECOND).clamp(1, limits::PUSH_PART_DEVICES_MAX as u32);
        Some((devices as usize, (u64::from(devices) * 1000).div_ceil(u64::from(per_second))))
    }
}

/// A batch that is to be made now.
pub(crate) struct Part {
    pub push: Arc<StoredPush>,
    pub number: u32,
    pub batch: Vec<FreshDelivery>,
    // Of the batch as it was kept; those after `batch` have their turn later.
    devices: Vec<DeviceNumber>,
    // How long the push rests then.
    rest_ms: Option<u64>,
}

impl Part {
    /// The devices of the batch that are left for later.
    pub fn rest(&self) -> &[DeviceNumber] {
        &self.devices[self.batch.len()..]
    }
}

/// All pushes in the making, by turns.
#[derive(Default)]
pub(crate) struct Making {
    unmade: VecDeque<Unmade>,
    devices: usize,
    payload_bytes: usize,
}

/// The batches of an audience.
pub(crate) fn parts(devices: &[DeviceNumber]) -> Vec<(u32, Vec<DeviceNumber>)> {
    (0..).zip(devices.chunks(limits::PUSH_PART_DEVICES_MAX).map(<[_]>::to_vec)).collect()
}

/// Whether a push on these terms takes its time.
pub(crate) fn is_unhurried(terms: &Terms) -> bool {
    terms.per_second.is_some() || terms.starts.is_some()
}

impl Making {
    /// A push that is kept with its audience.
    pub fn begin(&mut self, push: Arc<StoredPush>, parts: Vec<(u32, Vec<DeviceNumber>)>) {
        self.insert(push, parts, None, None);
    }

    /// One from before a restart. What was for that moment only is too late, unless that moment is still to come
    /// or each device has its own. A slow one begins with a rest: the last devices had their turn just now, maybe.
    pub fn load(&mut self, unmade: UnmadePush, now: Now) {
        let terms = &unmade.push.terms;
        let is_over = terms.per_second.is_none() && terms.starts.is_none_or(|at| at <= now.unix);
        let verdict = match unmade.push.expires {
            _ if unmade.cancelled => Some((DeliveryState::Cancelled, "")),
            None if is_over => Some((DeliveryState::Expired, "the server restarted, and the push was for that moment only")),
            _ => None,
        };
        let rests = terms.per_second.map(|_| now.millis.plus_ms(1000));
        self.insert(Arc::new(unmade.push), unmade.parts, verdict, rests);
    }

    fn insert(
        &mut self,
        push: Arc<StoredPush>,
        parts: Vec<(u32, Vec<DeviceNumber>)>,
        verdict: Option<(DeliveryState, &'static str)>,
        rests: Option<Millis>,
    ) {
        let devices = parts.iter().map(|(_, devices)| devices.len()).sum();
        self.devices += devices;
        self.payload_bytes += push.payload.len();
        self.unmade.push_back(Unmade { push, parts: parts.into(), devices, verdict, rests });
    }

    /// How long it is until [`next`](Making::next) has something, in milliseconds; `None` if nothing is in the making.
    pub fn left_ms(&self, now: Now) -> Option<u64> {
        self.unmade.iter().map(|unmade| unmade.left_ms(now)).min()
    }

    /// Takes the next batch. It must come back by `made` or `failed`.
    pub fn next(&mut self, book: &Book, now: Now) -> Option<Part> {
        // Those that rest keep their place in the row.
        let ready = self.unmade.iter().position(|unmade| unmade.left_ms(now) == 0)?;
        let chosen = self.unmade.remove(ready)?;
        self.unmade.push_front(chosen);
        let unmade = self.unmade.front_mut()?;
        let verdict = unmade.verdict(now);
        let step = if verdict.is_some() { None } else { unmade.step() };
        let (number, devices) = unmade.parts.pop_front()?;
        let fresh = |device: &DeviceNumber| {
            let (state, detail) = match verdict {
                Some((state, why)) => (state, why.to_owned()),
                None if !book.has_room(*device, unmade.push.terms.collapse.as_ref(), 0) => {
                    (DeliveryState::Refused, format!("{} pushes already wait for this device", limits::PENDING_PER_DEVICE_MAX))
                }
                None => (DeliveryState::Queued, String::new()),
            };
            FreshDelivery { device: *device, state, detail }
        };
        let count = step.map_or(devices.len(), |(count, _)| count.min(devices.len()));
        let batch = devices[..count].iter().map(fresh).collect();
        Some(Part { push: unmade.push.clone(), number, batch, devices, rest_ms: step.map(|(_, rest_ms)| rest_ms) })
    }

    /// The batch taken last is on disk; it is the next push's turn.
    pub fn made(&mut self, part: &Part, now: Now) {
        let Some(mut unmade) = self.unmade.pop_front() else { return };
        self.devices -= part.batch.len();
        unmade.devices -= part.batch.len();
        unmade.rests = part.rest_ms.map(|ms| now.millis.plus_ms(ms));
        if !part.rest().is_empty() {
            unmade.parts.push_front((part.number, part.rest().to_vec()));
        }
        if unmade.parts.is_empty() {
            self.payload_bytes -= unmade.push.payload.len();
        } else {
            self.unmade.push_back(unmade);
        }
    }

    /// The batch taken last could not be kept: it is the next again.
    pub fn failed(&mut self, part: Part) {
        if let Some(unmade) = self.unmade.front_mut() {
            unmade.parts.push_front((part.number, part.devices));
        }
    }

    /// The sender takes a push back: what is left is made as cancelled. How many devices those are.
    pub fn cancel(&mut self, push: PushId) -> usize {
        let Some(unmade) = self.unmade.iter_mut().find(|unmade| unmade.push.id == push) else { return 0 };
        unmade.verdict = Some((DeliveryState::Cancelled, ""));
        unmade.devices
    }

    /// Whether a push is in the making.
    pub fn has(&self, push: PushId) -> bool {
        self.unmade.iter().any(|unmade| unmade.push.id == push)
    }

    /// How many pushes are; those that take their time, or the others.
    pub fn pushes(&self, unhurried: bool) -> usize {
        self.unmade.iter().filter(|unmade| is_unhurried(&unmade.push.terms) == unhurried).count()
    }

    /// The payload bytes of them all.
    pub fn payload_bytes(&self) -> usize {
        self.payload_bytes
    }

    /// How many devices wait for a delivery.
    pub fn devices(&self) -> usize {
        self.devices
    }
}
