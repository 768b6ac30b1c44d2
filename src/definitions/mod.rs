//! The definitions of feature flags: their text and its pieces, what a store keeps of it, and what JavaScript needs of it.

pub mod codec;
mod json;
pub mod patch;
pub mod pieces;
pub mod slices;
pub mod snapshot;
