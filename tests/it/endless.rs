//! The store in Redis when the server sends what never ends.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use posthog_flag_cache::config::target::{Address, Endpoint, Login, Topology};
use posthog_flag_cache::error::Code;

use crate::support::child;
use crate::support::redis_store::{LIMIT, read_error, store_at};

const MAX_GROWTH: u64 = 100_000_000;

/// What is sent first, and then again and again until nobody takes it.
const ENDLESS: [(&str, &str); 11] = [
    ("", "+"),
    ("-ERR ", "x"),
    ("$9999999999\r\n", "x"),
    ("$9223372036854775807\r\n", "x"),
    ("$-2\r\n", "x"),
    ("!-1\r\n", "x"),
    ("!9999999999\r\n", "x"),
    ("*1000000000\r\n", "+\r\n"),
    ("%1000000000\r\n", "_\r\n"),
    (">1000000000\r\n", "$1\r\nx\r\n"),
    ("*100000\r\n", "$60000\r\n{60000}\r\n"),
];

#[tokio::test]
async fn an_endless_reply_breaks_the_connection_and_takes_no_memory() {
    // It measures the memory of its process.
    if !child::is_alone(module_path!(), "an_endless_reply_breaks_the_connection_and_takes_no_memory") {
        return;
    }
    let before = memory();
    for (first, then) in ENDLESS {
        let then = then.replace("{60000}", &"x".repeat(60_000));
        for at in ["HELLO", "EVALSHA"] {
            let store = store_at(&serve(at, first, &then));
            let started = std::time::Instant::now();
            let error = read_error(&store).await;
            let case = format!("{first:?}, {:?} at {at}: {error}", then.get(..8.min(then.len())));
            assert!(started.elapsed() < LIMIT, "{case}");
            assert_eq!(error.code(), Code::Unavailable, "{case}");
            assert!(error.to_string().contains("sent an invalid reply: it has"), "{case}");
            let growth = memory() - before;
            assert!(growth < MAX_GROWTH, "{growth} bytes, {case}");
        }
    }
}

#[tokio::test]
async fn of_an_error_as_long_as_a_line_may_be_only_the_beginning_is_told() {
    let error = format!("-ERR {}\r\n", "€".repeat(20_000));
    for at in ["HELLO", "EVALSHA"] {
        let store = store_at(&serve(at, &error, ""));
        let message = read_error(&store).await.to_string();
        assert!((1_000..1_300).contains(&message.len()) && message.contains("€…. "), "{message}");
    }
}

/// A server that answers this command so, and others as Redis does.
fn serve(at: &'static str, first: &str, then: &str) -> Endpoint {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (first, then) = (first.to_owned(), then.repeat(65_536_usize.div_ceil(then.len().max(1))));
    thread::spawn(move || {
        for client in listener.incoming() {
            let (first, then) = (first.clone(), then.clone());
            thread::spawn(move || answer(client?, at, &first, &then));
        }
    });
    Endpoint {
        topology: Topology::Server(Address::Tcp("127.0.0.1".into(), port)),
        tls: None,
        database: 0,
        login: Login::default(),
        credentials: None,
        client_name: None,
    }
}

fn answer(mut client: TcpStream, at: &str, first: &str, then: &str) -> std::io::Result<()> {
    let mut asked = vec![0; 65_536];
    loop {
        let length = client.read(&mut asked)?;
        let commands = String::from_utf8_lossy(&asked[..length]).into_owned();
        if length == 0 {
            return Ok(());
        }
        for word in commands.split("\r\n") {
            let reply = match word {
                word if word == at => {
                    client.write_all(first.as_bytes())?;
                    while !then.is_empty() {
                        client.write_all(then.as_bytes())?;
                    }
                    continue;
                }
                "HELLO" => "%1\r\n+proto\r\n:3\r\n",
                "CLIENT" => "+OK\r\n",
                "SUBSCRIBE" => ">3\r\n+subscribe\r\n+x\r\n:1\r\n",
                _ => continue,
            };
            client.write_all(reply.as_bytes())?;
        }
    }
}

/// The most that this process has had so far.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}
