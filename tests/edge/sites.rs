//! Which site answers for a host.

use crate::kit::{Brim, Client, NOBODY, Origin, ok_with};
use serde_json::json;

#[test]
fn the_host_chooses_the_site_and_an_unknown_one_reaches_no_origin() {
    let told =
        |name: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len());
    let origins = ["exact", "long", "short"].map(|name| (name, Origin::answering(told(name))));
    let mut text = "[server]\nhttp = ['127.0.0.1:0']\n".to_owned();
    for (name, origin) in &origins {
        text +=
            &format!("[[origin]]\nname = '{name}'\nservers = ['http://{}']\n", origin.address());
    }
    text += "[[site]]\nhosts = ['*.test']\norigin = 'short'\n\
             [[site]]\nhosts = ['*.a.test']\norigin = 'long'\n\
             [[site]]\nhosts = ['www.a.test', 'Other.Example']\norigin = 'exact'\n";
    let brim = Brim::configured(&text);
    let mut client = Client::connect(brim.address());
    for (host, expected) in [
        ("www.a.test", "exact"),
        ("WWW.A.TEST:8080", "exact"),
        ("www.a.test.", "exact"),
        ("other.example", "exact"),
        ("x.a.test", "long"),
        ("x.y.a.test", "long"),
        ("a.test", "short"),
        ("b.test", "short"),
    ] {
        let answer = client.ask(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!((answer.status, answer.text().as_str()), (200, expected), "{host}");
    }
    let asked = || origins.iter().map(|(_, origin)| origin.heads().len()).sum::<usize>();
    let before = asked();
    for host in ["test", "other.example.org", "127.0.0.1", "[::1]"] {
        let answer = client.ask(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(answer.status, 421, "{host}");
        // The connection stays: other hosts may be asked for on it.
        assert_eq!(answer.field("connection"), None, "{host}");
    }
    assert_eq!(client.ask("GET / HTTP/1.0\r\n\r\n").status, 421);
    client.is_closed();
    assert_eq!(asked(), before);
    assert!(brim.access_log("no_site").contains("\"status\":421"));
}

#[test]
fn a_body_for_an_unknown_host_is_not_taken_for_the_next_request() {
    let origin = Origin::ok();
    let brim = Brim::configured(&format!(
        "[server]\nhttp = ['127.0.0.1:0']\n[[origin]]\nname = 'o'\nservers = ['http://{}']\n\
         [[site]]\nhosts = ['a.test']\norigin = 'o'\n",
        origin.address()
    ));
    let inner = "GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let head = |length: usize| {
        format!("POST / HTTP/1.1\r\nHost: b.test\r\nContent-Length: {length}\r\n\r\n")
    };
    // All of it is there: it is read and forgotten.
    let mut client = Client::connect(brim.address());
    let answer = client.ask(head(inner.len()) + inner);
    assert_eq!((answer.status, answer.field("connection")), (421, None));
    assert_eq!(client.ask("GET /next HTTP/1.1\r\nHost: a.test\r\n\r\n").status, 200);
    // Some of it is still to come.
    let mut client = Client::connect(brim.address());
    let answer = client.ask(head(inner.len() + 1) + inner);
    assert_eq!((answer.status, answer.field("connection")), (421, Some("close")));
    client.finish();
    client.is_closed();
    assert!(origin.only_head().starts_with("GET /next "));
}

#[test]
fn servers_of_one_origin_take_turns_and_one_that_is_down_is_skipped() {
    let told =
        |name: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len());
    let (one, two) = (Origin::answering(told("1")), Origin::answering(told("2")));
    let closed = NOBODY;
    let brim = Brim::configured(&format!(
        "[server]\nhttp = ['127.0.0.1:0']\n[[origin]]\nname = 'o'\n\
         servers = ['http://{}', 'http://{closed}', 'http://{}']\n[[site]]\nhosts = ['*']\norigin = 'o'\n",
        one.address(),
        two.address()
    ));
    let mut client = Client::connect(brim.address());
    let mut answers = Vec::new();
    for _ in 0..6 {
        answers.push(client.ask("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").text());
    }
    assert_eq!(answers, ["1", "2", "1", "2", "1", "2"]);
}

#[test]
fn a_name_with_a_dot_at_its_end_is_the_same_host() {
    let origin = Origin::answering(ok_with("Cache-Control: max-age=60\r\n", "x"));
    let brim = Brim::configured(&format!(
        "[server]\nhttp = ['127.0.0.1:0']\n[[origin]]\nname = 'o'\nservers = ['http://{}']\n\
         [[site]]\nhosts = ['a.test']\norigin = 'o'\n",
        origin.address()
    ));
    let mut client = Client::connect(brim.address());
    let mut told = |host: &str| {
        let answer = client.ask(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(answer.status, 200, "{host}");
        answer.told().split(';').nth(1).map(|word| word.trim().to_owned())
    };
    assert_eq!(told("a.test.").as_deref(), Some("fwd=uri-miss"));
    let head = origin.last_head();
    assert!(head.contains("\r\nHost: a.test\r\n"), "{head}");
    assert!(head.contains("\r\nX-Forwarded-Host: a.test\r\n"), "{head}");
    for host in ["a.test", "A.test.", "a.test.:80"] {
        assert_eq!(told(host).as_deref(), Some("hit"), "{host}");
    }
    // Whoever names one of the spellings in a purge means both.
    for url in ["http://a.test./", "http://a.test/"] {
        brim.operator().purge(&json!({ "urls": [url] }));
        assert_eq!(told("a.test.").as_deref(), Some("fwd=uri-miss"), "{url}");
        assert_eq!(told("a.test").as_deref(), Some("hit"), "{url}");
    }
    brim.operator().purge(&json!({ "hosts": ["a.test."] }));
    assert_eq!(told("a.test").as_deref(), Some("fwd=uri-miss"));
}
