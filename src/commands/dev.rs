//! `brim dev`: an edge in front of a development server, and a line for each request.

mod doors;
mod origin;
mod relay;
mod screen;
mod simulate;
mod watch;

pub(crate) use origin::{Target, target};
pub(crate) use simulate::{Simulated, simulated};
pub(crate) use watch::Watched;

use super::door::Key;
use super::own_key::OwnKey;
use super::run::{self, Open};
use crate::access_log::People;
use crate::admin::token;
use crate::config::{self, Authority, Certificate, ErrorFormat, HostHeader, Rule, Settings};
use crate::error_log;
use crate::server::Brim;
use doors::Doors;
use relay::Relay;
use screen::{Screen, Tap};
use simulate::Weather;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// WebSockets and event streams are open for as long as a page is; nobody waits for them.
const SHUTDOWN_MS: u64 = 300;

/// What the command line says.
pub(crate) struct Options {
    pub(crate) origin: Target,
    pub(crate) listen: Option<SocketAddr>,
    /// With TLS, and where.
    pub(crate) https: Option<Option<SocketAddr>>,
    pub(crate) admin: Option<SocketAddr>,
    pub(crate) https_names: Vec<String>,
    /// `None`: whatever suits the origin.
    pub(crate) host_header: Option<HostHeader>,
    pub(crate) simulated: Vec<Simulated>,
    pub(crate) watched: Vec<Watched>,
    /// Of answers that do not say it.
    pub(crate) ttl: Option<Duration>,
    pub(crate) may_colour: bool,
    pub(crate) is_json: bool,
}

/// Serves until it is told to stop.
pub(crate) fn dev(options: Options) -> ExitCode {
    let _log = error_log::start(tracing::Level::ERROR, ErrorFormat::Text);
    run::report(serve(options))
}

fn serve(options: Options) -> io::Result<()> {
    let weather = Weather::of(&options.simulated, options.origin.server.tls)?;
    let authority = options.https.is_some().then(authority).transpose()?;
    let doors = Doors::choose(&options)?;
    let people = Arc::new(People::of_stdout(options.may_colour));
    let screen = Screen::new(people.clone(), options.is_json);
    let tap = Arc::new(Tap::new((!options.is_json).then_some(people)));
    let own_key = OwnKey::new()?;
    let token = match own_key.token() {
        Ok(token) => token,
        // Nobody but this process needs it then.
        Err(_) => token::random()?,
    };
    let mut brim = Brim::new(0, Duration::from_millis(SHUTDOWN_MS));

    let mut settings = settings(&options, &doors, authority.as_ref().map(|(by, _)| by))?;
    if weather.is_about_origin() {
        let server = &options.origin.server;
        let (relay, address) = Relay::to_origin(server, weather, screen.clone())?;
        brim.add_work("simulated origin", relay);
        origin::lead_to(&mut settings, address);
    }
    let Open { edge, admin, writers: _writers, .. } =
        run::open(&mut brim, settings, Ok(token.clone()), Some(tap.clone()))?;
    let shown = match weather.latency {
        Some(latency) => {
            let mut shown = Vec::new();
            for (door, inside) in doors.all().zip(&edge) {
                let (relay, address) = Relay::to_edge(door, *inside, latency)?;
                brim.add_work("simulated distance", relay);
                shown.push(address);
            }
            shown
        }
        None => edge,
    };

    tap.knows(&shown, &options.https_names);
    let explain = admin.and_then(|admin| {
        let url = format!("http://{}{}", shown[0], options.origin.path);
        own_key.command("explain", &url, admin)
    });
    let greeting = greeting(&options, &shown, admin, authority.as_ref(), explain.as_deref());
    if let Some(admin) = admin {
        let key = Key { admin: admin.to_string(), token, source: String::new() };
        watch::start(&options.watched, key, tap, screen.clone())?;
    }
    let server = options.origin.server.clone();
    brim.run(move || {
        screen.print(&greeting);
        if !weather.is_down_at_once() {
            origin::tell_when_it_answers(server, screen);
        }
    });
    Ok(())
}

