//! An engine that is asked without a connection, and one that has an object in memory to be looked up.

use super::{ORIGIN_FIELDS, fixed_origin, settings};
use brim::config::{Settings, Site};
use brim::engine::{Configured, Engine, Event, Found, Order, Receipt, Request};
use brim::metrics::Metrics;
use brim::rules::cache_control::Demands;
use brim::rules::key::Key;
use brim::rules::policy;
use brim::rules::purging::{self, Shares, Wish};
use brim::store::disk::Disk;
use brim::trace::Trail;
use brim::upstream::PurgeWay;
use brim::wire::HeadLimits;
use brim::wire::request::{Parser, RequestHead};
use bytes::BytesMut;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::SystemTime;
use tokio::runtime::{self, Runtime};

/// A head as the edge reads it.
pub(crate) fn head_of(text: &str) -> RequestHead {
    let head = Parser::default().next(&mut BytesMut::from(text), &HeadLimits::default());
    head.expect("good").expect("whole")
}

fn trail_of(head: &RequestHead) -> Trail<'_> {
    Trail::new(head, false, SystemTime::now(), None)
}

/// An engine for one site.
pub(crate) struct OneSite {
    site: Arc<Site>,
    engine: Arc<Engine>,
}

impl OneSite {
    /// The first one of these settings. Needs a runtime around it.
    pub(crate) fn new(settings: &Settings, disk: Option<Arc<Disk>>) -> Self {
        let metrics = Metrics::new(&["*".into()], &[]);
        let engine = Engine::new(settings, None, disk, metrics).expect("an engine");
        Self { site: settings.sites[0].clone(), engine }
    }

    pub(crate) fn key_of(&self, head: &RequestHead) -> Key {
        let mut key = Key::default();
        key.write(&self.site, head.authority(), head.target(), 80);
        key
    }

    /// Until the answer is there, from wherever it comes.
    pub(crate) async fn fetch(&self, head: &RequestHead) {
        let (key, configured, trail) =
            (self.key_of(head), self.engine.configured(), trail_of(head));
        let request = self.request(head, &key, &configured, &trail);
        while let Found::Wait(mut ticket, _) = self.engine.lookup(&request, false).await {
            while let Event::Interim(_) = ticket.next().await {}
            // The answer has begun; whoever brings the rest of it has to have a turn.
            tokio::task::yield_now().await;
        }
    }

    pub(crate) async fn purge(&self, wish: &Wish) -> Receipt {
        let configured = &self.engine.configured();
        let sites = configured.sites();
        let targets = &purging::targets(wish, sites).expect("a good wish");
        let (shares, by, way) = (&Shares::of(wish, sites), "bench", &PurgeWay::default());
        let order = Order { wish, targets, shares, configured, by, way };
        self.engine.purge(&order).await.expect("nobody takes over")
    }

    fn request<'a>(
        &'a self,
        head: &'a RequestHead,
        key: &'a Key,
        configured: &'a Arc<Configured>,
        trail: &'a Trail<'a>,
    ) -> Request<'a> {
        Request {
            head,
            configured,
            site: &self.site,
            key,
            additions: Vec::new(),
            policy: policy::of_path(&self.site, head.target()).expect("cached"),
            demands: Demands::default(),
            peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
            peer_is_trusted: false,
            scheme: "http",
            now: SystemTime::now(),
            trail,
        }
    }
}

/// The engine, and the request that it has something for.
pub(crate) struct StoredObject {
    runtime: Runtime,
    one_site: OneSite,
    head: RequestHead,
}

impl StoredObject {
    /// One that was fetched for this request.
    pub(crate) fn of(request: &str) -> Self {
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let settings = settings(fixed_origin::start(ORIGIN_FIELDS), "");
        let (head, entered) = (head_of(request), runtime.enter());
        let one_site = OneSite::new(&settings, None);
        drop(entered);
        runtime.block_on(one_site.fetch(&head));
        Self { runtime, one_site, head }
    }

    /// Purges by rule that are newer than the object, so many of them, of other prefixes and tags: it
    /// has to be compared with them, once.
    pub(crate) fn purge_others(&self, rules: usize) {
        for number in 0..rules {
            let name = |begin: &str| vec![format!("{begin}{number}")];
            let wish = match number % 2 {
                0 => Wish { prefixes: name("http://www.example.com/other-"), ..Wish::default() },
                _ => Wish { tags: name("tag-"), ..Wish::default() },
            };
            self.runtime.block_on(self.one_site.purge(&wish));
        }
    }

    /// Lends what looks the object up, and asserts that it is found.
    pub(crate) fn with_look_up(&self, work: impl FnOnce(&mut dyn FnMut() -> Found)) {
        let OneSite { engine, .. } = &self.one_site;
        let (key, configured, trail) =
            (self.one_site.key_of(&self.head), engine.configured(), trail_of(&self.head));
        let request = self.one_site.request(&self.head, &key, &configured, &trail);
        let look_up = &mut || self.runtime.block_on(engine.lookup(&request, false));
        assert!(matches!(look_up(), Found::Stored(..)));
        work(look_up);
    }
}
