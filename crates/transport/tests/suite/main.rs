//! What this crate promises, over networks in memory.

mod streams;
mod support;
mod tls;
