//! The tally is exact for whoever has an entry, and bounded for all.

use super::*;
use std::net::Ipv6Addr;
use std::thread;

const NOTHING: Allowance = Allowance { at_once: 0, rate: 0, burst: 0 };

fn subject(address: &str) -> Subject {
    Subject { network: Network::of(address.parse().expect("an address")), door: 1 }
}

fn milliseconds(count: u64) -> Duration {
    Duration::from_millis(count)
}

#[test]
fn a_client_network_is_an_ipv4_address_or_the_first_half_of_an_ipv6_one() {
    let network = |address: &str| Network::of(address.parse().expect("an address"));
    assert_eq!(network("2001:db8:1:2::1"), network("2001:db8:1:2:ffff::2"));
    assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
    assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
    assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
    // The numbers are the same, the networks are not.
    assert_ne!(network("0.0.0.1"), network("0:0:0:1::"));
}

#[test]
fn a_place_is_free_again_when_it_is_left() {
    let tally = Tally::new();
    let two = Allowance { at_once: 2, ..NOTHING };
    let admit = |address| tally.admit(subject(address), two, Duration::ZERO);
    let first = admit("192.0.2.1").expect("a place");
    let _second = admit("192.0.2.1").expect("a place");
    assert_eq!(admit("192.0.2.1").err(), Some(Excess::AtOnce));
    let _another = admit("192.0.2.2").expect("others have places of their own");
    drop(first);
    let _third = admit("192.0.2.1").expect("a place");
    assert_eq!(admit("192.0.2.1").err(), Some(Excess::AtOnce));
}

#[test]
fn places_hold_exactly_when_many_come_at_once() {
    const AT_ONCE: usize = 100;
    let tally = Tally::new();
    let allowance = Allowance { at_once: AT_ONCE, ..NOTHING };
    let admitted: usize = thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let admit = |_| tally.admit(subject("192.0.2.1"), allowance, Duration::ZERO);
                    let places: Vec<_> = (0..AT_ONCE).map(admit).filter_map(Result::ok).collect();
                    let count = places.len();
                    places.into_iter().for_each(std::mem::forget);
                    count
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().expect("joined")).sum()
    });
    assert_eq!(admitted, AT_ONCE);
}

#[test]
fn a_burst_is_taken_at_once_and_the_rest_at_the_rate() {
    let tally = Tally::new();
    let allowance = Allowance { rate: 10, burst: 3, ..NOTHING };
    let admit = |now| tally.admit(subject("192.0.2.1"), allowance, milliseconds(now)).map(drop);
    for _ in 0..3 {
        assert_eq!(admit(5000), Ok(()));
    }
    assert_eq!(admit(5000), Err(Excess::Rate(milliseconds(100))));
    assert_eq!(admit(5060), Err(Excess::Rate(milliseconds(40))), "it tells when to come again");
    assert_eq!(admit(5100), Ok(()), "and keeps its word");
    assert_eq!(admit(5100), Err(Excess::Rate(milliseconds(100))));
    for _ in 0..3 {
        assert_eq!(admit(60_000), Ok(()), "no more than a burst is saved up");
    }
    assert!(admit(60_000).is_err());
}

#[test]
fn over_any_time_no_more_come_than_the_burst_and_the_rate_allow() {
    for (rate, burst) in [(1, 1), (3, 7), (1000, 1), (999_999, 1_000_000)] {
        let tally = Tally::new();
        let allowance = Allowance { rate, burst, ..NOTHING };
        let tries = (0..3000).flat_map(|now| [now, now]);
        let admit = |now| tally.admit(subject("192.0.2.1"), allowance, milliseconds(now)).is_ok();
        let admitted = tries.filter(|now| admit(*now)).count() as u64;
        // A rate that does not divide a second is rounded in the client's favour, by less than one.
        assert!(admitted <= u64::from(burst) + 3 * u64::from(rate) + 1, "{admitted} of {rate}");
        assert!(admitted >= (3 * u64::from(rate)).min(6000) - 1, "{admitted} of {rate}");
    }
}

#[test]
fn what_is_refused_is_not_charged() {
    let tally = Tally::new();
    let allowance = Allowance { rate: 1, burst: 1, ..NOTHING };
    let admit = |now| tally.admit(subject("192.0.2.1"), allowance, milliseconds(now)).map(drop);
    assert_eq!(admit(0), Ok(()));
    for _ in 0..1000 {
        assert!(admit(500).is_err());
    }
    assert_eq!(admit(1000), Ok(()));
}

#[test]
fn a_million_client_networks_fit_into_a_bounded_amount_of_memory() {
    let tally = Tally::new();
    let allowance = Allowance { at_once: 10, rate: 10, burst: 10 };
    let admit = |network: Network| {
        tally.admit(Subject { network, door: 1 }, allowance, milliseconds(1)).map(drop)
    };
    let attacked = Network::of("2001:db8::1".parse().expect("an address"));
    let held = tally.admit(Subject { network: attacked, door: 0 }, allowance, milliseconds(1));
    for number in 0..1_000_000_u128 {
        let address = Ipv6Addr::from_bits((0x2001_0db8_0000_0000_u128 << 64) + (number << 64));
        assert_eq!(admit(Network::of(address.into())), Ok(()), "each is a client of its own");
    }
    let entries: usize = tally.shards.iter().map(|shard| locked(shard).capacity()).sum();
    let bytes = entries * size_of::<Entry>();
    assert!(bytes <= 10 << 20, "{bytes} bytes");
    // Whoever is at it keeps its entry through all of that.
    let in_use = |shard: &Mutex<Vec<Entry>>| {
        locked(shard)
            .iter()
            .filter(|entry| entry.subject.network == attacked && entry.in_use == 1)
            .count()
    };
    assert_eq!(tally.shards.iter().map(in_use).sum::<usize>(), 1);
    drop(held);
}

#[test]
fn a_flood_of_places_in_use_locks_nobody_out() {
    let tally = Tally::new();
    let allowance = Allowance { at_once: 1, ..NOTHING };
    let subject = |number: u64| Subject { network: Network { bits: number, is_v6: true }, door: 1 };
    let count = 2 * (SHARDS * SETS * WAYS) as u64;
    let places: Vec<_> = (0..count)
        .map(|number| tally.admit(subject(number), allowance, Duration::ZERO).expect("let in"))
        .collect();
    drop(places);
    for shard in &tally.shards {
        assert!(locked(shard).iter().all(|entry| entry.in_use == 0), "every place was given back");
    }
}
