//! What the rules cost on the way of a request: its key, its demands, whether what is stored may be
//! used; and, once for each fetch, the verdict on an answer.

use brim::config::{self, Site};
use brim::rules::cache_control::Demands;
use brim::rules::key::Key;
use brim::rules::site::SiteMap;
use brim::rules::storing::{self, Asked, Policy, Received};
use brim::rules::vary::Variant;
use brim::wire::authority;
use brim::wire::fields::{Composer, Fields};
use divan::black_box;
use std::path::Path;
use std::time::{Duration, SystemTime};

fn site(key: &str) -> Site {
    let text = format!(
        "[[origin]]\nname = 'o'\nservers = ['http://127.0.0.1:1']\n\
         [[site]]\nhosts = ['www.example.com']\norigin = 'o'\n[site.key]\n{key}\n"
    );
    let settings = config::check(&text, "bench", Path::new("")).settings.expect("good");
    Site::clone(&settings.sites[0])
}

fn fields(lines: &[(&str, &str)]) -> Fields {
    let mut composer = Composer::new(b"");
    for (name, value) in lines {
        composer.add(name, value.as_bytes());
    }
    composer.finish()
}

fn browser() -> Fields {
    fields(&[
        ("Host", "www.example.com"),
        ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/130.0"),
        ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
        ("Sec-Fetch-Site", "same-origin"),
        ("Sec-Fetch-Mode", "no-cors"),
        ("Referer", "https://www.example.com/"),
        ("Accept-Encoding", "gzip, deflate, br, zstd"),
        ("Accept-Language", "en-GB,en;q=0.9"),
        ("Cookie", "session=0123456789abcdef0123456789abcdef; theme=dark; consent=yes"),
        ("Cache-Control", "max-age=600"),
    ])
}

fn answer() -> Fields {
    fields(&[
        ("Date", "Mon, 21 Sep 2026 13:33:20 GMT"),
        ("Content-Type", "text/javascript"),
        ("Content-Length", "10240"),
        ("Cache-Control", "public, max-age=3600, stale-while-revalidate=60"),
        ("ETag", "\"3f2a1b9c\""),
        ("Last-Modified", "Sun, 20 Sep 2026 10:00:00 GMT"),
        ("Vary", "Accept-Encoding"),
    ])
}

const ASKED: Asked<'_> = Asked {
    target: "/assets/app.js",
    host: "www.example.com",
    has_authorization: false,
    forbids_storing: false,
    is_spelled_otherwise: false,
    is_ordinary: true,
};

fn received() -> Received {
    let (now, delay) = (SystemTime::now(), Duration::from_millis(30));
    Received { now, delay, age: Duration::ZERO }
}

#[divan::bench(args = [
    "/assets/app.3f2a1b9c.js?v=42",
    "/%7Euser/caf%c3%a9/a%2Fb?v=42",
])]
fn write_a_key(bencher: divan::Bencher, target: &str) {
    let site = site("");
    let host = authority::parse(b"www.example.com");
    let mut key = Key::default();
    bencher.bench_local(|| key.write(&site, black_box(host), black_box(target), 80));
}

/// The site of a host among so many, and what it makes of a target.
#[divan::bench(args = [1, 1000])]
fn choose_a_site_and_write_its_key(bencher: divan::Bencher, sites: usize) {
    let mut text = "[[origin]]\nname = 'o'\nservers = ['http://127.0.0.1:1']\n".to_owned();
    for number in 0..sites {
        text.push_str(&format!("[[site]]\nhosts = ['www{number}.example.com']\norigin = 'o'\n"));
    }
    let settings = config::check(&text, "bench", Path::new("")).settings.expect("good");
    let map = SiteMap::new(&settings.sites);
    let host = format!("www{}.example.com", sites - 1);
    let authority = authority::parse(host.as_bytes());
    let mut key = Key::default();
    bencher.bench_local(|| {
        let site = map.find(black_box(Some(&host))).expect("it has a site");
        key.write(site, authority, black_box("/assets/app.js"), 80);
    });
}

#[divan::bench(args = ["query = { deny = ['@tracking'] }", "sort_query = true"])]
fn write_a_key_with_a_query_policy(bencher: divan::Bencher, policy: &str) {
    let site = site(policy);
    let host = authority::parse(b"www.example.com");
    let target = "/search?q=shoes&utm_source=mail&page=2&gclid=0123456789&color=red";
    let mut key = Key::default();
    bencher.bench_local(|| key.write(&site, black_box(host), black_box(target), 80));
}

#[divan::bench]
fn read_the_demands_of_a_request(bencher: divan::Bencher) {
    let request = browser();
    bencher.bench_local(|| Demands::of_request(black_box(&request)));
}

#[divan::bench]
fn decide_whether_it_may_be_used(bencher: divan::Bencher) {
    let received = received();
    let policy = Policy::default();
    let terms = storing::judge(&ASKED, 200, &answer(), &policy, received).expect("kept");
    let demands = Demands::of_request(&browser());
    bencher.bench_local(|| black_box(&terms).usable(black_box(&demands), received.now));
}

#[divan::bench(args = ["Accept-Encoding", "Accept-Encoding, Accept-Language"])]
fn match_a_variant(bencher: divan::Bencher, vary: &str) {
    let request = browser();
    let variant = Variant::new(&fields(&[("Vary", vary)]), &request);
    bencher.bench_local(|| black_box(&variant).matches(black_box(&request), None));
}

#[divan::bench]
fn judge_an_answer(bencher: divan::Bencher) {
    let (answer, policy, received) = (answer(), Policy::default(), received());
    bencher.bench_local(|| storing::judge(&ASKED, 200, black_box(&answer), &policy, received));
}
