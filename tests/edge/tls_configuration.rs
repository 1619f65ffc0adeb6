//! TLS in `edge.toml`: what `brim check` says, and what `brim run` does not start with.

use crate::kit::tls::{Authority, Order, TlsClients};
use crate::kit::{Brim, Client, Command, get};
use brim::config::{self, Certificate, ClientAuth, Tls};
use std::path::Path;

const REST: &str = "[[origin]]\nname = 'main'\nservers = ['http://127.0.0.1:3000']\n\
                    [[site]]\norigin = 'main'\n";

/// What is said of `[server]` with these lines, these certificates, and these lines of the site.
fn problems(server: &str, certificates: &str, site: &str) -> Vec<String> {
    let text = format!("[server]\n{server}\n{certificates}\n{REST}{site}\n");
    let checked = config::check(&text, "edge.toml", Path::new(""));
    let has_error = checked.problems.iter().any(|problem| !problem.is_warning);
    assert_eq!(checked.settings.is_none(), has_error, "{:?}", checked.problems);
    checked.problems.iter().map(ToString::to_string).collect()
}

const HTTPS: &str = "https = ['127.0.0.1:0']";
const ANY: &str = "hosts = ['*']";
const SELF_SIGNED: &str = "[[certificate]]\nself_signed = ['localhost']";

#[test]
fn listeners_and_certificates_need_each_other() {
    assert_eq!(problems(HTTPS, SELF_SIGNED, ANY), [""; 0]);
    let missing = "needs at least one [[certificate]]; `self_signed = [\"localhost\"]` makes one";
    assert_eq!(problems(HTTPS, "", ANY), [format!("edge.toml:2: server.https: {missing}")]);
    let nobody = "does nothing: there is no listener in `server.https`";
    let expected = format!("edge.toml:3: warning: certificate[0]: {nobody}");
    assert_eq!(problems("", SELF_SIGNED, ANY), [expected]);
    let site = format!("{ANY}\nhsts = '1d'");
    assert_eq!(problems("", "", &site), [format!("edge.toml:10: warning: site[0].hsts: {nobody}")]);
}

#[test]
fn a_redirect_that_would_lead_in_a_circle_is_warned_of() {
    let site = format!("{ANY}\nredirect_to_https = true");
    assert_eq!(problems(HTTPS, SELF_SIGNED, &site), [""; 0]);
    assert_eq!(problems("trusted_proxies = ['10.0.0.0/8']", "", &site), [""; 0]);
    let found = problems("", "", &site);
    assert!(
        found[0].starts_with("edge.toml:10: warning: site[0].redirect_to_https: "),
        "{found:?}"
    );
    let not = format!("{ANY}\nredirect_to_https = false");
    assert_eq!(problems("", "", &not), [""; 0]);
}

