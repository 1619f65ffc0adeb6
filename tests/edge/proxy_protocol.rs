//! Trusted proxies say who their client is before anything else; nobody else may.

use crate::kit::{Brim, Client, Command, OK, Origin, get};
use std::net::SocketAddr;

const LINE: &str = "PROXY TCP4 192.0.2.7 198.51.100.1 4711 80\r\n";

/// An edge that wants a PROXY header from these proxies.
fn edge(origin: SocketAddr, trusted: &str, limits: &str, site: &str) -> Brim {
    Brim::configured(&format!(
        "[server]\nhttp = [{{ address = '127.0.0.1:0', proxy_protocol = true }}]\n\
         trusted_proxies = ['{trusted}']\n[server.limits]\n{limits}\n\
         [[origin]]\nname = 'o'\nservers = ['http://{origin}']\n\
         [[site]]\nhosts = ['*']\norigin = 'o'\n{site}\n"
    ))
}

fn trusting(origin: SocketAddr) -> Brim {
    edge(origin, "127.0.0.1", "", "")
}

fn binary(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([command, family]);
    header.extend(u16::try_from(addresses.len()).expect("a length").to_be_bytes());
    header.extend(addresses);
    header
}

fn refused(brim: &Brim, reason: &str) -> u64 {
    brim.metric(&format!("brim_connections_refused_total{{reason=\"{reason}\"}}"))
}

#[test]
fn the_client_that_a_header_names_is_the_client_everywhere() {
    let origin = Origin::ok();
    let brim = trusting(origin.address());
    let v6 = [&[0x20, 1, 0x0d, 0xb8][..], &[0; 11], &[9], &[0; 20]].concat();
    let with_additions =
        [&[192, 0, 2, 9, 0, 0, 0, 0, 0, 0, 0, 0][..], &[4, 0, 3, 1, 2, 3]].concat();
    let mapped = [&[0; 10][..], &[0xff, 0xff, 192, 0, 2, 10], &[0; 20]].concat();
    for (number, (header, client)) in [
        (LINE.as_bytes().to_vec(), "192.0.2.7"),
        (b"PROXY TCP6 2001:db8::8 ::1 1 2\r\n".to_vec(), "2001:db8::8"),
        (binary(0x21, 0x11, &[192, 0, 2, 8, 0, 0, 0, 0, 0, 0, 0, 0]), "192.0.2.8"),
        (binary(0x21, 0x11, &with_additions), "192.0.2.9"),
        (binary(0x21, 0x21, &v6), "2001:db8::9"),
        (binary(0x21, 0x21, &mapped), "192.0.2.10"),
    ]
    .into_iter()
    .enumerate()
    {
        // The header and two requests in one packet: no byte behind it is lost.
        let mut client_side = Client::connect(brim.address());
        let lied =
            format!("GET /{number} HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n");
        let requests = [header, lied.into_bytes(), get("/next").into_bytes()].concat();
        assert_eq!(client_side.ask(requests).status, 200);
        assert_eq!(client_side.answer().status, 200);
        let path = format!("/{number} ");
        let head = origin.heads().into_iter().find(|head| head.contains(&path)).expect("asked");
        assert!(head.contains(&format!("X-Forwarded-For: {client}\r\n")), "{head}");
        let line = brim.access_log(&format!("\"/{number}\""));
        assert!(line.contains(&format!("\"client\":\"{client}\"")), "{line}");
    }
    assert_eq!(refused(&brim, "proxy_header"), 0);
}

#[test]
fn a_header_may_come_byte_by_byte() {
    let origin = Origin::ok();
    let brim = trusting(origin.address());
    for header in
        [LINE.as_bytes().to_vec(), binary(0x21, 0x11, &[192, 0, 2, 7, 0, 0, 0, 0, 0, 0, 0, 0])]
    {
        let mut client = Client::connect(brim.address());
        for byte in header {
            client.send([byte]);
        }
        assert_eq!(client.ask(get("/drip")).status, 200);
    }
    assert!(brim.access_log("/drip").contains("\"client\":\"192.0.2.7\""));
}

#[test]
fn who_speaks_for_itself_stays_who_it_is() {
    let origin = Origin::ok();
    let brim = trusting(origin.address());
    for header in [
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"PROXY UNKNOWN 192.0.2.1 192.0.2.2 1 2\r\n".to_vec(),
        binary(0x20, 0x00, &[]),
        binary(0x20, 0x11, &[192, 0, 2, 7, 0, 0, 0, 0, 0, 0, 0, 0]),
        binary(0x21, 0x00, &[]),
        binary(0x21, 0x31, &[b'/'; 216]),
        binary(0x21, 0x12, &[192, 0, 2, 7, 0, 0, 0, 0, 0, 0, 0, 0]),
    ] {
        let mut client = Client::connect(brim.address());
        assert_eq!(client.ask([header, get("/own").into_bytes()].concat()).status, 200);
        let head = origin.heads().remove(0);
        assert!(head.contains("X-Forwarded-For: 127.0.0.1\r\n"), "{head}");
    }
}

