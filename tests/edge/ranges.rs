//! Parts: of what is stored, of what is being fetched, and put together from parts.

use crate::kit::{Brim, Client, Origin, Response, get, get_with, ok_with};
use std::sync::{Arc, Mutex};

const HOUR: &str = "Cache-Control: max-age=3600\r\n";
const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

/// 1000 bytes of which no 20 are the same.
fn content() -> String {
    (0..200).map(|number| format!("{number:04}.")).collect()
}

fn range(spec: &str) -> String {
    get_with("/", &format!("Range: {spec}\r\n"))
}

/// A part asked for as `bytes=from-` or `bytes=from-to`.
fn asked_part(head: &str, total: usize) -> Option<(usize, usize)> {
    let line = head.lines().find_map(|line| line.strip_prefix("Range: bytes="))?;
    let (from, to) = line.split_once('-')?;
    let to = if to.is_empty() { total - 1 } else { to.parse().ok()? };
    Some((from.parse().ok()?, to.min(total - 1)))
}

fn part_answer(content: &str, fields: &str, (from, to): (usize, usize)) -> String {
    let part = &content[from..=to];
    format!(
        "HTTP/1.1 206 Partial Content\r\n{fields}Content-Range: bytes {from}-{to}/{}\r\n\
         Content-Length: {}\r\n\r\n{part}",
        content.len(),
        part.len()
    )
}

/// An origin that knows parts, and gives each answer these fields.
fn origin_of_parts(fields: &'static str) -> Origin {
    Origin::serving(move |head, _| {
        let content = content();
        match asked_part(head, content.len()) {
            Some(part) => part_answer(&content, fields, part),
            None => ok_with(fields, &content),
        }
    })
}

/// An edge that has the whole, and who asks it.
fn stored(fields: &str) -> (Origin, Brim, Client) {
    let origin = Origin::answering(ok_with(fields, &content()));
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    assert_eq!(client.ask(get("/")).text(), content());
    (origin, brim, client)
}

/// The parts of a multipart/byteranges body: Content-Range and content.
fn parts(answer: &Response) -> Vec<(String, String)> {
    let kind = answer.field("content-type").expect("a type");
    let boundary = kind.strip_prefix("multipart/byteranges; boundary=").expect("parts");
    let body = answer.text();
    let (before, rest) = body.split_once(&format!("--{boundary}\r\n")).expect("a first part");
    assert_eq!(before.trim(), "");
    let rest = rest.strip_suffix(&format!("\r\n--{boundary}--\r\n")).expect("an end");
    let split = |part: &str| {
        let (head, content) = part.split_once("\r\n\r\n").expect("a head");
        let fields: Vec<&str> = head.split("\r\n").collect();
        assert_eq!(fields[0], "Content-Type: text/x");
        let range = fields[1].strip_prefix("Content-Range: ").expect("a range");
        assert_eq!(fields.len(), 2);
        (range.to_owned(), content.to_owned())
    };
    rest.split(&format!("\r\n--{boundary}\r\n")).map(split).collect()
}

#[test]
fn parts_are_cut_out_of_what_is_stored() {
    let (origin, _brim, mut client) = stored(&format!("{HOUR}ETag: \"1\"\r\n"));
    let content = content();
    for (spec, from, to) in [
        ("bytes=0-0", 0, 0),
        ("bytes=0-9", 0, 9),
        ("bytes=990-", 990, 999),
        ("bytes=990-5000", 990, 999),
        ("bytes=-1", 999, 999),
        ("bytes=-10", 990, 999),
        ("bytes=-5000", 0, 999),
        ("BYTES=5-9", 5, 9),
        ("bytes=5-9,", 5, 9),
        // Those that touch or overlap are one; one that is not there is none.
        ("bytes=5-9,10-19", 5, 19),
        ("bytes=5-9,7-19", 5, 19),
        ("bytes=5-9,2000-", 5, 9),
    ] {
        let answer = client.ask(range(spec));
        assert_eq!((answer.status, answer.text().as_str()), (206, &content[from..=to]), "{spec}");
        let told = format!("bytes {from}-{to}/1000");
        assert_eq!(answer.fields("content-range"), [&told]);
        assert_eq!((answer.field("etag"), answer.told().as_str()), (Some("\"1\""), "brim; hit"));
        assert!(answer.number("age").is_some());
    }
    assert_eq!(origin.requests(), 1);
}

