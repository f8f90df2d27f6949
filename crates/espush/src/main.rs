//! The espush program.

fn main() {}
