//! Calls that may block for ever: those of a file system whose server is gone, or of the system's resolver.
//!
//! They run on threads of their own. On the runtime's threads they would stop every cache of the process, and in
//! its blocking pool, which `off_runtime` uses for computing, a few of them would stop decompression and parsing.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, SendError, Sender};
use std::sync::{Arc, LazyLock, Weak};
use std::thread;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};

/// The resource of the calls: a kind, and a name within it.
type Name = (&'static str, OsString);

type Call = Box<dyn FnOnce() + Send>;

static IN_USE: LazyLock<Mutex<HashMap<Name, Weak<Resource>>>> = LazyLock::new(Mutex::default);

/// Blocking calls to one resource, one at a time. If it hangs, it blocks one thread, however many callers there are
/// and however often a store for it is opened.
#[derive(Clone)]
pub struct Blocking(Arc<Resource>);

struct Resource {
    turn: Arc<Semaphore>,
    /// The thread's queue, which never contains more than one call; `None` until the first call.
    thread: Mutex<Option<Sender<Call>>>,
}

impl Blocking {
    /// The calls to this resource. Starts nothing yet.
    pub fn on(kind: &'static str, name: impl Into<OsString>) -> Self {
        let mut in_use = IN_USE.lock();
        in_use.retain(|_, resource| resource.strong_count() > 0);
        let entry = in_use.entry((kind, name.into())).or_default();
        Blocking(entry.upgrade().unwrap_or_else(|| {
            let resource = Arc::new(Resource { turn: Arc::new(Semaphore::new(1)), thread: Mutex::default() });
            *entry = Arc::downgrade(&resource);
            resource
        }))
    }

    /// Runs the work when no other call is under way. The caller sets the time limit: if it stops waiting before its
    /// turn, the work never runs; if it stops later, the work goes on, and the next caller waits for its end.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        let turn = self.0.turn.clone().acquire_owned().await.map_err(io::Error::other)?;
        let (tell, told) = oneshot::channel();
        let resource = self.0.clone();
        self.0.submit(Box::new(move || {
            let result = work();
            // Before the caller hears of it: the next call need not wait.
            drop((turn, resource));
            let _ = tell.send(result);
        }))?;
        told.await.map_err(io::Error::other)
    }

    /// Ends the thread, after the call that is under way. The next call starts another one.
    pub fn end_thread(&self) {
        *self.0.thread.lock() = None;
    }
}

impl Resource {
    fn submit(&self, call: Call) -> io::Result<()> {
        let mut thread = self.thread.lock();
        let call = match &*thread {
            None => call,
            Some(queue) => match queue.send(call) {
                Ok(()) => return Ok(()),
                // The thread has ended.
                Err(SendError(call)) => call,
            },
        };
        let (queue, calls) = mpsc::channel::<Call>();
        // A panic fails its own call, and not the one that may be in the queue already.
        let run = move || calls.into_iter().for_each(|call| drop(catch_unwind(AssertUnwindSafe(call))));
        thread::Builder::new().name("flag-cache-io".into()).spawn(run)?;
        let sent = queue.send(call).map_err(|_| io::Error::other("the thread has ended"));
        *thread = Some(queue);
        sent
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    const LIMIT: Duration = Duration::from_millis(50);
    /// For what must happen: longer than any machine needs.
    const PATIENCE: Duration = Duration::from_secs(30);

    fn block_on<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(work)
    }

    /// Begins a call that blocks until the sender is dropped.
    async fn hang(calls: &Blocking) -> mpsc::Sender<()> {
        let (release, released) = mpsc::channel::<()>();
        let (begin, begun) = oneshot::channel();
        let hung = calls.run(move || {
            begin.send(()).unwrap();
            let _ = released.recv();
        });
        let begun = async {
            tokio::select! {
                _ = hung => panic!("it does not end"),
                begun = begun => begun.unwrap(),
            }
        };
        tokio::time::timeout(PATIENCE, begun).await.unwrap();
        release
    }

    async fn times_out<T: Send + 'static>(
        calls: &Blocking,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> bool {
        tokio::time::timeout(LIMIT, calls.run(work)).await.is_err()
    }

    #[test]
    fn a_call_that_hangs_costs_the_later_ones_their_limit_and_no_thread() {
        block_on(async {
            let calls = Blocking::on("test", "hangs");
            let release = hang(&calls).await;
            for _ in 0..20 {
                assert!(times_out(&calls, || panic!("its caller has given up")).await);
                // Nor does opening the resource again.
                assert!(
                    times_out(&Blocking::on("test", "hangs"), || panic!("its caller has given up")).await
                );
            }
            let other = tokio::time::timeout(PATIENCE, Blocking::on("test", "sound").run(|| 1)).await;
            assert_eq!(other.unwrap().unwrap(), 1, "another resource is not concerned");
            drop(release);
            let next = tokio::time::timeout(PATIENCE, calls.run(|| 2)).await;
            assert_eq!(next.unwrap().unwrap(), 2);
        });
    }

    #[test]
    fn a_resource_that_hangs_is_remembered_by_all_who_open_it_after_the_first_is_gone() {
        block_on(async {
            let calls = Blocking::on("test", "remembered");
            let release = hang(&calls).await;
            calls.end_thread();
            drop(calls);
            assert!(times_out(&Blocking::on("test", "remembered"), || ()).await);
            drop(release);
        });
    }

    #[test]
    fn a_panic_fails_its_own_call_only() {
        block_on(async {
            let calls = Blocking::on("test", "panics");
            assert!(calls.run(|| panic!("as intended")).await.is_err());
            assert_eq!(calls.run(|| 1).await.unwrap(), 1);
        });
    }

    #[test]
    fn the_thread_is_the_same_until_it_is_ended() {
        block_on(async {
            let calls = Blocking::on("test", "thread");
            let thread = || thread::current().id();
            let first = calls.run(thread).await.unwrap();
            assert_eq!(calls.run(thread).await.unwrap(), first);
            calls.end_thread();
            assert_ne!(calls.run(thread).await.unwrap(), first);
        });
    }
}
