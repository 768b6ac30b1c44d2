//! The provider's methods over a store in memory, while time is paused: nothing here waits really.

mod accounts;
mod announcements;
mod emergency;
mod events;
mod fleet;
mod known_state;
mod outages;
mod outcomes;
mod overlap;
mod publishing;
mod sickness;
mod troubles;
mod turns;
mod unshared;
