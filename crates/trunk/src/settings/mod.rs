//! What a trunk or gateway does: eleven tables of values, each with a default from a profile.
//!
//! These are the resolved values, as replicated state stores them: positional, every field always present.
//! An empty list is one that was left out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

mod access;
mod delivery;
mod identity;
mod limits;
mod media;
mod redirect;

pub use access::{Access, AuthMethod, DigestAlgorithm, OnBadPrefix, UnsupportedMethod};
pub use delivery::{AfterProgress, Delivery, HandBack, StatusPattern};
pub use identity::{DisplayName, Identity, IdentityHeader, NumberFormat, OnForeign, StirPolicy, StirSign};
pub use limits::{Answers, Destinations, LimitKind, Limits};
pub use media::{Dtmf, Media, MediaMode, Nat, PortRange, Probe, Reinvite, SessionTimer, Srtp, Timers};
pub use redirect::{EmbeddedHeaders, HostPattern, Redirect, Untrusted, parse_network};

/// Every table of a trunk or gateway. A profile is one such set of values, and nothing more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Settings {
    /// Who may call, and how they prove it.
    pub access: Access,
    /// Whose number is shown.
    pub identity: Identity,
    /// Which header fields pass.
    pub headers: Headers,
    /// How many calls.
    pub limits: Limits,
    /// Where calls may go.
    pub destinations: Destinations,
    /// How audio flows.
    pub media: Media,
    /// How long things may take.
    pub timers: Timers,
    /// How health is watched.
    pub probe: Probe,
    /// Where calls to it go.
    pub delivery: Delivery,
    /// What a 3xx may do.
    pub redirect: Redirect,
    /// Answers that differ from the usual ones.
    pub answers: Answers,
}

/// `[trunk.headers]`: header fields that are dropped, added, or kept in the CDR.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Headers {
    /// Dropped in both directions.
    pub drop: Vec<String>,
    /// Added to requests sent; values may contain `{call.id}` and the like.
    pub add: BTreeMap<String, String>,
    /// Its value goes into the CDR.
    pub tag: Option<String>,
}
