//! Servers of an `[[origin]]`, and the certificates that belong to them.

use super::{SITE, folder_with_certificates, good_origin, one, problems, problems_in, server};
use brim::config::values::origin_server;
use brim::config::{self, OriginServer, Place};
use brim::wire::authority;
use proptest::prelude::*;
use std::path::Path;

#[test]
fn servers_are_urls_sockets_or_tables_with_a_weight() {
    let text = |servers: &str| format!("[[origin]]\nname = 'main'\nservers = [{servers}]\n{SITE}");
    let origin = good_origin(&text(
        "'http://a.test', 'https://a.test/', 'http://[::1]:81', 'unix:/run/a.sock',
         { url = 'http://B_1.test:80', weight = 256 }, { weight = 3, url = 'unix:/run/b.sock' },
         { url = 'https://10.0.0.1' }",
    ));
    let unix = |path: &str, weight| OriginServer {
        tls: false,
        place: Place::Unix(path.into()),
        authority: "localhost".into(),
        weight,
    };
    let expected = [
        server(false, "a.test", 80, "a.test"),
        server(true, "a.test", 443, "a.test"),
        server(false, "::1", 81, "[::1]:81"),
        unix("/run/a.sock", 1),
        OriginServer { weight: 256, ..server(false, "b_1.test", 80, "b_1.test") },
        unix("/run/b.sock", 3),
        server(true, "10.0.0.1", 443, "10.0.0.1"),
    ];
    assert_eq!(origin.servers, expected);

    let tables = "[[origin]]\nname = 'main'\n[[origin.servers]]\nurl = 'http://a'\nweight = 2\n";
    assert_eq!(good_origin(&format!("{tables}{SITE}")).servers[0].weight, 2);

    let url = "expected an origin, such as \"http://127.0.0.1:3000\", \"https://example.com\" or \
               \"unix:/run/app.sock\"";
    let socket = "expected a socket's path from the root on, such as \"unix:/run/app.sock\", of at \
                  most 107 bytes";
    let more = format!("{url} (no path, query or user: requests bring their own)");
    let long = format!("'unix:/{}'", "a".repeat(107));
    for (servers, expected) in [
        ("1", format!("[0]: {url}")),
        ("'a.test'", format!("[0]: {url}")),
        ("'ftp://a.test'", format!("[0]: {url}")),
        ("'http://a.test:0'", format!("[0]: {url}")),
        ("'http://a*b.test'", format!("[0]: {url}")),
        ("'http://a.test/b'", format!("[0]: {more}")),
        ("'http://me@a.test'", format!("[0]: {more}")),
        ("'unix:app.sock'", format!("[0]: {socket}")),
        ("'unix:/'", format!("[0]: {socket}")),
        ("\"unix:/a\\u0000b\"", format!("[0]: {socket}")),
        (&long, format!("[0]: {socket}")),
        ("{ url = 'a' }", format!("[0].url: {url}")),
        ("{ weight = 2 }", "[0]: `url` is missing".into()),
        (
            "'http://a', { url = 'http://b', wieght = 2 }",
            "[1].wieght: unknown key; did you mean `weight`?".into(),
        ),
        (
            "{ url = 'http://b', weight = 0 }",
            "[0].weight: expected a whole number from 1 to 256".into(),
        ),
        (
            "{ url = 'http://b', weight = 257 }",
            "[0].weight: expected a whole number from 1 to 256".into(),
        ),
        (
            "'http://a.test', { url = 'http://A.test:80', weight = 2 }",
            "[1]: http://a.test is already origin[0].servers[0]; `weight` is what gives a server \
             more"
                .into(),
        ),
        (
            "'unix:/a', 'unix:/a'",
            "[1]: unix:/a is already origin[0].servers[0]; `weight` is what gives a server more"
                .into(),
        ),
        ("", ": expected at least one".into()),
    ] {
        let expected = format!("e:3: origin[0].servers{expected}");
        assert_eq!(problems(&text(servers)), [expected], "{servers}");
    }
    let no_list = "[[origin]]\nname = 'main'\nservers = 'http://a'\n".to_owned() + SITE;
    let each = url.trim_start_matches("expected ");
    let expected = format!("e:3: origin[0].servers: expected a list, each {each}");
    assert_eq!(problems(&no_list), [expected]);
}

