//! Requests as a CDN sees them, made up: the same in every run with the same seed.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Objects that are asked for by Zipf's law.
const POPULAR: u32 = 200_000;
/// Identifiers from here on are of objects that are asked for once.
const ONCE: u64 = 1 << 40;
/// From here on, of those that everybody wants at one time.
const CROWD: u64 = 1 << 41;
/// How many these are.
const CROWD_OBJECTS: u64 = 50;
/// Half of all objects are smaller.
const MEDIAN_BYTES: f64 = 6.0 * 1024.0;
/// The standard deviation of the logarithm.
const SIGMA: f64 = 1.5;
const BYTES_MIN: f64 = 256.0;
const BYTES_MAX: f64 = 1024.0 * 1024.0;
const EQUAL_BYTES: u32 = 16 * 1024;
/// How much of the requests goes to the crowd's objects at the most.
const CROWD_SHARE: f64 = 0.4;
/// How many requests a scan goes through one after the other, of a hundred.
const SCAN_PERCENT: u64 = 8;
/// So many times within a trace, objects get another popularity.
const CHANGES: u64 = 40;
/// A pair of objects changes places; one of twenty objects each time.
const PAIRS: usize = POPULAR as usize / 40;

/// What requests are like.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// The exponent of Zipf's law.
    zipf: f64,
    /// The share of requests for something that is asked for once.
    once: f64,
    has_crowd: bool,
    has_scan: bool,
    /// Popularity changes.
    is_changing: bool,
    has_equal_sizes: bool,
}

const PLAIN: Kind = Kind {
    name: "",
    zipf: 0.9,
    once: 0.2,
    has_crowd: false,
    has_scan: false,
    is_changing: false,
    has_equal_sizes: false,
};

/// All that are replayed.
pub(crate) const KINDS: [Kind; 12] = [
    Kind { name: "Zipf 0.7", zipf: 0.7, ..PLAIN },
    Kind { name: "Zipf 0.8", zipf: 0.8, ..PLAIN },
    Kind { name: "Zipf 0.9", ..PLAIN },
    Kind { name: "Zipf 1.0", zipf: 1.0, ..PLAIN },
    Kind { name: "Zipf 1.1", zipf: 1.1, ..PLAIN },
    Kind { name: "Zipf 0.9, nothing once only", once: 0.0, ..PLAIN },
    Kind { name: "Zipf 0.9, half once only", once: 0.5, ..PLAIN },
    Kind { name: "Zipf 0.9, all of one size", has_equal_sizes: true, ..PLAIN },
    Kind { name: "Zipf 0.9, a flash crowd", has_crowd: true, ..PLAIN },
    Kind { name: "Zipf 0.9, scans", has_scan: true, ..PLAIN },
    Kind { name: "Zipf 0.9, changing", is_changing: true, ..PLAIN },
    Kind {
        name: "Zipf 0.8, everything at one time",
        zipf: 0.8,
        once: 0.3,
        has_crowd: true,
        has_scan: true,
        is_changing: true,
        ..PLAIN
    },
];

/// A request for an object.
#[derive(Clone, Copy)]
pub(crate) struct Request {
    pub(crate) object: u64,
    pub(crate) bytes: u32,
}

/// Requests in their order.
pub(crate) struct Trace {
    pub(crate) requests: Vec<Request>,
    /// Of all objects that are asked for.
    pub(crate) footprint: u64,
}

impl Trace {
    pub(crate) fn new(kind: &Kind, requests: u64, seed: u64) -> Self {
        let mut source = Source::new(kind, seed);
        let mut footprint = HashMap::new();
        let next = |number| {
            let object = source.next(number, requests);
            let bytes = *footprint.entry(object).or_insert_with(|| kind.bytes(object, seed));
            Request { object, bytes }
        };
        let requests = (0..requests).map(next).collect();
        Self { requests, footprint: footprint.values().copied().map(u64::from).sum() }
    }

