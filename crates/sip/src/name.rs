//! Header names: the ones the node knows, with their compact forms (RFC 3261 §7.3.3, §20, and the
//! extensions that registered more). Names are case-insensitive (§7.3.1).

use std::fmt;

macro_rules! names {
    ($($variant:ident = $long:literal $(, $compact:literal)? ;)*) => {
        /// A header name that the node knows; any other is [`Name::Other`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum Name {
            $(#[doc = concat!("`", $long, "`.")] $variant,)*
            /// A header that the node does not know by name.
            Other,
        }

        impl Name {
            /// The long form, as the registry spells it. Empty for [`Name::Other`].
            pub const fn as_str(self) -> &'static str {
                match self { $(Name::$variant => $long,)* Name::Other => "" }
            }
        }

        const LONG: &[(&[u8], Name)] = &[$(($long.as_bytes(), Name::$variant),)*];
        const COMPACT: [Name; 26] = {
            let mut table = [Name::Other; 26];
            $($(table[($compact - b'a') as usize] = Name::$variant;)?)*
            table
        };
    };
}

names! {
    Via = "Via", b'v';
    From = "From", b'f';
    To = "To", b't';
    CallId = "Call-ID", b'i';
    CSeq = "CSeq";
    MaxForwards = "Max-Forwards";
    Contact = "Contact", b'm';
    Route = "Route";
    RecordRoute = "Record-Route";
    ContentLength = "Content-Length", b'l';
    ContentType = "Content-Type", b'c';
    ContentEncoding = "Content-Encoding", b'e';
    ContentDisposition = "Content-Disposition";
    ContentLanguage = "Content-Language";
    ContentId = "Content-ID";
    MimeVersion = "MIME-Version";
    Require = "Require";
    ProxyRequire = "Proxy-Require";
    Supported = "Supported", b'k';
    Unsupported = "Unsupported";
    Allow = "Allow";
    AllowEvents = "Allow-Events", b'u';
    Accept = "Accept";
    AcceptEncoding = "Accept-Encoding";
    AcceptLanguage = "Accept-Language";
    AcceptContact = "Accept-Contact", b'a';
    RejectContact = "Reject-Contact", b'j';
    RequestDisposition = "Request-Disposition", b'd';
    Authorization = "Authorization";
    ProxyAuthorization = "Proxy-Authorization";
    WwwAuthenticate = "WWW-Authenticate";
    ProxyAuthenticate = "Proxy-Authenticate";
    AuthenticationInfo = "Authentication-Info";
    SessionExpires = "Session-Expires", b'x';
    MinSe = "Min-SE";
    Expires = "Expires";
    MinExpires = "Min-Expires";
    RSeq = "RSeq";
    RAck = "RAck";
    Reason = "Reason";
    RetryAfter = "Retry-After";
    Warning = "Warning";
    Date = "Date";
    Timestamp = "Timestamp";
    UserAgent = "User-Agent";
    Server = "Server";
    Subject = "Subject", b's';
    Organization = "Organization";
    Priority = "Priority";
    Privacy = "Privacy";
    PAssertedIdentity = "P-Asserted-Identity";
    PPreferredIdentity = "P-Preferred-Identity";
    PChargeInfo = "P-Charge-Info";
    PEarlyMedia = "P-Early-Media";
    PAccessNetworkInfo = "P-Access-Network-Info";
    RemotePartyId = "Remote-Party-ID";
    Diversion = "Diversion";
    HistoryInfo = "History-Info";
    Identity = "Identity", b'y';
    IdentityInfo = "Identity-Info", b'n';
    SessionId = "Session-ID";
    ReferTo = "Refer-To", b'r';
    ReferredBy = "Referred-By", b'b';
    Replaces = "Replaces";
    Join = "Join";
    Event = "Event", b'o';
    SubscriptionState = "Subscription-State";
    SipEtag = "SIP-ETag";
    SipIfMatch = "SIP-If-Match";
    AlertInfo = "Alert-Info";
    CallInfo = "Call-Info";
    ErrorInfo = "Error-Info";
    InReplyTo = "In-Reply-To";
    ReplyTo = "Reply-To";
    Path = "Path";
    ServiceRoute = "Service-Route";
    Geolocation = "Geolocation";
    UserToUser = "User-to-User";
    TargetDialog = "Target-Dialog";
    SecurityClient = "Security-Client";
    SecurityServer = "Security-Server";
    SecurityVerify = "Security-Verify";
    RecvInfo = "Recv-Info";
    InfoPackage = "Info-Package";
}

