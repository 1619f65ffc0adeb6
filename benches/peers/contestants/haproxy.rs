//! HAProxy with one thread. It writes no file: its log goes to a ring in its memory, and from there in
//! large pieces over one connection to a reader.

use super::{Setting, Stage, Who};
use crate::machine::program;
use crate::process::Recipe;

pub(super) fn recipe(setting: &Setting) -> Option<Recipe> {
    let Setting { stage: Stage { origin, log_reader, .. }, plain, tls, .. } = setting;
    let (ring, log) = match setting.stage.writes_log {
        true => (
            format!(
                "ring requests\n    format raw\n    maxlen 1024\n    size 4194304\n\
                 \x20   timeout connect 5s\n    timeout server 60s\n    server reader {log_reader}\n"
            ),
            "    log ring@requests format raw local0 info\n    option httplog\n",
        ),
        false => (String::new(), ""),
    };
    let total = setting.memory_mib();
    let both = &setting.stage.certificate.both;
    let configuration = format!(
        "global\n    nbthread 1\n    maxconn 8192\n    tune.bufsize 32768\n\
         \x20   tune.h2.max-concurrent-streams 128\n{ring}\
         defaults\n    mode http\n    timeout connect 5s\n    timeout client 600s\n    timeout server 600s\n{log}\
         cache kept\n    total-max-size {total}\n    max-object-size 4194304\n    max-age 3600\n\
         frontend clients\n    bind {plain}\n\
         \x20   bind {tls} ssl crt {both} ssl-min-ver TLSv1.3 alpn h2,http/1.1\n    default_backend kept\n\
         backend kept\n    http-request cache-use kept\n    http-response cache-store kept\n\
         \x20   http-reuse always\n    server origin {origin} pool-max-conn 1024\n"
    );
    Some(Recipe {
        version_argument: "-v",
        arguments: vec!["-db".into(), "-f".into(), setting.in_folder("haproxy.cfg")],
        files: vec![("haproxy.cfg", configuration)],
        ..Recipe::new(Who::HaProxy.name(), program("haproxy")?, *plain)
    })
}
