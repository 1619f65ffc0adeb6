//! Files that change while the edge runs.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// What tells one state of files from another: where each is, how long, and since when. Behind a
/// symlink it is the file that it leads to.
type Fingerprint = Vec<Option<(u64, u64, u64, i64, i64)>>;

/// Files that belong together.
#[derive(Clone, Debug)]
pub struct Watched {
    files: Vec<PathBuf>,
    /// What was read last, good or bad.
    read: Fingerprint,
    /// What was found since.
    found: Option<Fingerprint>,
}

impl Watched {
    /// To be made before the files are read: what changes meanwhile is a change.
    pub fn new(files: Vec<PathBuf>) -> Self {
        let read = fingerprint(&files);
        Self { files, read, found: None }
    }

    /// Whether they are not what was read last.
    pub fn have_changed(&self) -> bool {
        fingerprint(&self.files) != self.read
    }

    /// Whether they are to be read again: they are not what was read, and as they were at the last
    /// look. Whoever is still writing is not disturbed.
    pub fn is_due(&mut self) -> bool {
        let now = fingerprint(&self.files);
        if now == self.read {
            self.found = None;
            return false;
        }
        if self.found.as_ref() != Some(&now) {
            self.found = Some(now);
            return false;
        }
        self.read = now;
        self.found = None;
        true
    }
}

fn fingerprint(files: &[PathBuf]) -> Fingerprint {
    let of = |file: &PathBuf| {
        let found = std::fs::metadata(file).ok()?;
        Some((found.dev(), found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
    };
    files.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn files_are_due_once_for_each_change_and_when_they_have_come_to_rest() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a.pem");
        fs::write(&file, "1").expect("written");
        let mut watched = Watched::new(vec![file.clone(), folder.path().join("missing")]);
        assert!(!watched.is_due());
        fs::write(&file, "22").expect("written");
        assert!(!watched.is_due(), "it has only just changed");
        fs::write(&file, "333").expect("written");
        assert!(!watched.is_due(), "and again");
        assert!(watched.is_due());
        assert!(!watched.is_due());
        fs::remove_file(&file).expect("removed");
        assert_eq!([watched.is_due(), watched.is_due(), watched.is_due()], [false, true, false]);
    }

    #[test]
    fn a_symlink_that_leads_elsewhere_is_a_change() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        for version in ["one", "two"] {
            fs::create_dir(at(version)).expect("made");
            fs::write(at(version).join("tls.crt"), "same").expect("written");
        }
        symlink("one", at("data")).expect("linked");
        symlink("data/tls.crt", at("tls.crt")).expect("linked");
        let mut watched = Watched::new(vec![at("tls.crt")]);
        symlink("two", at("new")).expect("linked");
        fs::rename(at("new"), at("data")).expect("swapped");
        assert_eq!([watched.is_due(), watched.is_due(), watched.is_due()], [false, true, false]);
    }
}