#[test]
fn what_is_no_good_header_closes_the_connection_and_reaches_nobody() {
    let origin = Origin::ok();
    let brim = trusting(origin.address());
    let too_long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(100));
    let bad = [
        get("/without").into_bytes(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a handshake".to_vec(),
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\nGET / HTTP/1.1\r\n".to_vec(),
        too_long.into_bytes(),
        binary(0x22, 0x11, &[1; 12]),
        binary(0x21, 0x11, &[1; 11]),
        binary(0x21, 0x51, &[1; 12]),
        binary(0x21, 0x11, &[1; 5000]),
    ];
    let count = bad.len() as u64;
    for header in bad {
        let mut client = Client::connect(brim.address());
        client.send([header, get("/behind").into_bytes()].concat());
        client.is_closed();
    }
    let mut early = Client::connect(brim.address());
    early.send("PROXY TCP4 192.0.2.1");
    early.finish();
    early.is_closed();
    brim.wait_until("brim_connections_refused_total{reason=\"proxy_header\"}", |n| n == count + 1);
    brim.wait_until("brim_connections", |open| open == 0);
    assert_eq!(origin.connections(), 0);
    assert_eq!(brim.metric("brim_requests_total{outcome=\"error\",site=\"none\"}"), 0);
}

#[test]
fn nobody_but_a_trusted_proxy_may_say_who_its_client_is() {
    let origin = Origin::ok();
    let brim = edge(origin.address(), "10.0.0.0/8", "", "");
    for hello in [LINE.to_owned() + &get("/"), get("/")] {
        let mut client = Client::connect(brim.address());
        // The edge closes without having read it.
        let _ = client.try_send(hello);
        client.is_closed();
    }
    assert_eq!((refused(&brim, "not_trusted"), origin.connections()), (2, 0));
}

#[test]
fn a_header_has_a_deadline_however_steadily_it_drips() {
    let origin = Origin::ok();
    let brim = edge(origin.address(), "127.0.0.1", "header_timeout = '500ms'", "");
    let mut silent = Client::connect(brim.address());
    let mut dripping = Client::connect(brim.address());
    // A byte each tenth of a second: time is what this test is about.
    for byte in LINE.bytes() {
        std::thread::sleep(std::time::Duration::from_millis(100));
        if dripping.try_send([byte]).is_err() {
            break;
        }
        if refused(&brim, "proxy_header") == 2 {
            break;
        }
    }
    dripping.is_closed();
    silent.is_closed();
    assert_eq!((refused(&brim, "proxy_header"), origin.connections()), (2, 0));
}

#[test]
fn a_proxy_behind_the_balancer_is_believed_only_if_it_is_trusted_too() {
    let origin = Origin::answering(OK);
    let brim = Brim::configured(&format!(
        "[server]\nhttp = [{{ address = '127.0.0.1:0', proxy_protocol = true }}]\n\
         trusted_proxies = ['127.0.0.1', '198.51.100.0/24']\n\
         [[origin]]\nname = 'o'\nservers = ['http://{}']\n[[site]]\nhosts = ['*']\norigin = 'o'\n",
        origin.address()
    ));
    let told = |header: &str, path: &str| {
        let mut client = Client::connect(brim.address());
        let lines = "X-Forwarded-For: 203.0.113.5\r\n";
        let request = format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n");
        assert_eq!(client.ask(header.to_owned() + &request).status, 200);
        brim.access_log(&format!("\"{path}\""))
    };
    let line = told("PROXY TCP4 198.51.100.3 127.0.0.1 1 2\r\n", "/trusted");
    assert!(line.contains("\"client\":\"203.0.113.5\""), "{line}");
    let line = told("PROXY TCP4 192.0.2.3 127.0.0.1 1 2\r\n", "/stranger");
    assert!(line.contains("\"client\":\"192.0.2.3\""), "{line}");
}

#[test]
fn a_listener_with_it_needs_somebody_who_may_speak_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("edge.toml");
    let text = "[server]\nhttp = ['127.0.0.1:0', { address = '127.0.0.1:1', proxy_protocol = true }]\n\
                [[origin]]\nname = 'o'\nservers = ['http://127.0.0.1:3000']\n\
                [[site]]\nhosts = ['*']\norigin = 'o'\n";
    std::fs::write(&file, text).expect("written");
    let checked = Command::run(&["check", "--config", file.to_str().expect("a path")]);
    assert_eq!(checked.code, Some(1));
    let message = "server.http[1]: nobody may speak the PROXY protocol here: \
                   `server.trusted_proxies` names who may";
    assert!(checked.stderr.contains(message), "{}", checked.stderr);
}