#[test]
fn a_range_that_means_nothing_is_answered_with_the_whole() {
    let (origin, _brim, mut client) = stored(HOUR);
    let many: Vec<String> = (0..40).map(|n| format!("{}-{}", n * 200, n * 200 + 1)).collect();
    let many = format!("bytes={}", many.join(","));
    for spec in
        ["bytes=9-5", "bytes=", "bytes=,", "bytes=a-b", "bytes=5", "bytes=--5", "lines=0-5", &many]
    {
        let answer = client.ask(range(spec));
        assert_eq!((answer.status, answer.text()), (200, content()), "{spec}");
        assert_eq!(answer.field("content-range"), None);
    }
    // It means something for GET only (RFC 9110, section 14.2).
    let head = client.ask_head("HEAD / HTTP/1.1\r\nHost: a.test\r\nRange: bytes=0-9\r\n\r\n");
    assert_eq!((head.status, head.field("content-length")), (200, Some("1000")));
    assert_eq!(origin.requests(), 1);
}

#[test]
fn a_part_that_is_not_there_is_refused_with_the_length() {
    let (origin, _brim, mut client) = stored(HOUR);
    for spec in ["bytes=1000-", "bytes=1000-2000", "bytes=-0", "bytes=2000-,3000-3001"] {
        let answer = client.ask(range(spec));
        assert_eq!((answer.status, answer.field("content-range")), (416, Some("bytes */1000")));
    }
    assert_eq!(client.ask(get("/")).told(), "brim; hit");
    assert_eq!(origin.requests(), 1);
}

#[test]
fn several_parts_come_as_multipart() {
    let content = content();
    let (_origin, _brim, mut client) = stored(&format!("{HOUR}Content-Type: text/x\r\n"));
    let answer = client.ask(range("bytes=0-1,500-509,-2"));
    assert_eq!((answer.status, answer.field("content-range")), (206, None));
    assert_eq!(answer.told(), "brim; hit");
    let expected = [
        ("bytes 0-1/1000", 0..2),
        ("bytes 500-509/1000", 500..510),
        ("bytes 998-999/1000", 998..1000),
    ]
    .map(|(range, part)| (range.to_owned(), content[part].to_owned()));
    assert_eq!(parts(&answer), expected);
    // In the order asked for.
    let answer = client.ask(range("bytes=900-901,0-1"));
    let ranges: Vec<String> = parts(&answer).into_iter().map(|(range, _)| range).collect();
    assert_eq!(ranges, ["bytes 900-901/1000", "bytes 0-1/1000"]);
    // A 1.0 client, too: the length is known.
    let answer = client.ask("GET / HTTP/1.0\r\nHost: a.test\r\nRange: bytes=0-1,500-509\r\n\r\n");
    assert_eq!((answer.status, parts(&answer).len()), (206, 2));
}

#[test]
fn several_parts_of_what_is_not_stored_are_cut_out_of_the_whole() {
    let content = content();
    let origin = Origin::answering(ok_with(&format!("{HOUR}Content-Type: text/x\r\n"), &content));
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    let answer = client.ask(range("bytes=0-1,500-509"));
    assert_eq!((answer.status, parts(&answer)[1].1.as_str()), (206, &content[500..510]));
    assert!(!origin.only_head().contains("Range"));
    assert_eq!(client.ask(get("/")).told(), "brim; hit");
}

#[test]
fn if_range_wants_the_part_of_this_very_object() {
    let date = "Date: Sun, 06 Nov 1994 09:00:00 GMT\r\nCache-Control: max-age=9999999999\r\n";
    let fields = format!("{date}ETag: \"1\"\r\nLast-Modified: {MODIFIED}\r\n");
    let (_origin, _brim, mut client) = stored(&fields);
    for (validator, status) in [
        ("\"1\"", 206),
        ("W/\"1\"", 200),
        ("\"2\"", 200),
        (MODIFIED, 206),
        // Exactly this date, not a later one (RFC 9110, section 13.1.5).
        ("Sun, 06 Nov 1994 08:49:38 GMT", 200),
        ("nonsense", 200),
    ] {
        let lines = format!("Range: bytes=0-9\r\nIf-Range: {validator}\r\n");
        let answer = client.ask(get_with("/", &lines));
        let length = if status == 206 { 10 } else { 1000 };
        assert_eq!((answer.status, answer.body.len()), (status, length), "{validator}");
    }
    // A condition that fails leaves no part (section 13.2.2).
    let lines = "Range: bytes=0-9\r\nIf-None-Match: \"1\"\r\n";
    assert_eq!(client.ask(get_with("/", lines)).status, 304);
    let lines = "Range: bytes=0-9\r\nIf-Match: \"2\"\r\n";
    assert_eq!(client.ask(get_with("/", lines)).status, 412);
}