    /// Writes it as the simulator reads it ("oracleGeneral"): for each request the second, the
    /// object, its size and the number of the next request for it.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        let mut next = vec![-1_i64; self.requests.len()];
        let mut following: HashMap<u64, i64> = HashMap::new();
        for (number, request) in self.requests.iter().enumerate().rev() {
            next[number] =
                following.insert(request.object, number as i64).map_or(-1, |later| later + 1);
        }
        let mut out = BufWriter::new(File::create(path)?);
        for (number, (request, next)) in self.requests.iter().zip(next).enumerate() {
            out.write_all(&(number as u32 / 1000).to_le_bytes())?;
            out.write_all(&request.object.to_le_bytes())?;
            out.write_all(&request.bytes.to_le_bytes())?;
            out.write_all(&next.to_le_bytes())?;
        }
        out.flush()
    }
}

impl Kind {
    /// By log-normal law, whoever is asked first.
    fn bytes(&self, object: u64, seed: u64) -> u32 {
        if self.has_equal_sizes {
            return EQUAL_BYTES;
        }
        let mut random =
            fastrand::Rng::with_seed(seed ^ object.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let radius = (-2.0 * (1.0 - random.f64()).ln()).sqrt();
        let normal = radius * (std::f64::consts::TAU * random.f64()).cos();
        (MEDIAN_BYTES * (SIGMA * normal).exp()).clamp(BYTES_MIN, BYTES_MAX) as u32
    }
}

struct Source<'a> {
    kind: &'a Kind,
    random: fastrand::Rng,
    /// How much of all requests goes to a rank or a more popular one.
    shares: Vec<f64>,
    /// Which object has a rank.
    ranked: Vec<u64>,
    next_once: u64,
    next_scanned: u64,
}

impl<'a> Source<'a> {
    fn new(kind: &'a Kind, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut sum = 0.0;
        let mut shares: Vec<f64> = (1..=POPULAR)
            .map(|rank| {
                sum += f64::from(rank).powf(-kind.zipf);
                sum
            })
            .collect();
        shares.iter_mut().for_each(|share| *share /= sum);
        let mut ranked: Vec<u64> = (0..u64::from(POPULAR)).collect();
        random.shuffle(&mut ranked);
        Self { kind, random, shares, ranked, next_once: ONCE, next_scanned: 0 }
    }

    fn next(&mut self, number: u64, of: u64) -> u64 {
        let percent = number * 100 / of;
        if self.kind.is_changing && number.is_multiple_of(of / CHANGES) {
            self.change();
        }
        // In the part that counts: what is popular is kept by then.
        let is_scanned = (60..60 + SCAN_PERCENT).contains(&percent)
            || (80..80 + SCAN_PERCENT).contains(&percent);
        if self.kind.has_scan && is_scanned && self.random.bool() {
            self.next_scanned += 1;
            return self.next_scanned % u64::from(POPULAR);
        }
        if self.kind.has_crowd && self.random.f64() < crowd_share(number as f64 / of as f64) {
            return CROWD + self.random.u64(..CROWD_OBJECTS);
        }
        if self.random.f64() < self.kind.once {
            self.next_once += 1;
            return self.next_once;
        }
        let share = self.random.f64();
        let rank = self.shares.partition_point(|up_to| *up_to < share);
        self.ranked[rank.min(self.ranked.len() - 1)]
    }

    /// Some become popular that were not, and the other way round.
    fn change(&mut self) {
        for _ in 0..PAIRS {
            let (one, other) =
                (self.random.usize(..self.ranked.len()), self.random.usize(..self.ranked.len()));
            self.ranked.swap(one, other);
        }
    }
}

/// Everybody comes within a moment, and leaves one after the other.
fn crowd_share(moment: f64) -> f64 {
    let (begin, peak, end) = (0.65, 0.67, 0.8);
    if moment < begin || moment > end {
        0.0
    } else if moment < peak {
        CROWD_SHARE * (moment - begin) / (peak - begin)
    } else {
        CROWD_SHARE * (end - moment) / (end - peak)
    }
}
