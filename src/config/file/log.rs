//! `[log]` and `[trace]`.

use super::super::section::Section;
use super::super::values;
use super::super::*;

pub(super) fn log(mut section: Section<'_>, folder: &Path) -> Log {
    let access = section.or("access", AccessLog::Stdout, values::ACCESS_LOG);
    let (format, place) = section.or_found("format", LogFormat::Json, values::LOG_FORMAT);
    if let (Some(place), Some(secret)) = (place, format.secrets()) {
        let message = format!("the log will hold what clients prove themselves with: {secret}");
        section.warn(&place, &message);
    }
    let log = Log {
        access: match access {
            AccessLog::File(path) => AccessLog::File(folder.join(path)),
            other => other,
        },
        format,
        sample: section.or("sample", 1.0, values::SHARE),
        level: section.or("level", tracing::Level::INFO.into(), values::LEVELS),
        error_format: section.or("error_format", ErrorFormat::Text, values::ERROR_FORMAT),
    };
    section.finish();
    log
}

pub(super) fn trace(mut section: Section<'_>) -> Trace {
    let default = Trace::default();
    let trace = Trace {
        otlp: section.optional("otlp", values::COLLECTOR),
        sample: section.or("sample", default.sample, values::SHARE),
        parents: section.or("parents", default.parents, values::PARENTS),
        service_name: section.or("service_name", default.service_name, values::TEXT),
    };
    section.finish();
    trace
}
