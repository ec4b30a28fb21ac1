//! The cluster crate from the outside: its state, its log, and both together on a disk that crashes.
#![allow(clippy::unwrap_used, clippy::panic)]

mod backup;
mod cdr_files;
mod crash;
mod enrolments;
mod golden;
mod health;
mod homes;
mod leases;
mod limits;
mod log;
mod membership;
mod net;
mod quic;
mod registrations;
mod several;
mod speakers;
mod state;
mod support;
