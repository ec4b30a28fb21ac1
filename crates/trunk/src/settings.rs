//! What a trunk or gateway does: eleven tables of values, each with a default from a profile.
//!
//! These are the resolved values, as replicated state stores them: positional, every field always present.
//! An empty list is one that was left out.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::name::Name;
use crate::party::Transport;
use crate::target::TargetSpec;
use crate::words::words;

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

/// `[trunk.access]`: which sources are this trunk's, and what they must show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// Sources; empty (and no `hosts`): any source that authenticates.
    pub networks: Vec<IpNet>,
    /// Sources by name, followed through DNS.
    pub hosts: Vec<String>,
    /// Ports of ours that serve it; empty: all.
    pub ports: Vec<u16>,
    /// Transports that serve it.
    pub transports: Vec<Transport>,
    /// Whether IPv6 sources and targets are served.
    pub ipv6: bool,
    /// Proofs of which any listed one suffices.
    pub auth: Vec<AuthMethod>,
    /// Digest algorithms, in the order in which they are offered.
    pub digest: Vec<DigestAlgorithm>,
    /// Eight digits before `*` or `#` in the called number.
    pub tech_prefix: Option<String>,
    /// What a missing or wrong prefix gets.
    pub on_bad_prefix: OnBadPrefix,
    /// The header field that names the tenant; it identifies, never authorises.
    pub account_header: Option<String>,
    /// The From host that must be seen; `{account_sid}` is the tenant's.
    pub from_domain: Option<String>,
    /// Whether REGISTER is served.
    pub register: bool,
    /// Methods served; ACK and CANCEL always are.
    pub methods: Vec<String>,
    /// What any other method gets.
    pub unsupported_method: UnsupportedMethod,
    /// Option tags understood.
    pub extensions: Vec<String>,
    /// Whether Max-Forwards and Contact are demanded too.
    pub strict_headers: bool,
    /// Shortest binding, in seconds.
    pub expires_min: u32,
    /// Longest binding, in seconds.
    pub expires_max: u32,
}

impl Default for Access {
    fn default() -> Self {
        let methods = ["INVITE", "ACK", "CANCEL", "BYE", "REGISTER", "OPTIONS", "PRACK", "UPDATE"];
        Access {
            networks: Vec::new(),
            hosts: Vec::new(),
            ports: Vec::new(),
            transports: vec![Transport::Udp, Transport::Tcp, Transport::Tls],
            ipv6: true,
            auth: vec![AuthMethod::Digest, AuthMethod::Address, AuthMethod::Prefix],
            digest: vec![DigestAlgorithm::Md5],
            tech_prefix: None,
            on_bad_prefix: OnBadPrefix::Challenge,
            account_header: None,
            from_domain: None,
            register: true,
            methods: methods.map(String::from).to_vec(),
            unsupported_method: UnsupportedMethod::Refuse,
            extensions: ["timer", "100rel"].map(String::from).to_vec(),
            strict_headers: false,
            expires_min: 30,
            expires_max: 3600,
        }
    }
}

impl Access {
    /// Whether requests of this method are served.
    pub fn serves(&self, method: &str) -> bool {
        matches!(method, "ACK" | "CANCEL") || self.methods.iter().any(|served| served == method)
    }

    /// Whether this proof is taken.
    pub fn takes(&self, method: AuthMethod) -> bool {
        self.auth.contains(&method)
    }
}

words! {
    /// How a source proves that it is the trunk.
    AuthMethod {
        /// RFC 8760 digest.
        Digest = "digest",
        /// Its address.
        Address = "address",
        /// Its tech prefix, from an address of its own.
        Prefix = "prefix",
    }
}

words! {
    /// A digest algorithm (RFC 8760).
    DigestAlgorithm {
        /// MD5.
        Md5 = "MD5",
        /// SHA-256.
        Sha256 = "SHA-256",
    }
}

words! {
    /// What a missing or wrong tech prefix gets.
    OnBadPrefix {
        /// 407, so that digest can be tried.
        Challenge = "challenge",
        /// 403.
        Reject = "reject",
    }
}

