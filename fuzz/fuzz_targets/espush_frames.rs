//! Any bytes as ES-PUSH classic frames and bodies; what decodes encodes to the same bytes.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| protocols::espush::fuzz::frames(data));
