//! What the origin is asked for.

use clap::ValueEnum;

/// What becomes of an answer.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// It is stored.
    Kept,
    /// It is not: the origin forbids it, or the proxy is not asked to.
    Passed,
    /// Many want it at once.
    #[value(skip)]
    Crowd,
    /// The same, where nginx is told to have one wait for the other.
    #[value(skip)]
    Locked,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Passed => "passed",
            Self::Crowd => "crowd",
            Self::Locked => "locked",
        }
    }

    pub(crate) fn path_prefix(self, size: usize) -> String {
        format!("/{}/{size}/", self.name())
    }

    /// Whether the origin takes its time for this path.
    pub(crate) fn waits(path: &[u8]) -> bool {
        path.starts_with(b"/crowd/") || path.starts_with(b"/locked/")
    }
}
