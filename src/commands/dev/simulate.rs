//! What can be simulated: the distance to users, and an origin that is slow, broken or down.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::time::Duration;

/// Where nothing else is said.
const SLOW: Duration = Duration::from_secs(2);
/// Nobody waits longer.
const TIME_MAX: Duration = Duration::from_secs(3600);

/// One thing that is simulated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Simulated {
    /// A round trip between users and the edge.
    Latency(Duration),
    /// The origin begins each answer so much later.
    SlowOrigin(Duration),
    /// Bytes a second of the origin's answers, on each connection.
    Bandwidth(u64),
    /// So many of a hundred requests are answered with 503.
    Error(u8),
    /// Nobody is there any more after so long.
    OriginDown(Duration),
}

/// Reads what the command line says.
pub(crate) fn simulated(text: &str) -> Result<Simulated, String> {
    let (name, value) = text.split_once('=').map_or((text, None), |(n, v)| (n, Some(v)));
    let time = |value: &str| {
        humantime::parse_duration(value)
            .ok()
            .filter(|time| *time <= TIME_MAX)
            .ok_or_else(|| format!("expected a time of at most an hour, such as {name}=2s"))
    };
    match (name, value) {
        ("latency", Some(value)) => time(value).map(Simulated::Latency),
        ("slow-origin", value) => value.map_or(Ok(SLOW), time).map(Simulated::SlowOrigin),
        ("origin-down", value) => value.map_or(Ok(Duration::ZERO), time).map(Simulated::OriginDown),
        ("bandwidth", Some(value)) => bytesize::ByteSize::from_str(value)
            .ok()
            .filter(|size| size.as_u64() > 0)
            .map(|size| Simulated::Bandwidth(size.as_u64()))
            .ok_or_else(|| "expected bytes a second, such as bandwidth=100KB".to_owned()),
        ("error", Some(value)) => value
            .strip_suffix('%')
            .and_then(|percent| percent.parse().ok())
            .filter(|percent| (1..=100).contains(percent))
            .map(Simulated::Error)
            .ok_or_else(|| "expected a share, such as error=10%".to_owned()),
        _ => Err("expected latency=80ms, slow-origin, slow-origin=2s, bandwidth=100KB, \
                  error=10%, origin-down or origin-down=30s"
            .to_owned()),
    }
}

impl Simulated {
    pub(super) fn is_latency(&self) -> bool {
        matches!(self, Self::Latency(_))
    }
}

/// As the greeting tells it.
impl fmt::Display for Simulated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |time: &Duration| humantime::format_duration(*time).to_string();
        match self {
            Self::Latency(rtt) => write!(f, "users are {} away, there and back", time(rtt)),
            Self::SlowOrigin(delay) => {
                write!(f, "the origin takes {} more for each answer", time(delay))
            }
            Self::Bandwidth(bytes) => {
                let size = bytesize::ByteSize(*bytes).display().si();
                write!(f, "the origin sends {size} a second on each connection")
            }
            Self::Error(percent) => write!(f, "the origin answers {percent} % with 503"),
            Self::OriginDown(Duration::ZERO) => f.write_str("the origin is down"),
            Self::OriginDown(after) => write!(f, "the origin is down after {}", time(after)),
        }
    }
}

/// Everything that is simulated; of one kind, the last word counts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Weather {
    pub(super) latency: Option<Duration>,
    pub(super) slow: Option<Duration>,
    pub(super) bandwidth: Option<u64>,
    pub(super) error_percent: Option<u8>,
    pub(super) down_after: Option<Duration>,
}

impl Weather {
    pub(super) fn of(all: &[Simulated], origin_has_tls: bool) -> io::Result<Self> {
        let mut weather = Self::default();
        for one in all {
            match *one {
                Simulated::Latency(rtt) => weather.latency = Some(rtt),
                Simulated::SlowOrigin(delay) => weather.slow = Some(delay),
                Simulated::Bandwidth(bytes) => weather.bandwidth = Some(bytes),
                Simulated::Error(percent) => weather.error_percent = Some(percent),
                Simulated::OriginDown(after) => weather.down_after = Some(after),
            }
        }
        if origin_has_tls && weather.error_percent.is_some() {
            return Err(io::Error::other(
                "--simulate error=.. needs an origin without TLS: nobody in between can answer for \
                 another one",
            ));
        }
        Ok(weather)
    }

    pub(super) fn is_about_origin(&self) -> bool {
        let Self { slow, bandwidth, error_percent, down_after, .. } = self;
        slow.is_some() || bandwidth.is_some() || error_percent.is_some() || down_after.is_some()
    }

    pub(super) fn is_down_at_once(&self) -> bool {
        self.down_after == Some(Duration::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_simulated_is_said_in_a_word_or_two() {
        for (text, meant) in [
            ("latency=80ms", Simulated::Latency(Duration::from_millis(80))),
            ("slow-origin", Simulated::SlowOrigin(SLOW)),
            ("slow-origin=500ms", Simulated::SlowOrigin(Duration::from_millis(500))),
            ("bandwidth=100KB", Simulated::Bandwidth(100_000)),
            ("error=10%", Simulated::Error(10)),
            ("origin-down", Simulated::OriginDown(Duration::ZERO)),
            ("origin-down=1m", Simulated::OriginDown(Duration::from_secs(60))),
        ] {
            assert_eq!(simulated(text), Ok(meant), "{text}");
        }
        for bad in [
            "",
            "latency",
            "latency=80",
            "latency=2h",
            "error=0%",
            "error=5",
            "error=101%",
            "bandwidth=0B",
            "slow",
            "origin-down=",
        ] {
            assert!(simulated(bad).is_err(), "{bad}");
        }
    }
}
