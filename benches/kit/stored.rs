//! An engine that has one object in memory, to be looked up without a connection.

use super::{ORIGIN_FIELDS, fixed_origin, settings};
use brim::config::Settings;
use brim::engine::{Engine, Event, Found, Order, Request, Ticket};
use brim::metrics::Metrics;
use brim::rules::cache_control::Demands;
use brim::rules::key::Key;
use brim::rules::policy;
use brim::rules::purging::{self, Shares, Wish};
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

/// The engine, and the request that it has something for.
pub(crate) struct StoredObject {
    runtime: Runtime,
    settings: Arc<Settings>,
    engine: Arc<Engine>,
    head: RequestHead,
    key: Key,
}

impl StoredObject {
    /// One that was fetched for this request.
    pub(crate) fn of(request: &str) -> Self {
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let settings = settings(fixed_origin::start(ORIGIN_FIELDS));
        let engine = {
            let _entered = runtime.enter();
            let metrics = Metrics::new(&["*".into()], &[]);
            Engine::new(&settings, None, None, metrics).expect("an engine")
        };
        let head = head_of(request);
        let mut key = Key::default();
        key.write(&settings.sites[0], head.authority(), head.target(), 80);
        let stored = Self { runtime, settings, engine, head, key };
        stored.fetch(&stored.head);
        stored
    }

    fn fetch(&self, head: &RequestHead) {
        self.while_asking(head, |look_up| {
            while let Found::Wait(ticket, _) = look_up() {
                self.runtime.block_on(fetched(ticket));
            }
        });
    }

    /// Purges by rule that are newer than the object, so many of them, of other prefixes and tags: it
    /// has to be compared with them, once.
    pub(crate) fn purge_others(&self, rules: usize) {
        let configured = &self.engine.configured();
        for number in 0..rules {
            let name = |begin: &str| vec![format!("{begin}{number}")];
            let wish = match number % 2 {
                0 => Wish { prefixes: name("http://www.example.com/"), ..Wish::default() },
                _ => Wish { tags: name("tag-"), ..Wish::default() },
            };
            let targets = &purging::targets(&wish, configured.sites()).expect("a good wish");
            let (wish, shares) = (&wish, &Shares::default());
            let (by, way) = ("bench", &PurgeWay::default());
            let order = Order { wish, targets, shares, configured, by, way };
            self.runtime.block_on(self.engine.purge(&order)).expect("nobody takes over");
        }
    }

    /// Lends what looks the object up, and asserts that it is found.
    pub(crate) fn with_look_up(&self, work: impl FnOnce(&mut dyn FnMut() -> Found)) {
        self.while_asking(&self.head, |look_up| {
            assert!(matches!(look_up(), Found::Stored(..)));
            work(look_up);
        });
    }

    fn while_asking(&self, head: &RequestHead, work: impl FnOnce(&mut dyn FnMut() -> Found)) {
        let site = &self.settings.sites[0];
        let configured = &self.engine.configured();
        let trail = Trail::new(head, false, SystemTime::now(), None);
        let request = Request {
            head,
            configured,
            site,
            key: &self.key,
            additions: Vec::new(),
            policy: policy::of_path(site, head.target()).expect("cached"),
            demands: Demands::default(),
            peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
            peer_is_trusted: false,
            scheme: "http",
            now: SystemTime::now(),
            trail: &trail,
        };
        work(&mut || self.runtime.block_on(self.engine.lookup(&request, false)));
    }
}

/// Waits until the answer has begun.
async fn fetched(mut ticket: Ticket) {
    while let Event::Interim(_) = ticket.next().await {}
}
