//! The integration tests, a module for each subject, in one crate: they are linked once, and share `support`.
//!
//! They run side by side in one process. A test that changes or measures that process as a whole runs in a child process
//! (see `support/child.rs`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg_attr(not(unix), allow(dead_code, reason = "the tests that need signals or Unix permissions use it"))]

#[cfg(unix)]
mod credentials;
#[cfg(unix)]
mod directory;
#[cfg(target_os = "linux")]
mod endless;
#[cfg(target_os = "linux")]
mod hanging_socket;
mod lease;
#[cfg(unix)]
mod local_copy;
mod model;
mod options;
mod provider;
#[cfg(unix)]
mod redis;
#[cfg(unix)]
mod resp2;
#[cfg(unix)]
mod round_trips;
#[cfg(unix)]
mod services;
mod shared;
#[cfg(unix)]
mod slow_link;
mod store_contract;
mod support;
#[cfg(unix)]
mod topologies;
#[cfg(windows)]
mod windows;
