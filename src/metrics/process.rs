//! Series about this process, under the names that Prometheus' own clients use, and which Brim it is.
//!
//! They are read from `/proc` when somebody asks for the metrics. Where there is none, as outside of
//! Linux, there are no such series.

use super::registered;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, IntGauge, Opts, Registry};
use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};
use std::fs;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Registers all of them.
pub(super) fn register(registry: &Registry) {
    let build = Opts::new("brim_build_info", "1; the label tells which version of Brim this is.")
        .const_label("version", env!("CARGO_PKG_VERSION"));
    registered(registry, IntGauge::with_opts(build)).set(1);
    if Usage::now().is_some() {
        registered(registry, Ok(Process(Arc::new(ProcessSeries::new()))));
    }
}

#[derive(Clone)]
struct Process(Arc<ProcessSeries>);

struct ProcessSeries {
    cpu_seconds: Counter,
    start_seconds: IntGauge,
    virtual_bytes: IntGauge,
    resident_bytes: IntGauge,
    threads: IntGauge,
    open_descriptors: IntGauge,
    descriptors_max: IntGauge,
}

impl ProcessSeries {
    fn new() -> Self {
        let gauge = |name, help| good(IntGauge::new(name, help));
        let series = Self {
            cpu_seconds: good(Counter::new(
                "process_cpu_seconds_total",
                "Time of processors that the process has used, in user and system mode.",
            )),
            start_seconds: gauge(
                "process_start_time_seconds",
                "When the process was started, in seconds since 1970.",
            ),
            virtual_bytes: gauge("process_virtual_memory_bytes", "Addresses that are in use."),
            resident_bytes: gauge("process_resident_memory_bytes", "Memory that is in use."),
            threads: gauge("process_threads", "Threads of the process."),
            open_descriptors: gauge("process_open_fds", "Descriptors that are open."),
            descriptors_max: gauge("process_max_fds", "Descriptors that may be open."),
        };
        let started = Usage::now().map(|usage| usage.started_after);
        set(&series.start_seconds, started.zip(booted_at()).map(|(after, booted)| booted + after));
        series
    }

    fn heed(&self) {
        if let Some(usage) = Usage::now() {
            self.cpu_seconds.inc_by((usage.cpu_seconds - self.cpu_seconds.get()).max(0.0));
            set(&self.virtual_bytes, Some(usage.virtual_bytes));
            set(&self.resident_bytes, Some(usage.resident_bytes));
            set(&self.threads, Some(usage.threads));
        }
        set(&self.open_descriptors, open_descriptors());
        // Without a limit there is no number to tell.
        set(&self.descriptors_max, getrlimit(Resource::Nofile).current);
    }

    fn all(&self) -> [&dyn Collector; 7] {
        [
            &self.cpu_seconds,
            &self.start_seconds,
            &self.virtual_bytes,
            &self.resident_bytes,
            &self.threads,
            &self.open_descriptors,
            &self.descriptors_max,
        ]
    }
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        self.0.all().iter().flat_map(|series| series.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.0.heed();
        self.0.all().iter().flat_map(|series| series.collect()).collect()
    }
}

fn good<S>(series: prometheus::Result<S>) -> S {
    series.expect("names are constants of this file, and good")
}

fn set(gauge: &IntGauge, value: Option<u64>) {
    if let Some(value) = value {
        super::set(gauge, value);
    }
}

/// What `/proc/self/stat` tells of a process.
#[derive(Debug, PartialEq)]
struct Usage {
    cpu_seconds: f64,
    threads: u64,
    /// Seconds after the machine was.
    started_after: u64,
    virtual_bytes: u64,
    resident_bytes: u64,
}

impl Usage {
    fn now() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        Self::of(&stat, clock_ticks_per_second(), page_size() as u64)
    }

    /// The columns behind the name, which may have blanks and brackets in it, are numbered as in
    /// proc(5): the state is the third.
    fn of(stat: &str, ticks_per_second: u64, page_bytes: u64) -> Option<Self> {
        let columns: Vec<_> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let column = |number: usize| columns.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu_seconds: (column(14)? + column(15)?) as f64 / ticks_per_second as f64,
            threads: column(20)?,
            started_after: column(22)? / ticks_per_second,
            virtual_bytes: column(23)?,
            resident_bytes: column(24)?.saturating_mul(page_bytes),
        })
    }
}

/// When the machine was started, in seconds since 1970. By two clocks: `/proc/stat`, which has it, too,
/// is out of reach in a sandbox that shows a process only itself.
fn booted_at() -> Option<u64> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
    let since = Duration::try_from(clock_gettime(ClockId::Boottime)).ok()?;
    Some(now.checked_sub(since)?.as_secs())
}

/// Newer systems tell how many there are as the folder's size; in older ones it is 0, and they are
/// counted.
fn open_descriptors() -> Option<u64> {
    const FOLDER: &str = "/proc/self/fd";
    match fs::metadata(FOLDER).ok()?.len() {
        // The folder itself is open while it is read.
        0 => Some((fs::read_dir(FOLDER).ok()?.count() as u64).saturating_sub(1)),
        count => Some(count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_are_found_behind_any_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 120 30 0 0 20 0 9 0 5250 1000 3 1 2";
        let usage = Usage {
            cpu_seconds: 1.5,
            threads: 9,
            started_after: 52,
            virtual_bytes: 1000,
            resident_bytes: 12288,
        };
        assert_eq!(Usage::of(stat, 100, 4096), Some(usage));
        for bad in ["", "7 (a", "7 (a) S 1", "7 (a) S 1 7 7 0 -1 1 1 0 0 0 x 30 0 0 20 0 9 0 1 2 3"]
        {
            assert_eq!(Usage::of(bad, 100, 4096), None, "{bad}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_open_file_is_one_descriptor_more() {
        let registry = Registry::new();
        register(&registry);
        let value = |name: &str| {
            let families = registry.gather();
            let family = families.iter().find(|family| family.name() == name).expect(name);
            let metric = &family.get_metric()[0];
            metric.get_gauge().get_value() + metric.get_counter().get_value()
        };
        // Other tests open and close files, too, but not hundreds of them.
        let before = value("process_open_fds");
        let files: Vec<_> =
            (0..300).map(|_| fs::File::open("/proc/self/stat").expect("it is there")).collect();
        assert!(value("process_open_fds") > before + 150.0);
        drop(files);
        assert!(value("process_open_fds") < before + 150.0);
        for name in [
            "process_start_time_seconds",
            "process_resident_memory_bytes",
            "process_virtual_memory_bytes",
            "process_threads",
            "process_max_fds",
            "brim_build_info",
        ] {
            assert!(value(name) >= 1.0, "{name}");
        }
    }
}
