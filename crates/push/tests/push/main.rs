//! The push room between a store, a line and a bus in memory.

mod any_order;
mod collapse;
mod house;
mod life;
mod many;
mod pace;
mod prune;
