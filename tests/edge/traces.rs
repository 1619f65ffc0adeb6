//! Traces: passed on to origins, and told to a collector by choice, which never costs a request.

use crate::kit::{Brim, Client, NOBODY, Origin, PATIENCE, get, get_with, ok_with};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::{Span, status::StatusCode};
use prost::Message;
use rustix::process::Signal;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

const KEPT: &str = "Cache-Control: max-age=60\r\n";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

/// What spans are sent to.
struct Collector {
    origin: Origin,
    spans: Arc<(Mutex<Vec<Span>>, Condvar)>,
    resource: Arc<Mutex<Vec<KeyValue>>>,
}

impl Collector {
    fn start() -> Self {
        let spans = Arc::<(Mutex<Vec<Span>>, Condvar)>::default();
        let resource = Arc::<Mutex<Vec<KeyValue>>>::default();
        let (taken, said) = (spans.clone(), resource.clone());
        let origin = Origin::start(move |peer| {
            while let Some(head) = peer.head() {
                let body = peer.body_of(&head);
                let request = ExportTraceServiceRequest::decode(&body[..]).expect("OTLP");
                for of_resource in request.resource_spans {
                    *said.lock().expect("lock") = of_resource.resource.expect("one").attributes;
                    let spans = of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
                    taken.0.lock().expect("lock").extend(spans);
                }
                taken.1.notify_all();
                peer.send("HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n");
            }
        });
        Self { origin, spans, resource }
    }

    fn settings(&self, origin: SocketAddr, lines: &str, server: &str) -> String {
        settings(
            &origin.to_string(),
            &format!("otlp = 'http://{}'\n{lines}", self.origin.address()),
            server,
        )
    }

    /// So many, of which each is told once.
    fn wait_for(&self, count: usize) -> Vec<Span> {
        let spans = self.spans.0.lock().expect("lock");
        let is_less = |spans: &mut Vec<Span>| spans.len() < count;
        let (spans, waited) =
            self.spans.1.wait_timeout_while(spans, PATIENCE, is_less).expect("lock");
        assert!(!waited.timed_out(), "{spans:#?}");
        assert_eq!(spans.len(), count, "{spans:#?}");
        spans.clone()
    }
}

fn settings(origin: &str, trace: &str, server: &str) -> String {
    format!(
        "[server]\nhttp = ['127.0.0.1:0']\n{server}\n[trace]\n{trace}\n[[origin]]\nname = 'o'\n\
         servers = ['http://{origin}']\n[[site]]\nhosts = ['a.test']\norigin = 'o'\n\
         [[site.rule]]\npath = '/pass*'\ncache = false\n"
    )
}

