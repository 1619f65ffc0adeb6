//! One input for `http2_response`; what must hold for it is said in `entries.rs`.

#![no_main]

#[path = "../entries.rs"]
#[allow(dead_code, reason = "one entry each")]
mod entries;

libfuzzer_sys::fuzz_target!(|data: &[u8]| entries::http2_response(data));
