//! What a request is called: by nobody else than those who are believed, and the same everywhere.

use crate::kit::{Brim, Client, Gate, Http2Client, Origin, get, get_with, ok_with};

const KEPT: &str = "Cache-Control: max-age=60\r\n";

fn settings(origin: &Origin, server: &str) -> String {
    format!(
        "[server]\nhttp = [{{ address = '127.0.0.1:0', h2c = true }}]\n{server}\n[[origin]]\n\
         name = 'o'\nservers = ['http://{}']\n[[site]]\nhosts = ['a.test']\norigin = 'o'\n\
         [[site.rule]]\npath = '/pass*'\ncache = false\n",
        origin.address()
    )
}

/// The only one that a head tells.
#[track_caller]
fn told(head: &str) -> String {
    let same = |name: &str| name.replace(['_', '.'], "-").eq_ignore_ascii_case("x-request-id");
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    let values: Vec<_> =
        lines.filter(|(name, _)| same(name)).map(|(_, value)| value.trim()).collect();
    assert_eq!(values.len(), 1, "{head}");
    values[0].to_owned()
}

fn logged(brim: &Brim, text: &str) -> String {
    let line: serde_json::Value = serde_json::from_str(&brim.access_log(text)).expect("JSON");
    line["request_id"].as_str().expect("an id").to_owned()
}

#[test]
fn a_stranger_does_not_name_its_request() {
    let origin = Origin::answering(ok_with(KEPT, ""));
    let brim = Brim::configured(&settings(&origin, ""));
    let mut client = Client::connect(brim.address());
    for path in ["/fill", "/pass"] {
        let lines = "X-Request-Id: <script>\r\nX_Request_Id: mine\r\nx-request-id: other\r\n";
        let answer = client.ask(get_with(path, lines));
        assert_eq!((answer.status, answer.field("x-request-id")), (200, None));
        let id = told(&origin.last_head());
        assert_eq!(id.len(), 36);
        assert_eq!(id, logged(&brim, path));
    }
}

#[test]
fn a_trusted_proxy_does_in_one_plain_word() {
    let origin = Origin::answering(ok_with("Cache-Control: no-store\r\n", ""));
    let server = "trusted_proxies = ['127.0.0.1']\nrequest_id = true";
    let brim = Brim::configured(&settings(&origin, server));
    let mut client = Client::connect(brim.address());
    let answer = client.ask(get_with("/good", "X-Request-Id: Root=1-67891233-abc\r\n"));
    assert_eq!(answer.field("x-request-id"), Some("Root=1-67891233-abc"));
    assert_eq!(told(&origin.last_head()), "Root=1-67891233-abc");
    assert_eq!(logged(&brim, "/good"), "Root=1-67891233-abc");
    let long = "x".repeat(129);
    for (number, bad) in
        [&long, "a b", "a\"b", "a,b", "\u{e9}", "a\r\nX-Request-Id: b", ""].iter().enumerate()
    {
        client.ask(get_with(&format!("/bad{number}"), &format!("X-Request-Id: {bad}\r\n")));
        assert_eq!(told(&origin.last_head()).len(), 36, "{bad}");
    }
}

#[test]
fn all_answers_tell_it_where_that_is_wished() {
    // What an origin says of it is its own affair.
    let origin = Origin::answering(ok_with(&format!("{KEPT}X-Request-Id: origins\r\n"), "hello"));
    let brim = Brim::configured(&settings(&origin, "request_id = true"));
    let mut client = Client::connect(brim.address());
    let requests = [
        get_with("/kept", "User-Agent: miss\r\n"),
        get_with("/kept", "User-Agent: hit\r\n"),
        get_with("/kept", "User-Agent: range\r\nRange: bytes=1-2\r\n"),
        get_with("/kept", "User-Agent: unsatisfied\r\nRange: bytes=9-\r\n"),
        get_with("/pass", "User-Agent: pass\r\n"),
        "GET /x HTTP/1.1\r\nHost: b.test\r\nUser-Agent: nosite\r\n\r\n".to_owned(),
    ];
    for request in requests {
        let answer = client.ask(&request);
        let agent = request.split("User-Agent: ").nth(1).and_then(|rest| rest.lines().next());
        let name = format!("\"user_agent\":\"{}\"", agent.expect("an agent"));
        assert_eq!(told(&answer.head), logged(&brim, &name), "{request}");
    }
    let client = Http2Client::connect(brim.address());
    for path in ["/kept", "/pass-h2"] {
        assert_eq!(client.get(path).fields.get_all("x-request-id").iter().count(), 1);
    }
}

#[test]
fn what_an_origin_says_of_the_first_request_is_not_told_to_the_next() {
    let echo =
        "X-Request-Id: first\r\ntraceparent: 00-1-1-1\r\ntraceresponse: 00-1\r\nX-Kept: 1\r\n";
    let origin = Origin::answering(ok_with(&format!("{KEPT}{echo}"), "hello"));
    let brim = Brim::configured(&settings(&origin, ""));
    let mut client = Client::connect(brim.address());
    let first = client.ask(get("/a"));
    assert_eq!(first.field("x-request-id"), Some("first"));
    let hit = client.ask(get("/a"));
    assert_eq!((hit.field("x-kept"), hit.field("x-request-id")), (Some("1"), None));
    assert_eq!((hit.field("traceparent"), hit.field("traceresponse")), (None, None));
    assert_eq!(origin.requests(), 1);
}

#[test]
fn a_shared_fetch_has_the_name_and_the_trace_of_the_request_that_began_it() {
    let gate = Gate::default();
    let opened = gate.clone();
    let origin = Origin::start(move |peer| {
        while let Some(head) = peer.head() {
            opened.wait_for(1);
            let echo: String = head
                .lines()
                .filter(|line| line.starts_with("trace"))
                .map(|line| format!("{line}\r\n"))
                .collect();
            peer.send(ok_with(&format!("{KEPT}{echo}"), "hello"));
        }
    });
    let brim = Brim::configured(&settings(&origin, ""));
    let ask = |name: u32| {
        let mut client = Client::connect(brim.address());
        client.send(get_with(
            "/a",
            &format!("User-Agent: number {name}\r\ntraceparent: 00-{name:032x}-{name:016x}-01\r\ntracestate: a={name}\r\n"),
        ));
        client
    };
    let mut first = ask(1);
    origin.wait_for_requests(1);
    let mut others: Vec<_> = (2..6).map(ask).collect();
    // Those who have come in the meantime wait, or will find it stored: none of them asks.
    gate.add_one();
    let answer = first.answer();
    let trace = |name: u32| format!("00-{name:032x}-{name:016x}-01");
    assert_eq!(answer.field("traceparent"), Some(&*trace(1)));
    for other in &mut others {
        let answer = other.answer();
        assert_eq!(
            (answer.status, answer.field("traceparent"), answer.field("tracestate")),
            (200, None, None)
        );
    }
    let head = origin.only_head();
    assert!(
        head.contains(&format!("\r\ntraceparent: {}\r\ntracestate: a=1\r\n", trace(1))),
        "{head}"
    );
    assert_eq!(told(&head), logged(&brim, "number 1"));
    for name in 1..6_u32 {
        let line = brim.access_log(&format!("number {name}"));
        assert!(line.contains(&format!("\"trace_id\":\"{name:032x}\"")), "{line}");
    }
}
