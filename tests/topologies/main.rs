//! The store in Redis wherever it is: behind TLS and logins, at a socket, with Sentinel, in a cluster.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/authority.rs"]
mod authority;
mod cluster;
#[path = "../support/content.rs"]
#[allow(dead_code, reason = "tests/store_contract.rs uses the rest")]
mod content;
#[path = "../support/deployment.rs"]
mod deployment;
mod doctor;
mod impostor;
mod login;
#[path = "../support/redis_server.rs"]
#[allow(dead_code, reason = "tests/redis.rs uses the rest")]
mod redis_server;
#[path = "../support/redis_store.rs"]
#[allow(dead_code, reason = "tests/redis.rs uses the rest")]
mod redis_store;
mod sentinel;
mod tls;
#[path = "../support/users.rs"]
mod users;
