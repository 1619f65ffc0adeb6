//! Which items of a wish concern which origin, and so its parents.

use brim::config;
use brim::rules::purging::{Shares, Wish};
use brim::rules::site::SiteMap;
use std::path::Path;

/// Sites of the origins 0 and 1, and one of 1 that leaves queries out of its keys.
fn sites() -> SiteMap {
    let origin = |name| format!("[[origin]]\nname = '{name}'\nservers = ['http://127.0.0.1:1']\n");
    let site = |host, origin| format!("[[site]]\nhosts = ['{host}']\norigin = '{origin}'\n");
    let text = [
        origin("zero"),
        origin("one"),
        site("a.test", "zero"),
        site("b.test", "one"),
        site("plain.test", "one") + "[site.key]\nquery = 'none'\n",
    ];
    let checked = config::check(&text.concat(), "test", Path::new(""));
    SiteMap::new(&checked.settings.unwrap_or_else(|| panic!("{:?}", checked.problems)).sites)
}

fn list(items: &[&str]) -> Vec<String> {
    items.iter().map(|item| (*item).to_owned()).collect()
}

#[test]
fn an_origins_parents_are_told_of_its_own_sites_only() {
    let wish = Wish {
        urls: list(&["http://a.test/1", "https://b.test:8443/2"]),
        prefixes: list(&["a.test/p", "http://b.test/q"]),
        hosts: list(&["A.test.", "b.test:81"]),
        tags: list(&["t"]),
        soft: true,
        wait: true,
        ..Wish::default()
    };
    let shares = Shares::of(&wish, &sites());
    let zero = Wish {
        urls: list(&["http://a.test/1"]),
        prefixes: list(&["a.test/p"]),
        hosts: list(&["A.test."]),
        tags: list(&["t"]),
        soft: true,
        ..Wish::default()
    };
    assert_eq!(shares.of_origins(&[0]), Some(zero));
    let tags = Wish { tags: list(&["t"]), soft: true, ..Wish::default() };
    assert_eq!(shares.of_origins(&[7]), Some(tags));
    let both = shares.of_origins(&[0, 1]).expect("something");
    assert_eq!((both.urls, both.prefixes.len(), both.hosts.len()), (wish.urls, 2, 2));
    let none = Shares::of(&Wish { urls: list(&["b.test/"]), ..Wish::default() }, &sites());
    assert_eq!(none.of_origins(&[0]), None);
}

#[test]
fn everything_is_everything_everywhere() {
    let wish = Wish { all: true, urls: list(&["a.test/"]), ..Wish::default() };
    let all = Wish { all: true, ..Wish::default() };
    assert_eq!(Shares::of(&wish, &sites()).of_origins(&[5]), Some(all));
}

#[test]
fn where_queries_are_left_out_parents_forget_them_all() {
    let of = |url: &str| {
        let shares = Shares::of(&Wish { urls: list(&[url]), ..Wish::default() }, &sites());
        shares.of_origins(&[1]).expect("something").all_queries
    };
    assert!(of("http://plain.test/x"));
    assert!(!of("http://b.test/x"));
}
