//! What the origin sees, and what it never sees.

use crate::kit::{Brim, Client, Origin};

fn head_for(fields: &str, server: &str, site: &str) -> String {
    let origin = Origin::ok();
    let brim = Brim::configured(&format!(
        "[server]\nhttp = ['127.0.0.1:0']\n{server}\n[[origin]]\nname = 'o'\n\
         servers = ['http://{}']\n[[site]]\nhosts = ['*']\norigin = 'o'\n{site}\n",
        origin.address()
    ));
    let request = format!("GET /x HTTP/1.1\r\nHost: a.test:81\r\n{fields}\r\n");
    assert_eq!(Client::connect(brim.address()).ask(request).status, 200);
    let head = origin.only_head();
    // Another one in each process.
    let identity = head.split("brim;id=").nth(1).and_then(|rest| rest.get(..16));
    let head = head.replace(identity.expect("an identity"), "ID");
    // And for each request.
    let id = head.split("X-Request-Id: ").nth(1).and_then(|rest| rest.get(..36));
    head.replace(id.expect("an id"), "REQUEST")
}

fn fields(head: &str) -> Vec<&str> {
    head.lines().skip(1).filter(|line| !line.is_empty()).collect()
}

#[test]
fn the_origin_learns_who_asked_for_what() {
    let head = head_for("X-Own: 1\r\nx-own: 2\r\nAccept: */*\r\n", "", "");
    assert_eq!(
        fields(&head),
        [
            "Host: a.test:81",
            "X-Own: 1",
            "x-own: 2",
            "Accept: */*",
            "Surrogate-Capability: brim=\"Surrogate/1.0\"",
            "CDN-Loop: brim;id=ID",
            "Via: 1.1 brim (ID)",
            "X-Forwarded-For: 127.0.0.1",
            "X-Forwarded-Proto: http",
            "X-Forwarded-Host: a.test:81",
            "Forwarded: for=127.0.0.1;host=\"a.test:81\";proto=http",
            "X-Request-Id: REQUEST",
        ]
    );
}

#[test]
fn a_client_cannot_speak_for_itself_as_a_proxy() {
    let clean = head_for("", "", "");
    let lies = "X-Forwarded-For: 1.2.3.4\r\nx-forwarded-proto: https\r\nX-Forwarded-Host: evil\r\n\
        X-Forwarded-Port: 1\r\nX-Forwarded-Prefix: /evil\r\nX_Forwarded_For: 1.2.3.4\r\n\
        Forwarded: for=1.2.3.4\r\nX-Real-IP: 1.2.3.4\r\nTrue-Client-IP: 1.2.3.4\r\n\
        CF-Connecting-IP: 1.2.3.4\r\nX-Original-URL: /admin\r\nX-Rewrite-URL: /admin\r\n\
        X-HTTP-Method-Override: DELETE\r\nX-HTTP-Method: DELETE\r\nX-Method-Override: DELETE\r\n\
        X-Override-URL: /admin\r\nX-Rewrite-URI: /admin\r\nX_HTTP_Method_Override: DELETE\r\nX-Host: evil\r\nX-Original-Host: evil\r\nProxy: evil\r\n\
        Content_Length: 5\r\nTransfer_Encoding: chunked\r\n";
    assert_eq!(head_for(lies, "", ""), clean);
    for certificate in [
        "SSL-Client-Cert",
        "ssl-client-verify",
        "SSL-Client-Subject-DN",
        "ssl-client-issuer-dn",
        "SSL_CLIENT_S_DN",
        "X-SSL-Client-Cert",
        "X-SSL-Client-Verify",
        "X-SSL-Client-DN",
        "X-SSL-Cert",
        "X-Client-Cert",
        "X-Client-Certificate",
        "X-Client-Verify",
        "X-Client-DN",
        "X-Forwarded-Client-Cert",
        "X-Amzn-Mtls-Clientcert",
        "X-Amzn-Mtls-Clientcert-Subject",
        "X-ARR-ClientCert",
        "Cf-Client-Cert-Der-Base64",
        "SSL-Cert",
    ] {
        assert_eq!(head_for(&format!("{certificate}: MIIB\r\n"), "", ""), clean, "{certificate}");
    }
}

