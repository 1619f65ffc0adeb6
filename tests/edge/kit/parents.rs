//! An edge whose fills go through a parent, both as processes.

use super::{Brim, Client, Operator, Origin, ok_with};
use rustix::process::Signal;
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Edge, parent and an origin whose answers have versions.
pub(crate) struct Tiers {
    pub(crate) origin: Origin,
    pub(crate) version: Arc<AtomicUsize>,
    pub(crate) parent: Brim,
    pub(crate) edge: Brim,
    /// The operator's, everywhere.
    pub(crate) token: String,
}

/// A parent with a disk tier, for the host `a.test` alone, that always has the same addresses.
pub(crate) fn parent_of(origin: SocketAddr) -> Brim {
    let text = format!(
        "[server]\nhttp = ['127.0.0.1:0']\nadmin = '127.0.0.1:0'\n\
         trusted_proxies = ['127.0.0.0/8']\n[cache.disk]\npath = 'disk'\nsize = '256MiB'\n\
         [[origin]]\nname = 'o'\nservers = ['http://{origin}']\n\
         [[site]]\nhosts = ['a.test']\norigin = 'o'\n"
    );
    let parent = Brim::configured(&text);
    let text = text.replace("http = ['127.0.0.1:0']", &format!("http = ['{}']", parent.address()));
    let text = text.replace("'127.0.0.1:0'", &format!("'{}'", parent.admin()));
    std::fs::write(parent.folder().join("edge.toml"), text).expect("written");
    parent
}

/// An edge with these doors of its parents, for `a.test` and `c.test`, of which only the first has
/// any. `server` are more lines of that section, `cache` sections of their own, `site` lines for
/// `a.test`.
pub(crate) fn edge_of(
    origin: SocketAddr,
    parent: SocketAddr,
    doors: &str,
    [server, cache, site]: [&str; 3],
) -> Brim {
    Brim::configured(&format!(
        "[server]\nhttp = ['127.0.0.1:0']\nadmin = '127.0.0.1:0'\n{server}\n{cache}\n\
         [[origin]]\nname = 'shield'\nservers = ['http://{parent}']\nadmin = ['{doors}']\n\
         [[origin]]\nname = 'main'\nservers = ['http://{origin}']\nparent = 'shield'\n\
         [[origin]]\nname = 'direct'\nservers = ['http://{origin}']\n\
         [[site]]\nhosts = ['a.test']\norigin = 'main'\n{site}\n\
         [[site]]\nhosts = ['c.test']\norigin = 'direct'\n"
    ))
}

/// The line that makes an edge use the token of another.
pub(crate) fn token_of(brim: &Brim) -> String {
    format!("admin_token_file = '{}'", brim.folder().join("admin.token").display())
}

impl Tiers {
    pub(crate) fn new() -> Self {
        Self::with("", "")
    }

    /// The same with more sections for the edge and lines for its site.
    pub(crate) fn with(cache: &str, site: &str) -> Self {
        let version = Arc::new(AtomicUsize::new(1));
        let current = version.clone();
        let origin = Origin::serving(move |_, _| {
            let version = current.load(Ordering::SeqCst).to_string();
            ok_with("Cache-Control: max-age=3600\r\nCache-Tag: t\r\n", &version)
        });
        let parent = parent_of(origin.address());
        let doors = format!("http://{}", parent.admin());
        let lines = [&*token_of(&parent), cache, site];
        let edge = edge_of(origin.address(), parent.address(), &doors, lines);
        let token = parent.token();
        Self { origin, version, parent, edge, token }
    }

    pub(crate) fn operator(&self) -> Operator {
        self.edge.operator_with(&self.token)
    }

    /// The version that a client of the edge is given.
    pub(crate) fn get(&self, path: &str) -> usize {
        version_of(self.edge.address(), path)
    }

    /// From now on the origin has a newer version of everything: its number.
    pub(crate) fn change(&self) -> usize {
        self.version.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// The parent goes away, with its disk.
    pub(crate) fn stop_parent(&mut self) {
        self.parent.signal(Signal::TERM);
        self.parent.wait();
    }

    /// It comes back where it was.
    pub(crate) fn start_parent(mut self) -> Self {
        self.parent = self.parent.again();
        self
    }

    /// The receipt of a purge that has to wait for somebody.
    #[track_caller]
    pub(crate) fn purge_later(&self, wish: &Value) -> Value {
        let answer = self.operator().ask("POST", "/purge", &wish.to_string());
        assert_eq!(answer.status, 202, "{}", answer.text());
        super::operator::json_of(&answer)
    }

    /// Waits until a receipt says that all parents have acknowledged.
    pub(crate) fn wait_until_paid(&self, receipt: &Value) -> Value {
        self.edge.wait_until("brim_parent_purges_pending", |pending| pending == 0);
        let id = receipt["id"].as_str().expect("an id");
        self.operator().get(&format!("/purges/{id}"))
    }
}

/// The version that this edge or parent gives.
pub(crate) fn version_of(address: SocketAddr, path: &str) -> usize {
    let answer = Client::connect(address).ask(super::get(path));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.text().parse().expect("a version")
}
