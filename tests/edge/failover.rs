//! Who is asked when a server gives no good answer, and who is not.

use crate::kit::{Brim, Client, NOBODY, OK, Origin, Peer, get, get_with, ok_with};

/// Origins with these lines each, the first of them the site's.
fn brim_of(origins: &[String]) -> Brim {
    let origins: String = origins
        .iter()
        .enumerate()
        .map(|(number, lines)| format!("[[origin]]\nname = 'o{number}'\n{lines}\n"))
        .collect();
    Brim::configured(&format!(
        "[server]\nhttp = ['127.0.0.1:0']\n{origins}[[site]]\nhosts = ['*']\norigin = 'o0'\n"
    ))
}

fn servers(addresses: &[&dyn std::fmt::Display]) -> String {
    let urls: Vec<_> = addresses.iter().map(|address| format!("'http://{address}'")).collect();
    format!("servers = [{}]", urls.join(", "))
}

/// One that reads requests and does this instead of answering.
fn bad(behave: impl Fn(&mut Peer) + Send + Sync + 'static) -> Origin {
    Origin::start(move |peer| {
        while let Some(head) = peer.head() {
            peer.body_of(&head);
            behave(peer);
        }
    })
}

fn closing() -> Origin {
    Origin::start(|peer| {
        if let Some(head) = peer.head() {
            peer.body_of(&head);
        }
    })
}

fn ask(brim: &Brim, request: &str) -> u16 {
    Client::connect(brim.address()).ask(request).status
}

fn post(path: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi")
}

#[test]
fn a_server_without_an_answer_costs_the_client_nothing_where_there_is_another() {
    let (closing, silent) = (closing(), bad(|peer| drop(peer.rest())));
    let good = Origin::ok();
    for bad in [&NOBODY as &dyn std::fmt::Display, &closing.address(), &silent.address()] {
        let lines = servers(&[bad, &good.address()]);
        let brim = brim_of(&[format!("{lines}\nresponse_timeout = '300ms'")]);
        for number in 0..4 {
            assert_eq!(ask(&brim, &get(&format!("/{number}"))), 200, "{bad}");
        }
    }
    assert!(closing.requests() > 0 && silent.requests() > 0);
}

#[test]
fn a_request_that_may_have_been_acted_on_goes_to_no_other_server() {
    let (bad, good) = (closing(), Origin::ok());
    let brim = brim_of(&[servers(&[&bad.address(), &good.address()])]);
    let statuses: Vec<u16> = (0..4).map(|_| ask(&brim, &post("/"))).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 502).count(), bad.requests());
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), good.requests());
    assert_eq!(bad.requests() + good.requests(), 4);
    assert!(bad.requests() > 0 && good.requests() > 0);
}

#[test]
fn a_request_that_nobody_has_taken_goes_to_another_server_whatever_it_is() {
    let good = Origin::ok();
    let brim = brim_of(&[servers(&[&NOBODY, &good.address()])]);
    for _ in 0..4 {
        assert_eq!(ask(&brim, &post("/")), 200);
    }
    assert_eq!(good.requests(), 4);
}

#[test]
fn no_more_servers_are_tried_than_the_operator_says() {
    let bad: Vec<Origin> = (0..4).map(|_| closing()).collect();
    let addresses: Vec<_> = bad.iter().map(Origin::address).collect();
    let all: Vec<&dyn std::fmt::Display> = addresses.iter().map(|a| a as _).collect();
    for (retries, tried) in [(0, 1), (1, 2), (2, 3), (9, 4)] {
        let asked = || bad.iter().map(Origin::requests).sum::<usize>();
        let before = asked();
        let brim = brim_of(&[format!("{}\nretries = {retries}", servers(&all))]);
        assert_eq!(ask(&brim, &get("/")), 502);
        assert_eq!(asked() - before, tried, "{retries}");
    }
}

#[test]
fn retries_are_a_share_of_the_requests() {
    let (bad, good) = (closing(), Origin::ok());
    let (two, no_ejection) =
        (servers(&[&bad.address(), &good.address()]), "[origin.ejection]\nfailures = 0");
    let brim = brim_of(&[format!("{two}\nretry_budget = 0\n{no_ejection}")]);
    let answers: Vec<u16> = (0..100).map(|n| ask(&brim, &get(&format!("/{n}")))).collect();
    // A few are always there, to begin with.
    let retried = bad.requests() - answers.iter().filter(|status| **status == 502).count();
    assert_eq!(retried, 10);

    let brim = brim_of(&[format!("{two}\nretry_budget = 100\n{no_ejection}")]);
    assert!((0..100).all(|n| ask(&brim, &get(&format!("/{n}"))) == 200));
}

