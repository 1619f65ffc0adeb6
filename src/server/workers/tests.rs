//! Threads that are held by what they do, until the test lets go of them.

use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Barrier};
use std::task::Poll;
use std::thread::ThreadId;

/// No step of a test may take longer. Not waited for: whatever is awaited comes earlier.
const PATIENCE: Duration = Duration::from_secs(20);

/// Says on which thread it was given a connection, and holds that thread until all have one.
struct Holding {
    came: Sender<ThreadId>,
    all_came: Barrier,
}

#[async_trait]
impl ServerApp for Holding {
    async fn process_new(self: &Arc<Self>, _: Stream, _: &ShutdownWatch) -> Option<Stream> {
        self.came.send(thread::current().id()).expect("the test listens");
        self.all_came.wait();
        None
    }
}

#[test]
fn each_of_two_threads_accepts() {
    let (came, on) = channel();
    let app = Arc::new(Holding { came, all_came: Barrier::new(2) });
    let workers = Workers::new();
    let (stop, open) = (watch::Sender::new(false), watch::Sender::new(true));
    let drain = Drain { stop: stop.subscribe(), running: None, open: open.subscribe() };
    let socket = TcpListener::bind("127.0.0.1:0").expect("bound");
    socket.set_nonblocking(true).expect("set");
    let bound = workers.serve("holding", &app, &[socket], &drain, 2).expect("served");
    let _first = std::net::TcpStream::connect(bound[0]).expect("connected");
    let held = on.recv_timeout(PATIENCE).expect("a connection is accepted");
    // The thread that has it does nothing else now.
    let _second = std::net::TcpStream::connect(bound[0]).expect("connected");
    let other = on.recv_timeout(PATIENCE).expect("the other thread accepts, too");
    assert_ne!(held, other);
    workers.end();
}

/// As many tasks as do not fit into the places of one thread, each of which is ready again as soon as it
/// has had its turn.
#[test]
fn of_a_thousand_nobody_has_a_turn_more_than_one_ahead_of_the_others() {
    const TASKS: usize = 1000;
    const TURNS_EACH: usize = 8;
    let (told, ahead) = channel();
    let workers = Workers::new();
    let work = async move {
        let turns: Arc<[AtomicUsize]> = (0..TASKS).map(|_| AtomicUsize::new(0)).collect();
        for own in 0..TASKS {
            let (turns, told, mut ahead) = (turns.clone(), told.clone(), 0);
            tokio::spawn(std::future::poll_fn(move |context| {
                let had = turns[own].fetch_add(1, Ordering::Relaxed) + 1;
                let least = turns.iter().map(|turns| turns.load(Ordering::Relaxed)).min();
                ahead = ahead.max(had - least.expect("tasks"));
                if had == TURNS_EACH {
                    told.send(ahead).expect("the test listens");
                    return Poll::Ready(());
                }
                context.waker().wake_by_ref();
                Poll::Pending
            }));
        }
    };
    workers.start("turns", work).expect("started");
    let ahead: Vec<usize> =
        (0..TASKS).map(|_| ahead.recv_timeout(PATIENCE).expect("turns")).collect();
    assert_eq!(ahead.iter().max(), Some(&1));
    workers.end();
}

#[test]
fn what_a_thread_has_begun_goes_on_until_the_end_and_no_further() {
    let (ask, mut asked) = tokio::sync::mpsc::unbounded_channel::<()>();
    let (answer, answers) = channel();
    let workers = Workers::new();
    let work = async move {
        tokio::spawn(async move {
            while asked.recv().await.is_some() {
                answer.send(()).expect("the test listens");
            }
        });
    };
    workers.start("begun", work).expect("started");
    ask.send(()).expect("somebody listens");
    answers.recv_timeout(PATIENCE).expect("it goes on behind the work that began it");
    workers.end();
    assert!(ask.send(()).is_err(), "it is gone, with all that it had");
}

#[test]
fn a_thread_that_does_not_end_is_left_behind() {
    let (begin, begun) = channel();
    let (let_go, held) = channel::<()>();
    let workers = Workers::new();
    let work = async move {
        begin.send(()).expect("the test listens");
        let _ = held.recv();
    };
    workers.start("held", work).expect("started");
    begun.recv_timeout(PATIENCE).expect("begun");
    let (end, ended) = channel();
    thread::spawn(move || {
        workers.end();
        end.send(()).expect("the test listens");
    });
    ended.recv_timeout(PATIENCE).expect("the end waits for nobody for ever");
    let_go.send(()).expect("the thread was held all the time");
}
