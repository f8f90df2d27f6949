//! The nouns of espush, shared by every room: topics, messages, devices, apps, accounts, pushes, points, and
//! [`limits`], the one file with every limit. No I/O, no async, no clock: values and their rules only.

pub mod account;
pub mod address;
pub mod app;
pub mod device;
pub mod limits;
pub mod message;
pub mod meta;
pub mod party;
pub mod point;
pub mod push;
pub mod query;
pub mod remote;
pub mod scope;
pub mod short;
pub mod text;
pub mod time;
pub mod topic;
pub mod twin;

pub use account::{Access, Account, Concerns, Rule, RuleError, Rules, Scope};
pub use address::{Address, Peers};
pub use app::{App, AppId, AppKey};
pub use device::{Device, DeviceId, DeviceNumber, Presence};
pub use message::{Message, Qos, Receipt};
pub use meta::{Meta, MetaEdit};
pub use party::{Party, PartyKey, Role};
pub use point::{Point, Value};
pub use push::{Delivery, DeliveryState, DeliveryStep, Order, Priority, PushId, Terms};
pub use query::{Query, QueryError};
pub use remote::Remote;
pub use scope::{TokenScope, TokenScopes};
pub use short::ShortStr;
pub use time::{Due, Millis, UnixMs};
pub use topic::{Filter, Topic};
pub use twin::{TwinPart, TwinPath};
