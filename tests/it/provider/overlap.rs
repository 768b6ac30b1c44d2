//! Calls of one worker that overlap on several threads.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use posthog_flag_cache::config::options::Given;
use posthog_flag_cache::lease::Failure;
use tokio::runtime::Builder;

use super::fleet::Fleet;
use crate::support::content::definitions;

#[test]
fn no_call_waits_for_another_for_ever() {
    let runtime = Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    let (done, all_done) = mpsc::channel();
    runtime.spawn(async move {
        let worker = Arc::new(Fleet::new().worker_with(&[("coldStartWaitMs", Given::Number(0.0))]));
        let tasks: Vec<_> = (0..8)
            .map(|task: u64| {
                let worker = worker.clone();
                tokio::spawn(async move {
                    for round in 0..40_000 {
                        let provider = &worker.provider;
                        let _ = match (task + round) % 16 {
                            0 => provider.received(Arc::new(definitions(round % 50)), None).await,
                            1 => provider.failed(Failure::Worker).await.map(drop),
                            2 => provider.confirmed("none").await,
                            3 => provider.invalidate().await,
                            n if n % 2 == 0 => provider.poll(None).await.map(drop),
                            _ => provider.get(None).await.map(drop),
                        };
                        provider.plan();
                        provider.status();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        done.send(()).unwrap();
    });
    let outcome = all_done.recv_timeout(Duration::from_secs(60));
    // Threads that wait for each other would never end.
    runtime.shutdown_background();
    assert_eq!(outcome, Ok(()));
}
