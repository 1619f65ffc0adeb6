//! The parent tier: edges that ask other Brims before they ask the origin.

use crate::kit::{Brim, Client, Gate, NOBODY, Origin, get, ok_with};
use rustix::process::Signal;
use std::fmt::Display;
use std::sync::Arc;

fn parent_of(origin: &Origin) -> Brim {
    parent_before(&origin.address())
}

fn parent_before(origin: &dyn Display) -> Brim {
    Brim::configured(&format!(
        "[server]\nhttp = ['127.0.0.1:0']\ntrusted_proxies = ['127.0.0.0/8']\n\
         [[origin]]\nname = 'main'\nservers = ['http://{origin}']\n\
         [[site]]\nhosts = ['*']\norigin = 'main'\n"
    ))
}

/// An edge that asks these parents before an origin.
fn edge_of(parents: &[&dyn Display], origin: &dyn Display, site: &str) -> Brim {
    let parents: Vec<_> = parents.iter().map(|address| format!("'http://{address}'")).collect();
    Brim::configured(&format!(
        "[server]\nhttp = ['127.0.0.1:0']\n\
         [[origin]]\nname = 'shield'\nservers = [{}]\n\
         [[origin]]\nname = 'main'\nservers = ['http://{origin}']\nparent = 'shield'\n\
         [[site]]\nhosts = ['*']\norigin = 'main'\n{site}\n",
        parents.join(", ")
    ))
}

/// Two edges in front of two parents in front of one origin.
struct Tree {
    edges: [Brim; 2],
    parents: [Brim; 2],
}

fn tree(origin: &Origin) -> Tree {
    let parents = [parent_of(origin), parent_of(origin)];
    let [one, two] = parents.each_ref().map(Brim::address);
    // The order in the file must not matter.
    let edges = [
        edge_of(&[&one, &two], &origin.address(), ""),
        edge_of(&[&two, &one], &origin.address(), ""),
    ];
    Tree { edges, parents }
}

/// Fetches through the cache that this one has asked for, by what they led to.
fn asked(brim: &Brim, origin: &str) -> u64 {
    brim.metric(&format!("brim_origin_requests_total{{origin=\"{origin}\",status_class=\"2xx\"}}"))
}

const HOUR: &str = "Cache-Control: max-age=3600\r\nETag: \"v\"\r\n";

/// What the origin has under a path: so much that it takes a while.
fn content(path: &str) -> String {
    format!("{path} ").repeat(20_000)
}

fn serving_contents() -> Origin {
    Origin::serving(|head, _| {
        let path = head.split(' ').nth(1).unwrap_or_default();
        let content = content(path);
        let range = head.lines().find_map(|line| line.strip_prefix("Range: bytes="));
        let Some((first, last)) = range.and_then(|range| range.split_once('-')) else {
            return ok_with(HOUR, &content);
        };
        let first: usize = first.parse().expect("a number");
        let last = last.parse().unwrap_or(content.len() - 1).min(content.len() - 1);
        let part = &content[first..=last];
        format!(
            "HTTP/1.1 206 Partial Content\r\n{HOUR}Content-Range: bytes {first}-{last}/{}\r\n\
             Content-Length: {}\r\n\r\n{part}",
            content.len(),
            part.len()
        )
    })
}

#[test]
fn many_clients_of_many_edges_cost_the_origin_one_fetch() {
    let asked = Gate::default();
    let answer = Gate::default();
    let origin = Origin::start({
        let (asked, answer) = (asked.clone(), answer.clone());
        move |peer| {
            while peer.head().is_some() {
                asked.add_one();
                answer.wait_for(1);
                peer.send(ok_with(HOUR, "once"));
            }
        }
    });
    let tree = tree(&origin);
    let mut clients: Vec<Client> = Vec::new();
    for edge in &tree.edges {
        for _ in 0..20 {
            let mut client = Client::connect(edge.address());
            client.send(get("/cold"));
            clients.push(client);
        }
    }
    asked.wait_for(1);
    for edge in &tree.edges {
        edge.wait_for_metric("brim_fills_in_flight", 1);
    }
    answer.add_one();
    for mut client in clients {
        assert_eq!(client.answer().text(), "once");
    }
    assert_eq!(origin.requests(), 1);
}

#[test]
fn every_object_has_one_home_among_the_parents() {
    let origin = Origin::serving(|_, _| ok_with(HOUR, "x"));
    let tree = tree(&origin);
    for edge in &tree.edges {
        let mut client = Client::connect(edge.address());
        for number in 0..60 {
            assert_eq!(client.ask(get(&format!("/{number}"))).status, 200);
        }
    }
    assert_eq!(origin.requests(), 60);
    let shares = tree.parents.each_ref().map(|parent| asked(parent, "main"));
    assert_eq!(shares.iter().sum::<u64>(), 60);
    assert!(shares.iter().all(|share| *share > 10), "{shares:?}");
    // The edges have not asked the origin themselves.
    assert!(tree.edges.iter().all(|edge| asked(edge, "main") == 0 && asked(edge, "shield") == 60));
}

