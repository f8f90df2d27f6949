//! Any bytes as what an MQTT client sends, split anyhow, with a hub that answers anything.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| protocols::mqtt::fuzz::fuzz_session(data));
