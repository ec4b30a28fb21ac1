//! What the tests of the whole share: real nodes as processes, real peers, and the workspace's own source.
//!
//! - [`source`], [`manifest`], [`ratchet`]: what the architecture test reads.
//!
//! Absent by design: anything that a product crate could use. Nothing depends on this crate.

pub mod manifest;
pub mod ratchet;
pub mod source;
