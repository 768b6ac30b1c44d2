//! The definitions of feature flags: their text and its pieces, what a store keeps of it, and what JavaScript needs of it.

pub mod codec;
pub mod delivery;
mod json;
pub mod patch;
pub mod pieces;
pub mod snapshot;
