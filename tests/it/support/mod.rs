//! What tests of several subjects need.

pub mod authority;
#[cfg(unix)]
pub mod child;
pub mod content;
pub mod deployment;
#[cfg(unix)]
pub mod distance;
pub mod faulty_store;
#[cfg(target_os = "linux")]
pub mod hang;
pub mod older_protocol;
pub mod redis_server;
pub mod redis_store;
pub mod rewriting_proxy;
#[cfg(unix)]
pub mod slow_link;
pub mod users;
