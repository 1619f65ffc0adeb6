//! Who is measured, each at its best for what is asked of it.

mod brim;
mod haproxy;
mod nginx;
mod traffic_server;
mod varnish;

use crate::certificate::Certificate;
use crate::check::Answer;
use crate::process::{Proxy, Recipe, free_address, text};
use crate::rows::{Found, Row};
use std::io;
use std::net::SocketAddr;
use std::path::Path;

/// All of what is kept, where it is in memory: more than is asked for.
const MEMORY_MIB: usize = 1024;
/// The same where everything comes once, so that everybody has to evict.
const MEMORY_OF_MISSES_MIB: usize = 64;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Who {
    Brim,
    BrimWithDisk,
    Nginx,
    NginxSendfile,
    HaProxy,
    Varnish,
    TrafficServer,
    /// A bare Pingora `ServerApp` that answers Brim's bytes.
    Bare,
}

impl Who {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Brim => "Brim",
            Self::BrimWithDisk => "Brim with disk tier",
            Self::Nginx => "nginx",
            Self::NginxSendfile => "nginx, sendfile",
            Self::HaProxy => "HAProxy",
            Self::Varnish => "Varnish",
            Self::TrafficServer => "Traffic Server",
            Self::Bare => "bare Pingora",
        }
    }

    pub(crate) fn is_brim(self) -> bool {
        matches!(self, Self::Brim | Self::BrimWithDisk)
    }

    pub(crate) fn is_peer(self) -> bool {
        !self.is_brim() && self != Self::Bare
    }
}

/// What a contestant is started for.
pub(crate) struct Setting<'a> {
    pub(crate) stage: &'a Stage<'a>,
    /// Its own.
    pub(crate) folder: &'a Path,
    pub(crate) plain: SocketAddr,
    pub(crate) tls: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Setting<'_> {
    fn memory_mib(&self) -> usize {
        match self.stage.row.found {
            Found::AtTheOrigin => MEMORY_OF_MISSES_MIB,
            _ => MEMORY_MIB,
        }
    }

    fn in_folder(&self, name: &str) -> String {
        text(&self.folder.join(name))
    }
}

/// One that runs.
pub(crate) struct Contestant {
    pub(crate) who: Who,
    pub(crate) proxy: Proxy,
    pub(crate) plain: SocketAddr,
    pub(crate) tls: SocketAddr,
    /// Where Brim's metrics are.
    pub(crate) admin: SocketAddr,
}

/// What all that are started for one row have in common.
pub(crate) struct Stage<'a> {
    pub(crate) row: &'a Row,
    pub(crate) origin: SocketAddr,
    pub(crate) certificate: &'a Certificate,
    pub(crate) writes_log: bool,
    /// The program.
    pub(crate) brim: &'a Path,
    /// Who reads the log of those that send it.
    pub(crate) log_reader: SocketAddr,
    pub(crate) processor: Option<usize>,
}

impl Stage<'_> {
    /// `bare` is what the bare one answers.
    pub(crate) fn start(
        &self,
        who: Who,
        folder: &Path,
        bare: Option<&Answer>,
    ) -> io::Result<Contestant> {
        let folder = folder.join(format!("{who:?}"));
        std::fs::create_dir_all(&folder)?;
        let setting = Setting {
            stage: self,
            folder: &folder,
            plain: free_address(),
            tls: free_address(),
            admin: free_address(),
        };
        let recipe = match who {
            Who::Brim | Who::BrimWithDisk => Some(brim::recipe(&setting, who)),
            Who::Nginx | Who::NginxSendfile => nginx::recipe(&setting, who),
            Who::HaProxy => haproxy::recipe(&setting),
            Who::Varnish => varnish::recipe(&setting),
            Who::TrafficServer => traffic_server::recipe(&setting)?,
            Who::Bare => bare.map(|answer| recipe_of_bare(&setting, answer)).transpose()?,
        };
        let recipe = recipe.ok_or_else(|| io::Error::other("it is not installed"))?;
        let proxy = recipe.start(&folder, self.processor)?;
        let Setting { plain, tls, admin, .. } = setting;
        Ok(Contestant { who, proxy, plain, tls, admin })
    }
}

/// This program once more, in its other part.
fn recipe_of_bare(setting: &Setting, answer: &Answer) -> io::Result<Recipe> {
    let file = setting.folder.join("answer");
    std::fs::write(&file, [answer.head.as_slice(), &answer.body].concat())?;
    let path = crate::path_of(setting.stage.row, 0);
    Ok(Recipe {
        arguments: vec!["--bare".into(), setting.plain.to_string(), path, text(&file)],
        ..Recipe::new(Who::Bare.name(), std::env::current_exe()?, setting.plain)
    })
}
