//! What the tests of the whole share: real nodes as processes, real peers, and the workspace's own source.
//!
//! - [`node`]: one `banyan server` in a process of its own, with [`place`] (addresses that nobody else uses),
//!   [`http`] (its API), [`resources`] (what it is told)
//!   and [`record`] (what its call detail records say);
//! - [`trio`]: three of them as one cluster, and [`orders`] that an operator gives it;
//! - [`small_disk`]: a node whose disk can be filled;
//! - [`netns`]: hosts of their own on one bridge, three nodes on them, and what the bridge sees;
//! - [`sipp`], [`baresip`], [`carrier`]: peers that others wrote; [`tone`]: what was heard;
//! - [`ladder`]: whole nodes in the simulated world, and telephones that do as a ladder says;
//! - [`process`], [`wait`]: children that never outlive a test, and waiting without sleeping blindly;
//! - [`source`], [`manifest`], [`ratchet`]: what the architecture test reads;
//! - [`torture`]: messages with the verdict that an RFC wants for each.
//!
//! Absent by design: anything that a product crate could use. Nothing depends on this crate.

pub mod baresip;
pub mod carrier;
pub mod certificate;
pub mod digest;
pub mod dns;
pub mod http;
pub mod ladder;
pub mod linphone;
pub mod manifest;
pub mod netns;
pub mod node;
pub mod orders;
pub mod place;
pub mod process;
pub mod ratchet;
pub mod record;
pub mod resources;
pub mod sipp;
pub mod small_disk;
pub mod source;
pub mod tone;
pub mod torture;
pub mod trio;
pub mod wait;

/// Whether this run is `cargo xtask prove`: full lengths instead of short ones.
pub fn proving() -> bool {
    std::env::var_os("BANYAN_PROVE").is_some()
}

/// The short length, or the full one under `cargo xtask prove`.
pub fn length<T>(short: T, full: T) -> T {
    if proving() { full } else { short }
}
