//! Whose number is believed, and whose is shown (RFC 3323, RFC 3325, RFC 8224).

use serde::{Deserialize, Serialize};

use crate::words::words;

/// `[trunk.identity]`: whose number is believed, and whose is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Where the caller's number is looked for, in this order.
    pub accept: Vec<IdentityHeader>,
    /// Header fields that a call must have.
    pub require: Vec<IdentityHeader>,
    /// Header fields that carry the number onwards.
    pub send: Vec<IdentityHeader>,
    /// What happens to a caller ID that is not the trunk's.
    pub on_foreign: OnForeign,
    /// The form that numbers must have.
    pub number_format: NumberFormat,
    /// Where the display name comes from.
    pub display_name: DisplayName,
    /// Whether names are looked up.
    pub cnam_lookup: bool,
    /// Whether P-Charge-Info is believed for rating.
    pub charge_info: bool,
    /// STIR/SHAKEN.
    pub stir: StirPolicy,
}

impl Default for Identity {
    fn default() -> Self {
        Identity {
            accept: vec![IdentityHeader::Pai, IdentityHeader::Rpid, IdentityHeader::From],
            require: Vec::new(),
            send: vec![IdentityHeader::From, IdentityHeader::Pai],
            on_foreign: OnForeign::Replace,
            number_format: NumberFormat::Any,
            display_name: DisplayName::Pass,
            cnam_lookup: false,
            charge_info: false,
            stir: StirPolicy { sign: StirSign::Auto, verify: true },
        }
    }
}

words! {
    /// A header field that carries a caller's number.
    IdentityHeader {
        /// P-Asserted-Identity (RFC 3325).
        Pai = "pai",
        /// Remote-Party-ID.
        Rpid = "rpid",
        /// From.
        From = "from",
    }
}

words! {
    /// What happens to a caller ID that is not the trunk's.
    OnForeign {
        /// The default caller ID is shown instead.
        Replace = "replace",
        /// The call is refused.
        Refuse = "refuse",
        /// It is shown.
        Pass = "pass",
    }
}

words! {
    /// The form of numbers.
    NumberFormat {
        /// Any text, exactly as it is.
        Any = "any",
        /// International, with or without the plus.
        E164 = "e164",
        /// International, with the plus.
        PlusE164 = "+e164",
    }
}

words! {
    /// Where the display name comes from.
    DisplayName {
        /// Our own store.
        Cnam = "cnam",
        /// The caller.
        Pass = "pass",
        /// Nowhere: none is sent.
        None = "none",
    }
}

/// `stir = { … }`: signing and verifying caller ID (RFC 8224).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StirPolicy {
    /// Whether calls are signed.
    pub sign: StirSign,
    /// Whether signatures are checked.
    pub verify: bool,
}

words! {
    /// Whether calls are signed, and who chooses the attestation.
    StirSign {
        /// By rule: A own number, B known customer, C gateway.
        Auto = "auto",
        /// Never.
        Off = "off",
    }
}
