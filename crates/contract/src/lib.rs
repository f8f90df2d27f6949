//! Every seam of the house. Rooms know each other only through what stands here:
//! [`session`] between a protocol's machine and the hub, [`gate`] for who may come in, [`event`] for what the platform hears,
//! [`line`] for what the platform may ask of the shards, [`store`] for what must outlive the process,
//! [`headroom`] for whether there is room for it, [`keep`] for what of the hub must,
//! [`webhooks`] for events that are still to be told, [`clock`] for the time.
//! Deliberately absent: any implementation but the byte [`kit`] that all decoders share.

pub mod clock;
pub mod event;
pub mod gate;
pub mod headroom;
pub mod keep;
pub mod kit;
pub mod line;
pub mod place;
pub mod session;
pub mod store;
pub mod webhooks;

pub use clock::Clock;
pub use event::{Alarm, Bus, Consumer, Event, Reached, Step};
pub use gate::{Addressee, Admission, Gate, Login, Refusal, ScramKeys, Verdict};
pub use headroom::{Headroom, Keeping};
pub use keep::{KeptSession, KeptWish, Note, Rare, SessionId, Vault, Waiting};
pub use line::Line;
pub use place::{ConnId, PromiseId, SessionPlace, Ticket};
pub use session::{
    Accepted, Answer, Awaited, Bye, Close, Context, Delivery, Ending, Fault, Hello, Hub, Outcome, Protocol, Publish, Released,
    RetainedWanted, Session, Slot, SubscribeOptions, Welcome, Will,
};
