//! Sockets, shards, timers and buffers; the only room that knows tokio's network types on the device side.
