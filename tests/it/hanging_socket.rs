//! A Unix socket on a mount whose server is gone.

use std::time::Duration;

use posthog_flag_cache::config::options::Given;
use posthog_flag_cache::config::target::Target;
use posthog_flag_cache::error::Code;
use posthog_flag_cache::store::Store;
use posthog_flag_cache::store::redis::RedisStore;

use crate::support::content;
use crate::support::hang::DeadMount;

#[test]
fn a_socket_that_cannot_be_looked_up_costs_each_call_its_limit_and_the_runtime_nothing() {
    let Some(mount) = DeadMount::new() else {
        println!("skipped: only root can make a file system hang");
        return;
    };
    let url = Given::Text(format!("redis+unix://{}/redis.sock", mount.path().display()));
    let limits = ["connectTimeoutMs", "commandTimeoutMs"].map(|name| (name, Given::Number(100.0)));
    let options = content::options(&[limits[0].clone(), limits[1].clone(), ("url", url)]);
    let Target::Redis(endpoint) = &options.target else { panic!("{options:?}") };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = RedisStore::new(endpoint, &options);
        for _ in 0..4 {
            let read =
                tokio::time::timeout(Duration::from_secs(30), store.read()).await.expect("it has a limit");
            let error = read.unwrap_err();
            assert!([Code::Timeout, Code::Unavailable].contains(&error.code()), "{error}");
            tokio::spawn(async {}).await.unwrap();
        }
    });
    runtime.shutdown_background();
}
