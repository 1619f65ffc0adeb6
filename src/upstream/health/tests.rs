use super::*;
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);
const EJECTION: Ejection = Ejection { failures: 3, time: SECOND, time_max: Duration::from_secs(8) };

fn checks() -> HealthCheck {
    HealthCheck {
        path: "/".to_owned(),
        host: None,
        interval: SECOND,
        timeout: SECOND,
        healthy_after: 2,
        unhealthy_after: 3,
        expect: vec![200],
    }
}

/// A server with a clock of its own.
struct Server {
    health: Health,
    now: Instant,
}

impl Server {
    fn new() -> Self {
        Self { health: Health::default(), now: Instant::now() }
    }

    fn after(&mut self, time: Duration) -> &mut Self {
        self.now += time;
        self
    }

    fn fails(&self, fault: Fault) -> Option<Change> {
        self.health.failed(fault, self.now, false, &EJECTION)
    }

    fn fails_as_last(&self, fault: Fault) -> Option<Change> {
        self.health.failed(fault, self.now, true, &EJECTION)
    }

    fn succeeds(&self) -> Option<Change> {
        self.health.succeeded(self.now)
    }

    fn is_found(&self, result: Result<(), Trouble>) -> Option<Change> {
        self.health.checked(result, self.now, &checks())
    }

    /// Whether a request may go there; this one does.
    fn admits(&self) -> bool {
        let would = self.health.would_admit(self.now);
        let does = self.health.admits(self.now, &EJECTION);
        assert_eq!(would, does);
        does
    }

    fn standing(&self) -> Standing {
        let standing = self.health.condition(self.now).standing;
        assert_eq!(standing == Standing::In, self.health.is_in());
        standing
    }

    /// Failures until it is out; for how long.
    fn is_taken_out(&self) -> Duration {
        for _ in 1..EJECTION.failures {
            assert_eq!(self.fails(Fault::Silent), None);
            assert!(self.admits());
        }
        match self.fails(Fault::Silent) {
            Some(Change::Ejected(time)) => time,
            other => panic!("{other:?}"),
        }
    }
}

fn left(standing: Standing) -> Duration {
    match standing {
        Standing::Ejected { left, .. } => left,
        other => panic!("{other:?}"),
    }
}

#[test]
fn failures_in_a_row_take_a_server_out_and_successes_between_them_do_not() {
    let server = Server::new();
    for _ in 0..10 {
        assert_eq!((server.fails(Fault::Closed), server.fails(Fault::Closed)), (None, None));
        assert_eq!(server.succeeds(), None);
    }
    assert_eq!(server.is_taken_out(), SECOND);
    assert!(!server.admits());
    assert_eq!(server.health.fault(), Some(Fault::Silent));
    let since = server.now;
    let expected = Standing::Ejected { fault: Fault::Silent, since, left: SECOND };
    assert_eq!(server.standing(), expected);
    assert_eq!(server.health.condition(server.now).failures, 3);
}

#[test]
fn no_failure_takes_a_server_out_where_that_is_switched_off() {
    let (server, never) = (Server::new(), Ejection { failures: 0, ..EJECTION });
    for _ in 0..100 {
        assert_eq!(server.health.failed(Fault::Refused, server.now, false, &never), None);
    }
    assert_eq!(server.standing(), Standing::In);
}

#[test]
fn one_request_finds_out_whether_a_server_is_back_and_the_others_stay_away() {
    let mut server = Server::new();
    server.is_taken_out();
    assert!(!server.after(SECOND - Duration::from_millis(1)).admits());
    assert!(server.after(Duration::from_millis(1)).admits());
    assert!(!server.admits() && !server.admits());
    assert_eq!(server.succeeds(), Some(Change::Back));
    assert_eq!((server.standing(), server.health.fault()), (Standing::In, None));
    assert!(server.admits() && server.admits());
}

#[test]
fn a_probe_that_never_tells_is_followed_by_another() {
    let mut server = Server::new();
    server.is_taken_out();
    for _ in 0..5 {
        assert!(server.after(SECOND).admits());
        assert!(!server.admits());
    }
    assert_ne!(server.standing(), Standing::In);
}