#[test]
fn a_trusted_proxy_is_believed_and_continued() {
    let told = "X-Forwarded-For: 203.0.113.7, 10.0.0.1\r\nX-Forwarded-Proto: https\r\n\
        X-Forwarded-Host: public.test\r\nForwarded: for=203.0.113.7\r\nX-Real-IP: 203.0.113.7\r\n";
    let head = head_for(told, "trusted_proxies = ['10.0.0.0/8', '127.0.0.1']", "");
    let fields = fields(&head);
    for line in [
        "X-Forwarded-For: 203.0.113.7, 10.0.0.1, 127.0.0.1",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: public.test",
        "Forwarded: for=203.0.113.7, for=127.0.0.1;host=\"public.test\";proto=https",
    ] {
        assert!(fields.contains(&line), "{line} in {fields:#?}");
    }
    assert!(!head.contains("X-Real-IP"), "{head}");
}

#[test]
fn the_log_names_the_client_behind_trusted_proxies() {
    let origin = Origin::ok();
    let brim = Brim::configured(&format!(
        "[server]\nhttp = ['127.0.0.1:0']\ntrusted_proxies = ['127.0.0.0/8', '10.0.0.0/8']\n\
         [[origin]]\nname = 'o'\nservers = ['http://{}']\n[[site]]\nhosts = ['*']\norigin = 'o'\n",
        origin.address()
    ));
    let mut client = Client::connect(brim.address());
    for (path, told, expected) in [
        ("/a", "198.51.100.1, 203.0.113.7, 10.0.0.1", "203.0.113.7"),
        ("/b", "10.0.0.2, 10.0.0.1", "10.0.0.2"),
        ("/c", "203.0.113.7, rubbish, 10.0.0.1", "10.0.0.1"),
        ("/d", "2001:db8::1", "2001:db8::1"),
        // As dual-stack sockets and some balancers write them.
        ("/e", "203.0.113.7, ::ffff:10.0.0.1", "203.0.113.7"),
        ("/f", "::ffff:203.0.113.7", "203.0.113.7"),
        ("/g", "203.0.113.7:5123, 10.0.0.1:80", "203.0.113.7"),
        ("/h", "[2001:db8::1]", "2001:db8::1"),
        ("/i", "[2001:db8::1]:443", "2001:db8::1"),
    ] {
        client.ask(format!("GET {path} HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {told}\r\n\r\n"));
        let line = brim.access_log(&format!("\"target\":\"{path}\""));
        assert!(line.contains(&format!("\"client\":\"{expected}\"")), "{line}");
    }
}

#[test]
fn a_site_may_pass_on_what_it_names() {
    let sent = "X-HTTP-Method-Override: PATCH\r\nX-Original-URL: /admin\r\n";
    let head = head_for(sent, "", "forward = ['x-http-method-override']");
    assert!(head.contains("\r\nX-HTTP-Method-Override: PATCH\r\n"), "{head}");
    assert!(!head.contains("X-Original-URL"), "{head}");
}

#[test]
fn fields_of_one_connection_stay_on_it() {
    let clean = head_for("", "", "");
    let hop = "Connection: keep-alive, X-Mine, x-other\r\nKeep-Alive: timeout=5\r\nX-Mine: 1\r\n\
        X-Other: 2\r\nProxy-Connection: keep-alive\r\nTE: gzip\r\nProxy-Authorization: Basic eA==\r\n\
        Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n";
    assert_eq!(head_for(hop, "", ""), clean);
    // Naming a field that this server writes does not make it go away.
    let named = "Connection: Host, X-Forwarded-For, Via, CDN-Loop, Forwarded\r\n";
    assert_eq!(head_for(named, "", ""), clean);
}

#[test]
fn hop_by_hop_fields_of_an_answer_stay_behind_too() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Mine\r\nKeep-Alive: timeout=5\r\nX-Mine: 1\r\n\
         Upgrade: h2c\r\nProxy-Authenticate: Basic\r\nX-Kept: 1\r\nContent-Length: 0\r\n\r\n",
    );
    let brim = Brim::in_front_of(origin.address());
    let answer = Client::connect(brim.address()).ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    for gone in ["connection", "keep-alive", "x-mine", "upgrade", "proxy-authenticate"] {
        assert_eq!(answer.field(gone), None, "{gone}");
    }
    assert_eq!(answer.field("x-kept"), Some("1"));
}

