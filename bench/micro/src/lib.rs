//! What the benchmarks do: the steps of the message path, each alone, and whole messages through the hub on
//! wires of memory. Everything is made before the clock runs; a step leaves things as they were, so that it
//! can be done any number of times.

mod house;
mod steps;

pub use house::House;
pub use steps::{Steps, filters};
