//! nginx with one worker. It knows no cache without files: they are in memory, where the folder is.

use super::{Setting, Who};
use crate::machine::program;
use crate::process::Recipe;
use crate::rows::Found;
use rustix::process::{Resource, getrlimit};

const CONNECTIONS_MAX: u64 = 4096;
const FILES_OPEN_MAX: u64 = 50_000;

pub(super) fn recipe(setting: &Setting, who: Who) -> Option<Recipe> {
    let Setting { plain, tls, origin, folder, .. } = setting;
    let dir = folder.display();
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|what| format!("    {what}_temp_path {dir}/temporary;\n"))
        .concat();
    let log = match setting.writes_log {
        true => format!("access_log {dir}/access.log combined buffer=64k flush=1s;"),
        false => "access_log off;".to_owned(),
    };
    // sendfile in one piece, or copies that are made in one piece. With `tcp_nopush` answers of 100 KiB
    // out of the cache wait for a timer: an eighth of them come.
    let sending = match who {
        Who::NginxSendfile => "sendfile on; sendfile_max_chunk 2m; tcp_nopush off;",
        _ => "sendfile off; output_buffers 2 128k;",
    };
    // The manager, which evicts, may do all that there is to do; its own limits let the cache grow
    // past its size. Where nothing is evicted, there is more room than is asked for.
    let mib = match setting.row.found {
        Found::AtTheOrigin => setting.memory_mib(),
        _ => 4 * setting.memory_mib(),
    };
    // Each open file takes a descriptor; connections need some, too.
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(FILES_OPEN_MAX);
    let files_open = descriptors.saturating_sub(CONNECTIONS_MAX).min(FILES_OPEN_MAX);
    let (certificate, key) = (&setting.certificate.certificate, &setting.certificate.key);
    let configuration = format!(
        "{user}\nworker_processes 1;\npid {dir}/nginx.pid;\n\
         error_log {dir}/nginx.log error;\n\
         events {{ worker_connections {CONNECTIONS_MAX}; multi_accept on; }}\n\
         http {{\n    {log}\n    {sending}\n    aio off;\n    tcp_nodelay on;\n\
         \x20   keepalive_requests 1000000000;\n    keepalive_timeout 3600s;\n\
         \x20   open_file_cache max={files_open} inactive=1h;\n    open_file_cache_valid 1h;\n{temporary}\
         \x20   proxy_cache_path {dir}/files levels=1:2 keys_zone=kept:64m max_size={mib}m \
         inactive=1h use_temp_path=off manager_files=100000 manager_threshold=1s;\n\
         \x20   upstream origin {{ server {origin}; keepalive 1024; keepalive_requests 100000000; }}\n\
         \x20   proxy_http_version 1.1;\n    proxy_set_header Connection \"\";\n\
         \x20   proxy_set_header Host $host;\n    proxy_buffers 16 8k;\n    proxy_cache kept;\n\
         \x20   proxy_cache_key $request_uri;\n\
         \x20   ssl_certificate {certificate};\n    ssl_certificate_key {key};\n\
         \x20   ssl_protocols TLSv1.3;\n    ssl_session_cache shared:sessions:8m;\n    http2_chunk_size 16k;\n\
         \x20   server {{\n        listen {plain} backlog=4096;\n\
         \x20       listen {tls} backlog=4096 ssl http2;\n\
         \x20       location / {{ proxy_pass http://origin; }}\n\
         \x20   }}\n}}\n"
    );
    let arguments =
        ["-p".into(), setting.in_folder(""), "-c".into(), setting.in_folder("nginx.conf")];
    let in_foreground = ["-g", "daemon off;"].map(Into::into);
    Some(Recipe {
        name: who.name(),
        program: program("nginx")?,
        version_argument: "-v",
        arguments: arguments.into_iter().chain(in_foreground).collect(),
        environment: Vec::new(),
        files: vec![("nginx.conf", configuration)],
        address: *plain,
        companion: None,
    })
}