#[test]
fn via_is_a_list_of_those_who_can_be_believed() {
    let sent = "Via: 1.0 first, 2 second\r\n";
    let via = |head: &str| -> Vec<String> {
        fields(head).into_iter().filter(|l| l.starts_with("Via")).map(str::to_owned).collect()
    };
    assert_eq!(via(&head_for(sent, "", "")), ["Via: 1.1 brim (ID)"]);
    let trusted = head_for(sent, "trusted_proxies = ['127.0.0.1']", "");
    assert_eq!(via(&trusted), ["Via: 1.0 first, 2 second", "Via: 1.1 brim (ID)"]);
}

#[test]
fn a_trusted_proxy_without_forwarded_is_heard_in_it() {
    let told = "X-Forwarded-For: 203.0.113.7, 2001:db8::1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: p.test\r\n";
    let head = head_for(told, "trusted_proxies = ['127.0.0.1']", "");
    let expected = "Forwarded: for=203.0.113.7, for=\"[2001:db8::1]\", for=127.0.0.1;host=\"p.test\";proto=https";
    assert!(fields(&head).contains(&expected), "{head}");
}

#[test]
fn a_fill_tells_nothing_of_its_first_client_that_could_be_echoed_to_others() {
    let trusted = "trusted_proxies = ['127.0.0.1']";
    let told = "X-Forwarded-For: <b>, 203.0.113.7:5123, [2001:db8::2]\r\nX-Forwarded-Host: A.test:81\r\n\
        Forwarded: for=\"[2001:db8::1]:443\";host=evil.test;proto=http;by=<i>, for=unknown;host=evil\r\n";
    let head = head_for(told, trusted, "");
    for line in [
        "X-Forwarded-For: 203.0.113.7, 2001:db8::2, 127.0.0.1",
        "X-Forwarded-Proto: http",
        "X-Forwarded-Host: a.test:81",
        "Forwarded: for=\"[2001:db8::1]\", for=127.0.0.1;host=\"a.test:81\";proto=http",
    ] {
        assert!(fields(&head).contains(&line), "{line} in {head}");
    }
    // Whoever is answered alone is told of as the proxy says.
    let head = head_for(told, trusted, "[[site.rule]]\npath = '/*'\ncache = false");
    let chain =
        "for=\"[2001:db8::1]:443\";host=evil.test;proto=http;by=<i>, for=unknown;host=evil, ";
    assert!(head.contains(&format!("\r\nForwarded: {chain}for=127.0.0.1;")), "{head}");
    assert!(
        head.contains("\r\nX-Forwarded-For: <b>, 203.0.113.7:5123, [2001:db8::2], 127"),
        "{head}"
    );
}

#[test]
fn the_scheme_is_one_in_whatever_words_a_trusted_proxy_tells_it() {
    for told in [
        "Forwarded: for=203.0.113.7;proto=https\r\n",
        "Forwarded: for=203.0.113.7;Proto=\"HTTPS\", for=10.0.0.1\r\n",
        "X-Forwarded-Proto: HTTPS\r\n",
        "X-Forwarded-Proto: https, http\r\n",
        "X-Forwarded-Proto: http\r\nForwarded: for=203.0.113.7;proto=https\r\n",
    ] {
        for site in ["", "[[site.rule]]\npath = '/*'\ncache = false"] {
            let head = head_for(told, "trusted_proxies = ['127.0.0.1']", site);
            assert!(head.contains("\r\nX-Forwarded-Proto: https\r\n"), "{told}: {head}");
            assert!(head.contains("for=127.0.0.1;host=\"a.test:81\";proto=https\r\n"), "{head}");
            let head = head_for(told, "", site);
            assert!(head.contains("\r\nX-Forwarded-Proto: http\r\n"), "of anybody: {head}");
        }
    }
}

