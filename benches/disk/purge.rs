//! What a purge costs while little and while much is stored: from the call to the acknowledgement,
//! beside one append that is made durable on the same device.

use crate::kit::{self, OneSite, fixed_origin, head_of};
use crate::segment_log;
use crate::table::{Goal, median};
use brim::rules::purging::Wish;
use brim::store::disk::{Content, Disk};
use brim::wire::request::RequestHead;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// What the origin says beside date and length.
const ORIGIN_FIELDS: &str =
    "ETag: \"1\"\r\nSurrogate-Key: news front\r\nCache-Control: max-age=86400\r\n";
const FEW: u64 = 10_000;
const MANY: u64 = 1_000_000;
/// Of the objects, so many are in memory, too.
const IN_MEMORY_MAX: u64 = 100_000;
const ROUNDS: u64 = 30;
const SITE: &str = "http://www.example.com";

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
    let origin = fixed_origin::start(ORIGIN_FIELDS);
    let settings = kit::settings(origin, "[cache.memory]\nsize = '1GiB'\n");
    let disk = segment_log::open(folder, 8 << 30);
    segment_log::recovered(&disk).await;
    let one_site = OneSite::new(&settings, Some(disk.clone()));
    fill(&one_site, &disk, objects).await;
    println!("{objects} objects: {} on the disk", disk.stats().entries);
    let purge = async |wish: Wish| {
        let began = Instant::now();
        let receipt = one_site.purge(&wish).await;
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
            Wish { urls: list(format!("{SITE}{}", path(round))), ..Wish::default() },
            Wish { prefixes: list(format!("{SITE}/256/s{round}/")), ..Wish::default() },
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
async fn fill(one_site: &OneSite, disk: &Disk, objects: u64) {
    // The second request has it written.
    while disk.stats().entries == 0 {
        one_site.fetch(&head("/256/first")).await;
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
        let key = one_site.key_of(&head(&path(number)));
        while !(disk.has_room().await && disk.put(key.as_bytes(), first.clone(), &receipt)) {
            tokio::task::yield_now().await;
        }
    }
    disk.settled().await;
    for number in 0..objects.min(IN_MEMORY_MAX) {
        for _ in 0..2 {
            one_site.fetch(&head(&path(number))).await;
        }
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
}

fn path(number: u64) -> String {
    format!("/256/s{}/{number}", number % 100)
}

fn head(path: &str) -> RequestHead {
    head_of(&kit::request("GET", path, ""))
}
