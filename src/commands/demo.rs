//! `brim demo`: an edge to try, with a site to try it on.

use super::own_key::OwnKey;
use super::run::{self, Open};
use crate::access_log::{Lines, People};
use crate::config::{self, ErrorFormat, OriginServer, Settings};
use crate::demo::DemoOrigin;
use crate::error_log;
use crate::server::Brim;
use std::io::{self, IsTerminal};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

/// Where a demonstration listens.
#[derive(Clone, Copy)]
pub(crate) struct Doors {
    pub(crate) http: SocketAddr,
    /// With a certificate that it signs itself.
    pub(crate) https: Option<SocketAddr>,
}

/// An edge in front of `origin`, or of the embedded site.
pub(crate) fn demo(doors: Doors, origin: Option<OriginServer>) -> ExitCode {
    let _log = error_log::start(tracing::Level::WARN, ErrorFormat::Text);
    run::report(match origin {
        Some(origin) => in_front_of(doors, &origin),
        None => in_front_of_the_site(doors),
    })
}

/// The embedded site alone.
pub(crate) fn origin_only(listen: SocketAddr) -> ExitCode {
    let _log = error_log::start(tracing::Level::WARN, ErrorFormat::Text);
    let mut brim = Brim::new(0, config::SHUTDOWN_TIMEOUT);
    run::report(brim.add("demo origin", DemoOrigin::new(), &[listen]).map(|addresses| {
        brim.run(move || println!("The demo origin is at http://{}", addresses[0]));
    }))
}

fn in_front_of(doors: Doors, origin: &OriginServer) -> io::Result<()> {
    let url = origin.url();
    // A server elsewhere knows itself by its own name only.
    let settings = settings(doors, &url, "origin")?;
    let brim = Brim::new(0, config::SHUTDOWN_TIMEOUT);
    serve(brim, settings, &url, &["/".to_owned()])
}

fn in_front_of_the_site(doors: Doors) -> io::Result<()> {
    let site = DemoOrigin::new();
    let paths: Vec<String> = site.paths().map(str::to_owned).collect();
    let mut brim = Brim::new(0, config::SHUTDOWN_TIMEOUT);
    let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let url = format!("http://{}", brim.add("demo origin", site, &[free])?[0]);
    let settings = settings(doors, &url, "client")?;
    serve(brim, settings, &format!("the embedded demo site, {url}"), &paths)
}

fn serve(mut brim: Brim, settings: Settings, origin: &str, paths: &[String]) -> io::Result<()> {
    let key = OwnKey::new()?;
    let Open { edge, admin, writers: _writers, .. } =
        run::open(&mut brim, settings, key.token(), style())?;
    let (edge, secured) = (edge[0], edge.get(1));
    let also = secured.map_or_else(String::new, |address| format!(" and https://{address}"));
    let mut told =
        format!("Brim is at http://{edge}{also}, in front of {origin}\n\nWorth trying:\n");
    for path in paths {
        let options = match path.as_str() {
            "/video.mp4" => "-s -D - -o /dev/null -r 1000000-1999999",
            _ => "-i",
        };
        told += &format!("  curl {options} http://{edge}{path}\n");
    }
    told += &format!(
        "  curl -s -o /dev/null -w '%{{http_code}} in %{{time_total}} s\\n' http://{edge}/\n"
    );
    told += &format!("  curl -I http://{edge}/\n");
    if let Some(address) = secured {
        told += &format!(
            "  curl -k -i https://{address}/   (Brim has signed its certificate itself)\n"
        );
    }
    told += &format!("  curl -X PURGE http://{edge}/\n");
    if let Some(admin) = admin {
        told += &format!("  curl -s http://{admin}/metrics\n");
        if let Some(purge) = key.command("purge", "--all", admin) {
            told += &format!("\nHave it forget everything (`--help` tells of more):\n  {purge}\n");
        }
    }
    brim.run(move || println!("{told}\nCtrl-C ends it. Each line below is one request.\n"));
    Ok(())
}

/// Lines for whoever looks at a terminal, and JSON for everybody else.
fn style() -> Option<Arc<dyn Lines>> {
    io::stdout().is_terminal().then(|| Arc::new(People::of_stdout(true)) as _)
}

fn settings(doors: Doors, origin: &str, host_header: &str) -> io::Result<Settings> {
    let Doors { http, https } = doors;
    let https = https.map_or_else(String::new, |address| {
        format!(
            "https = [\"{address}\"]\n\
             [[certificate]]\nself_signed = [\"localhost\", \"127.0.0.1\", \"::1\"]\n"
        )
    });
    // A second demonstration finds the usual place taken.
    let admin = match TcpListener::bind(config::ADMIN) {
        Ok(_) => String::new(),
        Err(_) => format!("admin = \"{}:0\"\n", config::ADMIN.ip()),
    };
    let text = format!(
        "[server]\nhttp = [\"{http}\"]\n{admin}{https}\
         [[origin]]\nname = \"demo\"\nservers = [\"{origin}\"]\n\
         [[site]]\nhosts = [\"*\"]\norigin = \"demo\"\nhost_header = \"{host_header}\"\n\
         [site.purge]\nnetworks = [\"127.0.0.0/8\", \"::1\"]\n"
    );
    let checked = config::check(&text, "demo", Path::new(""));
    let problem = || checked.problems.first().map(ToString::to_string).unwrap_or_default();
    checked.settings.ok_or_else(|| io::Error::other(problem()))
}
