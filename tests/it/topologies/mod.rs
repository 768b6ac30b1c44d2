//! The store in Redis wherever it is: behind TLS and logins, at a socket, with Sentinel, in a cluster.

mod cluster;
mod doctor;
mod impostor;
mod login;
mod sentinel;
mod tls;
