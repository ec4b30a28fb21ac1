//! Where calls can be sent: the words of `targets`, `delivery` and `failover`, and what they mean.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::name::{Name, NameError};
use crate::party::Transport;
use crate::words::Word;

/// The host part of a target.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Host {
    /// An address: no look-up is needed.
    Ip(IpAddr),
    /// A name, for RFC 3263.
    Name(String),
}

impl Host {
    /// Reads an address, a bracketed IPv6 address, or a DNS name.
    pub fn parse(text: &str) -> Option<Host> {
        if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            return inner.parse().ok().map(|ip| Host::Ip(IpAddr::V6(ip)));
        }
        if let Ok(ip) = text.parse::<std::net::Ipv4Addr>() {
            return Some(Host::Ip(IpAddr::V4(ip)));
        }
        is_dns_name(text).then(|| Host::Name(text.to_ascii_lowercase()))
    }

    /// The address, where the host is one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Host::Ip(ip) => Some(*ip),
            Host::Name(_) => None,
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Ip(IpAddr::V4(ip)) => write!(f, "{ip}"),
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Host::Name(name) => f.write_str(name),
        }
    }
}

/// Whether a text can be a DNS name (RFC 1123 §2.1); one that is all digits and dots is a mistyped address.
pub fn is_dns_name(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let label_is_good = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    !text.is_empty()
        && text.len() <= 253
        && text.split('.').all(label_is_good)
        && !text.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

/// A SIP URI in a configuration file: `sip:host`, `sip:user@host:port;transport=tcp`, `sips:host`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SipTarget {
    /// The user part, exactly as written; without one, the called number is put there.
    pub user: Option<String>,
    /// The host.
    pub host: Host,
    /// The port; without one, RFC 3263 decides.
    pub port: Option<u16>,
    /// The transport; without one, RFC 3263 decides for names, and UDP is used for addresses.
    pub transport: Option<Transport>,
    /// `sips:` rather than `sip:`.
    pub secure: bool,
}

impl SipTarget {
    /// Reads a target.
    pub fn parse(text: &str) -> Result<SipTarget, TargetError> {
        let (secure, rest) = match text.split_once(':') {
            Some(("sip", rest)) => (false, rest),
            Some(("sips", rest)) => (true, rest),
            _ => return Err(TargetError::Scheme),
        };
        let (user, rest) = match rest.rsplit_once('@') {
            Some((user, rest)) if is_user(user) => (Some(user.to_owned()), rest),
            Some(_) => return Err(TargetError::User),
            None => (None, rest),
        };
        let mut parts = rest.split(';');
        let (host, port) = host_and_port(parts.next().unwrap_or_default())?;
        let mut transport = None;
        for parameter in parts {
            match parameter.split_once('=') {
                Some(("transport", word)) => {
                    let known = Transport::from_word(&word.to_ascii_lowercase());
                    transport = Some(known.ok_or(TargetError::Transport)?);
                }
                _ => return Err(TargetError::Parameter),
            }
        }
        if secure && transport == Some(Transport::Udp) {
            return Err(TargetError::Transport);
        }
        Ok(SipTarget { user, host, port, transport, secure })
    }

    /// The target itself, whoever is called there.
    pub fn peer(&self) -> SipTarget {
        SipTarget { user: None, ..self.clone() }
    }

    /// Somebody at a host, whoever is called there.
    pub fn at(host: Host, port: Option<u16>, transport: Transport) -> SipTarget {
        let transport = Some(transport).filter(|it| *it != Transport::Udp);
        SipTarget { user: None, host, port, transport, secure: false }
    }

    /// A domain, for RFC 3263.
    pub fn of_domain(domain: &str) -> SipTarget {
        let host = Host::Name(domain.to_owned());
        SipTarget { user: None, host, port: None, transport: None, secure: false }
    }

    /// The transport that requests to it use.
    pub fn transport(&self) -> Transport {
        if self.secure { Transport::Tls } else { self.transport.unwrap_or(Transport::Udp) }
    }

    /// The Request-URI for a call to `user`, which is already escaped.
    pub fn uri(&self, user: &str) -> String {
        let user = self.user.as_deref().unwrap_or(user);
        let scheme = if self.secure { "sips:" } else { "sip:" };
        let parameter = match self.transport {
            Some(Transport::Tcp) => ";transport=tcp",
            Some(Transport::Tls) => ";transport=tls",
            Some(Transport::Udp) | None => "",
        };
        let mut uri = String::with_capacity(scheme.len() + user.len() + 48);
        uri.push_str(scheme);
        if !user.is_empty() {
            uri.push_str(user);
            uri.push('@');
        }
        self.push_host_port(&mut uri);
        uri.push_str(parameter);
        uri
    }

    fn push_host_port(&self, out: &mut String) {
        use std::fmt::Write as _;
        // Writing to a String can't fail.
        let _ = match self.port {
            Some(port) => write!(out, "{}:{port}", self.host),
            None => write!(out, "{}", self.host),
        };
    }
}

impl fmt::Display for SipTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.secure { "sips:" } else { "sip:" })?;
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        write!(f, "{}", self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        match self.transport {
            Some(transport) => write!(f, ";transport={transport}"),
            None => Ok(()),
        }
    }
}

