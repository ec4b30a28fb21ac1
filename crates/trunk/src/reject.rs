//! Policy's No. Each refusal names its rule and the values that it was judged by; the status, Reason and
//! Warning that a caller sees are decided in one place, `call::reject`.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::name::Name;
use crate::party::Side;
use crate::settings::{Answers, NumberFormat};
use crate::words::words;

/// Why a call or request is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Reject {
    /// The source is some trunk's, but nothing shows which, or it may not prove itself that way.
    #[error("access.auth: nothing identifies the caller")]
    NotIdentified,
    /// Digest credentials were wrong twice.
    #[error("access.auth: wrong credentials")]
    WrongCredentials,
    /// The tech prefix is missing, wrong, or not eight digits.
    #[error("access.tech_prefix: missing or wrong")]
    BadPrefix,
    /// The account header is not there.
    #[error("access.account_header: {header} is missing")]
    AccountHeaderMissing {
        /// Its name.
        header: String,
    },
    /// The account header is not that of the trunk's tenant.
    #[error("access.account_header: {header} is another account's")]
    AccountHeaderMismatch {
        /// Its name.
        header: String,
    },
    /// The From host is not the trunk's.
    #[error("access.from_domain: the From host must be {expected}")]
    FromDomain {
        /// What it has to be.
        expected: String,
    },
    /// The Request-URI names another tenant's domain.
    #[error("tenant.domain: {domain} is another tenant's")]
    ForeignTenant {
        /// That domain.
        domain: String,
    },
    /// REGISTER on a trunk that takes none.
    #[error("access.register: trunk {trunk} takes no registrations")]
    RegisterRefused {
        /// The trunk.
        trunk: Name,
    },
    /// A concurrency limit is reached.
    #[error("{scope_kind}.limits.concurrent: {name} carries {limit} calls already", scope_kind = scope.kind(), name = scope.name())]
    Full {
        /// Whose limit it is.
        scope: crate::party::Scope,
        /// Its value.
        limit: u32,
        /// Whether the call came from it (`Ingress`) or was for it (`Egress`).
        side: Side,
        /// What its owner wants said.
        answers: Answers,
    },
    /// The minute's rate is reached.
    #[error("trunk.limits.per_minute: {trunk} had {limit} calls in a minute")]
    RatePerMinute {
        /// Whose limit it is.
        trunk: Name,
        /// Its value.
        limit: u32,
        /// When a place is free again: 1 to 60.
        retry_after_s: u32,
    },
    /// The hour's, day's or week's rate is reached.
    #[error("trunk.limits.per_{window}: {trunk} had {limit} calls in a {window}")]
    RatePerWindow {
        /// Whose limit it is.
        trunk: Name,
        /// Which window.
        window: RateWindow,
        /// Its value.
        limit: u32,
    },
    /// The destination is not allowed.
    #[error("trunk.destinations.{rule}: {called} is not allowed")]
    Destination {
        /// The called number.
        called: String,
        /// The rule that says so.
        rule: DestinationRule,
    },
    /// A caller ID that is not the trunk's, and `on_foreign = "refuse"`.
    #[error("trunk.identity.on_foreign: {number} is not this trunk's")]
    CallerIdForeign {
        /// The number presented.
        number: String,
    },
    /// No caller ID where the profile demands one.
    #[error("trunk.identity.require: no usable caller ID")]
    CallerIdMissing,
    /// A number in the wrong form.
    #[error("trunk.identity.number_format: {field} is not {format}")]
    NumberForm {
        /// Where it stands.
        field: NumberField,
        /// The form demanded.
        format: NumberFormat,
    },
    /// No number of ours, and no gateway that carries it.
    #[error("number: {called} is unknown")]
    UnknownNumber {
        /// The called number.
        called: String,
        /// The answer that `delivery.unmatched` names.
        unmatched: u16,
    },
    /// The number has no target that can be tried.
    #[error("delivery: no target of {called} is reachable")]
    NoTarget {
        /// The called number.
        called: String,
    },
    /// Numbers and trunks lead to one another without an end.
    #[error("delivery: the targets of {called} lead in a circle")]
    DeliveryLoop {
        /// The called number.
        called: String,
    },
    /// Credentials that are right, from a source that their trunk does not admit.
    #[error("access.networks: trunk {trunk} does not admit this source")]
    ForeignSource {
        /// The trunk.
        trunk: Name,
    },
    /// A registration of an address that is another's (RFC 3261 §10.3).
    #[error("access.register: {username} can register no other address than its own")]
    ForeignAddress {
        /// The account's name.
        username: String,
    },
    /// More is asked than this node can do now.
    #[error("overload")]
    Overload {
        /// When to try again: 2 to 10.
        retry_after_s: u32,
    },
    /// No majority of the cluster can be reached.
    #[error("no quorum")]
    NoQuorum {
        /// When to try again: 2 to 10.
        retry_after_s: u32,
    },
}

impl Reject {
    /// The rule's name, as the Warning header and the CDR give it: the key that an operator would change.
    pub const fn rule(&self) -> &'static str {
        match self {
            Reject::NotIdentified | Reject::WrongCredentials => "access.auth",
            Reject::BadPrefix => "access.tech_prefix",
            Reject::AccountHeaderMissing { .. } | Reject::AccountHeaderMismatch { .. } => {
                "access.account_header"
            }
            Reject::FromDomain { .. } => "access.from_domain",
            Reject::ForeignTenant { .. } => "tenant.domain",
            Reject::RegisterRefused { .. } | Reject::ForeignAddress { .. } => "access.register",
            Reject::ForeignSource { .. } => "access.networks",
            Reject::Full { .. } => "limits.concurrent",
            Reject::RatePerMinute { .. } => "limits.per_minute",
            Reject::RatePerWindow { window, .. } => match window {
                RateWindow::Hour => "limits.per_hour",
                RateWindow::Day => "limits.per_day",
                RateWindow::Week => "limits.per_week",
            },
            Reject::Destination { rule, .. } => match rule {
                DestinationRule::Country => "destinations.allow_countries",
                DestinationRule::AllowPrefixes => "destinations.allow_prefixes",
                DestinationRule::DenyPrefixes => "destinations.deny_prefixes",
                DestinationRule::Pstn => "destinations.pstn",
            },
            Reject::CallerIdForeign { .. } => "identity.on_foreign",
            Reject::CallerIdMissing => "identity.require",
            Reject::NumberForm { .. } => "identity.number_format",
            Reject::UnknownNumber { .. } => "number",
            Reject::NoTarget { .. } | Reject::DeliveryLoop { .. } => "delivery.targets",
            Reject::Overload { .. } => "overload",
            Reject::NoQuorum { .. } => "quorum",
        }
    }
}

words! {
    /// A sliding window longer than a minute.
    RateWindow {
        /// An hour.
        Hour = "hour",
        /// A day.
        Day = "day",
        /// A week.
        Week = "week",
    }
}

words! {
    /// A rule of `[trunk.destinations]`.
    DestinationRule {
        /// The country is not listed.
        Country = "allow_countries",
        /// No allowed prefix fits.
        AllowPrefixes = "allow_prefixes",
        /// A denied prefix fits.
        DenyPrefixes = "deny_prefixes",
        /// Not one of its own numbers.
        Pstn = "pstn",
    }
}

words! {
    /// Where a number stands.
    NumberField {
        /// The Request-URI's user.
        RequestUri = "Request-URI",
        /// To.
        To = "To",
        /// From.
        From = "From",
        /// P-Asserted-Identity.
        Pai = "P-Asserted-Identity",
        /// Remote-Party-ID.
        Rpid = "Remote-Party-ID",
    }
}