fn traced(path: &str, flags: &str) -> String {
    get_with(path, &format!("traceparent: 00-{TRACE}-{SPAN}-{flags}\r\ntracestate: a=1\r\n"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn says(span: &Span, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        other => panic!("{other:?}"),
    }
}

fn of_kind(spans: &[Span], kind: SpanKind) -> Vec<&Span> {
    spans.iter().filter(|span| span.kind == i32::from(kind)).collect()
}

fn parent_told(head: &str) -> Option<&str> {
    head.lines().find_map(|line| line.strip_prefix("traceparent: "))
}

#[test]
fn a_place_in_a_trace_goes_on_to_the_origin_and_a_bad_one_does_not() {
    let origin = Origin::answering(ok_with("Cache-Control: no-store\r\n", ""));
    let brim = Brim::configured(&settings(&origin.address().to_string(), "", ""));
    let mut client = Client::connect(brim.address());
    for path in ["/fill", "/pass"] {
        client.ask(traced(path, "01"));
        let head = origin.last_head();
        assert!(
            head.contains(&format!("\r\ntraceparent: 00-{TRACE}-{SPAN}-01\r\ntracestate: a=1\r\n")),
            "{head}"
        );
        assert!(brim.access_log(path).contains(&format!("\"trace_id\":\"{TRACE}\"")));
        client
            .ask(get_with(&format!("{path}-bad"), "traceparent: 00-x-y-01\r\ntracestate: a=1\r\n"));
        let head = origin.last_head().to_ascii_lowercase();
        assert!(!head.contains("traceparent") && !head.contains("tracestate"), "{head}");
        assert!(!brim.access_log(&format!("{path}-bad")).contains("trace_id"));
    }
}

#[test]
fn a_request_and_its_fetch_are_spans_of_one_trace() {
    let collector = Collector::start();
    let origin = Origin::answering(ok_with(KEPT, "hello"));
    let text = collector.settings(origin.address(), "sample = 0\nservice_name = 'pop-7'", "");
    let brim = Brim::configured(&text);
    let mut client = Client::connect(brim.address());
    client.ask(traced("/a?b=c", "01"));
    client.ask(traced("/a?b=c", "01"));
    client.ask(traced("/pass", "01"));
    // Nobody wants to hear of these: whoever asks has decided so, or nobody has.
    client.ask(traced("/unsampled", "00"));
    client.ask(get("/untraced"));
    let spans = collector.wait_for(5);
    for span in &spans {
        assert_eq!((hex(&span.trace_id), span.trace_state.as_str()), (TRACE.to_owned(), "a=1"));
        assert!(
            span.start_time_unix_nano > 0 && span.start_time_unix_nano <= span.end_time_unix_nano
        );
    }
    let servers = of_kind(&spans, SpanKind::Server);
    assert!(servers.iter().all(|span| hex(&span.parent_span_id) == SPAN && span.name == "GET"));
    let find = |key: &str, value: &str| {
        *servers.iter().find(|span| says(span, key).as_deref() == Some(value)).expect(value)
    };
    let miss = find("brim.outcome", "miss");
    for (key, value) in [
        ("http.request.method", "GET"),
        ("url.path", "/a"),
        ("url.query", "b=c"),
        ("server.address", "a.test"),
        ("http.response.status_code", "200"),
        ("client.address", "127.0.0.1"),
        ("network.protocol.version", "1.1"),
        ("brim.reason", "uri-miss"),
        ("brim.site", "a.test"),
    ] {
        assert_eq!(says(miss, key).as_deref(), Some(value), "{key}");
    }
    assert_eq!(says(find("brim.outcome", "hit"), "brim.tier").as_deref(), Some("memory"));
    let pass = find("brim.outcome", "pass");
    let clients = of_kind(&spans, SpanKind::Client);
    let heads = origin.heads();
    assert_eq!((clients.len(), heads.len()), (2, 4));
    for ((fetch, parent), head) in clients.iter().zip([miss, pass]).zip(&heads) {
        assert_eq!(fetch.parent_span_id, parent.span_id);
        assert_eq!(says(fetch, "brim.origin").as_deref(), Some("o"));
        assert_eq!(says(fetch, "http.response.status_code").as_deref(), Some("200"));
        let url = says(fetch, "url.full").expect("a URL");
        assert!(url.starts_with(&format!("http://{}/", origin.address())), "{url}");
        let told = format!("00-{TRACE}-{}-01", hex(&fetch.span_id));
        assert_eq!(parent_told(head), Some(&*told));
    }
    let unsampled = parent_told(&heads[2]).expect("one");
    assert!(unsampled.starts_with(&format!("00-{TRACE}-")) && unsampled.ends_with("-00"));
    assert!(!unsampled.contains(SPAN));
    let untraced = parent_told(&heads[3]).expect("one");
    assert!(untraced.ends_with("-00") && !untraced.contains(TRACE), "{untraced}");
    assert!(brim.access_log("/untraced").contains(&untraced[3..35]));
    let resource = collector.resource.lock().expect("lock").clone();
    let span = Span { attributes: resource, ..Span::default() };
    assert_eq!(says(&span, "service.name").as_deref(), Some("pop-7"));
    assert_eq!(brim.metric("brim_spans_dropped_total"), 0);
}

#[test]
fn what_goes_wrong_says_so_and_a_stranger_does_not_decide_where_only_the_trusted_do() {
    let collector = Collector::start();
    let text = collector.settings(
        NOBODY.parse().expect("an address"),
        "sample = 1\nparents = 'trusted'",
        "",
    );
    let mut brim = Brim::configured(&text);
    assert_eq!(Client::connect(brim.address()).ask(traced("/a", "00")).status, 502);
    // What is left is sent at the end.
    brim.signal(Signal::TERM);
    assert_eq!(brim.wait().code(), Some(0));
    let spans = collector.wait_for(1);
    assert_eq!(spans[0].status.as_ref().expect("a status").code, i32::from(StatusCode::Error));
    assert_eq!(says(&spans[0], "http.response.status_code").as_deref(), Some("502"));
    assert!(says(&spans[0], "error.type").is_some());
    assert_eq!(hex(&spans[0].trace_id), TRACE);
}

#[test]
fn a_collector_that_is_not_there_costs_spans_and_no_request() {
    let origin = Origin::answering(ok_with(KEPT, "hello"));
    let trace = format!("otlp = 'http://{NOBODY}'\nsample = 1");
    let mut brim = Brim::configured(&settings(&origin.address().to_string(), &trace, ""));
    let mut client = Client::connect(brim.address());
    for _ in 0..100 {
        assert_eq!(client.ask(get("/a")).status, 200);
    }
    brim.error_log("the trace collector takes no spans");
    assert_eq!(client.ask(get("/a")).status, 200);
    brim.wait_for_metric("brim_spans_dropped_total", 102);
    assert_eq!(brim.error_log_count("the trace collector takes no spans"), 1);
    brim.signal(Signal::TERM);
    assert_eq!(brim.wait().code(), Some(0));
}

/// It takes connections, and never answers.
#[test]
fn a_collector_that_hangs_fills_a_queue_and_holds_up_nobody() {
    let silent = Origin::start(|peer| drop(peer.rest()));
    let origin = Origin::answering(ok_with(KEPT, "hello"));
    let trace = format!("otlp = 'http://{}'\nsample = 1", silent.address());
    let mut brim = Brim::configured(
        &settings(&origin.address().to_string(), &trace, "")
            .replace("[trace]", "[log]\naccess = 'off'\n[trace]"),
    );
    let mut client = Client::connect(brim.address());
    let hits = get("/a").repeat(50);
    client.ask(get("/a"));
    let began = Instant::now();
    // More than the queue holds and a batch takes.
    for _ in 0..200 {
        client.send(&hits);
        for _ in 0..50 {
            assert_eq!(client.answer().status, 200);
        }
    }
    assert!(began.elapsed() < PATIENCE);
    assert!(brim.metric("brim_spans_dropped_total") > 0);
    brim.signal(Signal::TERM);
    assert_eq!(brim.wait().code(), Some(0));
}
