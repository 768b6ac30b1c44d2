//! Gives memory back to the system. An edit of megabytes frees several times its length, and glibc would keep that
//! memory for ever.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::sleep;

/// The minimum length of a text for which this is worthwhile.
const LARGE: usize = 1024 * 1024;

/// By then JavaScript has taken what it needed, and what was published is gone.
const AFTER: Duration = Duration::from_secs(1);

static IS_PENDING: AtomicBool = AtomicBool::new(false);

/// Gives back the memory that handling a text of this length has freed. Calls at about the same time share one run.
pub fn give_back(length: usize) {
    if length < LARGE || IS_PENDING.swap(true, Ordering::Relaxed) {
        return;
    }
    tokio::spawn(async {
        sleep(AFTER).await;
        IS_PENDING.store(false, Ordering::Relaxed);
        let _ = tokio::task::spawn_blocking(trim).await;
    });
}

/// Other allocators do so by themselves.
fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it touches only memory that nobody uses.
    unsafe {
        libc::malloc_trim(0);
    }
}
