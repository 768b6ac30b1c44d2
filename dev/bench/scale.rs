//! A part of a fleet: many workers in one process, each with a connection of its own, as `dev/bench/scale.mjs` commands
//! them: a line on standard input for each command, a line of JSON on standard output for each answer.
//!
//! A worker is what a Node.js process has of the engine (rule, mirror, subscription), without Node.js and posthog-node.
#![allow(clippy::unwrap_used, reason = "a benchmark")]

use std::collections::HashMap;
use std::io::{BufRead, ErrorKind, stdin};
use std::mem::take;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use posthog_flag_cache::config::options::{Given, Options};
use posthog_flag_cache::config::target::{Address, Endpoint, Target, Topology};
use posthog_flag_cache::definitions::snapshot::Snapshot;
use posthog_flag_cache::store::redis::RedisStore;
use posthog_flag_cache::store::shared::SharedStore;
use posthog_flag_cache::worker::events::{Event, observe};
use posthog_flag_cache::worker::provider::{Poll, Provider};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

/// How long PostHog takes to answer.
const ANSWER_AFTER: Duration = Duration::from_millis(50);

/// Flags of a small project: what is measured is Redis, not how long 10,000 workers on one machine take to parse.
const FLAGS: usize = 50;

/// The stand-in for PostHog, and what has happened.
struct World {
    current: Mutex<Arc<Snapshot>>,
    calls: AtomicU64,
    failures: AtomicU64,
    reached: Mutex<HashMap<String, Reached>>,
    /// The bytes that bare connections have received.
    heard: AtomicU64,
    reload: Notify,
    /// Tells each worker to leave.
    leave: Mutex<Vec<Arc<Notify>>>,
}

/// How many workers have a version, and when the first and the last one came to it, in seconds of this machine's clock.
#[derive(Clone, Copy, Default)]
struct Reached {
    count: usize,
    first: f64,
    last: f64,
}

impl Reached {
    fn add(&mut self) {
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
        if self.count == 0 {
            self.first = now;
        }
        self.count += 1;
        self.last = now;
    }
}

impl World {
    fn edit(&self, number: u64) {
        *self.current.lock().unwrap() = Arc::new(definitions(number));
    }

    fn current(&self) -> Arc<Snapshot> {
        self.current.lock().unwrap().clone()
    }
}