words! {
    /// What a method outside the profile gets.
    UnsupportedMethod {
        /// 405 with Allow.
        Refuse = "405",
        /// Silence.
        Ignore = "ignore",
    }
}

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

/// `[trunk.limits]`: all cluster-wide and exact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Calls at once.
    pub concurrent: Option<u32>,
    /// Calls in any minute.
    pub per_minute: Option<u32>,
    /// Calls in any hour.
    pub per_hour: Option<u32>,
    /// Calls in any day.
    pub per_day: Option<u32>,
    /// Calls in any week.
    pub per_week: Option<u32>,
    /// Slots of a call in and out on the same trunk: 1 or 2.
    pub hairpin: u8,
    /// The load that the operator expects; twice that many channels are advised.
    pub expected_peak: Option<u32>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            concurrent: None,
            per_minute: None,
            per_hour: None,
            per_day: None,
            per_week: None,
            hairpin: 2,
            expected_peak: None,
        }
    }
}

words! {
    /// A limit on a trunk, by its key.
    LimitKind {
        /// Calls at once.
        Concurrent = "concurrent",
        /// Calls in any minute.
        PerMinute = "per_minute",
        /// Calls in any hour.
        PerHour = "per_hour",
        /// Calls in any day.
        PerDay = "per_day",
        /// Calls in any week.
        PerWeek = "per_week",
    }
}

impl Limits {
    /// The value of one limit.
    pub const fn get(&self, kind: LimitKind) -> Option<u32> {
        match kind {
            LimitKind::Concurrent => self.concurrent,
            LimitKind::PerMinute => self.per_minute,
            LimitKind::PerHour => self.per_hour,
            LimitKind::PerDay => self.per_day,
            LimitKind::PerWeek => self.per_week,
        }
    }
}

/// `[trunk.destinations]`: where calls from it may go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destinations {
    /// ISO 3166 codes; empty: all.
    pub allow_countries: Vec<String>,
    /// Empty: all.
    pub allow_prefixes: Vec<String>,
    /// These are refused whatever is allowed.
    pub deny_prefixes: Vec<String>,
    /// Whether numbers that are not its own may be called.
    pub pstn: bool,
    /// To-users that are its queues.
    pub fallout: Vec<String>,
}

impl Default for Destinations {
    fn default() -> Self {
        Destinations {
            allow_countries: Vec::new(),
            allow_prefixes: Vec::new(),
            deny_prefixes: Vec::new(),
            pstn: true,
            fallout: Vec::new(),
        }
    }
}

/// A range of ports, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PortRange {
    /// The lowest.
    pub first: u16,
    /// The highest.
    pub last: u16,
}

impl PortRange {
    /// Reads `10000-20000`.
    pub fn parse(text: &str) -> Option<PortRange> {
        let (first, last) = text.split_once('-')?;
        let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        (first > 0 && first <= last).then_some(PortRange { first, last })
    }

    /// Whether every port of `other` is in it.
    pub const fn contains(&self, other: &PortRange) -> bool {
        self.first <= other.first && other.last <= self.last
    }
}

impl std::fmt::Display for PortRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// `[trunk.media]`: audio.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Media {
    /// Whether RTP goes through us.
    pub mode: MediaMode,
    /// Codecs in order of preference, by their SDP names.
    pub codecs: Vec<String>,
    /// How digits travel.
    pub dtmf: Dtmf,
    /// Relaxed thresholds of in-band detection.
    pub dtmf_relaxed: bool,
    /// Encryption (SDES).
    pub srtp: Srtp,
    /// Whether fax re-INVITEs are relayed.
    pub t38: bool,
    /// Its part of the node's range; absent: all of it.
    pub ports: Option<PortRange>,
    /// Whether the address in its SDP is believed.
    pub nat: Nat,
    /// One-way audio is reported after this.
    pub silence: Duration,
    /// Whether we may send it re-INVITEs that move media.
    pub reinvite: Reinvite,
}