/// One entry of a delivery list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TargetSpec {
    /// `account:1`: where that account of the trunk is registered.
    Account(u8),
    /// `sip:host:port;transport=tcp`: an address.
    Sip(SipTarget),
    /// `srv:domain`: a domain, by RFC 3263.
    Srv(String),
    /// `flow:NAME`: a flow of ours.
    Flow(Name),
    /// `number:+31…`: one of our numbers, else the PSTN.
    Number(String),
    /// `trunk:NAME:USER`: another trunk, with exactly this user.
    Trunk {
        /// The trunk.
        name: Name,
        /// The user, without any normalisation.
        user: String,
    },
}

impl TargetSpec {
    /// Reads an entry.
    pub fn parse(text: &str) -> Result<TargetSpec, TargetError> {
        let Some((scheme, rest)) = text.split_once(':') else { return Err(TargetError::Spec) };
        match scheme {
            "account" => match rest {
                "1" => Ok(TargetSpec::Account(1)),
                "2" => Ok(TargetSpec::Account(2)),
                _ => Err(TargetError::Account),
            },
            "sip" | "sips" => SipTarget::parse(text).map(TargetSpec::Sip),
            "srv" if is_dns_name(rest) => Ok(TargetSpec::Srv(rest.to_ascii_lowercase())),
            "srv" => Err(TargetError::Host),
            "flow" => Ok(TargetSpec::Flow(Name::new(rest)?)),
            "number" if is_user(rest) => Ok(TargetSpec::Number(rest.to_owned())),
            "trunk" => match rest.split_once(':') {
                Some((name, user)) if is_user(user) => {
                    Ok(TargetSpec::Trunk { name: Name::new(name)?, user: user.to_owned() })
                }
                Some(_) => Err(TargetError::User),
                None => Err(TargetError::TrunkUser),
            },
            "number" => Err(TargetError::User),
            _ => Err(TargetError::Spec),
        }
    }
}

impl fmt::Display for TargetSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TargetSpec::Account(n) => write!(f, "account:{n}"),
            TargetSpec::Sip(target) => write!(f, "{target}"),
            TargetSpec::Srv(domain) => write!(f, "srv:{domain}"),
            TargetSpec::Flow(name) => write!(f, "flow:{name}"),
            TargetSpec::Number(number) => write!(f, "number:{number}"),
            TargetSpec::Trunk { name, user } => write!(f, "trunk:{name}:{user}"),
        }
    }
}

/// Why a text is no target.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TargetError {
    /// Neither `sip:` nor `sips:`.
    #[error("a target starts with `sip:` or `sips:`")]
    Scheme,
    /// None of the forms of a delivery entry.
    #[error("a target is `account:N`, `sip:…`, `srv:DOMAIN`, `flow:NAME`, `number:…` or `trunk:NAME:USER`")]
    Spec,
    /// Not account 1 or 2.
    #[error("a trunk has `account:1` and `account:2`")]
    Account,
    /// The user has characters that a URI can't carry.
    #[error("the user part must be escaped as RFC 3261 §25.1 says")]
    User,
    /// `trunk:NAME` without a user.
    #[error("which user? write `trunk:NAME:USER`")]
    TrunkUser,
    /// No address and no DNS name.
    #[error("the host is neither an address nor a DNS name")]
    Host,
    /// A port that is no number from 1 to 65535.
    #[error("a port is a number from 1 to 65535")]
    Port,
    /// A transport other than udp, tcp and tls, or udp with `sips:`.
    #[error("a transport is udp, tcp or tls, and never udp with `sips:`")]
    Transport,
    /// A URI parameter other than `transport`.
    #[error("the only parameter of a target is `transport`")]
    Parameter,
    /// A name in it is none.
    #[error(transparent)]
    Name(#[from] NameError),
}

fn host_and_port(text: &str) -> Result<(Host, Option<u16>), TargetError> {
    // A colon inside the brackets of an IPv6 address separates no port.
    let after_bracket = text.rfind(']').map_or(0, |at| at + 1);
    let (host, port) = match text.get(after_bracket..).and_then(|tail| tail.rfind(':')) {
        Some(at) => {
            let (host, port) = text.split_at(after_bracket + at);
            (host, Some(port.trim_start_matches(':')))
        }
        None => (text, None),
    };
    let host = Host::parse(host).ok_or(TargetError::Host)?;
    let port = match port {
        None => None,
        Some(digits) => match digits.parse::<u16>() {
            Ok(number) if number > 0 && !digits.starts_with('+') => Some(number),
            _ => return Err(TargetError::Port),
        },
    };
    Ok((host, port))
}

/// Whether every character may stand in the user part of a SIP URI (RFC 3261 §25.1), escapes included.
pub fn is_user(text: &str) -> bool {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let good = match byte {
            b'%' => {
                let hex = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_hexdigit());
                hex(bytes.next()) && hex(bytes.next())
            }
            other => is_user_byte(other),
        };
        if !good {
            return false;
        }
    }
    !text.is_empty()
}

/// `unreserved` and `user-unreserved` of RFC 3261 §25.1.
pub(crate) fn is_user_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'_' | b'.' | b'!' | b'~' | b'*' | b'\'' | b'(' | b')')
        || matches!(byte, b'&' | b'=' | b'+' | b'$' | b',' | b';' | b'?' | b'/')
}
