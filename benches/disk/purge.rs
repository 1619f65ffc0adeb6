//! What a purge costs while little and while much is stored: from the call to the acknowledgement,
//! beside one append that is made durable on the same device.

use crate::segment_log;
use crate::table::Goal;
use brim::config::{self, Settings};
use brim::engine::{Engine, Event, Found, Order, Receipt, Request};
use brim::metrics::Metrics;
use brim::rules::cache_control::Demands;
use brim::rules::key::Key;
use brim::rules::policy;
use brim::rules::purging::{self, Shares, Wish};
use brim::store::disk::{Content, Disk};
use brim::trace::Trail;
use brim::upstream::PurgeWay;
use brim::wire::HeadLimits;
use brim::wire::request::{Parser, RequestHead};
use bytes::BytesMut;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

const FEW: u64 = 10_000;
const MANY: u64 = 1_000_000;
/// Of the objects, so many are in memory, too.
const IN_MEMORY_MAX: u64 = 100_000;
const ROUNDS: u64 = 30;

/// A purge; how long each took, and a durable append right before it, in microseconds.
struct Row {
    what: &'static str,
    purges: Vec<f64>,
    appends: Vec<f64>,
}

impl Row {
    fn ratio(&self) -> f64 {
        median(&self.purges) / median(&self.appends)
    }
}

pub(crate) fn run(dir: &Path) -> Vec<Goal> {
    let folders = [crate::folder(dir, "few"), crate::folder(dir, "many")];
    let few = crate::runtime().block_on(with(folders[0].path(), FEW));
    let many = crate::runtime().block_on(with(folders[1].path(), MANY));
    let titles =
        ["", "10 thousand: us", "append us", "ratio", "1 million: us", "append us", "ratio"];
    let mut rows = vec![titles.map(str::to_owned).to_vec()];
    let mut goals = Vec::new();
    for (few, many) in few.iter().zip(&many) {
        let cells = [few, many].into_iter().flat_map(|row| {
            let (purge, append) = (median(&row.purges), median(&row.appends));
            [format!("{purge:.0}"), format!("{append:.0}"), format!("{:.1}", row.ratio())]
        });
        rows.push(std::iter::once(few.what.to_owned()).chain(cells).collect());
        // A few times what it takes to make anything durable, however much is stored.
        for (row, stored) in [(few, "10 thousand"), (many, "1 million")] {
            let what = format!("purge by {}, {stored} stored", row.what);
            goals.push(Goal::at_most(&what, 5.0, row.ratio(), " appends"));
        }
    }
    crate::table::print("A purge, from the call to its acknowledgement, medians", &rows);
    goals
}

async fn with(folder: &Path, objects: u64) -> [Row; 5] {
    let settings = settings(origin());
    let disk = segment_log::open(folder, 8 << 30);
    segment_log::recovered(&disk).await;
    let metrics = Metrics::new(&["*".into()], &[]);
    let engine = Engine::new(&settings, None, Some(disk.clone()), metrics).expect("an engine");
    fill(&engine, &settings, &disk, objects).await;
    println!("{objects} objects: {} on the disk", disk.stats().entries);
    let configured = &engine.configured();
    let sites = configured.sites();
    let purge = async |wish: Wish| {
        let targets = &purging::targets(&wish, sites).expect("a good wish");
        let (wish, shares) = (&wish, &Shares::of(&wish, sites));
        let began = Instant::now();
        let (by, way) = ("bench", &PurgeWay::default());
        let order = Order { wish, targets, shares, configured, by, way };
        let receipt: Receipt = engine.purge(&order).await.expect("nobody takes over");
        assert!(receipt.durable, "{receipt:?}");
        began.elapsed().as_secs_f64() * 1e6
    };
    crate::sync(folder);
    let mut file = File::create(folder.join("append")).expect("a file");
    let mut append = || {
        let began = Instant::now();
        file.write_all(&[7; 64]).and_then(|()| file.sync_data()).expect("written");
        began.elapsed().as_secs_f64() * 1e6
    };
    let mut rows = ["url", "prefix", "tag", "host", "soft tag"].map(|what| Row {
        what,
        purges: Vec::new(),
        appends: Vec::new(),
    });
    for round in 0..ROUNDS {
        let list = |item: String| vec![item];
        let wishes = [
            Wish { urls: list(format!("http://www.test{}", path(round))), ..Wish::default() },
            Wish { prefixes: list(format!("http://www.test/s{round}/")), ..Wish::default() },
            Wish { tags: list(format!("t{round}")), ..Wish::default() },
            Wish { hosts: list(format!("h{round}.test")), ..Wish::default() },
            Wish { tags: list(format!("s{round}")), soft: true, ..Wish::default() },
        ];
        for (row, wish) in rows.iter_mut().zip(wishes) {
            row.appends.push(append());
            row.purges.push(purge(wish).await);
        }
    }
    disk.close();
    rows
}

