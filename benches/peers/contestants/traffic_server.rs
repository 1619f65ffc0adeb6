//! Apache Traffic Server with one thread for the network, its objects in its RAM cache.

use super::{Setting, Who};
use crate::machine::program;
use crate::process::{Recipe, text};
use std::io;
use std::path::Path;

/// `None`: it is not installed.
pub(super) fn recipe(setting: &Setting) -> io::Result<Option<Recipe>> {
    let Some(program) = program("traffic_server") else { return Ok(None) };
    for folder in ["config", "cache", "logs", "state"] {
        std::fs::create_dir_all(setting.folder.join(folder))?;
    }
    let directory = |name: &str| setting.in_folder(name);
    let (config, programs) =
        (directory("config"), program.parent().map_or("/usr/bin".into(), text));
    let layout = format!(
        "prefix: {root}\nexec_prefix: {root}\nbindir: {programs}\nsbindir: {programs}\n\
         sysconfdir: {config}\ndatadir: {root}\nincludedir: {root}\nlibdir: {root}\nlibexecdir: {root}\n\
         localstatedir: {root}\nruntimedir: {state}\nlogdir: {logs}\ncachedir: {cache}\n",
        root = text(setting.folder),
        state = directory("state"),
        logs = directory("logs"),
        cache = directory("cache"),
    );
    Ok(Some(Recipe {
        version_argument: "-V",
        environment: vec![("TS_RUNROOT", directory("layout.yaml"))],
        files: vec![
            ("layout.yaml", layout),
            ("config/records.config", records(setting)),
            ("config/storage.config", format!("{} 2G\n", directory("cache"))),
            ("config/remap.config", format!("map / http://{}/\n", setting.stage.origin)),
            ("config/ip_allow.yaml", allowed("in") + &allowed("out")),
            ("config/logging.yaml", logging()),
            ("config/ssl_multicert.config", certificates(setting)),
            ("config/plugin.config", String::new()),
            ("config/cache.config", String::new()),
        ],
        ..Recipe::new(Who::TrafficServer.name(), program, setting.plain)
    }))
}

fn records(setting: &Setting) -> String {
    let (plain, tls) = (setting.plain, setting.tls);
    let memory = setting.memory_mib() << 20;
    let certificates = text(Path::new(&setting.stage.certificate.folder));
    // Root may not serve, unless it is told to stay what it is; the watcher of crashes takes another view.
    let settings = [
        ("admin.user_id", "STRING #-1".into()),
        ("crash_log_helper", "STRING NULL".into()),
        (
            "http.server_ports",
            format!(
                "STRING {}:ip-in={} {}:ssl:ip-in={}",
                plain.port(),
                plain.ip(),
                tls.port(),
                tls.ip()
            ),
        ),
        ("exec_thread.autoconfig", "INT 0".into()),
        ("exec_thread.limit", "INT 1".into()),
        ("accept_threads", "INT 0".into()),
        ("task_threads", "INT 1".into()),
        ("cache.threads_per_disk", "INT 1".into()),
        ("cache.ram_cache.size", format!("INT {memory}")),
        ("cache.ram_cache_cutoff", "INT 8388608".into()),
        ("cache.ram_cache.algorithm", "INT 1".into()),
        ("cache.target_fragment_size", "INT 4194304".into()),
        ("http.cache.required_headers", "INT 0".into()),
        ("http.insert_response_via_str", "INT 0".into()),
        ("http.keep_alive_no_activity_timeout_in", "INT 3600".into()),
        ("http.origin_server_pipeline", "INT 0".into()),
        ("net.connections_throttle", "INT 9000".into()),
        ("net.default_inactivity_timeout", "INT 3600".into()),
        ("log.logging_enabled", format!("INT {}", if setting.stage.writes_log { 3 } else { 0 })),
        ("log.max_secs_per_buffer", "INT 1".into()),
        ("ssl.server.cert.path", format!("STRING {certificates}")),
        ("ssl.server.private_key.path", format!("STRING {certificates}")),
        ("ssl.TLSv1_2", "INT 0".into()),
    ];
    settings.map(|(name, value)| format!("CONFIG proxy.config.{name} {value}\n")).concat()
}

fn allowed(direction: &str) -> String {
    let header = if direction == "in" { "ip_allow:\n" } else { "" };
    format!(
        "{header}  - apply: {direction}\n    ip_addrs: 127.0.0.1\n    action: allow\n    methods: ALL\n"
    )
}

/// The fields of the combined format, buffered as it always is.
fn logging() -> String {
    "logging:\n  formats:\n  - name: combined\n    format: '%<chi> - %<caun> [%<cqtn>] \"%<cqtx>\" \
     %<pssc> %<pscl> \"%<{Referer}cqh>\" \"%<{User-Agent}cqh>\"'\n  logs:\n  - filename: access\n    \
     format: combined\n"
        .to_owned()
}

fn certificates(setting: &Setting) -> String {
    let certificate = &setting.stage.certificate;
    format!(
        "dest_ip=* ssl_cert_name={} ssl_key_name={}\n",
        certificate.certificate, certificate.key
    )
}
