//! Fills that are run by the client who began them, and clients who stop.

use super::*;
use crate::wire::HeadLimits;
use crate::wire::response;
use http::Method;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// No step of a test may take longer. Not waited for: whatever is awaited comes earlier.
const PATIENCE: Duration = Duration::from_secs(20);

const KEY: &[u8] = b"key";

fn need() -> Need {
    Need {
        wanted: Wanted::Whole,
        has_authorization: false,
        additions: Box::default(),
        whence: 0,
        expected: Variant::default(),
    }
}

fn in_flight() -> InFlight {
    InFlight::new(Arc::default())
}

/// A fill that was just begun, and its first client.
fn begun(in_flight: &InFlight) -> (Arc<Fill>, Ticket) {
    match in_flight.join(KEY, &need(), &Fields::default(), |_| true, || true) {
        Some(Joined::Begun(fill, owner)) => (fill, owner),
        Some(Joined::Waiting(_)) | None => panic!("it is already on its way"),
    }
}

/// Another client of the same.
fn joined(in_flight: &InFlight) -> Ticket {
    let joined = in_flight.wait(KEY, &need(), &Fields::default(), |_| true);
    joined.expect("it is on its way")
}

fn early_hints() -> ResponseHead {
    let mut bytes = b"HTTP/1.1 103 Early Hints\r\n\r\n"[..].into();
    let head = response::parse(&mut bytes, &HeadLimits::default(), &Method::GET);
    head.expect("a head").expect("a whole head")
}

fn is_verdict(event: &Event) -> bool {
    matches!(event, Event::Verdict(Verdict::Failed(Fault::Silent)))
}

/// The next thing that a client is told, who must not wait for ever.
async fn told(ticket: &mut Ticket) -> Event {
    timeout(PATIENCE, ticket.next()).await.expect("something is told")
}

/// Has a client wait for a moment, and then not any more.
async fn waits_in_vain(ticket: &mut Ticket) {
    let mut next = pin!(ticket.next());
    let told = poll_fn(|context| Poll::Ready(next.as_mut().poll(context).is_ready())).await;
    assert!(!told, "nothing is known yet");
}

#[tokio::test]
async fn a_fill_goes_on_behind_its_verdict_when_the_client_who_ran_it_stops() {
    let in_flight = in_flight();
    let (fill, mut owner) = begun(&in_flight);
    let (go_on, may_go_on) = oneshot::channel();
    let (end, ended) = oneshot::channel();
    owner.runs(async move {
        fill.tell(Verdict::Failed(Fault::Silent));
        may_go_on.await.expect("the test goes on");
        end.send(()).expect("the test listens");
    });
    assert!(is_verdict(&told(&mut owner).await));
    // He is there, and does something else.
    go_on.send(()).expect("the fill is there");
    timeout(PATIENCE, ended).await.expect("an end").expect("the fill goes on by itself");
    drop(owner);
}

#[tokio::test]
async fn others_get_the_verdict_when_the_client_who_ran_the_fill_stops_at_an_interim_head() {
    let in_flight = in_flight();
    let (fill, mut owner) = begun(&in_flight);
    let (go_on, may_go_on) = oneshot::channel();
    owner.runs(async move {
        fill.tell_interim(early_hints());
        may_go_on.await.expect("the test goes on");
        fill.tell(Verdict::Failed(Fault::Silent));
    });
    let mut other = joined(&in_flight);
    assert!(matches!(told(&mut owner).await, Event::Interim(head) if head.status == 103));
    go_on.send(()).expect("the fill is there");
    assert!(is_verdict(&told(&mut other).await));
    // He who stopped finds it when he comes back.
    assert!(is_verdict(&told(&mut owner).await));
}

#[tokio::test]
async fn others_get_the_verdict_when_the_client_who_ran_the_fill_leaves_before_it() {
    let in_flight = in_flight();
    let (fill, mut owner) = begun(&in_flight);
    let (go_on, may_go_on) = oneshot::channel();
    owner.runs(async move {
        may_go_on.await.expect("the test goes on");
        fill.tell(Verdict::Failed(Fault::Silent));
    });
    let mut other = joined(&in_flight);
    waits_in_vain(&mut owner).await;
    drop(owner);
    go_on.send(()).expect("the fill is there");
    assert!(is_verdict(&told(&mut other).await));
}
