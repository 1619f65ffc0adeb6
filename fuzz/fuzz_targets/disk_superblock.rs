//! One input for `disk_superblock`; what must hold for it is said in `disk_entries.rs`.

#![no_main]

#[path = "../disk_entries.rs"]
#[allow(dead_code, reason = "one entry each")]
mod disk_entries;

libfuzzer_sys::fuzz_target!(|data: &[u8]| disk_entries::disk_superblock(data));