#[test]
fn the_time_doubles_with_each_probe_that_fails_up_to_its_limit() {
    let mut server = Server::new();
    server.is_taken_out();
    let since = server.now;
    for seconds in [2, 4, 8, 8, 8] {
        let wait = left(server.standing());
        assert!(server.after(wait).admits());
        assert_eq!(server.fails(Fault::Refused), None, "that it is out is known");
        assert_eq!(left(server.standing()), SECOND * seconds);
        assert!(
            matches!(server.standing(), Standing::Ejected { since: told, .. } if told == since)
        );
    }
}

#[test]
fn requests_that_were_under_way_when_a_server_was_taken_out_change_nothing() {
    let mut server = Server::new();
    server.is_taken_out();
    for _ in 0..1000 {
        assert_eq!(server.fails(Fault::Closed), None);
    }
    assert_eq!(left(server.standing()), SECOND);
    assert_eq!(server.health.fault(), Some(Fault::Silent));
    assert!(server.after(SECOND).admits());
    // Of several that fail while one finds out, one counts.
    for _ in 0..1000 {
        server.fails(Fault::Closed);
    }
    assert_eq!(left(server.standing()), SECOND * 2);
}

#[test]
fn the_growth_is_forgotten_once_a_server_was_well_for_long_enough() {
    for (well, next) in [(EJECTION.time_max - Duration::from_millis(1), 4), (EJECTION.time_max, 1)]
    {
        let mut server = Server::new();
        server.is_taken_out();
        assert!(server.after(SECOND).admits());
        server.fails(Fault::Silent);
        assert!(server.after(SECOND * 2).admits());
        assert_eq!(server.succeeds(), Some(Change::Back));
        assert_eq!(server.after(well).is_taken_out(), SECOND * next, "{well:?}");
    }
}

#[test]
fn the_last_server_is_only_out_for_want_of_a_connection_and_never_for_longer() {
    let mut server = Server::new();
    for fault in [Fault::Silent, Fault::Closed, Fault::Garbage("x"), Fault::Truncated] {
        for _ in 0..10 {
            assert_eq!(server.fails_as_last(fault), None);
        }
        assert_eq!(server.standing(), Standing::In);
    }
    for fault in [Fault::Refused, Fault::Unreachable, Fault::ConnectTimeout, Fault::Tls] {
        assert_eq!(server.fails_as_last(fault), Some(Change::Ejected(SECOND)));
        for _ in 0..10 {
            assert!(!server.admits());
            assert_eq!(server.health.fault(), Some(fault));
            assert!(server.after(SECOND).admits());
            assert_eq!(server.fails_as_last(fault), None);
            assert_eq!(left(server.standing()), SECOND);
        }
        // It connects again, whatever comes then.
        assert!(server.after(SECOND).admits());
        assert_eq!(server.fails_as_last(Fault::Silent), Some(Change::Back));
        assert_eq!(server.standing(), Standing::In);
    }
}

#[test]
fn what_the_last_one_was_out_for_does_not_make_its_next_time_longer() {
    let mut server = Server::new();
    for _ in 0..20 {
        server.fails_as_last(Fault::Refused);
        server.after(SECOND).admits();
    }
    assert_eq!(server.succeeds(), Some(Change::Back));
    assert_eq!(server.is_taken_out(), SECOND);
}

#[test]
fn checks_take_a_server_down_and_bring_it_back_after_so_many_in_a_row() {
    let mut server = Server::new();
    let bad = || Err(Trouble::Status(503));
    for _ in 0..5 {
        assert_eq!((server.is_found(bad()), server.is_found(bad())), (None, None));
        assert_eq!((server.is_found(Ok(())), server.standing()), (None, Standing::In));
    }
    server.is_found(bad());
    server.is_found(bad());
    assert!(server.admits(), "not yet");
    let trouble = Trouble::Status(503);
    assert_eq!(server.is_found(bad()), Some(Change::Down(trouble)));
    let since = server.now;
    assert_eq!(server.standing(), Standing::Down { trouble, since });
    assert!(!server.after(SECOND * 1000).admits());
    // The reason follows, once it is out the count does not matter, and it is told once.
    assert_eq!(server.is_found(Ok(())), None);
    let trouble = Trouble::Fault(Fault::Refused);
    assert_eq!(server.is_found(Err(trouble)), None);
    assert_eq!(server.standing(), Standing::Down { trouble, since });
    assert_eq!(server.is_found(Ok(())), None);
    assert!(!server.admits(), "not yet");
    assert_eq!(server.is_found(Ok(())), Some(Change::Back));
    assert!(server.admits());
    let check = server.health.condition(server.now).check.expect("checked");
    assert_eq!((check.result, check.at), (Ok(()), server.now));
}

