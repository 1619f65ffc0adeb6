//! What systemd is told, where it has started the process as a service of `Type=notify`. Nobody else
//! is told anything, and nothing depends on whether it was heard.

use sd_notify::NotifyState;

/// It listens. After an upgrade, it is also the service's process from now on.
pub fn ready(has_taken_over: bool) {
    if has_taken_over {
        main_process(std::process::id());
    }
    tell(&[NotifyState::Ready]);
}

/// Another configuration is being read; `ready` ends it.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "systemd cannot be told the time"),
    }
}

/// The service goes on as another process.
pub fn main_process(pid: u32) {
    tell(&[NotifyState::MainPid(pid)]);
}

/// It is shutting down.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd could not be told");
    }
}
