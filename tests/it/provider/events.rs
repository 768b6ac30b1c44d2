//! What a worker tells its listeners outside a call.

use std::sync::Arc;
use std::time::Duration;

use posthog_flag_cache::config::options::Given;
use posthog_flag_cache::error::{Code, Error};
use posthog_flag_cache::store::shared::SharedStore;
use posthog_flag_cache::worker::events::{Event, observe};
use posthog_flag_cache::worker::provider::Provider;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::announcements::message;
use super::fleet::{A_SECOND, Fleet, version};
use crate::support::content;
use crate::support::faulty_store::{Fault, FaultyStore};

struct Listener {
    provider: Arc<Provider>,
    store: Arc<FaultyStore>,
    events: mpsc::UnboundedReceiver<Event>,
    task: JoinHandle<()>,
}

impl Listener {
    fn start(fleet: &Fleet) -> Self {
        Listener::of(FaultyStore::over(fleet.store.clone()))
    }

    fn of(store: Arc<FaultyStore>) -> Self {
        let options = content::options(&[("url", Given::Text("memory:".into()))]);
        let provider = Arc::new(Provider::new(&options, Arc::new(SharedStore::new(store.clone()))));
        let (sender, events) = mpsc::unbounded_channel();
        let emit = move |event| drop(sender.send(event));
        let task = tokio::spawn(observe(Arc::downgrade(&provider), provider.reports(), emit));
        Listener { provider, store, events, task }
    }

    /// The next event, if one comes within a second: the version of an update, or the code of a failure.
    async fn next(&mut self) -> Option<Result<String, Code>> {
        match timeout(A_SECOND, self.events.recv()).await.ok()?? {
            Event::Update(version) => Some(Ok(version)),
            Event::Trouble(error) => Some(Err(error.code())),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_listener_gets_each_version_that_its_worker_does_not_have() {
    let (fleet, leader) = Fleet::warm().await;
    let mut listener = Listener::start(&fleet);
    assert_eq!(listener.next().await, version(1).map(Ok), "at the first look");
    listener.provider.get(None).await.unwrap();
    assert_eq!(listener.next().await, None);

    sleep(A_SECOND).await;
    leader.receives(2).await.unwrap();
    assert_eq!(listener.next().await, version(2).map(Ok));
    listener.provider.get(None).await.unwrap();
    leader.provider.shutdown().await;
    assert_eq!(listener.next().await, None, "a released lease is no news");
}

#[tokio::test(start_paused = true)]
async fn a_notice_with_the_change_calls_the_listener_once_and_without_a_read_of_the_store() {
    let (fleet, leader) = Fleet::warm().await;
    let store = FaultyStore::over(fleet.store.clone());
    let notices = store.replace_notices();
    let mut listener = Listener::of(store.clone());
    assert_eq!(listener.next().await, version(1).map(Ok));
    listener.provider.get(None).await.unwrap();
    leader.receives(2).await.unwrap();

    let mut calls = store.calls();
    let mut looks = || store.calls() - std::mem::replace(&mut calls, store.calls());
    let edit = message(&fleet, 1, 2).await;
    notices.send_modify(|notices| notices.message(&edit));
    assert_eq!((listener.next().await, looks()), (version(2).map(Ok), 0));
    notices.send_modify(|notices| notices.message(&edit));
    assert_eq!((listener.next().await, looks()), (None, 0), "the same again");

    leader.receives(3).await.unwrap();
    let of_another_base = message(&fleet, 5, 6).await;
    notices.send_modify(|notices| notices.message(&of_another_base));
    assert_eq!((listener.next().await, looks()), (version(3).map(Ok), 1));
    notices.send_modify(|notices| notices.message(b""));
    assert_eq!((listener.next().await, looks()), (None, 0), "a released lease");
}

#[tokio::test(start_paused = true)]
async fn of_many_notices_in_a_row_the_last_one_counts() {
    let (fleet, leader) = Fleet::warm().await;
    let mut listener = Listener::start(&fleet);
    assert_eq!(listener.next().await, version(1).map(Ok));
    sleep(A_SECOND).await;
    let calls = listener.store.calls();
    for number in 2..10 {
        leader.receives(number).await.unwrap();
        sleep(Duration::from_millis(1)).await;
    }
    sleep(A_SECOND).await;
    assert!(listener.store.calls() - calls <= 2, "{} looks", listener.store.calls() - calls);
    let mut last = None;
    while let Some(event) = listener.next().await {
        last = Some(event);
    }
    assert_eq!(last, version(9).map(Ok));
}

#[tokio::test(start_paused = true)]
async fn failures_in_the_background_are_reported_and_the_next_notice_arrives() {
    let (fleet, leader) = Fleet::warm().await;
    let mut listener = Listener::start(&fleet);
    assert_eq!(listener.next().await, version(1).map(Ok));
    listener.provider.get(None).await.unwrap();
    listener.store.set(Fault::Fails);
    leader.receives(2).await.unwrap();
    assert_eq!(listener.next().await, Some(Err(Code::Unavailable)));
    assert!(listener.provider.poll(None).await.is_ok(), "a short outage");
    assert_eq!(listener.next().await, Some(Err(Code::Unavailable)), "which only listeners hear of");
    listener.store.set(Fault::None);
    sleep(A_SECOND).await;
    leader.receives(3).await.unwrap();
    assert_eq!(listener.next().await, version(3).map(Ok));

    for code in [Code::Timeout, Code::Auth] {
        listener.store.trouble.send_replace(Some(Error::new(code, "the test says no")));
        assert_eq!(listener.next().await, Some(Err(code)), "whatever fails in the store's background");
    }
}

#[tokio::test(start_paused = true)]
async fn no_listener_is_called_after_a_shutdown_or_when_the_worker_is_gone() {
    let (fleet, leader) = Fleet::warm().await;
    let mut closed = Listener::start(&fleet);
    let mut gone = Listener::start(&fleet);
    for listener in [&mut closed, &mut gone] {
        assert_eq!(listener.next().await, version(1).map(Ok));
    }
    closed.provider.shutdown().await;
    drop(gone.provider);
    sleep(A_SECOND).await;
    leader.receives(2).await.unwrap();
    for task in [closed.task, gone.task] {
        timeout(A_SECOND, task).await.expect("it ends").unwrap();
    }
    assert!(closed.events.recv().await.is_none() && gone.events.recv().await.is_none());
}
