//! A new process takes over: no request is lost, and what is on the disk is still there.

use crate::kit::successors::{lives, signal};
use crate::kit::tls::Authority;
use crate::kit::{Brim, Client, Command, Gate, Http2Client, Origin, PATIENCE, get, ok_with};
use rustix::process::Signal;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

const GOOD: &str = "brim_upgrades_total{result=\"good\"}";
const FAILED: &str = "brim_upgrades_total{result=\"failed\"}";
const ON_DISK: &str = "brim_cache_objects{tier=\"disk\"}";
const MIB: usize = 1024 * 1024;
const PATHS: usize = 20;

/// Content in which every eight bytes tell where they stand.
fn content(len: usize) -> Vec<u8> {
    (0..len.div_ceil(8)).flat_map(|at| (at as u64 * 8).to_be_bytes()).take(len).collect()
}

/// HTTP/1.1 and HTTP/2, with a disk.
fn configuration(origin: SocketAddr, server: &str) -> String {
    format!(
        "[server]\nhttp = [{{ address = '127.0.0.1:0', h2c = true }}]\n{server}\n\
         [cache.memory]\nsize = '64MiB'\n[cache.disk]\npath = 'disk'\nsize = '256MiB'\n\
         [[origin]]\nname = 'o'\nservers = ['http://{origin}']\n\
         [[site]]\nhosts = ['*']\norigin = 'o'\n"
    )
}

fn path(number: usize) -> String {
    format!("/{}", number % PATHS)
}

/// Has every path on the disk.
fn warm(brim: &Brim) {
    let mut client = Client::connect(brim.address());
    for number in 0..3 * PATHS {
        assert_eq!(client.ask(get(&path(number))).status, 200);
    }
    brim.wait_until(ON_DISK, |objects| objects >= PATHS as u64);
}

fn cached_origin() -> Origin {
    Origin::serving(|head, _| {
        let path = head.split(' ').nth(1).expect("a path");
        ok_with("Cache-Control: max-age=600\r\n", &path.repeat(1000))
    })
}

/// Clients that go on until they are told to stop. Each asks for one thing after the other, and gets
/// all of it.
struct Load {
    is_over: Arc<AtomicBool>,
    clients: Vec<(Gate, std::thread::JoinHandle<()>)>,
}

impl Load {
    fn new() -> Self {
        Self { is_over: Arc::default(), clients: Vec::new() }
    }

    fn add(&mut self, mut ask: impl FnMut(&str) -> String + Send + 'static) {
        let (is_over, answers) = (self.is_over.clone(), Gate::default());
        let gate = answers.clone();
        let thread = std::thread::spawn(move || {
            while !is_over.load(Ordering::SeqCst) {
                let path = path(gate.count());
                assert_eq!(ask(&path), path.repeat(1000));
                gate.add_one();
            }
        });
        self.clients.push((answers, thread));
    }

    /// Waits until each client has got so many more answers.
    fn goes_on(&self, more: usize) {
        let deadline = Instant::now() + PATIENCE;
        for (answers, thread) in &self.clients {
            let enough = answers.count() + more;
            while answers.count() < enough {
                assert!(!thread.is_finished(), "a client has failed");
                assert!(Instant::now() < deadline, "a client gets no answers");
                std::thread::yield_now();
            }
        }
    }

    fn end(self) -> usize {
        self.is_over.store(true, Ordering::SeqCst);
        let ended = self.clients.into_iter().map(|(answers, thread)| {
            thread.join().expect("no request is lost");
            answers.count()
        });
        ended.sum()
    }
}

/// Asks on one connection until the edge says that it was the last request.
fn patient(address: SocketAddr) -> impl FnMut(&str) -> String + Send {
    let mut open: Option<Client> = None;
    move |path| {
        let client = open.get_or_insert_with(|| Client::connect(address));
        let answer = client.ask(get(path));
        assert_eq!((answer.status, answer.is_whole), (200, true), "{}", answer.head);
        if answer.field("connection") == Some("close") {
            open = None;
        }
        answer.text()
    }
}