#[test]
fn a_pair_that_cannot_be_used_is_named_with_its_file_line_and_key() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().expect("a folder"));
    let (one, other) = (authority.issue(&["a.test"]), authority.issue(&["a.test"]));
    one.write(folder.path(), "one");
    other.write(folder.path(), "other");
    let at = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(at("empty.pem"), "").expect("written");
    let half = one.cert.len() / 2;
    std::fs::write(at("half.pem"), &one.cert[..half]).expect("written");
    std::fs::write(
        at("broken.pem"),
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    )
    .expect("written");
    let said = |cert: &str, key: &str| {
        let lines = format!("[[certificate]]\ncert = '{}'\nkey = '{}'", at(cert), at(key));
        problems(HTTPS, &lines, ANY).join("\n").replace(&at(""), "")
    };
    assert_eq!(said("one.pem", "one.key"), "");
    assert_eq!(
        said("one.pem", "other.key"),
        "edge.toml:5: certificate[0].key: not the key of one.pem"
    );
    let (in_pem, key) = ("expected a file with certificates in PEM", "certificate[0].key");
    let cert = "edge.toml:4: certificate[0].cert";
    assert_eq!(said("empty.pem", "one.key"), format!("{cert}: {in_pem}; empty.pem has none"));
    assert_eq!(said("half.pem", "one.key"), format!("{cert}: {in_pem}; half.pem ends too early"));
    assert_eq!(
        said("missing.pem", "one.key"),
        format!("{cert}: {in_pem}; missing.pem: No such file or directory (os error 2)")
    );
    assert!(said("broken.pem", "one.key").starts_with(&format!("{cert}: broken.pem: ")));
    assert_eq!(
        said("one.pem", "one.pem"),
        format!(
            "edge.toml:5: {key}: expected a file with a private key in PEM, not encrypted; one.pem has none"
        )
    );
    let used = "no key that can be used here: RSA of 2048 to 4096 bits, ECDSA on P-256 or P-384, or Ed25519";
    for (name, pem) in [
        ("p521.key", include_str!("kit/p521.key")),
        ("rsa1024.key", include_str!("kit/rsa1024.key")),
    ] {
        std::fs::write(at(name), pem).expect("written");
        assert_eq!(said("one.pem", name), format!("edge.toml:5: {key}: {name}: {used}"));
    }
    for (name, pem) in [
        ("old.key", include_str!("kit/encrypted.key")),
        (
            "new.key",
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
        ),
    ] {
        std::fs::write(at(name), pem).expect("written");
        let expected = "expected a file with a private key in PEM, not encrypted";
        let expected = format!("edge.toml:5: {key}: {expected}; {name} is encrypted");
        assert_eq!(said("one.pem", name), expected);
    }

    // Nor does `brim run` start with it.
    let file = at("edge.toml");
    let lines = format!("[[certificate]]\ncert = '{}'\nkey = '{}'", at("one.pem"), at("other.key"));
    std::fs::write(&file, format!("[server]\n{HTTPS}\n{lines}\n{REST}{ANY}\n")).expect("written");
    for command in ["run", "check"] {
        let run = Command::run(&[command, "--config", &file]);
        assert_eq!(run.code, Some(1), "{}", run.stderr);
        assert!(run.stderr.contains("edge.toml:5: certificate[0].key: "), "{}", run.stderr);
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
    }
}

#[test]
fn a_certificate_is_warned_of_before_and_after_its_days() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().expect("a folder"));
    let said = |valid: (i64, i64)| {
        let issued = authority.issue_as(&Order { valid, ..Order::default() });
        problems(HTTPS, &issued.write(folder.path(), "a"), ANY).join("\n")
    };
    assert_eq!(said((-1, 40)), "");
    let warning = "edge.toml:4: warning: certificate[0].cert: the certificate ";
    let soon = said((-1, 10));
    assert!(soon.starts_with(&format!("{warning}expires within 1")), "{soon}");
    let over = said((-20, -10));
    assert!(over.starts_with(&format!("{warning}has expired: ")), "{over}");
    assert_eq!(said((5, 100)), format!("{warning}is not valid yet"));
    let nobody = authority.issue_as(&Order { names: &[], ..Order::default() });
    let found = problems(HTTPS, &nobody.write(folder.path(), "a"), ANY);
    assert_eq!(found, [format!("{warning}is made out to nobody: it has no subjectAltName")]);
}

#[test]
fn a_host_that_no_certificate_is_made_out_to_is_warned_of() {
    let certificates = "[[certificate]]\nself_signed = ['a.test', '*.wild.test', '127.0.0.1', '::1']\n\
                        [[certificate]]\nself_signed = ['b.test']";
    let covered =
        "hosts = ['a.test', 'B.test', 'x.wild.test', '*.wild.test', '127.0.0.1', '[::1]', '*']";
    assert_eq!(problems(HTTPS, certificates, covered), [""; 0]);
    let found = problems(
        HTTPS,
        certificates,
        "hosts = ['c.test', 'wild.test', 'x.y.wild.test', '*.b.test']",
    );
    let message = "no [[certificate]] is made out to it; clients over TLS refuse the first";
    let expected: Vec<_> = (0..4)
        .map(|host| format!("edge.toml:12: warning: site[0].hosts[{host}]: {message}"))
        .collect();
    assert_eq!(found, expected);
    // Where nobody listens, nobody refuses anything.
    assert_eq!(problems("", "", "hosts = ['c.test']"), [""; 0]);
}

