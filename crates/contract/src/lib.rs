//! Every seam of the house. Rooms know each other only through what stands here:
//! [`session`] between a protocol's machine and the hub, [`switch`] between the hub and whoever drives
//! it (sockets or a test), [`gate`] for who may come in, [`event`] for what the platform hears,
//! [`line`] for what the platform may ask of the shards, [`store`] for what must outlive the process.
//! Deliberately absent: any implementation but the byte [`kit`] that all decoders share.

pub mod event;
pub mod gate;
pub mod kit;
pub mod line;
pub mod session;
pub mod store;
pub mod switch;

pub use event::{Bus, Consumer, Event, Step};
pub use gate::{Admission, Gate, Login, Refusal, Ticket, Verdict};
pub use line::Line;
pub use session::{
    Accepted, Answer, Close, Context, Delivery, Fault, Hello, Hub, Outcome, Protocol, Publish, Session, Slot, SubscribeOptions,
    Welcome, Will,
};
pub use switch::{ConnId, Mail, Switch, Transfer, Work};
