//! Many workers of one fleet in one process, each with a connection of its own, as `dev/bench/scale.mjs` commands them: a line
//! on standard input for each command, a line of JSON on standard output for each answer.
//!
//! A worker is what a Node.js process has of the engine (rule, mirror, subscription), without Node.js and posthog-node.
#![allow(clippy::unwrap_used, reason = "a benchmark")]

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, stdin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use posthog_flag_cache::config::options::{Given, Options};
use posthog_flag_cache::config::target::Target;
use posthog_flag_cache::definitions::snapshot::Snapshot;
use posthog_flag_cache::store::redis::RedisStore;
use posthog_flag_cache::store::shared::SharedStore;
use posthog_flag_cache::worker::events::{Event, observe};
use posthog_flag_cache::worker::provider::{Poll, Provider};
use tokio::sync::Notify;

/// How long PostHog takes to answer.
const ANSWER_AFTER: Duration = Duration::from_millis(50);

/// Flags of a small project: what is measured is Redis, not how long 10,000 workers on one machine take to parse.
const FLAGS: usize = 50;

/// The stand-in for PostHog, and when each worker came to its newest version.
struct World {
    current: Mutex<Arc<Snapshot>>,
    calls: AtomicU64,
    failures: AtomicU64,
    at: Mutex<BTreeMap<String, Vec<Instant>>>,
    reload: Notify,
    /// Tells each worker to leave; the oldest one is the first.
    leave: Mutex<VecDeque<Arc<Notify>>>,
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
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let world = Arc::new(World {
        current: Mutex::new(Arc::new(definitions(1))),
        calls: AtomicU64::new(0),
        failures: AtomicU64::new(0),
        at: Mutex::default(),
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
    let mut edits = 1;
    for line in stdin().lock().lines() {
        let line = line.unwrap();
        match line.split_once(' ').unwrap_or((&line, "")) {
            ("start", count) => {
                for _ in 0..count.parse::<u32>().unwrap() {
                    runtime.spawn(work(options.clone(), world.clone()));
                }
            }
            // Each worker is replaced, one after another, in so many milliseconds.
            ("deploy", millis) => {
                let time = Duration::from_millis(millis.parse().unwrap());
                runtime.spawn(deploy(time, options.clone(), world.clone()));
            }
            // PostHog has another version, and one worker learns of it, as by a webhook.
            ("edit", _) => {
                edits += 1;
                world.edit(edits);
                world.reload.notify_one();
            }
            _ => {}
        }
        let version = world.current().version().to_owned();
        let at = world.at.lock().unwrap();
        let reached = at.get(&version).map_or(&[][..], Vec::as_slice);
        let spread = match (reached.iter().min(), reached.iter().max()) {
            (Some(first), Some(last)) => last.duration_since(*first).as_secs_f64() * 1e3,
            _ => 0.0,
        };
        println!(
            r#"{{"reached":{},"spreadMs":{spread},"calls":{},"failures":{}}}"#,
            reached.len(),
            world.calls.load(Ordering::Relaxed),
            world.failures.load(Ordering::Relaxed)
        );
    }
}

async fn deploy(time: Duration, options: Arc<Options>, world: Arc<World>) {
    let count = world.leave.lock().unwrap().len() as u32;
    let mut ticks = tokio::time::interval(time / count);
    for _ in 0..count {
        ticks.tick().await;
        tokio::spawn(work(options.clone(), world.clone()));
        let oldest = world.leave.lock().unwrap().pop_front().unwrap();
        oldest.notify_one();
    }
}

/// One worker: it polls at its interval, and at once when it is told of a new version.
async fn work(options: Arc<Options>, world: Arc<World>) {
    let Target::Redis(endpoint) = &options.target else { return };
    let store = Arc::new(SharedStore::new(Arc::new(RedisStore::new(endpoint, &options))));
    let provider = Arc::new(Provider::new(&options, store));
    let leave = Arc::new(Notify::new());
    world.leave.lock().unwrap().push_back(leave.clone());
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
            () = tokio::time::sleep(options.rule.refresh_interval) => {}
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
            tokio::time::sleep(ANSWER_AFTER).await;
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
        world.at.lock().unwrap().entry(version.clone().unwrap()).or_default().push(Instant::now());
    }
    *known = version;
}
