//! The hub: sessions, subscriptions, retained messages, queues and routing for one shard, and what the
//! shards share. It has never heard of MQTT, of sockets or of disks. A [`Floor`] is one shard with its
//! connections' machines: bytes, mail and time go in, bytes go out through a [`Wire`]. The sockets of
//! `net` drive it, and so does a test, which then is the whole house in one thread.
//!
//! | file | what |
//! |---|---|
//! | `floor` | the machines of a shard's connections; one turn after another |
//! | `wheel` | their wake-up times |
//! | `shard` | the connections and sessions of one shard; what the floor brings |
//! | `entering` | logins, takeovers, hand-overs to other shards |
//! | `ending` | lines and sessions end, wills speak |
//! | `commons` | what the shards share |
//! | `verbs` | what machines may ask |
//! | `access` | who may publish and subscribe where; `me/…` becomes `dev/<id>/…` |
//! | `session` | what is kept for one client, with or without a line |
//! | `sessions` | all of a shard, by place, name and party |
//! | `backlog` | its queue, what is in flight, open exactly-once publishes |
//! | `few` | a list of mostly one |
//! | `subscriptions` | filters by name and by beginning in tables, other wildcards in a trie |
//! | `entries` | who wants one filter |
//! | `shared` | `$share/…`: one member of a group gets it, wherever it lives |
//! | `retained` | last values, shared by all shards |
//! | `routing` | from a publish to queues, to other shards and to the platform |
//! | `address` | from a device, a program or a page to the one who has a number |
//! | `answering` | who wrote to a device, so that it may answer |
//! | `keeping` | what a session must not lose, told to the journal; what waited for the disk goes on |
//! | `journal` | what is to outlive the program, on its way to the disk, and who waits for it |
//! | `restore` | what came back from there |
//! | `mail` | what travels between shards |

mod access;
mod address;
mod answering;
mod backlog;
mod claims;
mod commons;
mod ending;
mod entering;
mod entries;
mod few;
mod floor;
mod heard;
mod journal;
mod keeping;
mod mail;
mod restore;
mod retained;
mod routing;
mod session;
mod sessions;
mod shard;
mod shared;
mod subscriptions;
mod verbs;
mod wheel;

pub use address::Parcel;
pub use commons::Commons;
pub use floor::{Ended, Floor, Moving, Wire};
pub use heard::Heard;
pub use mail::{Broadcast, Counters, Gathered, Mail, Safe, Transfer, Work};
pub use shard::{Shard, home_of_device, home_shard};
