//! A whole ES-PUSH classic line, played from bytes; no output is ever one that a device must not see.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| protocols::espush::fuzz::session(data));
