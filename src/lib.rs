//! The engine of `posthog-flag-cache`: one copy of PostHog's feature flag definitions for a whole
//! fleet of Node.js processes, and one fetch per refresh interval.
//!
//! [`lease`] is the rule: who fetches, who follows, who waits. [`provider`] applies it to a
//! [`store`] (Redis, a directory, memory), moving [`snapshot`]s. `binding` is the only module that
//! knows Node.js.

pub mod error;
pub mod lease;
pub mod options;
pub mod provider;
pub mod snapshot;
pub mod store;

mod binding;
