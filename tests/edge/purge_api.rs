//! The operator's routes: who gets in, and what is refused before anything is purged.

use crate::kit::operator::{json_of, request};
use crate::kit::{Brim, Client, Origin, Response, get};
use serde_json::json;

fn brim() -> Brim {
    Brim::in_front_of(Origin::ok().address())
}

/// The answer to one who has the token, on a connection of its own.
fn ask(brim: &Brim, method: &str, path: &str, body: &str) -> Response {
    brim.operator().ask(method, path, body)
}

/// Status and message of a refusal, and that it says nothing else.
fn refusal(answer: &Response) -> (u16, String) {
    let told = json_of(answer);
    let message = told["error"].as_str().expect("a message").to_owned();
    assert_eq!(told, json!({ "error": message }));
    (answer.status, message)
}

const ALL: &str = "{\"all\":true}";

#[test]
fn nothing_is_told_or_purged_without_the_token() {
    let brim = brim();
    let mut clients: Vec<Client> = (0..2).map(|_| Client::connect(brim.admin())).collect();
    let routes = ["POST /purge", "GET /purges", "GET /purges/1", "GET /objects"];
    let mut denied = 0;
    let mut is_denied = |client: &mut Client, request: &str| {
        let answer = client.ask(request);
        assert_eq!(refusal(&answer).0, 401, "{request}");
        assert_eq!(answer.field("www-authenticate"), Some("Bearer"));
        denied += 1;
        assert_eq!(brim.metric("brim_admin_denied_total"), denied);
    };
    for route in routes {
        is_denied(&mut clients[0], &format!("{route} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let (method, path) = route.split_once(' ').expect("two words");
        is_denied(&mut clients[1], &request(method, path, "Bearer x", ""));
    }
    // Two fields could be read in two ways.
    let right = format!("Authorization: Bearer {}\r\n", brim.token());
    is_denied(&mut clients[0], &format!("GET /purges HTTP/1.1\r\nHost: a\r\n{right}{right}\r\n"));
    // It is judged before the body comes: the client waits with it.
    let head = "POST /purge HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\nExpect: 100-continue\r\n";
    let mut client = Client::connect(brim.admin());
    is_denied(&mut client, &format!("{head}\r\n"));
    // A wrong token is forgotten when the right one comes.
    assert_eq!(ask(&brim, "POST", "/purge", ALL).status, 200);
    assert_eq!(ask(&brim, "GET", "/purges", "").status, 200);
}

#[test]
fn the_scheme_has_no_case() {
    let brim = brim();
    let mut client = Client::connect(brim.admin());
    for scheme in ["Bearer", "bearer", "BEARER  "] {
        let authorization = format!("{scheme} {}", brim.token());
        assert_eq!(client.ask(request("GET", "/purges", &authorization, "")).status, 200);
    }
}

#[test]
fn who_guesses_too_often_has_to_wait_even_with_the_right_token() {
    let brim = brim();
    let mut client = Client::connect(brim.admin());
    for _ in 0..10 {
        assert_eq!(client.ask(request("GET", "/purges", "Bearer x", "")).status, 401);
    }
    let right = format!("Bearer {}", brim.token());
    for authorization in ["Bearer x", &right] {
        let answer = client.ask(request("GET", "/objects", authorization, ""));
        let seconds = answer.number("retry-after").expect("seconds");
        assert!((1..=10).contains(&seconds), "{answer:?}");
        let expected = format!("too many wrong tokens; again in {seconds} s");
        assert_eq!(refusal(&answer), (429, expected));
    }
    // What is open stays open.
    assert_eq!(client.ask(get("/readyz")).status, 200);
    assert_eq!(brim.metric("brim_admin_denied_total"), 12);
}

#[test]
fn a_purge_is_answered_with_a_receipt_and_a_dry_run_with_a_preview() {
    let brim = brim();
    let wish = json!({"urls": ["http://a.test/x"], "tags": ["t"], "soft": true, "wait": true});
    let answer = ask(&brim, "POST", "/purge", &wish.to_string());
    let receipt = json_of(&answer);
    assert_eq!(answer.status, 200, "{receipt}");
    assert_eq!(receipt["by"], "admin 127.0.0.1");
    assert_eq!((&receipt["soft"], &receipt["durable"]), (&true.into(), &true.into()));
    assert_eq!((&receipt["kinds"]["urls"], &receipt["kinds"]["tags"]), (&1.into(), &1.into()));

    let wish = json!({"urls": ["http://a.test/x"], "dry_run": true});
    let answer = ask(&brim, "POST", "/purge", &wish.to_string());
    let preview = json_of(&answer);
    assert_eq!((answer.status, &preview["dry_run"]), (200, &true.into()), "{preview}");
    assert!(preview["sample"].is_array() && preview["complete"].is_boolean(), "{preview}");
    assert_eq!((&preview["objects"], &preview["bytes"]), (&0.into(), &0.into()));
    assert_eq!(json_of(&ask(&brim, "GET", "/objects", ""))["objects"], json!([]));
}

#[test]
fn a_client_that_waits_to_be_asked_is_asked() {
    let brim = brim();
    let mut client = Client::connect(brim.admin());
    client.send(format!(
        "POST /purge HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\
         Expect: 100-continue\r\n\r\n",
        brim.token(),
        ALL.len()
    ));
    assert_eq!(client.answer_without_body().status, 100);
    assert_eq!(client.ask(ALL).status, 200);
    // Chunks, and the next request on the same connection.
    let chunked = format!(
        "POST /purge HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n\
         Transfer-Encoding: chunked\r\n\r\n5\r\n{{\"all\r\n7\r\n\":true}}\r\n0\r\n\r\n",
        brim.token()
    );
    assert_eq!(client.ask(&chunked).status, 200);
    assert_eq!(client.ask(&chunked).status, 200);
}

#[test]
fn a_body_that_makes_no_sense_is_refused_with_its_place() {
    let brim = brim();
    for (body, message) in [
        ("", "line 1 column 0: EOF while parsing a value"),
        ("{", "line 1 column 1: EOF while parsing an object"),
        ("[]", "line 1 column 1: expected an object, such as {\"urls\":[\"http://..\"]}"),
        ("{\"urlz\":[]}", "line 1 column 7: unknown key `urlz`; did you mean `urls`?"),
        ("{\"all\":\"yes\"}", "line 1 column 12: invalid type: string \"yes\", expected a boolean"),
        ("{\n\"all\":true,\n}", "line 3 column 1: trailing comma"),
    ] {
        let answer = ask(&brim, "POST", "/purge", body);
        assert_eq!(refusal(&answer), (400, message.to_owned()), "{body}");
    }
    // `?dry_run` would be believed.
    let answer = ask(&brim, "POST", "/purge?dry_run=true", ALL);
    let expected = "unknown parameter `dry_run`; there are none here".to_owned();
    assert_eq!(refusal(&answer), (400, expected));
    assert_eq!(json_of(&ask(&brim, "GET", "/purges", "")), json!({"purges": []}));
}

#[test]
fn a_body_that_is_too_large_is_refused_while_it_comes_and_before() {
    let brim = brim();
    let too_large = (413, "the body is larger than 1 MiB".to_owned());
    let head =
        format!("POST /purge HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n", brim.token());
    let size = 1024 * 1024;
    let mut client = Client::connect(brim.admin());
    // Not a byte of the body has been sent.
    let answer =
        client.ask(format!("{head}Expect: 100-continue\r\nContent-Length: {}\r\n\r\n", size + 1));
    assert_eq!(refusal(&answer), too_large);
    assert_eq!(answer.field("connection"), Some("close"));
    // A client that sends it all the same gets the answer, too.
    let sent = ask(&brim, "POST", "/purge", &" ".repeat(2 * size));
    assert_eq!(refusal(&sent), too_large);
    let mut client = Client::connect(brim.admin());
    client.send(format!("{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n", size + 1));
    client.send(" ".repeat(size + 1));
    client.send("\r\n0\r\n\r\n");
    assert_eq!(refusal(&client.answer()), too_large);
    // What just fits is read, to the end.
    let mut body = " ".repeat(size - ALL.len());
    body += ALL;
    assert_eq!(ask(&brim, "POST", "/purge", &body).status, 200);
}

#[test]
fn a_body_that_does_not_come_is_waited_for_only_so_long() {
    let brim = brim();
    let mut client = Client::connect(brim.admin());
    client.send(
        request("POST", "/purge", &format!("Bearer {}", brim.token()), ALL).trim_end_matches('}'),
    );
    let answer = client.answer();
    assert_eq!(refusal(&answer), (408, "the body did not come within 10 s".to_owned()));
    client.is_closed();
}

#[test]
fn receipts_are_listed_and_looked_up() {
    let brim = brim();
    for path in ["/purges", "/purges?limit=1", "/purges?limit=10000"] {
        assert_eq!(json_of(&ask(&brim, "GET", path, "")), json!({"purges": []}), "{path}");
    }
    for (path, status, message) in [
        ("/purges/x", 404, "no purge has this id; GET /purges lists the newest"),
        ("/purges/x?limit=1", 400, "unknown parameter `limit`; there are none here"),
        ("/purges?limit=0", 400, "`limit`: expected a whole number from 1 to 10000"),
        ("/purges?limit=10001", 400, "`limit`: expected a whole number from 1 to 10000"),
        ("/purges?limits=1", 400, "unknown parameter `limits`; known here: limit"),
    ] {
        let answer = ask(&brim, "GET", path, "");
        assert_eq!(refusal(&answer), (status, message.to_owned()), "{path}");
    }
}

#[test]
fn objects_are_listed_by_one_thing_at_a_time() {
    let brim = brim();
    let known = "known here: prefix, tag, host, limit";
    for (query, message) in [
        ("limit=-1", "`limit`: expected a whole number from 1 to 10000"),
        ("limit=", "`limit` is empty"),
        ("tag=a&tag=b", "`tag` is there twice"),
        ("tag=a&host=b", "one of `prefix`, `tag` and `host` at a time"),
        ("url=a", &format!("unknown parameter `url`; {known}")),
        ("prefix=http://a.test/?a=b&c=d", &format!("unknown parameter `c`; {known}")),
    ] {
        let answer = ask(&brim, "GET", &format!("/objects?{query}"), "");
        assert_eq!(refusal(&answer), (400, message.to_owned()), "{query}");
    }
    let none = json!({"objects": [], "complete": true});
    for path in ["/objects", "/objects?limit=1&tag=a", "/objects?prefix=http%3A%2F%2Fa.test%2F"] {
        assert_eq!(json_of(&ask(&brim, "GET", path, "")), none, "{path}");
    }
}

#[test]
fn every_route_says_what_it_takes() {
    let brim = brim();
    for (method, path, allow) in [
        ("GET", "/purge", "POST"),
        ("PURGE", "/purge", "POST"),
        ("POST", "/purges", "GET, HEAD"),
        ("DELETE", "/purges/1", "GET, HEAD"),
        ("POST", "/objects", "GET, HEAD"),
    ] {
        // Also to whom has no token: the routes are no secret.
        let answer = Client::connect(brim.admin()).ask(request(method, path, "", ""));
        assert_eq!(refusal(&answer), (405, format!("{allow}, please")), "{method} {path}");
        assert_eq!(answer.field("allow"), Some(allow));
    }
    for path in ["/purge/1", "/purges/", "/purges/1/2", "/object"] {
        let answer = Client::connect(brim.admin()).ask(get(path));
        assert_eq!(answer.status, 404, "{path}");
        for route in ["/healthz", "/metrics", "/purge", "/purges/{id}", "/objects"] {
            assert!(answer.text().contains(route), "{}", answer.text());
        }
    }
    let mut client = Client::connect(brim.admin());
    client.send(request("HEAD", "/objects", &format!("Bearer {}", brim.token()), ""));
    assert_eq!(client.answer_without_body().status, 200);
    assert_eq!(client.ask(get("/healthz")).status, 200);
}

#[test]
fn what_is_no_request_or_could_be_read_in_two_ways_is_refused_and_nothing_breaks() {
    let brim = brim();
    for bytes in ["\u{16}\u{3}\r\n\r\n", "PRI * HTTP/2.0\r\n\r\n"] {
        let mut client = Client::connect(brim.admin());
        client.send(bytes);
        assert!(client.try_answer().is_none_or(|answer| matches!(answer.status, 400 | 505)));
    }
    let token = brim.token();
    for lines in [
        "Content-Length: 12\r\nContent-Length: 12\r\n",
        "Content-Length: 12, 12\r\n",
        "Content-Length: 12\r\nTransfer-Encoding: chunked\r\n",
    ] {
        let head = format!("POST /purge HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n");
        let answer =
            Client::connect(brim.admin()).ask(format!("{head}{lines}\r\n{ALL}\r\n0\r\n\r\n"));
        assert_eq!(answer.status, 400, "{lines}");
    }
    assert_eq!(brim.metric("brim_purges_total{kind=\"all\"}"), 0);
    assert_eq!(brim.error_log_so_far("panicked"), None);
}