/// The user's own, and whether it was made just now.
fn authority() -> io::Result<(Authority, bool)> {
    let absolute = |name: &str| {
        let path = PathBuf::from(std::env::var_os(name)?);
        path.is_absolute().then_some(path)
    };
    let data = absolute("XDG_DATA_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
        .ok_or_else(|| {
            io::Error::other(
                "--https keeps its authority in $XDG_DATA_HOME/brim or ~/.local/share/brim: \
                 neither XDG_DATA_HOME nor HOME says where that is",
            )
        })?;
    Authority::of(&data.join("brim"))
}

fn settings(
    options: &Options,
    doors: &Doors,
    authority: Option<&Authority>,
) -> io::Result<Settings> {
    let (http, https) = doors.of_edge();
    let https = https.map_or_else(String::new, |address| {
        format!("https = [\"{address}\"]\n[[certificate]]\nself_signed = [\"localhost\"]\n")
    });
    let admin = doors.admin;
    // A development server may think for long, and a page's WebSocket or event stream says nothing
    // while nobody changes a file.
    let text = format!(
        "[server]\nhttp = [\"{http}\"]\nadmin = \"{admin}\"\nlimits.rate_min = \"0B\"\n\
         limits.upgrade_idle_timeout = \"30d\"\nlimits.body_timeout = \"1h\"\n{https}\
         [[origin]]\nname = \"dev\"\nservers = [\"http://localhost\"]\nresponse_timeout = \"1h\"\n\
         read_timeout = \"30d\"\nejection.failures = 0\n\
         [[site]]\nhosts = [\"*\"]\norigin = \"dev\"\n"
    );
    let checked = config::check(&text, "dev", Path::new(""));
    let problem = || checked.problems.first().map(ToString::to_string).unwrap_or_default();
    let mut settings = checked.settings.ok_or_else(|| io::Error::other(problem()))?;
    if let Some(by) = authority {
        let (names, by) = (doors.names(&options.https_names), by.clone());
        settings.certificates = vec![Certificate::Signed { names, by }];
    }
    options.origin.stand_behind(&mut settings, options.host_header);
    for site in settings.sites.iter_mut().map(Arc::make_mut) {
        site.trouble_page = Some(options.origin.page().into());
        site.rules.extend(options.ttl.map(|ttl| Rule {
            path: "*".to_owned(),
            ttl: None,
            default_ttl: Some(ttl),
            negative_ttl: None,
            stale_while_revalidate: None,
            stale_if_error: None,
            cache: None,
        }));
    }
    Ok(settings)
}

fn greeting(
    options: &Options,
    shown: &[SocketAddr],
    admin: Option<SocketAddr>,
    authority: Option<&(Authority, bool)>,
    explain: Option<&str>,
) -> String {
    let (origin, path) = (&options.origin, &options.origin.path);
    let mut urls = format!("http://{}{path}", shown[0]);
    if let Some(secured) = shown.get(1) {
        urls += &format!(" and https://{secured}{path}");
    }
    let mut told = format!("Brim is at {urls}\n  in front of {}", origin.server.url());
    if let Some(admin) = admin {
        told += &format!("\n  admin: http://{admin}/metrics");
    }
    if let Some(explain) = explain {
        told += &format!("\n  why is it (not) cached? {explain}");
    }
    if let Some((authority, is_new)) = authority {
        let cert = authority.cert.display();
        told += &match is_new {
            true => format!(
                "\n  certificate: signed by an authority that was made for you just now. Browsers \
                 believe it\n  once they trust {cert}\n  (brim dev --help tells how)"
            ),
            false => format!("\n  certificate: signed by {cert}"),
        };
    }
    for simulated in &options.simulated {
        told += &format!("\n  simulated: {simulated}");
    }
    told + "\nCtrl-C ends it. Each line below is one request.\n"
}
