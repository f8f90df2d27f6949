//! What tests share: [`House`], the whole device side in one thread with a clock that only the test
//! moves, and [`rows`], the wire-row language ("send these bytes, expect those"). Used by tests alone.
//! Deliberately absent: sockets, sleeping, and any assertion about time that passes by itself.

pub mod crowd;
mod gate;
mod house;
mod nobody;
pub mod rows;
mod vault;

pub use gate::TestGate;
pub use house::{Disk, Errand, House, Keep, LineId, Move};
pub use nobody::Nobody;
pub use vault::{MemoryVault, TestVault};
