//! One input for `structured_fields`; what must hold for it is said in `field_entries.rs`.

#![no_main]

#[path = "../field_entries.rs"]
#[allow(dead_code, reason = "one entry each")]
mod field_entries;

libfuzzer_sys::fuzz_target!(|data: &[u8]| field_entries::structured_fields(data));
