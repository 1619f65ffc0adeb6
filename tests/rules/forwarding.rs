use crate::kit::fields;
use brim::rules::forwarding::{client_address, client_is_certain, tells_more};
use brim::rules::https::scheme;
use ipnet::IpNet;
use std::net::IpAddr;

fn trusted() -> Vec<IpNet> {
    ["10.0.0.0/8", "2001:db8:ffff::/48"].map(|one| one.parse().expect("a network")).into()
}

fn is_known(told: &str, expected: &str) {
    let peer: IpAddr = "10.0.0.1".parse().expect("an address");
    let request = fields(&[("X-Forwarded-For", told)]);
    let client = client_address(&request, peer, &trusted());
    let is_certain = client_is_certain(&request, peer, &trusted());
    assert_eq!((client.to_string().as_str(), is_certain), (expected, true), "{told}");
}

#[test]
fn a_client_is_known_however_its_proxies_write_addresses() {
    is_known("203.0.113.7", "203.0.113.7");
    is_known("203.0.113.7:5123", "203.0.113.7");
    is_known("::ffff:203.0.113.7", "203.0.113.7");
    is_known("[::ffff:203.0.113.7]:80", "203.0.113.7");
    is_known("203.0.113.7, ::ffff:10.0.0.2", "203.0.113.7");
    is_known("203.0.113.7, [2001:db8:ffff::1]:443, 10.0.0.2:80", "203.0.113.7");
    is_known("[2001:db8::1]", "2001:db8::1");
    is_known("[2001:db8::1]:443", "2001:db8::1");
    is_known("2001:db8::1", "2001:db8::1");
}

#[test]
fn what_is_no_address_makes_nobody_certain() {
    let peer: IpAddr = "10.0.0.1".parse().expect("an address");
    for told in
        ["", "unknown", "[203.0.113.7]", "203.0.113.7:", "203.0.113.7:99999", "[2001:db8::1", "a:1"]
    {
        let request = fields(&[("X-Forwarded-For", told)]);
        assert_eq!(client_address(&request, peer, &trusted()), peer, "{told}");
        assert!(!client_is_certain(&request, peer, &trusted()), "{told}");
    }
}

#[test]
fn an_answer_to_one_client_only_is_known_by_what_its_origin_was_told() {
    for (name, value, is_more) in [
        ("Client-Cert", ":MIIB:", true),
        ("Forwarded", "for=192.0.2.1;Host=other.test", true),
        ("Forwarded", "for=192.0.2.1;proto=https", false),
    ] {
        let request = fields(&[(name, value)]);
        assert_eq!(tells_more(&request, None, true), is_more, "{value}");
        assert!(!tells_more(&request, None, false), "of anybody: {value}");
    }
}

#[test]
fn the_clients_scheme_is_what_a_trusted_proxy_says_and_else_that_of_the_connection() {
    for (name, value, own, expected) in [
        ("X-Forwarded-Proto", "https", "http", "https"),
        ("X-Forwarded-Proto", "http", "https", "http"),
        ("X-Forwarded-Proto", "gopher", "https", "https"),
        ("X-Forwarded-Proto", "", "http", "http"),
        ("Forwarded", "for=192.0.2.1;proto=https", "http", "https"),
        ("Forwarded", "for=192.0.2.1;proto=http", "https", "http"),
        ("Forwarded", "for=https;host=\"proto=https\"", "http", "http"),
        ("Accept", "https", "http", "http"),
    ] {
        let request = fields(&[(name, value)]);
        assert_eq!(scheme(&request, true, own), expected, "{name}: {value}");
        assert_eq!(scheme(&request, false, own), own, "of anybody: {name}: {value}");
    }
}
