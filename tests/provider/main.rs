//! The provider's methods over a store in memory, while time is paused: nothing here waits really.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod accounts;
#[path = "../support/content.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod content;
#[path = "../support/faulty_store.rs"]
#[allow(dead_code, reason = "tests/shared.rs uses the rest")]
mod faulty_store;
mod fleet;
mod outcomes;
mod overlap;
mod publishing;
mod sickness;
mod troubles;
mod turns;
mod unshared;