impl Name {
    /// The header that these bytes name, long or compact form, in any case.
    pub fn from_bytes(name: &[u8]) -> Name {
        if let [letter] = name {
            let letter = letter.to_ascii_lowercase().wrapping_sub(b'a');
            return COMPACT.get(usize::from(letter)).copied().unwrap_or(Name::Other);
        }
        let Some(&(from, to)) = BY_LENGTH.get(name.len()) else { return Name::Other };
        let candidates = SORTED.get(usize::from(from)..usize::from(to)).unwrap_or_default();
        let found = candidates.iter().find(|(long, _)| same(long, name));
        found.map_or(Name::Other, |(_, id)| *id)
    }

    /// Whether the header's values form a comma-separated list that may be spread over several lines
    /// (RFC 3261 §7.3.1).
    pub fn is_list(self) -> bool {
        !matches!(
            self,
            Name::From
                | Name::To
                | Name::CallId
                | Name::CSeq
                | Name::MaxForwards
                | Name::ContentLength
                | Name::ContentType
                | Name::Date
                | Name::UserAgent
                | Name::Server
                | Name::Subject
                | Name::Organization
                | Name::Authorization
                | Name::ProxyAuthorization
                | Name::WwwAuthenticate
                | Name::ProxyAuthenticate
                | Name::Other
        )
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Name::Other { "header" } else { self.as_str() })
    }
}

/// Equal without regard to ASCII case; both have the same length, the first letter tells most apart.
fn same(long: &[u8], name: &[u8]) -> bool {
    match (long.first(), name.first()) {
        // Nearly all peers spell names as the registry does, and whole slices compare fastest.
        (Some(a), Some(b)) if (a ^ b) & 0xdf == 0 => long == name || long.eq_ignore_ascii_case(name),
        _ => false,
    }
}

const LENGTH_MAX: usize = 32;

/// The names in order of length, so that a look-up compares only with those of its own length.
static SORTED: [(&[u8], Name); LONG.len()] = {
    let mut sorted = [(b"" as &[u8], Name::Other); LONG.len()];
    let (mut length, mut next) = (0, 0);
    while length < LENGTH_MAX {
        let mut i = 0;
        while i < LONG.len() {
            if LONG[i].0.len() == length {
                sorted[next] = LONG[i];
                next += 1;
            }
            i += 1;
        }
        length += 1;
    }
    assert!(next == LONG.len(), "every known name is shorter than LENGTH_MAX");
    sorted
};

/// For each length, where its names begin and end in [`SORTED`].
static BY_LENGTH: [(u8, u8); LENGTH_MAX] = {
    let mut ranges = [(0u8, 0u8); LENGTH_MAX];
    let (mut length, mut next) = (0, 0u8);
    while length < LENGTH_MAX {
        let from = next;
        let mut i = 0;
        while i < LONG.len() {
            if LONG[i].0.len() == length {
                next += 1;
            }
            i += 1;
        }
        ranges[length] = (from, next);
        length += 1;
    }
    ranges
};

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3261 §7.3.1: names are case-insensitive; §7.3.3: compact forms.
    #[test]
    fn every_name_is_found_in_any_case_and_in_its_compact_form() {
        for (long, id) in LONG {
            assert_eq!(Name::from_bytes(long), *id);
            assert_eq!(Name::from_bytes(&long.to_ascii_uppercase()), *id);
            assert_eq!(Name::from_bytes(&long.to_ascii_lowercase()), *id);
        }
        let compact = [
            ("v", Name::Via),
            ("F", Name::From),
            ("t", Name::To),
            ("I", Name::CallId),
            ("m", Name::Contact),
            ("l", Name::ContentLength),
            ("c", Name::ContentType),
            ("e", Name::ContentEncoding),
            ("k", Name::Supported),
            ("s", Name::Subject),
            // RFC 4028 §4.
            ("x", Name::SessionExpires),
            // RFC 3515 §2.1, RFC 3892 §2.
            ("r", Name::ReferTo),
            ("b", Name::ReferredBy),
        ];
        for (form, id) in compact {
            assert_eq!(Name::from_bytes(form.as_bytes()), id, "{form}");
        }
    }

    #[test]
    fn near_misses_are_unknown() {
        for name in ["", "q", "@", "Vib", "C%6Fntact", "Call_ID", "X-Tag", "Via "] {
            assert_eq!(Name::from_bytes(name.as_bytes()), Name::Other, "{name}");
        }
        assert_eq!(Name::from_bytes(&[b'a'; 255]), Name::Other);
    }
}
