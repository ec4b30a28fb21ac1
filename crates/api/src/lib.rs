//! The node over HTTP: resources, live calls, call detail records, metrics, health, and a page to look at.
//!
//! It runs on a thread of its own, so that no question delays a call. Every error is a problem document
//! (RFC 9457). Names and fields are those of `banyan get`.
//!
//! Absent by design: SIP, and any state of its own beyond the count of requests per minute.

mod auth;
mod backup;
mod health;
mod live;
mod members;
mod openapi;
mod pages;
mod problem;
mod registrations;
mod resources;
mod server;

pub use server::{Bound, Options, ServeError, Server, bind};
