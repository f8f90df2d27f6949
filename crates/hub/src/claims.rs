//! The exactly-once publishes that a client has begun and not ended, by their packet ids: each is taken once,
//! however often it comes [MQTT-4.3.3-10].

use contract::Released;
use model::limits;

/// The publishes. A client has few at a time.
#[derive(Debug, Default)]
pub struct Claims(Vec<Open>);

#[derive(Debug)]
struct Open {
    id: u16,
    /// The token under which somebody is still keeping it.
    waits: Option<u32>,
}

/// What the id of an exactly-once publish tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It is new.
    New,
    /// It came before and is kept.
    Kept,
    /// It came before and is still being kept.
    Waits,
    /// Too many are open.
    Full,
}

impl Claims {
    /// Those that were kept.
    pub fn kept(ids: Vec<u16>) -> Claims {
        Claims(ids.into_iter().map(|id| Open { id, waits: None }).collect())
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Begins the publish `id`.
    pub fn begin(&mut self, id: u16) -> Claim {
        match self.0.iter().find(|open| open.id == id) {
            Some(Open { waits: None, .. }) => Claim::Kept,
            Some(_) => Claim::Waits,
            None if self.0.len() >= limits::INBOUND_OPEN_MAX => Claim::Full,
            None => {
                self.0.push(Open { id, waits: None });
                Claim::New
            }
        }
    }

    /// Somebody must keep `id` first, and will answer under `token`.
    pub fn waits(&mut self, id: u16, token: u32) {
        if let Some(open) = self.0.iter_mut().find(|open| open.id == id) {
            open.waits = Some(token);
        }
    }

    /// What waited under `token` is kept, or is not: then it must count as new when it comes again.
    /// Whether anything waited under it.
    pub fn answered(&mut self, token: u32, kept: bool) -> bool {
        let Some(at) = self.0.iter().position(|open| open.waits == Some(token)) else { return false };
        if kept {
            self.0[at].waits = None;
        } else {
            self.0.swap_remove(at);
        }
        true
    }

    /// Forgets `id`, which was not taken after all.
    pub fn forget(&mut self, id: u16) {
        self.0.retain(|open| open.id != id);
    }

    /// Ends the publish `id`.
    pub fn release(&mut self, id: u16) -> Released {
        match self.0.iter().position(|open| open.id == id) {
            None => Released::Unknown,
            Some(at) if self.0[at].waits.is_some() => Released::TooEarly,
            Some(at) => {
                self.0.swap_remove(at);
                Released::Done
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_publishes_are_remembered_and_bounded() {
        let mut claims = Claims::default();
        assert_eq!(claims.begin(7), Claim::New);
        assert_eq!(claims.begin(7), Claim::Kept);
        claims.waits(7, 70);
        assert_eq!((claims.begin(7), claims.release(7)), (Claim::Waits, Released::TooEarly));
        assert!(claims.answered(70, true) && !claims.answered(70, true));
        assert_eq!((claims.release(7), claims.release(7)), (Released::Done, Released::Unknown));
        claims.begin(8);
        claims.waits(8, 80);
        assert!(claims.answered(80, false));
        assert_eq!(claims.begin(8), Claim::New, "what could not be kept counts as new");
        claims.forget(8);
        assert!(claims.is_empty());
        for id in 0..limits::INBOUND_OPEN_MAX as u16 {
            assert_eq!(claims.begin(id), Claim::New);
        }
        assert_eq!(claims.begin(u16::MAX), Claim::Full);
    }
}