fn definitions(number: u64) -> Snapshot {
    let flag = |id: usize| {
        let version = if id == 7 { number } else { 0 };
        format!(
            r#"{{"id":{id},"key":"flag-{id}","version":{version},"active":true,"filters":{{"groups":[{{"properties":[],"rollout_percentage":{}}}]}}}}"#,
            id * 37 % 101
        )
    };
    let flags: Vec<_> = (0..FLAGS).map(flag).collect();
    Snapshot::new(format!(r#"{{"flags":[{}],"group_type_mapping":{{}},"cohorts":{{}}}}"#, flags.join(",")))
        .unwrap()
}

fn main() {
    let mut args = std::env::args().skip(1);
    let (url, project, interval): (_, _, f64) =
        (args.next().unwrap(), args.next().unwrap(), args.next().unwrap().parse().unwrap());
    // As in `src/runtime.rs`.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(8)
        .enable_all()
        .build()
        .unwrap();
    let world = Arc::new(World {
        current: Mutex::new(Arc::new(definitions(1))),
        calls: AtomicU64::new(0),
        failures: AtomicU64::new(0),
        reached: Mutex::default(),
        heard: AtomicU64::new(0),
        reload: Notify::new(),
        leave: Mutex::default(),
    });
    let given = [
        ("projectKey", Given::Text(project)),
        ("url", Given::Text(url)),
        ("refreshIntervalMs", Given::Number(interval)),
    ];
    let options = Options::from_given(given.map(|(name, value)| (name.to_owned(), value)).into()).unwrap();
    let options = Arc::new(options);
    for line in stdin().lock().lines() {
        let line = line.unwrap();
        match line.split_once(' ').unwrap_or((&line, "")) {
            // Starts this number of workers, evenly within this number of milliseconds.
            ("start", numbers) => {
                let (count, millis) = numbers.split_once(' ').unwrap();
                let time = Duration::from_millis(millis.parse().unwrap());
                runtime.spawn(start(count.parse().unwrap(), time, options.clone(), world.clone()));
            }
            // Each of them is replaced.
            ("deploy", millis) => {
                let time = Duration::from_millis(millis.parse().unwrap());
                runtime.spawn(deploy(time, options.clone(), world.clone()));
            }
            // PostHog has this version.
            ("edit", number) => world.edit(number.parse().unwrap()),
            // One worker learns of it, as by a webhook.
            ("reload", _) => world.reload.notify_one(),
            ("listen", count) => {
                let Target::Redis(endpoint) = &options.target else { return };
                for _ in 0..count.parse::<u32>().unwrap() {
                    runtime.spawn(listen(Endpoint::clone(endpoint), world.clone()));
                }
            }
            _ => {}
        }
        let version = world.current().version().to_owned();
        let Reached { count, first, last } =
            world.reached.lock().unwrap().get(&version).copied().unwrap_or_default();
        println!(
            r#"{{"reached":{count},"first":{first},"last":{last},"calls":{},"failures":{},"heard":{}}}"#,
            world.calls.load(Ordering::Relaxed),
            world.failures.load(Ordering::Relaxed),
            world.heard.load(Ordering::Relaxed),
        );
    }
}

/// A connection that only listens to the channel `bare`.
async fn listen(endpoint: Endpoint, world: Arc<World>) {
    let Topology::Server(Address::Tcp(host, port)) = endpoint.topology else { return };
    let stream = TcpStream::connect((host, port)).await.unwrap();
    stream.writable().await.unwrap();
    stream.try_write(b"SUBSCRIBE bare\r\n").unwrap();
    let mut buffer = [0; 4096];
    while stream.readable().await.is_ok() {
        match stream.try_read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => drop(world.heard.fetch_add(length as u64, Ordering::Relaxed)),
            Err(cause) if cause.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

async fn start(count: u32, time: Duration, options: Arc<Options>, world: Arc<World>) {
    let began = Instant::now();
    for number in 0..count {
        sleep_until(began + time * number / count).await;
        tokio::spawn(work(options.clone(), world.clone()));
    }
}

async fn deploy(time: Duration, options: Arc<Options>, world: Arc<World>) {
    let began = Instant::now();
    let leaving = take(&mut *world.leave.lock().unwrap());
    let count = leaving.len() as u32;
    for (number, oldest) in (0..).zip(leaving) {
        sleep_until(began + time * number / count).await;
        tokio::spawn(work(options.clone(), world.clone()));
        oldest.notify_one();
    }
}

/// One worker: it polls at its interval, and at once when it is told of a new version.
async fn work(options: Arc<Options>, world: Arc<World>) {
    let Target::Redis(endpoint) = &options.target else { return };
    let store = Arc::new(SharedStore::new(Arc::new(RedisStore::new(endpoint, &options))));
    let provider = Arc::new(Provider::new(&options, store));
    let leave = Arc::new(Notify::new());
    world.leave.lock().unwrap().push(leave.clone());
    let told = Arc::new(Notify::new());
    let teller = told.clone();
    let emit = move |event| {
        if let Event::Update(_) = event {
            teller.notify_one();
        }
    };
    tokio::spawn(observe(Arc::downgrade(&provider), provider.reports(), emit));
    let mut known = None;
    loop {
        poll(&provider, &world, &mut known).await;
        tokio::select! {
            () = sleep(options.rule.refresh_interval) => {}
            () = told.notified() => {}
            () = leave.notified() => return provider.shutdown().await,
            () = world.reload.notified() => {
                let _ = provider.invalidate().await;
            }
        }
    }
}

/// As posthog-node does with `flagCache.fetch`.
async fn poll(provider: &Provider, world: &World, known: &mut Option<String>) {
    let found = match provider.poll(known.clone()).await {
        Ok(Poll::Follow(Some(found))) => Some(found),
        Ok(Poll::Follow(None)) => provider.get(known.clone()).await.ok().flatten(),
        fetch => {
            world.failures.fetch_add(u64::from(fetch.is_err()), Ordering::Relaxed);
            None
        }
    };
    let version = match found {
        Some(found) => found.snapshot().map(|snapshot| snapshot.version().to_owned()),
        None => {
            let plan = provider.plan();
            world.calls.fetch_add(1, Ordering::Relaxed);
            sleep(ANSWER_AFTER).await;
            let current = world.current();
            let version = current.version().to_owned();
            let _ = match plan.version {
                Some(held) if held == version => provider.confirmed(&version).await,
                _ => provider.received(current, None).await,
            };
            Some(version)
        }
    };
    if version.is_some() && version != *known {
        world.reached.lock().unwrap().entry(version.clone().unwrap()).or_default().add();
    }
    *known = version;
}