#[test]
fn the_first_checks_count_like_all_others() {
    let server = Server::new();
    let bad = Err(Trouble::Fault(Fault::Refused));
    assert_eq!((server.is_found(bad), server.is_found(bad)), (None, None));
    assert!(matches!(server.is_found(bad), Some(Change::Down(_))));
}

#[test]
fn whoever_is_down_is_not_brought_back_by_requests_and_comes_back_without_their_past() {
    let mut server = Server::new();
    server.is_taken_out();
    for _ in 0..3 {
        server.is_found(Err(Trouble::Status(500)));
    }
    assert_eq!(server.health.fault(), None, "it is the checks that keep it out");
    // Those that were under way.
    assert_eq!((server.succeeds(), server.fails(Fault::Refused)), (None, None));
    assert_eq!((server.fails(Fault::Refused), server.fails(Fault::Refused)), (None, None));
    assert!(!server.after(SECOND * 60).admits());
    server.is_found(Ok(()));
    assert_eq!(server.is_found(Ok(())), Some(Change::Back));
    assert_eq!(server.is_taken_out(), SECOND);
}

#[test]
fn good_checks_do_not_bring_back_whom_requests_took_out() {
    let server = Server::new();
    server.is_taken_out();
    for _ in 0..10 {
        assert_eq!(server.is_found(Ok(())), None);
    }
    assert!(!server.admits());
}

/// What may happen to a server, and after how many milliseconds.
#[derive(Clone, Debug)]
enum Event {
    Asked,
    Succeeds,
    Fails { is_refused: bool, is_last: bool },
    Checked(bool),
}

fn events() -> impl Strategy<Value = Vec<(u64, Event)>> {
    let event = prop_oneof![
        Just(Event::Asked),
        Just(Event::Succeeds),
        (any::<bool>(), any::<bool>())
            .prop_map(|(is_refused, is_last)| Event::Fails { is_refused, is_last }),
        any::<bool>().prop_map(Event::Checked),
    ];
    proptest::collection::vec((0_u64..1500, event), 0..200)
}

proptest! {
    #[test]
    fn who_only_succeeds_is_always_in(events in events()) {
        let mut server = Server::new();
        for (millis, event) in events {
            server.after(Duration::from_millis(millis));
            match event {
                Event::Asked => prop_assert!(server.admits()),
                Event::Checked(_) => prop_assert_eq!(server.is_found(Ok(())), None),
                _ => prop_assert_eq!(server.succeeds(), None),
            }
            prop_assert_eq!(server.standing(), Standing::In);
        }
    }

    #[test]
    fn whoever_is_out_is_asked_once_in_a_while_and_never_kept_out_for_longer_than_the_most(
        events in events()
    ) {
        let mut server = Server::new();
        let mut probed: Option<Instant> = None;
        for (millis, event) in events {
            let now = server.after(Duration::from_millis(millis)).now;
            let was_in = server.health.is_in();
            match event {
                Event::Asked if server.admits() && !was_in => {
                    prop_assert!(probed.is_none_or(|last| now - last >= EJECTION.time));
                    probed = Some(now);
                }
                Event::Asked => {}
                Event::Succeeds => {
                    server.succeeds();
                }
                Event::Fails { is_refused, is_last } => {
                    let fault = if is_refused { Fault::Refused } else { Fault::Silent };
                    server.health.failed(fault, now, is_last, &EJECTION);
                }
                Event::Checked(is_good) => {
                    server.is_found(if is_good { Ok(()) } else { Err(Trouble::Status(500)) });
                }
            }
            match server.standing() {
                Standing::In => probed = None,
                Standing::Ejected { left, .. } => prop_assert!(left <= EJECTION.time_max),
                Standing::Down { .. } => prop_assert!(!server.admits()),
            }
        }
    }
}
