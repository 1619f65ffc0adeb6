//! Threads that serve, each for itself: what each does for one client is nothing that others pay for,
//! and nothing that others see.

use crate::kit::{Brim, Client, Origin, PATIENCE, Response, get, ok_with};
use std::fs::DirEntry;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// An edge whose clients are served by so many threads.
fn of_threads(threads: usize, origin: SocketAddr) -> Brim {
    Brim::configured(&format!(
        "[server]\nhttp = ['127.0.0.1:0']\nthreads = {threads}\n[log]\naccess = 'off'\n\
         [[origin]]\nname = 'o'\nservers = ['http://{origin}']\n\
         [[site]]\nhosts = ['*']\norigin = 'o'\n"
    ))
}

fn kept(body: &str) -> Origin {
    Origin::answering(ok_with("Cache-Control: max-age=600\r\n", body))
}

/// How many threads of a process serve clients: the system knows them by their names.
fn serving(brim: &Brim) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", brim.pid())).expect("proc");
    let name = |task: DirEntry| std::fs::read_to_string(task.path().join("comm")).ok();
    let names = tasks.filter_map(|task| name(task.expect("a task")));
    names.filter(|name| name.trim() == "edge").count()
}

#[test]
fn as_many_threads_serve_as_are_configured() {
    for threads in [1, 2, 3] {
        let brim = of_threads(threads, kept("ok").address());
        assert_eq!(Client::connect(brim.address()).ask(get("/")).text(), "ok");
        let deadline = Instant::now() + PATIENCE;
        // A thread gives itself its name.
        while serving(&brim) != threads {
            assert!(Instant::now() < deadline, "{} in the place of {threads}", serving(&brim));
            std::thread::yield_now();
        }
    }
}

/// How often each of many clients was answered.
struct Turns {
    had: Vec<u32>,
    /// By how much one was ahead of the last at most.
    ahead: u32,
}

impl Turns {
    fn count(&mut self, client: usize) {
        self.had[client] += 1;
        let least = self.had.iter().min().expect("clients");
        self.ahead = self.ahead.max(self.had[client] - least);
    }
}

/// Asks for what is `ok`, and gets it.
async fn answered(stream: &mut TcpStream) {
    stream.write_all(get("/").as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\nok") {
        let read = timeout(PATIENCE, stream.read_buf(&mut answer)).await;
        assert!(read.expect("in time").expect("read") > 0, "it is closed");
    }
}

/// Clients that ask again as soon as they have their answer: each always wants something. One thread
/// of the edge serves them, so that the system's own idea of fairness between threads has no say.
#[test]
fn a_thousand_clients_of_one_thread_have_their_turns_one_after_the_other() {
    const CLIENTS: usize = 1000;
    const TURNS_EACH: u32 = 20;
    // Two where all stand in one line, at the edge and here; thirteen and more where some stand aside.
    const AHEAD_MAX: u32 = 4;
    let origin = kept("ok");
    let brim = of_threads(1, origin.address());
    let answer = Client::connect(brim.address()).ask(get("/"));
    assert_eq!(answer.text(), "ok");
    let turns = Arc::new(Mutex::new(Turns { had: vec![0; CLIENTS], ahead: 0 }));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            let stream = timeout(PATIENCE, TcpStream::connect(brim.address())).await;
            let mut stream = stream.expect("in time").expect("connected");
            stream.set_nodelay(true).expect("set");
            // Whoever waits to be accepted is in no line yet.
            answered(&mut stream).await;
            clients.push(stream);
        }
        let ask = |(client, mut stream): (usize, TcpStream)| {
            let turns = turns.clone();
            tokio::spawn(async move {
                for _ in 0..TURNS_EACH {
                    answered(&mut stream).await;
                    turns.lock().expect("turns").count(client);
                }
            })
        };
        let asking: Vec<_> = clients.into_iter().enumerate().map(ask).collect();
        for asking in asking {
            asking.await.expect("a client");
        }
    });
    let turns = turns.lock().expect("turns");
    assert!(turns.had.iter().all(|had| *had == TURNS_EACH));
    assert!(turns.ahead <= AHEAD_MAX, "one was {} ahead", turns.ahead);
}

/// The lines that do not tell how long ago something was, and the content.
fn without_age(answer: &Response) -> (String, String) {
    let lines = answer.head.lines().filter(|line| !line.starts_with("Age: "));
    let lines = lines.map(|line| line.split("; ttl=").next().unwrap_or(line));
    (lines.collect::<Vec<_>>().join("\n"), answer.text())
}

/// Each thread writes heads, and small contents behind them, into the same room again and again.
#[test]
fn what_was_left_of_an_answer_that_was_cut_off_is_in_no_other() {
    let origin = Origin::serving(|head, _| {
        let body = if head.contains("/large") { "x".repeat(4000) } else { "ok".to_owned() };
        ok_with("Cache-Control: max-age=600\r\n", &body)
    });
    let brim = of_threads(1, origin.address());
    let mut client = Client::connect(brim.address());
    client.ask(get("/large"));
    client.ask(get("/small"));
    let before = without_age(&client.ask(get("/small")));
    for _ in 0..3 {
        let mut cut_off = Client::connect(brim.address());
        // More answers than there is place for between the edge and a client who reads none.
        cut_off.send(get("/large").repeat(20_000));
        cut_off.read_exactly(1);
        cut_off.reset();
        brim.wait_until("brim_connections", |open| open == 1);
        assert_eq!(without_age(&client.ask(get("/small"))), before);
        assert_eq!(client.ask(get("/large")).text(), "x".repeat(4000));
    }
}
