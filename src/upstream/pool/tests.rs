use super::*;
use crate::config;
use std::collections::HashMap;
use std::path::Path;
use tokio::runtime::Builder;

/// The pool of an origin with these lines.
fn pool(lines: &str) -> Arc<Pool> {
    let text = format!("[[origin]]\nname = 'o'\n{lines}\n[[site]]\nhosts = ['*']\norigin = 'o'\n");
    let settings = config::check(&text, "test", Path::new("")).settings;
    let origin = settings.unwrap_or_else(|| panic!("{lines}")).origins[0].clone();
    let metrics = Metrics::new(&[], &[]);
    Arc::new(Pool::new(0, origin, metrics, &Owed::default()).expect("a pool"))
}

/// With servers of these weights.
fn weighted(balance: &str, weights: &[usize]) -> Arc<Pool> {
    let servers = weights.iter().enumerate().map(|(number, weight)| {
        format!("{{ url = 'http://10.0.0.{}:80', weight = {weight} }}", number + 1)
    });
    let servers: Vec<_> = servers.collect();
    pool(&format!("balance = '{balance}'\nservers = [{}]", servers.join(", ")))
}

fn key(number: usize) -> Vec<u8> {
    format!("http://a.test/{number}").into_bytes()
}

fn pick(pool: &Pool, key: &[u8], tried: &[usize]) -> Option<usize> {
    pool.pick(key, tried, Instant::now())
}

fn eject(pool: &Pool, server: usize) {
    for _ in 0..pool.settings.ejection.failures {
        pool.failed(server, Fault::Refused);
    }
    assert!(!pool.servers[server].health.is_in());
}

#[test]
fn in_turns_each_server_gets_its_share() {
    let pool = weighted("round_robin", &[1, 2, 5]);
    let mut counts = [0; 3];
    for number in 0..800 {
        counts[pick(&pool, &key(number), &[]).expect("a server")] += 1;
    }
    assert_eq!(counts, [100, 200, 500]);
    let pool = weighted("round_robin", &[1, 1, 1]);
    let picked: Vec<_> = (0..6).map(|_| pick(&pool, b"", &[]).expect("a server")).collect();
    assert_eq!(picked, [0, 1, 2, 0, 1, 2], "in the order of the file");
}

#[test]
fn the_least_load_is_measured_by_weight_and_those_with_the_same_take_turns() {
    let pool = weighted("least_conn", &[1, 3]);
    let mut loads = Vec::new();
    for number in 0..40 {
        let server = pick(&pool, &key(number), &[]).expect("a server");
        loads.push(pool.servers[server].load());
    }
    let requests = || pool.servers.iter().map(Server::requests).collect::<Vec<_>>();
    assert_eq!(requests(), [10, 30]);
    drop(loads);
    assert_eq!(requests(), [0, 0]);
    let pool = weighted("least_conn", &[1, 1]);
    let picked: Vec<_> = (0..4).map(|_| pick(&pool, b"", &[]).expect("a server")).collect();
    assert_eq!(picked, [0, 1, 0, 1]);
}

#[test]
fn a_key_has_one_server_and_only_those_of_a_server_that_goes_move() {
    let pool = weighted("hash", &[1, 1, 1, 1]);
    let keys: Vec<_> = (0..2000).map(key).collect();
    let homes = |pool: &Pool| -> Vec<usize> {
        keys.iter().map(|key| pick(pool, key, &[]).expect("a server")).collect()
    };
    let before = homes(&pool);
    assert_eq!(before, homes(&pool));
    for server in 0..4 {
        let share = before.iter().filter(|home| **home == server).count();
        assert!((300..=700).contains(&share), "{share} of 2000 keys");
    }
    eject(&pool, 2);
    let mut moved = HashMap::new();
    for (before, after) in before.iter().zip(homes(&pool)) {
        match *before {
            2 => *moved.entry(after).or_insert(0) += 1,
            other => assert_eq!(other, after),
        }
    }
    // They do not all go to one neighbour.
    assert_eq!(moved.len(), 3, "{moved:?}");
    assert!(!moved.contains_key(&2));
}

