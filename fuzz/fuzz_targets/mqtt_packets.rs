//! Any bytes as MQTT packets, both directions.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| protocols::mqtt::fuzz::fuzz_packets(data));
