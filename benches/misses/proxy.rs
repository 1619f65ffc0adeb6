//! The proxies and their configuration.

use crate::machine::program;
use crate::process::{Recipe, free_address, text};
use std::net::SocketAddr;
use std::path::Path;

/// All of what a proxy keeps. Little enough that every round makes each of them evict.
const CACHE_MIB: usize = 32;

/// Everything in memory, as it comes.
pub(crate) fn brim(folder: &Path, origin: SocketAddr) -> Recipe {
    brim_that("Brim", "brim.toml", folder, origin, "")
}

/// With a disk tier, beside which nginx's files are.
pub(crate) fn brim_with_disk(folder: &Path, origin: SocketAddr) -> Recipe {
    let path = folder.join("segments");
    let disk = format!("[cache.disk]\npath = {path:?}\nsize = \"{CACHE_MIB}MiB\"\n");
    brim_that("Brim with disk tier", "brim_with_disk.toml", folder, origin, &disk)
}

fn brim_that(
    name: &'static str,
    file_name: &'static str,
    folder: &Path,
    origin: SocketAddr,
    disk: &str,
) -> Recipe {
    let (address, admin) = (free_address(), free_address());
    let configuration = format!(
        "[server]\nhttp = [\"{address}\"]\nadmin = \"{admin}\"\nthreads = 1\n\
         [log]\naccess = \"off\"\nlevel = \"error\"\n\
         [cache.memory]\nsize = \"{CACHE_MIB}MiB\"\n{disk}\
         [[origin]]\nname = \"origin\"\nservers = [\"http://{origin}\"]\n\
         [[site]]\nhosts = [\"*\"]\norigin = \"origin\"\n"
    );
    Recipe {
        name,
        program: env!("CARGO_BIN_EXE_brim").into(),
        version_argument: "--version",
        arguments: vec!["run".into(), "--config".into(), text(&folder.join(file_name))],
        environment: Vec::new(),
        files: vec![(file_name, configuration)],
        address,
        companion: None,
    }
}

/// nginx knows no cache without files: they are where `folder` is. The manager, which evicts,
/// may do all that there is to do; its own limits let the cache grow past its size.
pub(crate) fn nginx(folder: &Path, origin: SocketAddr) -> Option<Recipe> {
    let address = free_address();
    let dir = folder.display();
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|what| format!("    {what}_temp_path {dir}/temporary;\n"))
        .concat();
    let configuration = format!(
        "{user}\nworker_processes 1;\npid {dir}/nginx.pid;\nerror_log {dir}/nginx.log error;\n\
         events {{ worker_connections 4096; }}\n\
         http {{\n    access_log off;\n    sendfile on;\n    keepalive_requests 100000000;\n{temporary}\
         \x20   proxy_cache_path {dir}/files levels=1:2 keys_zone=kept:16m max_size={CACHE_MIB}m \
         inactive=1h use_temp_path=off manager_files=100000 manager_threshold=1s;\n\
         \x20   upstream origin {{ server {origin}; keepalive 1024; keepalive_requests 100000000; }}\n\
         \x20   proxy_http_version 1.1;\n    proxy_set_header Connection \"\";\n\
         \x20   proxy_set_header Host $host;\n    proxy_buffers 16 8k;\n\
         \x20   server {{\n        listen {address};\n\
         \x20       location / {{ proxy_pass http://origin; }}\n\
         \x20       location /kept/ {{ proxy_pass http://origin; proxy_cache kept; }}\n\
         \x20       location /crowd/ {{ proxy_pass http://origin; proxy_cache kept; }}\n\
         \x20       location /locked/ {{ proxy_pass http://origin; proxy_cache kept; proxy_cache_lock on; }}\n\
         \x20   }}\n}}\n"
    );
    let arguments = ["-p", &text(folder), "-c", &text(&folder.join("nginx.conf"))];
    Some(Recipe {
        name: "nginx",
        program: program("nginx")?,
        version_argument: "-v",
        arguments: arguments.into_iter().chain(["-g", "daemon off;"]).map(Into::into).collect(),
        environment: Vec::new(),
        files: vec![("nginx.conf", configuration)],
        address,
        companion: None,
    })
}

pub(crate) fn haproxy(folder: &Path, origin: SocketAddr) -> Option<Recipe> {
    let address = free_address();
    let backend = format!("http-reuse always\n    server origin {origin} pool-max-conn 1024\n");
    let configuration = format!(
        "global\n    nbthread 1\n    maxconn 4096\n\
         defaults\n    mode http\n    timeout connect 5s\n    timeout client 60s\n    timeout server 60s\n\
         cache kept\n    total-max-size {CACHE_MIB}\n    max-object-size 131072\n    max-age 3600\n\
         frontend clients\n    bind {address}\n    use_backend passed if {{ path_beg /passed/ }}\n    default_backend kept\n\
         backend passed\n    {backend}\
         backend kept\n    http-request cache-use kept\n    http-response cache-store kept\n    {backend}"
    );
    Some(Recipe {
        name: "HAProxy",
        program: program("haproxy")?,
        version_argument: "-v",
        arguments: vec!["-db".into(), "-f".into(), text(&folder.join("haproxy.cfg"))],
        environment: Vec::new(),
        files: vec![("haproxy.cfg", configuration)],
        address,
        companion: None,
    })
}