#[test]
fn no_request_is_lost_and_the_origin_hears_nothing_of_many_upgrades() {
    let origin = cached_origin();
    let mut brim = Brim::configured(&configuration(origin.address(), ""));
    warm(&brim);
    let address = brim.address();
    let mut load = Load::new();
    for _ in 0..3 {
        load.add(patient(address));
    }
    load.add(move |path| {
        let answer = Client::connect(address).ask(get(path));
        assert_eq!((answer.status, answer.is_whole), (200, true), "{}", answer.head);
        answer.text()
    });
    let mut http2: Option<Http2Client> = None;
    load.add(move |path| {
        loop {
            let client = http2.get_or_insert_with(|| Http2Client::connect(address));
            match client.get_unless_over(path) {
                Some(answer) => {
                    assert_eq!(answer.status, 200);
                    return answer.text();
                }
                None => http2 = None,
            }
        }
    });
    let mut pids = vec![brim.pid()];
    for turn in 1..=6 {
        load.goes_on(20);
        pids.push(brim.upgrade());
        load.goes_on(20);
        assert_eq!(brim.metric(GOOD), turn);
        assert_eq!(brim.metric(ON_DISK), PATHS as u64);
    }
    let answers = load.end();
    println!("{answers} answers");
    assert_eq!(origin.requests(), PATHS, "{:?}", origin.heads());
    assert_eq!(brim.metric(FAILED), 0);
    assert_eq!(brim.wait().code(), Some(0));
    let newest = pids.pop().expect("a process");
    let deadline = Instant::now() + PATIENCE;
    while pids.iter().any(|pid| lives(*pid)) {
        assert!(Instant::now() < deadline, "an old process stays");
        std::thread::yield_now();
    }
    // What it has taken over, it keeps over a usual end.
    signal(newest, Signal::TERM);
    while lives(newest) {
        assert!(Instant::now() < deadline, "the newest process stays");
        std::thread::yield_now();
    }
    let brim = brim.again();
    let mut client = Client::connect(brim.address());
    for number in 0..PATHS {
        assert_eq!(client.ask(get(&path(number))).told(), "brim; hit");
    }
}

#[test]
fn no_request_over_tls_is_lost() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().expect("a folder"));
    let certificate = authority.issue(&["a.test"]).write(folder.path(), "a");
    let origin = cached_origin();
    let mut brim = Brim::over_tls(origin.address(), &certificate, "", "");
    let (address, clients) = (brim.https(), Arc::new(authority.trusting_client()));
    let mut load = Load::new();
    for stays in [true, false] {
        let (clients, mut open) = (clients.clone(), None);
        load.add(move |path| {
            let mut client = open.take().unwrap_or_else(|| clients.connect(address, "a.test"));
            let answer = client.ask(get(path));
            assert_eq!((answer.status, answer.is_whole), (200, true), "{}", answer.head);
            if stays && answer.field("connection") != Some("close") {
                open = Some(client);
            }
            answer.text()
        });
    }
    for _ in 0..3 {
        load.goes_on(20);
        brim.upgrade();
        load.goes_on(20);
    }
    load.end();
}

