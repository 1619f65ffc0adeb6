//! What became of a request: one closed vocabulary for the access log, metrics and headers.

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Carried to the origin and back.
    Pass,
    /// Answered here without an origin, as the protocol demands.
    Edge,
    /// No good answer; why, in one word.
    Error(&'static str),
}

impl Outcome {
    /// The kind.
    pub fn label(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Edge => "edge",
            Self::Error(_) => "error",
        }
    }

    /// The reason of an error.
    pub fn reason(self) -> Option<&'static str> {
        match self {
            Self::Error(reason) => Some(reason),
            Self::Pass | Self::Edge => None,
        }
    }
}