#[test]
fn every_bad_key_is_named() {
    let server = "https = ['x']\nhttps_port = 0\n[server.limits]\ntls_timeout = '0s'\n[server.tls]\n\
                  min_version = '1.1'\nclient_auth = 'maybe'\nclient = 'ca.pem'";
    let certificates = "[[certificate]]\nself_signed = ['a:1', '']\n[[certificate]]\nself_signed = []\n\
                        cert = 'a.pem'\n[[certificate]]\ncert = 'a.pem'";
    let site = "hosts = ['*']\nredirect_to_https = 'yes'\nhsts = 'soon'";
    let name =
        "expected a name or an address without a port, such as \"localhost\" or \"127.0.0.1\"";
    assert_eq!(
        problems(server, certificates, site),
        [
            "edge.toml:2: server.https[0]: expected an address with a port, such as \"0.0.0.0:8080\" or \"[::]:8080\"",
            "edge.toml:3: server.https_port: expected a port from 1 to 65535",
            "edge.toml:5: server.limits.tls_timeout: expected a duration above 0",
            "edge.toml:7: server.tls.min_version: expected \"1.2\" or \"1.3\"",
            "edge.toml:8: server.tls.client_auth: expected \"required\" or \"optional\"",
            "edge.toml:9: server.tls.client: unknown key; did you mean `client_ca`?",
            "edge.toml:10: warning: certificate[0]: does nothing: there is no listener in `server.https`",
            &format!("edge.toml:11: certificate[0].self_signed[0]: {name}"),
            &format!("edge.toml:11: certificate[0].self_signed[1]: {name}"),
            "edge.toml:13: certificate[1].self_signed: expected at least one",
            "edge.toml:14: certificate[1].cert: there is nothing to read where a certificate is made: `self_signed`",
            "edge.toml:15: certificate[2]: `key` is missing",
            "edge.toml:23: site[0].redirect_to_https: expected true or false",
            "edge.toml:24: site[0].hsts: expected a duration with a unit, such as \"500ms\", \"10s\" or \"30d\"",
            "edge.toml:24: warning: site[0].hsts: does nothing: there is no listener in `server.https`",
        ]
    );
    let hsts = |text: &str| problems(HTTPS, SELF_SIGNED, &format!("{ANY}\nhsts = {text}"));
    assert_eq!(hsts("'365d'"), [""; 0]);
    assert_eq!(hsts("{ max_age = '365d', include_subdomains = true, preload = true }"), [""; 0]);
    let whole = "expected whole seconds above 0, such as \"365d\", or \"0s\" to be forgotten";
    for bad in ["500ms", "1500ms", "0ms", "0d"] {
        let found = hsts(&format!("'{bad}'"));
        assert_eq!(found, [format!("edge.toml:11: site[0].hsts: {whole}")], "{bad}");
        let found = hsts(&format!("{{ max_age = '{bad}' }}"));
        assert_eq!(found, [format!("edge.toml:11: site[0].hsts.max_age: {whole}")], "{bad}");
    }
    let forgets = "browsers forget that the site is to be asked over TLS only";
    assert_eq!(hsts("'0s'"), [format!("edge.toml:11: warning: site[0].hsts: {forgets}")]);
    let found = hsts("{ max_age = '0s' }");
    assert_eq!(found, [format!("edge.toml:11: warning: site[0].hsts.max_age: {forgets}")]);
    assert_eq!(hsts("{}"), ["edge.toml:11: site[0].hsts: `max_age` is missing"]);
    for short in [
        "{ max_age = '1d', include_subdomains = true, preload = true }",
        "{ max_age = '365d', preload = true }",
    ] {
        let found = hsts(short);
        assert!(found[0].starts_with("edge.toml:11: warning: site[0].hsts.preload: "), "{found:?}");
    }
    let forward = problems("", "", &format!("{ANY}\nforward = ['Client_Cert']"));
    assert!(forward[0].contains(": Client_Cert is written by Brim; "), "{forward:?}");
    let alone =
        problems(&format!("{HTTPS}\n[server.tls]\nclient_auth = 'optional'"), SELF_SIGNED, ANY);
    assert_eq!(
        alone,
        [
            "edge.toml:4: server.tls.client_auth: needs `client_ca`: who may have signed the certificates of clients"
        ]
    );
}

