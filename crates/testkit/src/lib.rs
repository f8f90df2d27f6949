//! Fake clock, in-memory pair of machine and hub, and the wire-row language.