impl Default for Media {
    fn default() -> Self {
        Media {
            mode: MediaMode::Anchored,
            codecs: ["PCMA", "PCMU", "G722", "G729", "opus"].map(String::from).to_vec(),
            dtmf: Dtmf::Rfc4733,
            dtmf_relaxed: false,
            srtp: Srtp::Optional,
            t38: true,
            ports: None,
            nat: Nat::Auto,
            silence: Duration::from_secs(10),
            reinvite: Reinvite::Yes,
        }
    }
}

words! {
    /// Whether RTP goes through us.
    MediaMode {
        /// It does.
        Anchored = "anchored",
        /// It goes from end to end.
        Direct = "direct",
    }
}

words! {
    /// How digits travel.
    Dtmf {
        /// As telephone-event packets.
        Rfc4733 = "rfc4733",
        /// As tones in the audio.
        Inband = "inband",
        /// As SIP INFO.
        Info = "info",
    }
}

words! {
    /// Encryption of media.
    Srtp {
        /// Never.
        Off = "off",
        /// Where the peer offers it.
        Optional = "optional",
        /// Always.
        Required = "required",
    }
}

words! {
    /// Whether the address in a peer's SDP is believed.
    Nat {
        /// Not where it differs from the SIP source.
        Auto = "auto",
        /// Never believed.
        Always = "always",
        /// Always believed.
        Never = "never",
    }
}

words! {
    /// Whether a peer is sent re-INVITEs that move media.
    Reinvite {
        /// Whenever useful.
        Yes = "yes",
        /// Only to move a call to another home.
        Failover = "failover",
        /// Never.
        Never = "never",
    }
}

/// `[trunk.timers]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timers {
    /// Session timers (RFC 4028).
    pub session: SessionTimer,
    /// Session-Expires, in seconds.
    pub session_expires: u32,
    /// Min-SE, in seconds.
    pub min_se: u32,
    /// How long a target may ring.
    pub ring: Duration,
    /// How long a target may say nothing at all.
    pub no_response: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Timers {
            session: SessionTimer::Optional,
            session_expires: 1800,
            min_se: 90,
            ring: Duration::from_secs(60),
            no_response: Duration::from_secs(4),
        }
    }
}

words! {
    /// Whether session timers run.
    SessionTimer {
        /// Never.
        Off = "off",
        /// Where the peer asks.
        Optional = "optional",
        /// Always.
        Required = "required",
    }
}

/// `[trunk.probe]`: OPTIONS that we send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Time between probes; zero: none.
    pub interval: Duration,
    /// Failures after which a target is down.
    pub down_after: u32,
    /// Successes after which it is up again.
    pub up_after: u32,
}

impl Default for Probe {
    fn default() -> Self {
        Probe { interval: Duration::from_secs(30), down_after: 3, up_after: 2 }
    }
}

/// `[trunk.delivery]`: where calls to its numbers go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Targets, in order.
    pub targets: Vec<TargetSpec>,
    /// Targets for when it is unreachable, malfunctioning or full.
    pub failover: Vec<TargetSpec>,
    /// Answers that mean malfunction.
    pub failover_on: Vec<StatusPattern>,
    /// Answers after which no further target is tried.
    pub stop_on: Vec<StatusPattern>,
    /// What happens once ringing was relayed.
    pub after_progress: AfterProgress,
    /// How often each target is tried.
    pub tries: u8,
    /// Whose number is shown on hand-back.
    pub caller_id: HandBack,
    /// The answer to a number that matches nothing.
    pub unmatched: u16,
    /// Longest call.
    pub max_duration: Duration,
}

impl Default for Delivery {
    fn default() -> Self {
        Delivery {
            targets: vec![TargetSpec::Account(1), TargetSpec::Account(2)],
            failover: Vec::new(),
            failover_on: vec![StatusPattern::Code(408), StatusPattern::Class(5)],
            stop_on: vec![StatusPattern::Code(486), StatusPattern::Code(600), StatusPattern::Code(603)],
            after_progress: AfterProgress::Stop,
            tries: 1,
            caller_id: HandBack::Original,
            unmatched: 404,
            max_duration: Duration::from_secs(4 * 3600),
        }
    }
}

/// A final status, or a class of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum StatusPattern {
    /// One status: `408`.
    Code(u16),
    /// A class: `5xx`.
    Class(u8),
}