#[test]
fn what_is_said_is_what_is_meant() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().expect("a folder"));
    authority.issue(&["a.test"]).write(folder.path(), "a");
    std::fs::write(folder.path().join("ca.pem"), authority.pem()).expect("written");
    let settings = |tls: &str| {
        let text = format!(
            "[server]\n{HTTPS}\nhttps_port = 443\n[server.tls]\n{tls}\n[[certificate]]\n\
             cert = 'a.pem'\nkey = 'a.key'\n{SELF_SIGNED}\n{REST}{ANY}\nhsts = '1h'\n"
        );
        let checked = config::check(&text, "edge.toml", folder.path());
        checked.settings.unwrap_or_else(|| panic!("{:?}", checked.problems))
    };
    let found = settings("min_version = '1.3'");
    assert_eq!(found.server.https_port, Some(443));
    assert_eq!(found.server.tls, Tls { has_tls12: false, client_auth: None });
    let at = |name: &str| folder.path().join(name);
    let files = Certificate::Files { name: "a.pem".into(), cert: at("a.pem"), key: at("a.key") };
    let made = Certificate::SelfSigned(vec!["localhost".into()]);
    assert_eq!(found.certificates, [files, made]);
    assert_eq!(found.sites[0].hsts_line("https"), b"Strict-Transport-Security: max-age=3600\r\n");
    assert_eq!(found.sites[0].hsts_line("http"), b"");
    for (lines, is_required) in
        [("", true), ("client_auth = 'required'", true), ("client_auth = 'optional'", false)]
    {
        let found = settings(&format!("client_ca = 'ca.pem'\n{lines}"));
        let expected = Some(ClientAuth { ca: at("ca.pem"), is_required });
        assert_eq!(found.server.tls, Tls { has_tls12: true, client_auth: expected }, "{lines}");
    }
}

#[test]
fn the_demo_is_there_over_tls_too_and_says_how_to_ask_it() {
    let brim = Brim::demo(&["--https", "127.0.0.1:0"]);
    let line = brim.access_log("curl -k ");
    let address = line.split("https://").nth(1).and_then(|rest| rest.split('/').next());
    let address: std::net::SocketAddr = address.expect("an address").parse().expect("an address");
    assert!(brim.access_log(" is at http://").contains(&format!(" and https://{address}, ")));
    let shown = TlsClients::trusting_anybody().shown(address, "localhost");
    let clients = TlsClients::trusting(shown);
    for name in ["localhost", "127.0.0.1"] {
        let answer = clients.connect(address, name).ask(get("/"));
        assert_eq!((answer.status, answer.field("via")), (200, Some("1.1 brim")));
    }
    assert_eq!(Client::connect(brim.address()).ask(get("/")).told(), "brim; hit");

    let taken = Command::run(&["demo", "--listen", "127.0.0.1:0", "--https", &address.to_string()]);
    assert_eq!(taken.code, Some(1));
    let told = format!("brim: cannot listen on {address}: Address already in use");
    assert!(taken.stderr.starts_with(&told), "{}", taken.stderr);
}
