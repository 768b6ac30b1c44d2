//! The engine of `posthog-flag-cache`: one copy of PostHog's feature flag definitions for a whole
//! fleet of Node.js processes, and one fetch per refresh interval.
//!
//! [`lease`] is the rule: which worker fetches, follows or waits. A [`worker`] applies it for one posthog-node
//! client, and keeps the client's [`definitions`] up to date with a [`store`] (Redis, a directory, memory). Only
//! `binding` uses the Node.js API.

pub mod allocator;
pub mod blocking;
pub mod config;
pub mod definitions;
pub mod doctor;
pub mod error;
pub mod inspector;
pub mod lease;
pub mod limits;
pub mod runtime;
pub mod state;
pub mod store;
pub mod worker;

mod binding;
