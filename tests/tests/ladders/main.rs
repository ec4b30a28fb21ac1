//! Ladders for people: what a PBX and a carrier send and hear, message by message, as in RFC 3665, while nodes die between
//! them. `sends`, `answers` and `hears` are all there is to know; F1, F2, … number the messages.
//!
//! The nodes are the production ones, in the simulated world: no real time passes, and a ladder that fails is printed with
//! its virtual times.

mod t50_failover;
mod t50_glare;
mod t50_hold;
mod t50_takeover;
