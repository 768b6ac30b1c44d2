//! The definitions of feature flags: their text and its pieces, the stored form, and the parts for JavaScript.

pub mod codec;
mod json;
pub mod patch;
pub mod pieces;
pub mod slices;
pub mod snapshot;
