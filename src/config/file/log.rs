//! `[log]` and `[trace]`.

use super::super::section::{Found, Section};
use super::super::values;
use super::super::*;

pub(super) fn log(mut section: Section<'_>, folder: &Path) -> Log {
    let access = section.or("access", AccessLog::Stdout, values::access_log);
    let format = found(&mut section, "format", LogFormat::read);
    if let Some(format) = &format
        && let Some(secret) = format.value.secrets()
    {
        section.warn(
            format,
            &format!("the log will hold what clients prove themselves with: {secret}"),
        );
    }
    let level = found(&mut section, "level", str::parse);
    let log = Log {
        access: match access {
            AccessLog::File(path) => AccessLog::File(folder.join(path)),
            other => other,
        },
        format: format.map_or(LogFormat::Json, |found| found.value),
        sample: section.or("sample", 1.0, values::share),
        level: level.map_or(tracing::Level::INFO.into(), |found| found.value),
        error_format: section.or("error_format", ErrorFormat::Text, values::error_format),
    };
    section.finish();
    log
}

pub(super) fn trace(mut section: Section<'_>) -> Trace {
    let default = Trace::default();
    let trace = Trace {
        otlp: section.optional("otlp", values::collector),
        sample: section.or("sample", default.sample, values::share),
        parents: section.or("parents", default.parents, values::parents),
        service_name: section.or("service_name", default.service_name, values::text),
    };
    section.finish();
    trace
}

/// A text that says itself what is wrong with it.
fn found<T>(
    section: &mut Section<'_>,
    key: &'static str,
    read: impl Fn(&str) -> Result<T, String>,
) -> Option<Found<T>> {
    let Found { value, at, key } = section.found(key, values::text)?;
    match read(&value) {
        Ok(value) => Some(Found { value, at, key }),
        Err(message) => {
            section.problem(at, key, message);
            None
        }
    }
}