#[test]
fn a_weak_object_gives_parts_but_none_to_if_range() {
    let (_origin, _brim, mut client) = stored(&format!("{HOUR}ETag: W/\"1\"\r\n"));
    assert_eq!(client.ask(range("bytes=0-9")).status, 206);
    let lines = "Range: bytes=0-9\r\nIf-Range: W/\"1\"\r\n";
    assert_eq!(client.ask(get_with("/", lines)).status, 200);
}

#[test]
fn a_part_that_is_missing_is_fetched_as_a_part_and_kept() {
    let origin = origin_of_parts("Cache-Control: max-age=3600\r\nETag: \"1\"\r\n");
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    let content = content();
    let first = client.ask(range("bytes=100-199"));
    assert_eq!((first.status, first.text().as_str()), (206, &content[100..200]));
    assert_eq!(first.field("content-range"), Some("bytes 100-199/1000"));
    assert_eq!(first.told(), "brim; fwd=uri-miss; stored");
    assert!(origin.last_head().contains("\r\nRange: bytes=100-199\r\n"));
    // What is in it, under any name; and its head.
    for spec in ["bytes=100-199", "bytes=150-160"] {
        let answer = client.ask(range(spec));
        assert_eq!((answer.status, answer.told().as_str()), (206, "brim; hit"), "{spec}");
    }
    let head = client.ask_head("HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!((head.status, head.field("content-length")), (200, Some("1000")));
    assert_eq!((head.told().as_str(), head.field("content-range")), ("brim; hit", None));
    assert_eq!(origin.requests(), 1);
    // What is not, is a miss of a part.
    let answer = client.ask(range("bytes=150-250"));
    assert_eq!((answer.status, answer.text().as_str()), (206, &content[150..251]));
    assert_eq!(answer.told(), "brim; fwd=partial; stored");
    assert_eq!(client.ask(range("bytes=100-250")).told(), "brim; hit");
    assert_eq!(origin.requests(), 2);
}

#[test]
fn parts_of_one_object_come_together_to_the_whole() {
    let origin = origin_of_parts("Cache-Control: max-age=3600\r\nETag: \"1\"\r\n");
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    for spec in ["bytes=600-", "bytes=0-399", "bytes=300-699"] {
        assert_eq!(client.ask(range(spec)).status, 206);
    }
    let whole = client.ask(get("/"));
    assert_eq!((whole.status, whole.told().as_str()), (200, "brim; hit"));
    assert_eq!((whole.text(), whole.field("content-range")), (content(), None));
    assert_eq!(origin.requests(), 3);
}

#[test]
fn parts_also_come_together_by_a_date_that_is_strong() {
    let origin = origin_of_parts(
        "Date: Mon, 07 Nov 1994 08:49:37 GMT\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
         Cache-Control: max-age=9999999999\r\n",
    );
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    client.ask(range("bytes=0-499"));
    client.ask(range("bytes=500-"));
    assert_eq!(client.ask(get("/")).told(), "brim; hit");
}

#[test]
fn a_whole_that_has_begun_asks_for_the_rest_only() {
    let origin = origin_of_parts("Cache-Control: max-age=3600\r\nETag: \"1\"\r\n");
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    client.ask(range("bytes=0-399"));
    let whole = client.ask(get("/"));
    assert_eq!((whole.status, whole.text()), (200, content()));
    assert_eq!(whole.field("content-length"), Some("1000"));
    assert_eq!(
        (whole.told().as_str(), whole.field("content-range")),
        ("brim; fwd=partial; fwd-status=206; stored", None)
    );
    let asked = origin.last_head();
    assert!(asked.contains("\r\nRange: bytes=400-\r\n"), "{asked}");
    assert!(asked.contains("\r\nIf-Range: \"1\"\r\n"), "{asked}");
    assert_eq!(client.ask(get("/")).told(), "brim; hit");
    assert_eq!(origin.requests(), 2);
}

#[test]
fn parts_of_different_objects_are_never_mixed() {
    // What changes from one answer to the next, and whether If-Range is understood.
    for (tags, heeds_if_range) in [
        (["\"1\"", "\"2\""], true),
        (["\"1\"", "\"2\""], false),
        (["W/\"1\"", "W/\"1\""], false),
        (["", ""], false),
    ] {
        let old = "o".repeat(1000);
        let origin = Origin::serving(move |head, number| {
            let (text, tag) =
                if number == 0 { (old.clone(), tags[0]) } else { (content(), tags[1]) };
            let tag = if tag.is_empty() { String::new() } else { format!("ETag: {tag}\r\n") };
            let fields = format!("{HOUR}{tag}");
            let has_changed =
                head.lines().find_map(|line| line.strip_prefix("If-Range: ")) != Some(tags[1]);
            match asked_part(head, text.len()) {
                Some(part) if !(number > 0 && heeds_if_range && has_changed) => {
                    part_answer(&text, &fields, part)
                }
                _ => ok_with(&fields, &text),
            }
        });
        let brim = Brim::in_front_of(origin.address());
        let mut client = Client::connect(brim.address());
        client.ask(range("bytes=0-399"));
        let whole = client.ask(get("/"));
        assert_eq!((whole.status, whole.text()), (200, content()), "{tags:?}");
        let again = client.ask(get("/"));
        assert_eq!((again.told().as_str(), again.text()), ("brim; hit", content()), "{tags:?}");
    }
}

#[test]
fn a_part_of_another_object_takes_the_place_of_those_before() {
    for tags in [["\"1\"", "\"2\""], ["W/\"1\"", "W/\"1\""]] {
        let origin = Origin::serving(move |head, number| {
            let fields = format!("{HOUR}ETag: {}\r\n", tags[number.min(1)]);
            let text = if number == 0 { "o".repeat(1000) } else { content() };
            match asked_part(head, text.len()) {
                Some(part) => part_answer(&text, &fields, part),
                None => ok_with(&fields, &text),
            }
        });
        let brim = Brim::in_front_of(origin.address());
        let mut client = Client::connect(brim.address());
        client.ask(range("bytes=0-499"));
        assert_eq!(client.ask(range("bytes=500-")).text(), content()[500..]);
        let first = client.ask(range("bytes=0-499"));
        assert_eq!(first.text(), content()[..500], "{tags:?}");
        assert_eq!(client.ask(get("/")).text(), content(), "{tags:?}");
    }
}

#[test]
fn an_origin_that_has_no_rest_is_asked_for_the_whole() {
    let origin = Origin::serving(|head, number| match (number, asked_part(head, 1000)) {
        (0, Some(part)) => part_answer(&content(), &format!("{HOUR}ETag: \"1\"\r\n"), part),
        (_, Some(_)) => {
            "HTTP/1.1 416 X\r\nContent-Range: bytes */10\r\nContent-Length: 0\r\n\r\n".into()
        }
        _ => ok_with(HOUR, "0123456789"),
    });
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    client.ask(range("bytes=0-399"));
    let whole = client.ask(get("/"));
    assert_eq!((whole.status, whole.text().as_str()), (200, "0123456789"));
}

#[test]
fn an_origin_that_knows_no_parts_fills_the_cache_all_the_same() {
    let origin = Origin::answering(ok_with(HOUR, &content()));
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    let first = client.ask(range("bytes=10-19"));
    assert_eq!((first.status, first.text().as_str()), (206, &content()[10..20]));
    assert_eq!(first.field("content-range"), Some("bytes 10-19/1000"));
    assert_eq!(client.ask(get("/")).told(), "brim; hit");
}

#[test]
fn a_part_whose_place_is_unknown_is_not_kept() {
    for told in ["", "Content-Range: bytes */1000\r\n", "Content-Range: bytes 0-99/50\r\n"] {
        let answer = format!(
            "HTTP/1.1 206 Partial Content\r\n{HOUR}ETag: \"1\"\r\n{told}Content-Length: 2\r\n\r\nab"
        );
        let origin = Origin::answering(answer);
        let brim = Brim::in_front_of(origin.address());
        let mut client = Client::connect(brim.address());
        for _ in 0..2 {
            assert_eq!(client.ask(range("bytes=0-1")).status, 206);
        }
        assert_eq!(origin.requests(), 2, "{told}");
    }
}

#[test]
fn a_refusal_of_a_part_is_passed_on_and_forgotten() {
    let origin = Origin::serving(|head, _| match head.contains("Range") {
        true => format!(
            "HTTP/1.1 416 X\r\n{HOUR}Content-Range: bytes */1000\r\nContent-Length: 0\r\n\r\n"
        ),
        false => ok_with(HOUR, &content()),
    });
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    let answer = client.ask(range("bytes=5000-"));
    assert_eq!((answer.status, answer.field("content-range")), (416, Some("bytes */1000")));
    // It was about the part: whoever wants the whole gets it.
    let whole = client.ask(get("/"));
    assert_eq!((whole.status, whole.text()), (200, content()));
}

#[test]
fn a_stale_whole_is_confirmed_before_a_part_is_cut_out_of_it() {
    let asked = Arc::new(Mutex::new(0));
    let count = asked.clone();
    let origin = Origin::serving(move |head, _| {
        *count.lock().expect("lock") += 1;
        if head.contains("If-None-Match: \"1\"") {
            assert!(!head.contains("\r\nRange"));
            return format!("HTTP/1.1 304 Not Modified\r\n{HOUR}ETag: \"1\"\r\n\r\n");
        }
        ok_with("Cache-Control: max-age=1\r\nAge: 100\r\nETag: \"1\"\r\n", &content())
    });
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    client.ask(get("/"));
    let part = client.ask(range("bytes=10-19"));
    assert_eq!((part.status, part.text().as_str()), (206, &content()[10..20]));
    assert_eq!(part.told(), "brim; fwd=stale; fwd-status=304");
    assert_eq!(*asked.lock().expect("lock"), 2);
}

#[test]
fn the_rest_of_a_whole_that_breaks_off_breaks_the_answer_and_leaves_the_beginning() {
    let origin = Origin::start(|peer| {
        while let Some(head) = peer.head() {
            let fields = format!("{HOUR}ETag: \"1\"\r\n");
            let part = asked_part(&head, 1000).expect("a part");
            let answer = part_answer(&content(), &fields, part);
            match part.0 {
                0 => peer.send(answer),
                400 => return peer.send(&answer[..answer.len() - 100]),
                // Nor does it go on from there.
                _ => return,
            }
        }
    });
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    client.ask(range("bytes=0-399"));
    let mut broken = Client::connect(brim.address());
    broken.send(get("/"));
    let mut received = String::new();
    received.push_str(&String::from_utf8_lossy(&broken.rest()));
    let body = received.split_once("\r\n\r\n").expect("a head").1;
    assert_eq!(body, &content()[..900]);
    assert_eq!(client.ask(range("bytes=0-399")).told(), "brim; hit");
    assert_ne!(client.ask(range("bytes=400-409")).told(), "brim; hit");
}

#[test]
fn a_part_that_overlaps_a_stored_one_has_the_length_that_it_says() {
    let content = content();
    let origin = serving_parts(&content, "ETag: \"1\"\r\n");
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    for (from, to) in [(500, 700), (400, 600), (450, 650), (0, 450), (650, 999), (0, 999)] {
        let answer = client.ask(range(&format!("bytes={from}-{to}")));
        let expected = format!("bytes {from}-{to}/1000");
        assert_eq!((answer.status, answer.fields("content-range")), (206, vec![&expected[..]]));
        assert_eq!(answer.text(), content[from..=to]);
    }
}

#[test]
fn a_part_that_is_not_kept_says_once_which_it_is() {
    let content = content();
    let origin = serving_parts(&content, "Cache-Control: private\r\n");
    let brim = Brim::in_front_of(origin.address());
    let answer = Client::connect(brim.address()).ask(range("bytes=0-4"));
    assert_eq!(answer.fields("content-range"), ["bytes 0-4/1000"]);
    assert_eq!(answer.text(), content[..5]);
}

/// An origin that gives whatever part is asked for.
fn serving_parts(content: &str, fields: &str) -> Origin {
    let (content, fields) = (content.to_owned(), format!("{fields}{HOUR}"));
    Origin::serving(move |head, _| match asked_part(head, content.len()) {
        Some(part) => part_answer(&content, &fields, part),
        None => ok_with(&fields, &content),
    })
}
