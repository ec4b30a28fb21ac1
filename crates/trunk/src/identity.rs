//! Whose number a call shows (RFC 3323, RFC 3325).

use serde::{Deserialize, Serialize};

use crate::reject::Reject;
use crate::resource::Trunk;
use crate::resources::Resources;
use crate::settings::{Identity, IdentityHeader};

/// One identity of a received request, already taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Given<'a> {
    /// The URI's user, as written, escapes included.
    pub user: &'a str,
    /// The display name, unquoted.
    pub display: Option<&'a str>,
}

/// The identities of a received request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received<'a> {
    /// The first P-Asserted-Identity with a SIP or tel URI.
    pub pai: Option<Given<'a>>,
    /// Remote-Party-ID.
    pub rpid: Option<Given<'a>>,
    /// From.
    pub from: Given<'a>,
    /// To's user.
    pub to_user: &'a str,
    /// The value of Privacy.
    pub privacy: Option<&'a str>,
}

/// The caller, as policy sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// The number shown, in canonical form; empty where none can be.
    pub number: String,
    /// The name shown.
    pub display: Option<String>,
    /// The number that the request asserted, before policy; for the CDR.
    pub asserted: String,
    /// Where it was found.
    pub source: IdentityHeader,
    /// Whether the caller wants to be hidden (`Privacy: id`).
    pub private: bool,
}

/// What a request that we send shows of its caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presented {
    /// From's user; `anonymous` where hidden.
    pub from_user: String,
    /// From's display name.
    pub from_display: Option<String>,
    /// Whether From is anonymous: its host is then `anonymous.invalid` (RFC 3323 §4.1).
    pub anonymous: bool,
    /// The user of a P-Asserted-Identity, where one is sent.
    pub pai: Option<String>,
    /// The user of a Remote-Party-ID, where one is sent.
    pub rpid: Option<String>,
    /// Whether `Privacy: id` is sent.
    pub privacy_id: bool,
}

impl Resources {
    /// The caller of a call from a trunk, or why it is refused.
    pub fn caller_from_trunk(&self, _trunk: &Trunk, received: &Received<'_>) -> Result<Caller, Reject> {
        Ok(Caller {
            number: received.from.user.to_owned(),
            display: received.from.display.map(str::to_owned),
            asserted: received.from.user.to_owned(),
            source: IdentityHeader::From,
            private: false,
        })
    }

    /// The caller of a call from a gateway. Never refused for it.
    pub fn caller_from_gateway(&self, _identity: &Identity, received: &Received<'_>) -> Caller {
        Caller {
            number: received.from.user.to_owned(),
            display: received.from.display.map(str::to_owned),
            asserted: received.from.user.to_owned(),
            source: IdentityHeader::From,
            private: false,
        }
    }
}

impl Identity {
    /// What a request to a party with this identity policy shows.
    pub fn present(&self, caller: &Caller) -> Presented {
        Presented {
            from_user: caller.number.clone(),
            from_display: caller.display.clone(),
            anonymous: false,
            pai: None,
            rpid: None,
            privacy_id: false,
        }
    }
}