#[test]
fn downloads_and_uploads_that_are_under_way_come_to_their_end() {
    let large = content(24 * MIB);
    let body = large.clone();
    let origin = Origin::start(move |peer| {
        while let Some(head) = peer.head() {
            if head.starts_with("POST") {
                let got = peer.body_of(&head);
                peer.send(ok_with("", &got.len().to_string()));
                continue;
            }
            let fields = "Cache-Control: max-age=600\r\n";
            peer.send(format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {}\r\n\r\n", body.len()));
            peer.send(&body);
        }
    });
    let mut brim = Brim::configured(&configuration(origin.address(), ""));
    let mut download = Client::connect(brim.address());
    download.send(get("/large"));
    let first = download.read_exactly(100_000);
    let http2 = Http2Client::connect(brim.address());
    let asked = http2.begin(crate::kit::http2_client::request("GET", "/larger"), true);
    let mut upload = Client::connect(brim.address());
    let length = large.len();
    upload.send(format!("POST /up HTTP/1.1\r\nHost: a.test\r\nContent-Length: {length}\r\n\r\n"));
    upload.send(&large[..MIB]);
    origin.wait_for_requests(3);
    for _ in 0..2 {
        brim.upgrade();
        assert!(brim.is_running(), "there is something to be answered");
    }
    upload.send(&large[MIB..]);
    assert_eq!(upload.answer().text(), length.to_string());
    upload.is_closed();
    let answer = download.answer_behind(first);
    assert!(answer.is_whole && answer.body == large);
    let answer = http2.answer(asked);
    assert!(answer.status == 200 && answer.body == large);
    assert_eq!(brim.wait().code(), Some(0));
    assert_eq!(Client::connect(brim.address()).ask(get("/large")).body, large);
}

#[test]
fn the_signal_does_the_same() {
    let origin = cached_origin();
    let mut brim = Brim::configured(&configuration(origin.address(), ""));
    warm(&brim);
    brim.expects_successors();
    brim.signal(Signal::USR2);
    assert_eq!(brim.wait().code(), Some(0));
    brim.error_log("a new process has taken over");
    brim.error_log("took over from another process");
    assert_eq!(Client::connect(brim.address()).ask(get("/1")).told(), "brim; hit");
    assert_eq!(brim.metric(GOOD), 1);
}

#[test]
fn the_command_tells_who_has_taken_over_and_why_nobody_has() {
    let origin = cached_origin();
    let mut brim = Brim::of_binary(&configuration(origin.address(), ""));
    brim.expects_successors();
    let (admin, token) = (format!("http://{}", brim.admin()), brim.folder().join("admin.token"));
    let token = token.to_str().expect("a path");
    let upgrade = || Command::run(&["upgrade", "--admin", &admin, "--token-file", token]);
    brim.replace_binary_by("exit 7");
    let finished = upgrade();
    assert_eq!((finished.code, &*finished.stdout), (Some(1), ""));
    assert!(finished.stderr.contains("exit status: 7"), "{}", finished.stderr);
    brim.restore_binary();
    let finished = upgrade();
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert!(finished.stdout.contains(" has taken over; it is brim 0."), "{}", finished.stdout);
    assert_eq!((brim.metric(GOOD), brim.metric(FAILED)), (1, 1));
}

#[test]
fn addresses_come_and_go_with_the_configuration_of_the_new_process() {
    let origin = cached_origin();
    let text = configuration(origin.address(), "https = []");
    let text = text.replacen("http = [", "http = ['127.0.0.79:0', ", 1);
    let mut brim = Brim::configured(&text);
    // The first one that is told.
    let leaves = brim.address();
    assert!(Client::try_connect(leaves).is_some());
    brim.reconfigure(|text| text.replace("'127.0.0.79:0'", "'127.0.0.80:0'"));
    brim.upgrade();
    let line = brim.error_log("listening address=127.0.0.80:");
    let comes = line.rsplit('=').next().and_then(|address| address.parse().ok());
    let mut client = Client::connect(comes.expect("an address"));
    assert_eq!(client.ask(get("/1")).status, 200);
    let kept = brim.error_log("listening address=127.0.0.1:");
    let kept = kept.rsplit('=').next().and_then(|address| address.parse().ok());
    assert_eq!(Client::connect(kept.expect("an address")).ask(get("/1")).status, 200);
    let deadline = Instant::now() + PATIENCE;
    while Client::try_connect(leaves).is_some() {
        assert!(Instant::now() < deadline, "somebody still listens there");
    }
    brim.error_log("no longer listening");
}

#[test]
fn a_demonstration_does_not_die_of_the_signal() {
    let brim = Brim::demo(&[]);
    brim.signal(Signal::USR2);
    brim.error_log("no new process is started");
    assert_eq!(Client::connect(brim.address()).ask(get("/")).status, 200);
}