#[test]
fn a_second_origin_is_asked_where_the_first_one_has_no_good_answer() {
    let second = Origin::answering(ok_with("", "second"));
    let troubled = Origin::answering("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
    let (closing, silent) = (closing(), bad(|peer| drop(peer.rest())));
    for first in [
        &NOBODY as &dyn std::fmt::Display,
        &closing.address(),
        &silent.address(),
        &troubled.address(),
    ] {
        let one = format!("{}\nresponse_timeout = '300ms'\nfallback = 'o1'", servers(&[first]));
        let brim = brim_of(&[one, servers(&[&second.address()])]);
        for path in ["/miss", "/miss2"] {
            let answer = Client::connect(brim.address()).ask(get(path));
            assert_eq!((answer.status, &*answer.text()), (200, "second"), "{first}");
        }
        let told = brim.metric("brim_origin_requests_total{origin=\"o1\",status_class=\"2xx\"}");
        assert_eq!(told, 2);
    }
}

#[test]
fn only_what_may_be_repeated_is_sent_to_a_second_origin() {
    let second = Origin::ok();
    let troubled = Origin::serving(|_, _| "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n".into());
    let one = format!("{}\nfallback = 'o1'", servers(&[&troubled.address()]));
    let brim = brim_of(&[one, servers(&[&second.address()])]);
    assert_eq!(ask(&brim, &post("/")), 503);
    assert_eq!(ask(&brim, "DELETE / HTTP/1.1\r\nHost: a.test\r\n\r\n"), 200);
    assert_eq!((troubled.requests(), second.requests()), (2, 1));
}

#[test]
fn statuses_that_mean_trouble_are_the_operators_to_name() {
    let second = Origin::ok();
    let first = Origin::answering("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    for (statuses, status) in [("", 404), ("fallback_statuses = [403, 404]", 200)] {
        let one = format!("{}\nfallback = 'o1'\n{statuses}", servers(&[&first.address()]));
        let brim = brim_of(&[one, servers(&[&second.address()])]);
        assert_eq!(ask(&brim, &get("/")), status);
    }
}

#[test]
fn what_is_stored_stands_in_when_the_second_origin_fails_too() {
    let first = Origin::serving(|_, number| match number {
        0 => ok_with("Cache-Control: max-age=0, stale-if-error=600\r\nETag: \"1\"\r\n", "old"),
        _ => "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n".into(),
    });
    let one = format!("{}\nfallback = 'o1'", servers(&[&first.address()]));
    let brim = brim_of(&[one, servers(&[&NOBODY])]);
    let mut client = Client::connect(brim.address());
    assert_eq!(client.ask(get("/")).text(), "old");
    let answer = client.ask(get("/"));
    assert_eq!((answer.status, &*answer.text()), (200, "old"));
    assert!(answer.told().contains("stale-if-error"), "{}", answer.told());
    // Of what is not stored there is what the first one said.
    assert_eq!(client.ask(get("/other")).status, 503);
}

#[test]
fn the_whole_of_an_answer_has_its_time() {
    let dripping = Origin::start(|peer| {
        while peer.head().is_some() {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
            while peer.try_send(".") {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        }
    });
    let silent = bad(|peer| drop(peer.rest()));
    let with = |origin: &Origin| {
        brim_of(&[format!("{}\ntotal_timeout = '500ms'", servers(&[&origin.address()]))])
    };
    let brim = with(&dripping);
    for request in [get("/"), post("/")] {
        let answer = Client::connect(brim.address()).ask(&request);
        assert!(answer.status == 200 && !answer.is_whole, "{}", answer.head);
    }
    assert!(brim.error_log("reason=").contains("origin_overtime"));
    assert_eq!(ask(&with(&silent), &get("/")), 504);
}

const TAGGED: &str = "Cache-Control: max-age=60\r\nETag: \"v\"\r\n";

/// One that breaks off after these bytes of a content of ten, and goes on from there when it is
/// asked to: as told.
fn breaking(fields: &'static str, rest: impl Fn(&str) -> String + Send + Sync + 'static) -> Origin {
    Origin::start(move |peer| {
        while let Some(head) = peer.head() {
            if head.contains("\r\nRange: ") {
                peer.send(rest(&head));
                continue;
            }
            peer.send(format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 10\r\n\r\n01234"));
            return;
        }
    })
}

#[test]
fn a_content_that_breaks_off_goes_on_where_it_stopped() {
    let origin = breaking(TAGGED, |_| {
        let part = "Content-Range: bytes 5-9/10\r\nContent-Length: 5\r\n\r\n56789";
        format!("HTTP/1.1 206 Partial Content\r\n{TAGGED}{part}")
    });
    let brim = brim_of(&[servers(&[&origin.address()])]);
    let mut client = Client::connect(brim.address());
    let answer = client.ask(get("/"));
    assert!(answer.is_whole, "{}", answer.head);
    assert_eq!(answer.text(), "0123456789");
    let heads = origin.heads();
    assert!(heads[1].contains("\r\nRange: bytes=5-9\r\nIf-Range: \"v\"\r\n"), "{}", heads[1]);
    let again = client.ask(get("/"));
    assert_eq!((&*again.text(), again.told().as_str()), ("0123456789", "brim; hit"));
    assert_eq!(origin.requests(), 2);
}

#[test]
fn a_content_that_cannot_be_gone_on_with_breaks_off_and_is_not_kept() {
    let other = "Cache-Control: max-age=60\r\nETag: \"other\"\r\n";
    let part = "Content-Range: bytes 5-9/10\r\nContent-Length: 5\r\n\r\n56789";
    let from_4 = "Content-Range: bytes 4-9/10\r\nContent-Length: 6\r\n\r\n456789";
    let longer = "Content-Range: bytes 5-10/11\r\nContent-Length: 6\r\n\r\n56789x";
    let of_longer = "Content-Range: bytes 5-9/20\r\nContent-Length: 5\r\n\r\n56789";
    let coded = format!("Content-Encoding: gzip\r\n{part}");
    let dated = "Cache-Control: max-age=60\r\nLast-Modified: Sun, 01 Nov 2020 00:00:00 GMT\r\n";
    for (fields, rest) in [
        // Nobody could tell that it is the same.
        ("Cache-Control: max-age=60\r\n", format!("HTTP/1.1 206 Part\r\n{part}")),
        ("Cache-Control: max-age=60\r\nETag: W/\"v\"\r\n", format!("HTTP/1.1 206 Part\r\n{part}")),
        // It is not the same.
        (TAGGED, format!("HTTP/1.1 206 Part\r\n{other}{part}")),
        (TAGGED, ok_with(other, "abcdefghij")),
        // It is another part.
        (TAGGED, format!("HTTP/1.1 206 Part\r\n{TAGGED}{from_4}")),
        (TAGGED, format!("HTTP/1.1 206 Part\r\n{TAGGED}{longer}")),
        // It is a part of something else, or coded otherwise.
        (TAGGED, format!("HTTP/1.1 206 Part\r\n{TAGGED}{of_longer}")),
        (TAGGED, format!("HTTP/1.1 206 Part\r\n{TAGGED}{coded}")),
        // Different bytes may have the same time.
        (dated, format!("HTTP/1.1 206 Part\r\n{dated}{part}")),
        (TAGGED, "HTTP/1.1 416 Range\r\nContent-Length: 0\r\n\r\n".into()),
        (TAGGED, "nonsense".into()),
        // It was made for one request.
        ("Cache-Control: no-store\r\nETag: \"v\"\r\n", format!("HTTP/1.1 206 Part\r\n{part}")),
    ] {
        let origin = breaking(fields, {
            let rest = rest.clone();
            move |_| rest.clone()
        });
        let brim = brim_of(&[servers(&[&origin.address()])]);
        let answer = Client::connect(brim.address()).ask(get("/"));
        assert!(!answer.is_whole, "{fields} {rest}");
        assert_eq!(answer.text(), "01234", "{fields} {rest}");
        let asked = get_with("/", "Cache-Control: only-if-cached\r\n");
        assert_eq!(ask(&brim, &asked), 504, "{fields} {rest}");
    }
}

#[test]
fn a_content_goes_on_also_where_only_one_request_may_be_under_way() {
    let origin = breaking(TAGGED, |_| {
        let part = "Content-Range: bytes 5-9/10\r\nContent-Length: 5\r\n\r\n56789";
        format!("HTTP/1.1 206 Partial Content\r\n{TAGGED}{part}")
    });
    let one = format!("{}\nrequests = 1\nqueue = 0", servers(&[&origin.address()]));
    let answer = Client::connect(brim_of(&[one]).address()).ask(get("/"));
    assert_eq!((answer.is_whole, answer.text()), (true, "0123456789".into()));
}

#[test]
fn a_content_of_the_second_origin_does_not_go_on_at_the_first() {
    let part = "Content-Range: bytes 5-9/10\r\nContent-Length: 5\r\n\r\n";
    let first = Origin::serving(move |head, _| match head.contains("\r\nRange: ") {
        true => format!("HTTP/1.1 206 Partial Content\r\n{TAGGED}{part}FIRST"),
        false => "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n".into(),
    });
    let second =
        breaking(TAGGED, move |_| format!("HTTP/1.1 206 Partial Content\r\n{TAGGED}{part}56789"));
    let one = format!("{}\nfallback = 'o1'", servers(&[&first.address()]));
    let brim = brim_of(&[one, servers(&[&second.address()])]);
    let answer = Client::connect(brim.address()).ask(get("/"));
    assert_eq!((answer.is_whole, answer.text()), (true, "0123456789".into()));
    assert_eq!((first.requests(), second.requests()), (1, 2));
}

#[test]
fn an_error_that_breaks_off_is_not_gone_on_with() {
    let origin = Origin::start(|peer| {
        peer.head();
        peer.send(format!("HTTP/1.1 404 Not Found\r\n{TAGGED}Content-Length: 10\r\n\r\n01234"));
    });
    let brim = brim_of(&[servers(&[&origin.address()])]);
    assert!(!Client::connect(brim.address()).ask(get("/")).is_whole);
    assert_eq!(origin.requests(), 1);
}

#[test]
fn a_server_whose_answers_break_off_is_left_in_peace() {
    let breaking = breaking("", |_| unreachable!("nobody goes on without a tag"));
    let good = Origin::answering(ok_with("", "0123456789"));
    let brim = brim_of(&[servers(&[&breaking.address(), &good.address()])]);
    let answers: Vec<bool> = (0..30)
        .map(|n| Client::connect(brim.address()).ask(get(&format!("/{n}"))).is_whole)
        .collect();
    assert_eq!(answers.iter().filter(|is_whole| !**is_whole).count(), breaking.requests());
    // One finds out whether it is back, if this takes a while.
    assert!((5..10).contains(&breaking.requests()), "{}", breaking.requests());
}

#[test]
fn who_has_no_better_answer_does_not_take_the_first_ones_place() {
    let first = Origin::answering("HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone");
    let fallback = "fallback = 'o1'\nfallback_statuses = [404]";
    let one = format!("{}\n{fallback}", servers(&[&first.address()]));
    let brim = brim_of(&[one, servers(&[&NOBODY])]);
    let answer = Client::connect(brim.address()).ask(get("/"));
    assert_eq!((answer.status, &*answer.text()), (404, "none"));
}

#[test]
fn who_sends_a_body_keeps_nobody_from_the_origin() {
    let origin = Origin::ok();
    let one = format!("{}\nrequests = 1\nqueue = 0", servers(&[&origin.address()]));
    let brim = brim_of(&[one]);
    let mut slow = Client::connect(brim.address());
    slow.send("POST /slow HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nh");
    origin.wait_for_requests(1);
    assert_eq!(ask(&brim, &get("/")), 200);
    slow.send("i");
    assert_eq!(slow.answer().status, 200);
}

#[test]
fn an_upload_has_its_time_as_well() {
    let origin = Origin::ok();
    let brim = brim_of(&[format!("{}\ntotal_timeout = '300ms'", servers(&[&origin.address()]))]);
    let mut slow = Client::connect(brim.address());
    slow.send("POST /slow HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nh");
    assert_eq!(slow.answer().status, 504);
    assert!(brim.access_log("/slow").contains("origin_overtime"));
}

#[test]
fn an_origin_may_be_a_socket_in_the_file_system() {
    use std::io::{BufRead, BufReader, Write};
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).expect("bound");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = BufReader::new(stream);
            let mut head = String::new();
            while stream.read_line(&mut head).is_ok_and(|read| read > 0) {
                if head.ends_with("\r\n\r\n") {
                    let host = head.lines().find(|line| line.starts_with("Host: ")).unwrap_or("");
                    stream.get_mut().write_all(ok_with("", host).as_bytes()).expect("sent");
                    head.clear();
                }
            }
        }
    });
    let lines = format!("servers = ['unix:{}']", path.display());
    let brim = brim_of(std::slice::from_ref(&lines));
    let mut client = Client::connect(brim.address());
    for path in ["/", "/2"] {
        assert_eq!(client.ask(get(path)).text(), "Host: a.test");
    }
    assert_eq!(client.ask("GET /3 HTTP/1.0\r\n\r\n").text(), "Host: localhost");
    drop(folder);
    let brim = brim_of(&[lines]);
    assert_eq!(ask(&brim, &get("/gone")), 502);
    assert!(brim.error_log("no connection").contains("unix:"));
}

#[test]
fn a_name_with_several_addresses_is_connected_to_where_somebody_listens() {
    // `localhost` is ::1 as well as 127.0.0.1 where IPv6 is there; nobody listens on the first.
    let origin = Origin::ok();
    let brim = brim_of(&[format!("servers = ['http://localhost:{}']", origin.address().port())]);
    assert_eq!(ask(&brim, &get("/")), 200);
}

#[test]
fn a_pooled_connection_is_used_again_by_requests_that_can_be_repeated() {
    let origin = Origin::answering(OK);
    let brim = brim_of(&[servers(&[&origin.address()])]);
    let mut client = Client::connect(brim.address());
    for number in 0..5 {
        assert_eq!(client.ask(get(&format!("/{number}"))).status, 200);
    }
    assert_eq!(origin.connections(), 1);
}
