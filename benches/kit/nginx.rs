//! nginx with one worker. It knows no cache without files: they are in memory, where the folder is.

use crate::machine::program;
use crate::process::{Recipe, text};
use std::net::SocketAddr;
use std::path::Path;

pub(crate) const CONNECTIONS_MAX: u64 = 4096;

/// `http` is what is wanted beside a cache called `kept`, of so many MiB, and an upstream called `origin`.
pub(crate) fn recipe(
    name: &'static str,
    folder: &Path,
    (address, origin): (SocketAddr, SocketAddr),
    mib: usize,
    http: &str,
) -> Option<Recipe> {
    let dir = folder.display();
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|what| format!("    {what}_temp_path {dir}/temporary;\n"))
        .concat();
    // The manager, which evicts, may do all that there is to do; its own limits let the cache grow
    // past its size.
    let configuration = format!(
        "{user}\nworker_processes 1;\npid {dir}/nginx.pid;\nerror_log {dir}/nginx.log error;\n\
         events {{ worker_connections {CONNECTIONS_MAX}; multi_accept on; }}\n\
         http {{\n    keepalive_requests 1000000000;\n{temporary}\
         \x20   proxy_cache_path {dir}/files levels=1:2 keys_zone=kept:64m max_size={mib}m \
         inactive=1h use_temp_path=off manager_files=100000 manager_threshold=1s;\n\
         \x20   upstream origin {{ server {origin}; keepalive 1024; keepalive_requests 100000000; }}\n\
         \x20   proxy_http_version 1.1;\n    proxy_set_header Connection \"\";\n\
         \x20   proxy_set_header Host $host;\n    proxy_buffers 16 8k;\n{http}}}\n"
    );
    let arguments = ["-p", &text(folder), "-c", &text(&folder.join("nginx.conf"))];
    Some(Recipe {
        version_argument: "-v",
        arguments: arguments.into_iter().chain(["-g", "daemon off;"]).map(Into::into).collect(),
        files: vec![("nginx.conf", configuration)],
        ..Recipe::new(name, program("nginx")?, address)
    })
}