#[test]
fn the_ring_does_not_depend_on_the_order_in_the_file() {
    let urls = ["http://a.test", "https://b.test:8443", "unix:/run/c.sock", "http://[::1]:3000"];
    let ring = |urls: &[&str]| pool(&format!("balance = 'hash'\nservers = {urls:?}"));
    let reversed: Vec<&str> = urls.iter().rev().copied().collect();
    let (one, other) = (ring(&urls), ring(&reversed));
    for number in 0..500 {
        let home = |pool: &Pool| {
            let server = pick(pool, &key(number), &[]).expect("a server");
            pool.servers[server].settings.url()
        };
        assert_eq!(home(&one), home(&other));
    }
}

#[test]
fn who_was_tried_is_out_or_is_down_is_not_picked() {
    for balance in ["round_robin", "least_conn", "hash"] {
        let pool = weighted(balance, &[1, 1, 1]);
        for number in 0..100 {
            let (key, mut tried) = (key(number), Vec::new());
            while let Some(server) = pick(&pool, &key, &tried) {
                assert!(!tried.contains(&server), "{balance}");
                tried.push(server);
            }
            tried.sort_unstable();
            assert_eq!(tried, [0, 1, 2], "{balance}");
        }
        eject(&pool, 0);
        for _ in 0..3 {
            take_down(&pool, 1);
        }
        for number in 0..100 {
            assert_eq!(pick(&pool, &key(number), &[]), Some(2), "{balance}");
            assert_eq!(pick(&pool, &key(number), &[2]), None, "{balance}");
        }
        let now = Instant::now();
        assert!(pool.has_other(&[], now) && !pool.has_other(&[2], now), "{balance}");
        // Its time is over: one request finds out.
        let later = now + pool.settings.ejection.time;
        assert!(pool.has_other(&[2], later));
        assert_eq!(pool.pick(b"", &[2], later), Some(0), "{balance}");
        assert_eq!(pool.pick(b"", &[2], later), None, "{balance}");
    }
}

fn take_down(pool: &Pool, server: usize) {
    let settings = HealthCheck {
        path: "/".to_owned(),
        host: None,
        interval: std::time::Duration::from_secs(1),
        timeout: std::time::Duration::from_secs(1),
        healthy_after: 1,
        unhealthy_after: 1,
        expect: vec![200],
    };
    pool.checked(server, Err(Trouble::Status(500)), &settings);
}

#[test]
fn one_of_hardly_any_weight_is_found_when_nobody_else_is_left() {
    let pool = weighted("hash", &[256, 1]);
    eject(&pool, 0);
    for number in 0..10 {
        assert_eq!(pick(&pool, &key(number), &[]), Some(1));
    }
}

#[test]
fn the_last_one_in_is_not_ejected_for_its_answers() {
    let pool = weighted("round_robin", &[1, 1, 1]);
    take_down(&pool, 0);
    for _ in 0..100 {
        pool.failed(1, Fault::Silent);
        pool.failed(2, Fault::Silent);
    }
    let is_in: Vec<_> = pool.servers.iter().map(|server| server.health.is_in()).collect();
    assert_eq!(is_in, [false, false, true]);
    assert!(!pool.is_last(1) && pool.is_last(2));
}

#[test]
fn servers_that_fail_at_one_time_leave_the_last_one_in() {
    for _ in 0..20 {
        let pool = weighted("round_robin", &[1, 1, 1, 1]);
        let start = std::sync::Barrier::new(4);
        std::thread::scope(|scope| {
            for server in 0..4 {
                let (pool, start) = (&pool, &start);
                scope.spawn(move || {
                    start.wait();
                    (0..10).for_each(|_| pool.failed(server, Fault::Silent));
                });
            }
        });
        let left = pool.servers.iter().filter(|server| server.health.is_in()).count();
        assert_eq!(left, 1);
    }
}