#[test]
fn certificates_of_servers_are_read_before_they_are_needed() {
    let folder = folder_with_certificates();
    let path = |name: &str| folder.path().join(name);
    let text = |lines: &str| one(&format!("[origin.tls]\n{lines}")).replace("http:", "https:");
    let all = "server_name = 'b.test'\nca = 'ca.pem'\nclient_cert = 'client.pem'\n\
               client_key = 'client.key'\nverify = true";
    let checked = config::check(&text(all), "e", folder.path());
    assert!(checked.problems.is_empty(), "{:#?}", checked.problems);
    let tls = &checked.settings.expect("good").origins[0].tls;
    assert_eq!((tls.server_name.as_deref(), tls.verify), (Some("b.test"), true));
    assert_eq!(tls.ca, Some(path("ca.pem")));
    let client = tls.client.as_ref().map(|client| (client.cert.clone(), client.key.clone()));
    assert_eq!(client, Some((path("client.pem"), path("client.key"))));

    std::fs::write(path("cut.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n").expect("written");
    std::fs::write(path("empty.pem"), "").expect("written");
    std::fs::create_dir(path("folder.pem")).expect("made");
    let (certificates, key) = ("certificates in PEM", "a private key in PEM, not encrypted");
    let (none, missing) = (" has none", ": No such file or directory (os error 2)");
    for (lines, place, what, file, reason) in [
        ("ca = 'none.pem'", "5: origin[0].tls.ca", certificates, "none.pem", missing),
        (
            "ca = 'folder.pem'",
            "5: origin[0].tls.ca",
            certificates,
            "folder.pem",
            ": Is a directory (os error 21)",
        ),
        ("ca = 'cut.pem'", "5: origin[0].tls.ca", certificates, "cut.pem", " ends too early"),
        ("ca = 'empty.pem'", "5: origin[0].tls.ca", certificates, "empty.pem", none),
        ("ca = 'client.key'", "5: origin[0].tls.ca", certificates, "client.key", none),
        (
            "client_cert = 'client.key'\nclient_key = 'client.key'",
            "5: origin[0].tls.client_cert",
            certificates,
            "client.key",
            none,
        ),
        (
            "client_cert = 'client.pem'\nclient_key = 'client.pem'",
            "6: origin[0].tls.client_key",
            key,
            "client.pem",
            none,
        ),
        (
            "client_cert = 'client.pem'\nclient_key = 'none.key'",
            "6: origin[0].tls.client_key",
            key,
            "none.key",
            missing,
        ),
    ] {
        let file = path(file).display().to_string();
        let expected = format!("e:{place}: expected a file with {what}; {file}{reason}");
        assert_eq!(problems_in(&text(lines), folder.path()), [expected], "{lines}");
    }
    let together = "`client_cert` and `client_key` go together";
    for (line, key) in
        [("client_cert = 'client.pem'", "cert"), ("client_key = 'client.key'", "key")]
    {
        let expected = format!("e:5: origin[0].tls.client_{key}: {together}");
        assert_eq!(problems_in(&text(line), folder.path()), [expected]);
    }
    let unverified = problems_in(&text("verify = false\nca = 'ca.pem'"), folder.path());
    assert_eq!(
        unverified,
        [
            "e:5: warning: origin[0].tls.verify: whoever is in between can read and change what \
             passes",
            "e:6: warning: origin[0].tls.ca: does nothing with `verify = false`",
        ]
    );
}

fn check_servers(items: &str) -> config::Checked {
    let text = format!("[[origin]]\nname = 'main'\nservers = {items}\n{SITE}");
    config::check(&text, "e", Path::new(""))
}

#[test]
fn a_server_of_any_kind_is_read_or_refused() {
    for item in [
        "1",
        "-1",
        "1.5",
        "nan",
        "true",
        "1979-05-27",
        "''",
        "[]",
        "[['http://a']]",
        "{}",
        "{ url = 1 }",
        "{ url = {} }",
        "{ url = ['http://a'] }",
        "{ url = { url = 'http://a' } }",
        "{ url = 'http://a', weight = '1' }",
        "{ url = 'http://a', weight = -1 }",
        "{ url = 'http://a', weight = 99999999999999999999 }",
        "{ '' = 1 }",
    ] {
        for items in [format!("[{item}]"), item.to_owned()] {
            let checked = check_servers(&items);
            assert!(checked.settings.is_none(), "{items}");
            assert!(!checked.problems.is_empty(), "{items}");
        }
    }
}

proptest! {
    #[test]
    fn whatever_is_taken_for_a_server_has_one_meaning(
        text in r"(http://|https://|unix:|unix:/|http:|)[a-z0-9A-Z\[\]:/@?#.%_*\\é☃ -]{0,24}|.{0,40}"
    ) {
        let read = origin_server(&text);
        if let Ok(server) = &read {
            prop_assert!(authority::parse(server.authority.as_bytes()).is_some());
            prop_assert_eq!(&origin_server(&server.url()), &read);
        }
        let quoted: String =
            text.chars().map(|char| format!("\\U{:08X}", char as u32)).collect();
        for items in [format!("[\"{quoted}\"]"), format!("[{{ url = \"{quoted}\" }}]")] {
            let found = check_servers(&items).settings;
            let servers = found.map(|settings| settings.origins[0].servers.clone());
            prop_assert_eq!(servers, read.clone().ok().map(|server| vec![server]));
        }
    }
}
