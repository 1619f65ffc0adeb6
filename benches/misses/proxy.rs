//! The proxies and their configuration.

use crate::machine::program;
use crate::nginx;
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
        arguments: vec!["run".into(), "--config".into(), text(&folder.join(file_name))],
        files: vec![(file_name, configuration)],
        ..Recipe::new(name, env!("CARGO_BIN_EXE_brim").into(), address)
    }
}

pub(crate) fn nginx(folder: &Path, origin: SocketAddr) -> Option<Recipe> {
    let address = free_address();
    let http = format!(
        "    access_log off;\n    sendfile on;\n\
         \x20   server {{\n        listen {address};\n\
         \x20       location / {{ proxy_pass http://origin; }}\n\
         \x20       location /kept/ {{ proxy_pass http://origin; proxy_cache kept; }}\n\
         \x20       location /crowd/ {{ proxy_pass http://origin; proxy_cache kept; }}\n\
         \x20       location /locked/ {{ proxy_pass http://origin; proxy_cache kept; proxy_cache_lock on; }}\n\
         \x20   }}\n"
    );
    nginx::recipe("nginx", folder, (address, origin), CACHE_MIB, &http)
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
        version_argument: "-v",
        arguments: vec!["-db".into(), "-f".into(), text(&folder.join("haproxy.cfg"))],
        files: vec![("haproxy.cfg", configuration)],
        ..Recipe::new("HAProxy", program("haproxy")?, address)
    })
}
