//! Any text as a query; what is understood prints as a text that means the same.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| model::query::fuzz::query(data));