#[test]
fn the_reason_of_a_pool_without_servers_is_what_put_them_out() {
    let pool = weighted("round_robin", &[1, 1]);
    assert_eq!(pool.fault(), Fault::Down);
    take_down(&pool, 0);
    take_down(&pool, 1);
    assert_eq!(pool.fault(), Fault::Down);
    let pool = weighted("round_robin", &[1, 1]);
    // What is over is no reason.
    pool.failed(1, Fault::Tls);
    take_down(&pool, 1);
    for _ in 0..pool.settings.ejection.failures {
        pool.failed(0, Fault::ConnectTimeout);
    }
    assert_eq!(pool.fault(), Fault::ConnectTimeout);
}

#[test]
fn servers_of_one_host_have_names_of_their_own() {
    let pool = pool("servers = ['http://a.test', 'https://a.test', 'http://b.test']");
    let names: Vec<_> = pool.servers.iter().map(|server| server.name.as_str()).collect();
    assert_eq!(names, ["http://a.test", "https://a.test", "b.test"]);
}

#[test]
fn retries_are_a_share_of_the_requests_beyond_a_small_reserve() {
    let pool = pool("servers = ['http://10.0.0.1', 'http://10.0.0.2']\nretry_budget = 20");
    let affords = || std::iter::from_fn(|| pool.affords_retry().then_some(())).count();
    assert_eq!(affords(), 10);
    (0..4).for_each(|_| pool.earn());
    assert!(!pool.affords_retry());
    pool.earn();
    assert_eq!(affords(), 1);
    (0..100).for_each(|_| pool.earn());
    assert_eq!(affords(), 10, "no more than the reserve");
    (0..25).for_each(|_| pool.earn());
    assert_eq!(affords(), 5);
}

#[test]
fn a_budget_of_nothing_earns_nothing() {
    let pool = pool("servers = ['http://10.0.0.1', 'http://10.0.0.2']\nretry_budget = 0");
    while pool.affords_retry() {}
    (0..1000).for_each(|_| pool.earn());
    assert!(!pool.affords_retry());
}

fn run<T>(test: impl Future<Output = T>) -> T {
    Builder::new_current_thread().enable_time().build().expect("a runtime").block_on(test)
}

#[test]
fn places_and_those_who_wait_for_them_are_bounded() {
    let pool = pool("servers = ['http://10.0.0.1']\nrequests = 2\nqueue = 2");
    run(async {
        let first = pool.place().await.expect("a place");
        let second = pool.place().await.expect("a place");
        assert_eq!((pool.requests(), pool.waiting()), (2, 0));
        let wait = || {
            let pool = pool.clone();
            tokio::spawn(async move { pool.place().await })
        };
        let (third, fourth) = (wait(), wait());
        while pool.waiting() < 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!(pool.place().await.map(drop), Err(Fault::Busy));
        assert_eq!(pool.waiting(), 2);
        // First come, first served.
        drop(first);
        let third = third.await.expect("no panic").expect("a place");
        assert!(!fourth.is_finished());
        // Whoever leaves waits no more.
        fourth.abort();
        assert!(fourth.await.expect_err("it left").is_cancelled());
        assert_eq!((pool.requests(), pool.waiting()), (2, 0));
        drop((second, third));
        assert_eq!(pool.requests(), 0);
    });
}

#[test]
fn nobody_waits_for_a_place_for_ever() {
    let pool = pool("servers = ['http://10.0.0.1']\nrequests = 1\nqueue_timeout = '1ms'");
    run(async {
        let place = pool.place().await.expect("a place");
        assert_eq!(pool.place().await.map(drop), Err(Fault::Busy));
        assert_eq!(pool.waiting(), 0);
        drop(place);
        assert!(pool.place().await.is_ok());
    });
}
