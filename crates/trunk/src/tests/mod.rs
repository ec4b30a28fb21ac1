//! Tests that cross files, by what they are about.

mod access;
mod identity;
mod resources;
mod routing;
