//! Pushes to many whose deliveries are still to be made. Push and audience are on disk already; batches of
//! devices get their deliveries in turns, so that one push to a million neither fills the memory nor keeps
//! the others waiting. As values: what is to be made comes out, what was made is told.

use std::collections::VecDeque;
use std::sync::Arc;

use contract::store::{FreshDelivery, StoredPush, UnmadePush};
use model::{DeliveryState, DeviceNumber, PushId, limits};

use crate::book::Book;

/// A push in the making.
struct Unmade {
    push: Arc<StoredPush>,
    parts: VecDeque<(u32, Vec<DeviceNumber>)>,
    devices: usize,
    // What all that is left becomes from the start.
    verdict: Option<(DeliveryState, &'static str)>,
}

/// A batch that is to be made now.
pub(crate) struct Part {
    pub push: Arc<StoredPush>,
    pub number: u32,
    pub batch: Vec<FreshDelivery>,
    devices: Vec<DeviceNumber>,
}

/// All pushes in the making, by turns.
#[derive(Default)]
pub(crate) struct Making {
    unmade: VecDeque<Unmade>,
    devices: usize,
}

/// The batches of an audience.
pub(crate) fn parts(devices: &[DeviceNumber]) -> Vec<(u32, Vec<DeviceNumber>)> {
    (0..).zip(devices.chunks(limits::PUSH_PART_DEVICES_MAX).map(<[_]>::to_vec)).collect()
}

impl Making {
    /// A push that is kept with its audience.
    pub fn begin(&mut self, push: Arc<StoredPush>, parts: Vec<(u32, Vec<DeviceNumber>)>) {
        self.insert(push, parts, None);
    }

    /// One from before a restart. What was for that moment only is too late.
    pub fn load(&mut self, unmade: UnmadePush) {
        let verdict = match unmade.push.expires {
            _ if unmade.cancelled => Some((DeliveryState::Cancelled, "")),
            None => Some((DeliveryState::Expired, "the server restarted, and the push was for that moment only")),
            Some(_) => None,
        };
        self.insert(Arc::new(unmade.push), unmade.parts, verdict);
    }

    fn insert(
        &mut self,
        push: Arc<StoredPush>,
        parts: Vec<(u32, Vec<DeviceNumber>)>,
        verdict: Option<(DeliveryState, &'static str)>,
    ) {
        let devices = parts.iter().map(|(_, devices)| devices.len()).sum();
        self.devices += devices;
        self.unmade.push_back(Unmade { push, parts: parts.into(), devices, verdict });
    }

    /// Takes the next batch. It must come back by `made` or `failed`.
    pub fn next(&mut self, book: &Book) -> Option<Part> {
        let unmade = self.unmade.front_mut()?;
        let (number, devices) = unmade.parts.pop_front()?;
        let fresh = |device: &DeviceNumber| {
            let (state, detail) = match unmade.verdict {
                Some((state, why)) => (state, why.to_owned()),
                None if !book.has_room(*device, unmade.push.terms.collapse.as_ref(), 0) => {
                    (DeliveryState::Refused, format!("{} pushes already wait for this device", limits::PENDING_PER_DEVICE_MAX))
                }
                None => (DeliveryState::Queued, String::new()),
            };
            FreshDelivery { device: *device, state, detail }
        };
        Some(Part { push: unmade.push.clone(), number, batch: devices.iter().map(fresh).collect(), devices })
    }

    /// The batch taken last is on disk; it is the next push's turn.
    pub fn made(&mut self, part: &Part) {
        let Some(mut unmade) = self.unmade.pop_front() else { return };
        self.devices -= part.devices.len();
        unmade.devices -= part.devices.len();
        if !unmade.parts.is_empty() {
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

    /// How many pushes are.
    pub fn pushes(&self) -> usize {
        self.unmade.len()
    }

    /// How many devices wait for a delivery.
    pub fn devices(&self) -> usize {
        self.devices
    }
}