#[test]
fn a_parent_that_is_down_is_skipped_and_where_all_are_the_origin_is_asked() {
    let origin = Origin::serving(|_, _| ok_with(HOUR, "x"));
    let parent = parent_of(&origin);
    for (parents, by_parent, by_edge) in [
        (vec![&NOBODY as &dyn Display, &parent.address()], 20, 0),
        (vec![&NOBODY as &dyn Display, &"127.0.0.78:9"], 0, 20),
    ] {
        let edge = edge_of(&parents, &origin.address(), "");
        let mut client = Client::connect(edge.address());
        for number in 0..20 {
            let path = format!("/{}/{number}", by_parent);
            assert_eq!(client.ask(get(&path)).status, 200);
        }
        assert_eq!((asked(&edge, "shield"), asked(&edge, "main")), (by_parent, by_edge));
    }
}

#[test]
fn a_parent_that_dies_under_load_is_nothing_that_a_client_sees() {
    const CLIENTS: usize = 8;
    const EACH: usize = 150;
    let origin = serving_contents();
    let mut tree = tree(&origin);
    let done = Gate::default();
    let addresses = tree.edges.each_ref().map(Brim::address);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (done, address) = (done.clone(), addresses[client % 2]);
            std::thread::spawn(move || {
                let mut connection = Client::connect(address);
                for number in 0..EACH {
                    // Some that nobody has asked for, and some that others have.
                    let path = match number % 3 {
                        0 => format!("/common/{number}"),
                        _ => format!("/own/{client}/{number}"),
                    };
                    let answer = connection.ask(get(&path));
                    assert!(answer.status == 200 && answer.is_whole, "{path} {}", answer.head);
                    assert!(answer.text() == content(&path), "{path}: another content");
                    done.add_one();
                }
            })
        })
        .collect();
    done.wait_for(CLIENTS * EACH / 4);
    tree.parents[0].signal(Signal::KILL);
    tree.parents[0].wait();
    for client in clients {
        client.join().expect("no client saw anything");
    }
    assert!(tree.edges.iter().all(|edge| asked(edge, "shield") > 0));
}

#[test]
fn a_parent_is_asked_with_the_clients_host_also_where_the_origin_is_not() {
    let origin = Origin::serving(|_, _| ok_with(HOUR, "x"));
    let parent = parent_of(&origin);
    let edge = edge_of(&[&parent.address()], &origin.address(), "host_header = 'origin'");
    let mut client = Client::connect(edge.address());
    assert_eq!(client.ask(get("/")).status, 200);
    assert!(parent.access_log("\"host\":\"a.test\"").contains("\"/\""));
    assert!(origin.only_head().contains("\r\nHost: a.test\r\n"));
}

#[test]
fn what_a_request_changes_is_out_of_date_at_the_parent_too() {
    let origin = Origin::serving(|_, number| ok_with(HOUR, &number.to_string()));
    let tree = tree(&origin);
    let mut client = Client::connect(tree.edges[0].address());
    assert_eq!(client.ask(get("/a")).text(), "0");
    assert_eq!(client.ask(get("/a")).text(), "0");
    let post = "POST /a HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi";
    assert_eq!(client.ask(post).text(), "1");
    assert_eq!(client.ask(get("/a")).text(), "2");
    // One that has to be repeated by nobody is sent once.
    let posts = origin.heads().iter().filter(|head| head.starts_with("POST")).count();
    assert_eq!(posts, 1);
}

#[test]
fn what_is_not_for_caches_does_not_go_through_parents() {
    let origin = Arc::new(Origin::serving(|_, _| ok_with("", "x")));
    let parent = parent_of(&origin);
    let rule = "[[site.rule]]\npath = '/never'\ncache = false";
    let edge = edge_of(&[&parent.address()], &origin.address(), rule);
    let mut client = Client::connect(edge.address());
    assert_eq!(client.ask(get("/never")).status, 200);
    assert_eq!((asked(&edge, "shield"), asked(&edge, "main")), (0, 1));
}

#[test]
fn a_large_content_in_chunks_comes_through_parents_part_by_part() {
    let origin = serving_contents();
    let parent = parent_of(&origin);
    let edge = edge_of(&[&parent.address()], &origin.address(), "");
    let mut client = Client::connect(edge.address());
    let whole = content("/big");
    for (range, part) in
        [("1000-1999", &whole[1000..2000]), ("0-9", &whole[..10]), ("90000-", &whole[90_000..])]
    {
        let answer = client
            .ask(format!("GET /big HTTP/1.1\r\nHost: a.test\r\nRange: bytes={range}\r\n\r\n"));
        assert_eq!((answer.status, &*answer.text()), (206, part), "{range}");
    }
    assert_eq!(client.ask(get("/big")).text(), whole);
    assert_eq!(asked(&edge, "main"), 0);
}

#[test]
fn a_parent_without_a_way_to_the_origin_is_not_the_last_to_be_asked() {
    let origin = Origin::serving(|_, _| ok_with(HOUR, "x"));
    let cut_off = parent_before(&NOBODY);
    let edge = edge_of(&[&cut_off.address()], &origin.address(), "");
    assert_eq!(Client::connect(edge.address()).ask(get("/")).text(), "x");
    assert_eq!(asked(&edge, "main"), 1);
}
