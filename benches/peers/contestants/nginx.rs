//! nginx with sendfile and without.

use super::{Setting, Stage, Who};
use crate::nginx::{self, CONNECTIONS_MAX};
use crate::process::Recipe;
use crate::rows::Found;
use rustix::process::{Resource, getrlimit};

const FILES_OPEN_MAX: u64 = 50_000;

pub(super) fn recipe(setting: &Setting, who: Who) -> Option<Recipe> {
    let Setting { stage: Stage { origin, .. }, folder, plain, tls, .. } = setting;
    let dir = folder.display();
    let log = match setting.stage.writes_log {
        true => format!("access_log {dir}/access.log combined buffer=64k flush=1s;"),
        false => "access_log off;".to_owned(),
    };
    // sendfile in one piece, or copies that are made in one piece. With `tcp_nopush` answers of 100 KiB
    // out of the cache wait for a timer: an eighth of them come.
    let sending = match who {
        Who::NginxSendfile => "sendfile on; sendfile_max_chunk 2m; tcp_nopush off;",
        _ => "sendfile off; output_buffers 2 128k;",
    };
    // Where nothing is evicted, there is more room than is asked for.
    let mib = match setting.stage.row.found {
        Found::AtTheOrigin => setting.memory_mib(),
        _ => 4 * setting.memory_mib(),
    };
    // Each open file takes a descriptor; connections need some, too.
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(FILES_OPEN_MAX);
    let files_open = descriptors.saturating_sub(CONNECTIONS_MAX).min(FILES_OPEN_MAX);
    let (certificate, key) =
        (&setting.stage.certificate.certificate, &setting.stage.certificate.key);
    let http = format!(
        "    {log}\n    {sending}\n    aio off;\n    tcp_nodelay on;\n    keepalive_timeout 3600s;\n\
         \x20   open_file_cache max={files_open} inactive=1h;\n    open_file_cache_valid 1h;\n\
         \x20   proxy_cache kept;\n    proxy_cache_key $request_uri;\n\
         \x20   ssl_certificate {certificate};\n    ssl_certificate_key {key};\n\
         \x20   ssl_protocols TLSv1.3;\n    ssl_session_cache shared:sessions:8m;\n    http2_chunk_size 16k;\n\
         \x20   server {{\n        listen {plain} backlog=4096;\n\
         \x20       listen {tls} backlog=4096 ssl http2;\n\
         \x20       location / {{ proxy_pass http://origin; }}\n\
         \x20   }}\n"
    );
    nginx::recipe(who.name(), folder, (*plain, *origin), mib, &http)
}
