//! `brim run`: serve what a configuration says.

use super::check;
use crate::access_log::{AccessLog, Lines, LogWriter};
use crate::admin::gatekeeper::Gatekeeper;
use crate::admin::token::{self, FromFile};
use crate::config::{self, Settings, Watched};
use crate::error_log;
use crate::metrics::{Metrics, OriginNames};
use crate::server::{Brim, ConfigFile, Program};
use crate::survive;
use crate::trace::{SpanWriter, Tracer};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

pub(crate) fn run(path: &Path) -> ExitCode {
    // Before it is read: what changes meanwhile is a change.
    let watched = Watched::new(vec![path.to_owned()]);
    let Some((settings, document)) = check::load(path) else { return ExitCode::FAILURE };
    let _log = error_log::start(settings.log.level.clone(), settings.log.error_format);
    let file = ConfigFile::new(path, document, watched);
    report(operators_token(&settings).and_then(|token| {
        let program = Program::of_this_process()?;
        serve(program, settings, token, file)
    }))
}

/// The token that operators bring; without one, why there is none.
pub(super) type Token = Result<String, String>;

/// From the environment, or from its file, which is made if it is not there.
fn operators_token(settings: &Settings) -> io::Result<Token> {
    if let Some(token) = token::of_environment()? {
        return Ok(Ok(token));
    }
    let path = &settings.server.admin_token_file;
    match token::of_file_or_new(path) {
        Ok(FromFile { token, is_exposed }) => {
            if is_exposed {
                let file = path.display();
                tracing::warn!(%file, "others than its owner may use the token file; chmod 600");
            }
            Ok(Ok(token))
        }
        Err(error) if is_out_of_reach(&error) => Ok(Err(error.to_string())),
        Err(error) => Err(error),
    }
}

/// It is not the file that is wrong: this process may not have it, or there is no place for it.
fn is_out_of_reach(error: &io::Error) -> bool {
    use io::ErrorKind::{NotFound, PermissionDenied, ReadOnlyFilesystem};
    matches!(error.kind(), NotFound | PermissionDenied | ReadOnlyFilesystem)
}

fn serve(program: Program, settings: Settings, token: Token, file: ConfigFile) -> io::Result<()> {
    let mut brim = Brim::new(settings.server.threads, settings.server.shutdown_timeout);
    brim.take_part_in_upgrades(program)?;
    let why_without = token.as_ref().err().cloned();
    let Open { edge, admin, log, writers: _writers } = open(&mut brim, settings, token, None)?;
    brim.add_reloading(file, log);
    if let Some(why) = why_without {
        tracing::warn!(why, "nobody can purge: there is no operator's token");
    }
    brim.run(move || {
        for address in edge {
            tracing::info!(%address, "listening");
        }
        if let Some(address) = admin {
            tracing::info!(%address, "admin listener");
        }
    });
    Ok(())
}

/// What an edge has opened.
pub(super) struct Open {
    pub(super) edge: Vec<SocketAddr>,
    /// `None` where its default address could not be had.
    pub(super) admin: Option<SocketAddr>,
    pub(super) log: AccessLog,
    /// To be kept until everything has ended.
    pub(super) writers: (LogWriter, SpanWriter),
}

/// Opens everything that an edge needs. The lines of its access log have this style, or are JSON.
pub(super) fn open(
    brim: &mut Brim,
    settings: Settings,
    token: Token,
    style: Option<Arc<dyn Lines>>,
) -> io::Result<Open> {
    let admin = settings.server.admin;
    refuse_to_be_open(admin.unwrap_or(config::ADMIN), &token)?;
    let sites: Vec<_> = settings.sites.iter().map(|site| site.name.clone()).collect();
    let origins: Vec<_> = settings.origins.iter().map(|origin| OriginNames::of(origin)).collect();
    let metrics = Metrics::new(&sites, &origins);
    metrics.configuration_loaded(SystemTime::now());
    let counted = metrics.clone();
    survive::tell_of_panics(move || counted.panicked());
    let (log, lines) = AccessLog::open(&settings.log, metrics.clone())?;
    let (tracer, spans) = Tracer::open(&settings.trace, metrics.clone())?;
    let log = log.with_tracer(tracer).with_style(style);
    let gatekeeper = Arc::new(Gatekeeper::new(token.ok(), metrics.clone()));
    // Before the operator's listener: whoever asks for port 9180 gets it.
    let edge = brim.add_edge(settings, gatekeeper, log.clone())?;
    let admin = open_admin(brim, admin, metrics)?;
    Ok(Open { edge, admin, log, writers: (lines, spans) })
}

/// Other machines find no operator's listener where nobody has a token.
fn refuse_to_be_open(admin: SocketAddr, token: &Token) -> io::Result<()> {
    match token {
        Err(why) if !admin.ip().to_canonical().is_loopback() => Err(io::Error::other(format!(
            "server.admin {admin} can be reached by other machines, which takes an operator's \
             token: {why}; {} can hold one, too",
            token::VARIABLE
        ))),
        _ => Ok(()),
    }
}

fn open_admin(
    brim: &mut Brim,
    address: Option<SocketAddr>,
    metrics: Arc<Metrics>,
) -> io::Result<Option<SocketAddr>> {
    match brim.add_admin(address.unwrap_or(config::ADMIN), metrics) {
        Ok(bound) => Ok(Some(bound)),
        // Nobody has asked for the default address.
        Err(error) if address.is_none() => {
            tracing::warn!(%error, "no admin listener; `server.admin` can name another address");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// An error in one line, and the exit code.
pub(super) fn report(result: io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("brim: {error}");
            ExitCode::FAILURE
        }
    }
}
