//! One worker: posthog-node's provider methods, and its copy of the shared state and definitions.

pub mod events;
pub mod memory;
pub mod mirror;
pub mod poll_interval;
pub mod provider;
pub mod status;
