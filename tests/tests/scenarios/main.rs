//! Scenarios: a real `banyan server` between real peers. One binary, one module a subject, run one at a time
//! (`cargo xtask test --only scenarios`); `cargo xtask prove` runs them at full length.
//!
//! `t10_` basic, `t20_` members, homes that move and calls that do, `t30_` special, `t50_` faults, `t60_` three nodes.

mod t10_demo;
mod t10_load;
mod t20_emergency;
mod t20_members;
mod t20_namespaces;
mod t20_quorum;
mod t20_rehome;
mod t20_rehome_audio;
mod t20_systemd;
mod t21_members_faults;
mod t30_audio;
mod t30_digest;
mod t30_dns;
mod t30_explain;
mod t30_redirect;
mod t30_srtp;
mod t30_takeover;
mod t30_tls;
mod t40_scanners;
mod t50_crash;
mod t50_disk;
mod t50_flood;
mod t50_limit;
mod t50_mistakes;
mod t60_accounts;
mod t60_carrier;
mod t60_exact;
mod t60_full_disk;
mod t60_held;
mod t60_probe;
mod t60_register;
mod t60_soak;
mod t60_windows;
