//! One worker of the fleet: what posthog-node asks of it, and its copy of what the fleet shares.

pub mod events;
pub mod memory;
pub mod mirror;
pub mod poll_interval;
pub mod provider;
pub mod status;