#[test]
fn a_presigned_request_reaches_the_store_as_it_was_signed() {
    let origin = Origin::ok();
    let brim = Brim::in_front_of(origin.address());
    let line = "PUT /bucket/a%20b//c%2Fd/%E2%82%AC.bin?X-Amz-Algorithm=AWS4-HMAC-SHA256\
        &X-Amz-Credential=AK%2F20261121%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20261121T000000Z\
        &X-Amz-Expires=60&X-Amz-SignedHeaders=content-md5%3Bhost%3Bx-amz-meta-a&X-Amz-Signature=ab+c%2b HTTP/1.1";
    let signed = "Host: bucket.edge.test\r\nx-amz-meta-A:  two  spaces\r\nContent-MD5: 1B2M2Y8AsgTpgAmY7PhCfg==\r\n\
        Authorization: AWS4-HMAC-SHA256 Credential=x, SignedHeaders=host, Signature=y\r\nX-Amz-Date: 20261121T000000Z\r\n";
    let request = format!("{line}\r\n{signed}Content-Length: 0\r\n\r\n");
    assert_eq!(Client::connect(brim.address()).ask(request).status, 200);
    let head = origin.only_head();
    assert!(head.starts_with(&format!("{line}\r\n")), "{head}");
    for field in signed.lines() {
        let field = field.replace(":  two", ": two");
        assert!(head.contains(&format!("\r\n{field}\r\n")), "{field} in {head}");
    }
}

#[test]
fn a_site_says_which_host_the_origin_sees() {
    let origin = Origin::ok();
    for (site, expected) in [
        ("", "a.test:81".to_owned()),
        ("host_header = 'client'", "a.test:81".to_owned()),
        ("host_header = 'origin'", origin.address().to_string()),
    ] {
        let brim = Brim::with(origin.address(), "", site);
        Client::connect(brim.address()).ask("GET / HTTP/1.1\r\nHost: a.test:81\r\n\r\n");
        let head = origin.heads().pop().expect("a head");
        assert!(head.contains(&format!("\r\nHost: {expected}\r\n")), "{head}");
        assert!(head.contains("\r\nX-Forwarded-Host: a.test:81\r\n"), "{head}");
    }
}

#[test]
fn an_absolute_target_arrives_in_origin_form() {
    let origin = Origin::ok();
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    for (target, host, expected) in [
        ("http://a.test/p?q", "a.test", "/p?q"),
        ("HTTP://A.test:80/", "a.test", "/"),
        ("http://a.test", "a.test", "/"),
        ("http://a.test?q", "a.test", "/?q"),
    ] {
        client.ask(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        let head = origin.heads().pop().expect("a head");
        assert!(head.starts_with(&format!("GET {expected} HTTP/1.1\r\n")), "{head}");
    }
}

#[test]
fn options_for_a_whole_server_keep_their_asterisk() {
    let origin = Origin::ok();
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    client.ask("OPTIONS http://a.test HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert!(origin.only_head().starts_with("OPTIONS * HTTP/1.1\r\n"));
}

#[test]
fn a_client_over_ipv6_is_named_in_brackets_where_the_grammar_wants_them() {
    let origin = Origin::ok();
    let brim = Brim::configured(&format!(
        "[server]\nhttp = ['[::1]:0']\n[[origin]]\nname = 'o'\nservers = ['http://{}']\n\
         [[site]]\nhosts = ['[::1]']\norigin = 'o'\n",
        origin.address()
    ));
    let answer = Client::connect(brim.address()).ask("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n");
    assert_eq!(answer.status, 200);
    let head = origin.only_head();
    assert!(head.contains("\r\nX-Forwarded-For: ::1\r\n"), "{head}");
    assert!(head.contains("\r\nForwarded: for=\"[::1]\";host=\"[::1]\";proto=http\r\n"), "{head}");
}

#[test]
fn options_are_forwarded_as_often_as_they_may_be() {
    let origin = Origin::ok();
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    let options =
        |left: u32| format!("OPTIONS * HTTP/1.1\r\nHost: a.test\r\nMax-Forwards: {left}\r\n\r\n");
    assert_eq!(client.ask(options(2)).status, 200);
    let head = origin.only_head();
    assert!(head.starts_with("OPTIONS * HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("\r\nMax-Forwards: 1\r\n"), "{head}");
    let answer = client.ask(options(0));
    assert_eq!((answer.status, answer.field("content-length")), (200, Some("0")));
    assert!(answer.field("allow").is_some());
    assert_eq!(origin.heads().len(), 1);
}
