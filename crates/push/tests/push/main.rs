//! The push room between a store, a line and a bus in memory.

mod any_order;
mod house;
mod life;
mod many;