/// One object is fetched; the others are the same under other keys.
async fn fill(engine: &Arc<Engine>, settings: &Settings, disk: &Arc<Disk>, objects: u64) {
    // The second request has it written.
    while disk.stats().entries == 0 {
        look_up(engine, settings, "/first").await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut first = None;
    disk.each_entry(|content: Content, _, _| {
        first = Some(content);
        false
    });
    let first = first.expect("the first object is on the disk");
    let receipt = segment_log::receipt();
    for number in 0..objects {
        let key = key(settings, &path(number));
        while !(disk.has_room().await && disk.put(key.as_bytes(), first.clone(), &receipt)) {
            tokio::task::yield_now().await;
        }
    }
    disk.settled().await;
    for number in 0..objects.min(IN_MEMORY_MAX) {
        for _ in 0..2 {
            look_up(engine, settings, &path(number)).await;
        }
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
}

fn path(number: u64) -> String {
    format!("/s{}/{number}", number % 100)
}

fn key(settings: &Settings, path: &str) -> Key {
    let (head, mut key) = (head(path), Key::default());
    key.write(&settings.sites[0], head.authority(), head.target(), 80);
    key
}

fn head(path: &str) -> RequestHead {
    let text = format!("GET {path} HTTP/1.1\r\nHost: www.test\r\n\r\n");
    let head = Parser::default().next(&mut BytesMut::from(&text[..]), &HeadLimits::default());
    head.expect("good").expect("whole")
}

async fn look_up(engine: &Arc<Engine>, settings: &Settings, path: &str) {
    let (head, site) = (head(path), &settings.sites[0]);
    let trail = Trail::new(&head, false, SystemTime::now(), None);
    let request = Request {
        head: &head,
        configured: &engine.configured(),
        site,
        key: &key(settings, path),
        additions: Vec::new(),
        policy: policy::of_path(site, path).expect("cached"),
        demands: Demands::default(),
        peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
        peer_is_trusted: false,
        scheme: "http",
        now: SystemTime::now(),
        trail: &trail,
    };
    while let Found::Wait(mut ticket, _) = engine.lookup(&request, false).await {
        while let Event::Interim(_) = ticket.next().await {}
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn settings(origin: SocketAddr) -> Settings {
    let text = format!(
        "[cache.memory]\nsize = '1GiB'\n[[origin]]\nname = 'o'\nservers = ['http://{origin}']\n\
         [[site]]\nhosts = ['*']\norigin = 'o'\n"
    );
    config::check(&text, "bench", Path::new("")).settings.expect("good settings")
}

fn origin() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            while stream.read_line(&mut line).is_ok_and(|read| read > 0) {
                if line == "\r\n" {
                    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 256\r\nETag: \"1\"\r\n\
                        Surrogate-Key: news front\r\nCache-Control: max-age=86400\r\n\r\n";
                    let answer = [answer.as_bytes(), &[b'x'; 256]].concat();
                    stream.get_mut().write_all(&answer).expect("sent");
                }
                line.clear();
            }
        }
    });
    address
}

fn median(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
