//! An edge whose process changes: the binary in its folder, and the processes that take over.

use super::{Brim, Response};
use rustix::process::{Pid, Signal, kill_process};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The new processes of an edge. Those that still run are ended when it is dropped.
#[derive(Default)]
pub(super) struct Successors {
    is_expected: bool,
}

impl Successors {
    /// Ends whatever has been started in this folder: none of it is the test's own child.
    pub(super) fn end(&self, folder: &Path) {
        if !self.is_expected {
            return;
        }
        loop {
            let there = processes_in(folder);
            if there.is_empty() {
                return;
            }
            for pid in there {
                // It may have ended by itself.
                let _ = kill_process(pid, Signal::KILL);
            }
            std::thread::yield_now();
        }
    }
}

fn processes_in(folder: &Path) -> Vec<Pid> {
    let folder = folder.canonicalize().expect("a folder");
    let all = std::fs::read_dir("/proc").expect("processes").flatten();
    let numbers = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    // A process that has ended and is nobody's yet has no folder.
    let is_there = |pid: &i32| {
        std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|there| there == folder)
    };
    numbers.filter(is_there).filter_map(Pid::from_raw).collect()
}

impl Brim {
    /// Has a new process take over. Its number.
    #[track_caller]
    pub(crate) fn upgrade(&mut self) -> u32 {
        let answer = self.try_upgrade();
        assert_eq!(answer.status, 200, "{}", answer.text());
        let told: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert_eq!(told["version"], env!("CARGO_PKG_VERSION"));
        told["pid"].as_u64().and_then(|pid| pid.try_into().ok()).expect("a number")
    }

    /// Asks for a new process. What is answered.
    pub(crate) fn try_upgrade(&mut self) -> Response {
        self.expects_successors();
        self.operator().ask("POST", "/upgrade", "")
    }

    /// Those that are started are ended, too.
    pub(crate) fn expects_successors(&mut self) {
        self.successors.is_expected = true;
    }

    /// A copy of the binary, in the folder of the edge that is run from it.
    pub(crate) fn binary(&self) -> std::path::PathBuf {
        self.folder().join("brim")
    }

    /// Puts a shell script in the place of the binary.
    pub(crate) fn replace_binary_by(&self, script: &str) {
        let (new, text) = (self.folder().join("new"), format!("#!/bin/sh\n{script}\n"));
        std::fs::write(&new, text).expect("written");
        std::fs::set_permissions(&new, PermissionsExt::from_mode(0o755)).expect("executable");
        std::fs::rename(new, self.binary()).expect("renamed");
    }

    /// Puts the binary back.
    pub(crate) fn restore_binary(&self) {
        std::fs::remove_file(self.binary()).expect("removed");
        copy_binary(&self.folder());
    }

    /// Changes the configuration.
    pub(crate) fn reconfigure(&self, change: impl FnOnce(String) -> String) {
        let file = self.folder().join("edge.toml");
        let text = std::fs::read_to_string(&file).expect("a configuration");
        std::fs::write(&file, change(text)).expect("written");
    }
}

/// Puts the binary into a folder.
pub(super) fn copy_binary(folder: &Path) {
    let (binary, copy) = (env!("CARGO_BIN_EXE_brim"), folder.join("brim"));
    if std::fs::hard_link(binary, &copy).is_err() {
        std::fs::copy(binary, &copy).expect("copied");
    }
}

/// Whether a process runs.
pub(crate) fn lives(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
    state.is_some_and(|state| state != 'Z')
}

/// Sends a signal to a process of an edge.
pub(crate) fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).expect("a number")).expect("a number");
    kill_process(pid, signal).expect("signalled");
}
