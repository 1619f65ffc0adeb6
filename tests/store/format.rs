//! The bytes on the disk, as pure functions: the fuzz entries on mutated seeds.

#[path = "../../fuzz/bounded.rs"]
mod bounded;
#[path = "../../fuzz/disk_entries.rs"]
mod disk_entries;

fn fuzz(name: &str, entry: fn(&[u8])) {
    const WORDS: &[&str] =
        &["BRc1", "BrimStor", "BrimSegm", "BrimFoot", "BrimPurg", "\0\0\0\0", "\u{1}\0\0\0"];
    bounded::fuzz(name, WORDS, std::time::Duration::from_secs(2), entry);
}

#[test]
fn no_record_whatever_its_bytes_is_taken_for_another() {
    fuzz("disk_record", disk_entries::disk_record);
}

#[test]
fn no_footer_whatever_its_bytes_names_a_place_outside_its_segment() {
    fuzz("disk_footer", disk_entries::disk_footer);
}

#[test]
fn no_superblock_whatever_its_bytes_is_taken_for_another_version() {
    fuzz("disk_superblock", disk_entries::disk_superblock);
}

#[test]
fn no_purge_log_whatever_its_bytes_says_what_was_not_written() {
    fuzz("disk_purge_log", disk_entries::disk_purge_log);
}