impl StatusPattern {
    /// Reads `408` or `5xx`.
    pub fn parse(text: &str) -> Option<StatusPattern> {
        match text.as_bytes() {
            [class @ b'3'..=b'6', b'x', b'x'] => Some(StatusPattern::Class(class - b'0')),
            [b'3'..=b'6', b'0'..=b'9', b'0'..=b'9'] => text.parse().ok().map(StatusPattern::Code),
            _ => None,
        }
    }

    /// Whether a status is meant.
    pub const fn matches(self, status: u16) -> bool {
        match self {
            StatusPattern::Code(code) => code == status,
            StatusPattern::Class(class) => class as u16 == status / 100,
        }
    }
}

impl std::fmt::Display for StatusPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StatusPattern::Code(code) => write!(f, "{code}"),
            StatusPattern::Class(class) => write!(f, "{class}xx"),
        }
    }
}

words! {
    /// What happens to further targets once ringing was relayed.
    AfterProgress {
        /// No further target.
        Stop = "stop",
        /// They are tried.
        Continue = "continue",
    }
}

words! {
    /// Whose number is shown when a call is handed back.
    HandBack {
        /// The original caller's.
        Original = "original",
        /// The trunk's own.
        Own = "own",
    }
}

/// `[trunk.redirect]`: what a 3xx may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redirect {
    /// Whether a 3xx is followed at all.
    pub follow: bool,
    /// Hosts to which it is followed without asking.
    pub trusted: Vec<HostPattern>,
    /// What happens with any other.
    pub untrusted: Untrusted,
    /// The trunk that the forwarded call is admitted and rated on; absent: itself.
    pub reauthorize_as: Option<Name>,
    /// Hosts to which it is never followed.
    pub deny: Vec<HostPattern>,
    /// Longest chain.
    pub max_hops: u8,
    /// What happens to header fields inside the Contact.
    pub embedded_headers: EmbeddedHeaders,
    /// What happens once ringing was relayed.
    pub after_progress: AfterProgress,
}

impl Default for Redirect {
    fn default() -> Self {
        Redirect {
            follow: false,
            trusted: Vec::new(),
            untrusted: Untrusted::Reject,
            reauthorize_as: None,
            deny: Vec::new(),
            max_hops: 1,
            embedded_headers: EmbeddedHeaders::Drop,
            after_progress: AfterProgress::Stop,
        }
    }
}

/// A host in a redirect list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum HostPattern {
    /// An address or a network.
    Network(IpNet),
    /// A domain.
    Domain(String),
}

impl HostPattern {
    /// Reads an address, a network or a domain.
    pub fn parse(text: &str) -> Option<HostPattern> {
        if let Some(network) = parse_network(text) {
            return Some(HostPattern::Network(network));
        }
        crate::target::is_dns_name(text).then(|| HostPattern::Domain(text.to_ascii_lowercase()))
    }
}

impl std::fmt::Display for HostPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            HostPattern::Network(network) => write!(f, "{network}"),
            HostPattern::Domain(domain) => f.write_str(domain),
        }
    }
}

/// Reads `192.0.2.0/24`, or an address alone as a network of one. Host bits are cleared.
pub fn parse_network(text: &str) -> Option<IpNet> {
    if let Ok(network) = text.parse::<IpNet>() {
        return Some(network.trunc());
    }
    text.parse::<IpAddr>().ok().map(IpNet::from)
}

words! {
    /// What happens with a redirect to a host that is not trusted.
    Untrusted {
        /// The call is authorised again, as a new forwarded call.
        Reauthorize = "reauthorize",
        /// It is refused.
        Reject = "reject",
    }
}

words! {
    /// What happens to header fields inside a redirect's Contact.
    EmbeddedHeaders {
        /// They are dropped.
        Drop = "drop",
        /// They are put into the request.
        Honour = "honour",
    }
}

/// `[trunk.answers]`: answers that differ from the usual ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Answers {
    /// The answer to a call beyond `limits.concurrent`; absent: 486 to it, 503 from it.
    pub concurrent: Option<u16>,
    /// Whether that answer carries Retry-After.
    pub retry_after: bool,
}
