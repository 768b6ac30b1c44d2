//! The engine of `posthog-flag-cache`: one copy of PostHog's feature flag definitions for a whole
//! fleet of Node.js processes, and one fetch per refresh interval.
//!
//! [`lease`] is the rule: who fetches, who follows, who waits. [`provider`] applies it for one
//! posthog-node client, whose [`replica`] keeps its [`snapshot`] in step with a [`store`] (Redis, a
//! directory, memory). `binding` is the only module that knows Node.js.

pub mod blocking;
pub mod cadence;
pub mod config;
pub mod delivery;
pub mod doctor;
pub mod error;
pub mod inspector;
pub mod lease;
pub mod limits;
pub mod lock;
pub mod memory;
pub mod observer;
pub mod patch;
pub mod pieces;
pub mod provider;
pub mod replica;
pub mod runtime;
pub mod snapshot;
pub mod state;
pub mod status;
pub mod store;

mod binding;
