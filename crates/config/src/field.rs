//! Values of keys: how each type is read, what is said when it can't be, and how it is written.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use trunk::settings::{
    AfterProgress, AuthMethod, DigestAlgorithm, DisplayName, Dtmf, EmbeddedHeaders, HandBack, HostPattern,
    IdentityHeader, MediaMode, Nat, NumberFormat, OnBadPrefix, OnForeign, PortRange, Reinvite, SessionTimer,
    Srtp, StatusPattern, StirPolicy, StirSign, UnsupportedMethod, Untrusted, parse_network,
};
use trunk::{FalloutVia, Host, Money, Name, SipTarget, TargetSpec, Transport, Word};

use crate::nearest;
use crate::node::{HomePort, Listen, LogFormat, OnQuorumLoss, Peer, UnknownSources};
use crate::out::Out;
use crate::problem::Problems;
use crate::tree::{Node, Value};
use crate::visit::Complaint;

/// Where problems of one file go.
#[derive(Debug)]
pub(crate) struct Sink<'p, 's> {
    pub(crate) problems: &'p mut Problems<'s>,
    pub(crate) file: usize,
}

impl Sink<'_, '_> {
    pub(crate) fn error(&mut self, span: &Range<usize>, complaint: Complaint) {
        self.problems.error(self.file, span, complaint.message, complaint.hint);
    }

    /// Reports a value of the wrong type.
    pub(crate) fn wrong_type(&mut self, node: &Node, expected: &str, hint: &str) {
        let message = format!("expected {expected}, found {}", node.kind());
        self.error(&node.span, Complaint::new(message, hint));
    }
}

/// A type that a key can have.
pub(crate) trait Field: Sized {
    /// Reads a value; reports and gives `None` if it can't be.
    fn read(node: &Node, sink: &mut Sink<'_, '_>) -> Option<Self>;

    /// Writes it.
    fn write(&self) -> Out;
}

impl Field for bool {
    fn read(node: &Node, sink: &mut Sink<'_, '_>) -> Option<Self> {
        match &node.value {
            Value::Truth(truth) => Some(*truth),
            Value::Text(text) if text == "true" || text == "false" => {
                sink.wrong_type(node, "true or false", "without quotes");
                None
            }
            _ => {
                sink.wrong_type(node, "true or false", "");
                None
            }
        }
    }

    fn write(&self) -> Out {
        Out::Truth(*self)
    }
}

fn read_number(node: &Node, sink: &mut Sink<'_, '_>) -> Option<i64> {
    match &node.value {
        Value::Integer(number) => Some(*number),
        Value::Text(text) if text.parse::<i64>().is_ok() => {
            sink.wrong_type(node, "a number", "without quotes");
            None
        }
        _ => {
            sink.wrong_type(node, "a number", "");
            None
        }
    }
}

macro_rules! numbers {
    ($($type:ty),+) => {$(
        impl Field for $type {
            fn read(node: &Node, sink: &mut Sink<'_, '_>) -> Option<Self> {
                let number = read_number(node, sink)?;
                let read = <$type>::try_from(number);
                if read.is_err() {
                    let most = i64::try_from(<$type>::MAX).unwrap_or(i64::MAX);
                    let message = format!("{number} is not from 0 to {most}");
                    sink.error(&node.span, Complaint::new(message, ""));
                }
                read.ok()
            }

            fn write(&self) -> Out {
                Out::Integer(i64::try_from(*self).unwrap_or(i64::MAX))
            }
        }
    )+};
}

numbers!(u8, u16, u32, u64);

/// A type that is written as text.
pub(crate) trait Textual: Sized {
    /// What it is, after "expected".
    const WHAT: &'static str;

    fn parse(text: &str) -> Result<Self, Complaint>;

    fn print(&self) -> String;
}

macro_rules! textual {
    ($($type:ty),+ $(,)?) => {$(
        impl Field for $type {
            fn read(node: &Node, sink: &mut Sink<'_, '_>) -> Option<Self> {
                let Value::Text(text) = &node.value else {
                    sink.wrong_type(node, <$type as Textual>::WHAT, "in quotes");
                    return None;
                };
                match <$type as Textual>::parse(text) {
                    Ok(value) => Some(value),
                    Err(complaint) => {
                        sink.error(&node.span, complaint);
                        None
                    }
                }
            }

            fn write(&self) -> Out {
                Out::Text(Textual::print(self))
            }
        }
    )+};
}

textual!(String, PathBuf, Name, Duration, IpAddr, SocketAddr, IpNet, Host, PortRange, HostPattern);
textual!(TargetSpec, SipTarget, Money, FalloutVia, Listen, Peer, HomePort);

macro_rules! words {
    ($($type:ty),+ $(,)?) => {
        $(impl Textual for $type {
            const WHAT: &'static str = "text";

            fn parse(text: &str) -> Result<Self, Complaint> {
                <$type>::from_word(text).ok_or_else(|| {
                    let words: Vec<&str> = <$type>::ALL.iter().map(|value| value.word()).collect();
                    nearest::no_such_word(text, &words)
                })
            }

            fn print(&self) -> String {
                self.word().to_owned()
            }
        })+
        textual!($($type),+);
    };
}

words!(Transport, AuthMethod, DigestAlgorithm, OnBadPrefix, UnsupportedMethod, IdentityHeader, OnForeign);
words!(
    NumberFormat,
    DisplayName,
    StirSign,
    MediaMode,
    Dtmf,
    Srtp,
    Nat,
    Reinvite,
    SessionTimer,
    AfterProgress
);
words!(HandBack, Untrusted, EmbeddedHeaders, UnknownSources, OnQuorumLoss, LogFormat);

impl Textual for String {
    const WHAT: &'static str = "text";

    fn parse(text: &str) -> Result<Self, Complaint> {
        if text.chars().any(char::is_control) {
            return Err(Complaint::new("a control character in text", ""));
        }
        Ok(text.to_owned())
    }

    fn print(&self) -> String {
        self.clone()
    }
}

impl Textual for PathBuf {
    const WHAT: &'static str = "a path";

    fn parse(text: &str) -> Result<Self, Complaint> {
        if text.is_empty() || text.contains('\0') {
            return Err(Complaint::new("not a path", ""));
        }
        Ok(PathBuf::from(text))
    }

    fn print(&self) -> String {
        self.display().to_string()
    }
}

impl Textual for Name {
    const WHAT: &'static str = "a name";

    fn parse(text: &str) -> Result<Self, Complaint> {
        Name::new(text)
            .map_err(|error| Complaint::new(format!("`{}` is no name", clip(text)), &error.to_string()))
    }

    fn print(&self) -> String {
        self.to_string()
    }
}

impl Textual for Duration {
    const WHAT: &'static str = "a time span";

    fn parse(text: &str) -> Result<Self, Complaint> {
        crate::span::parse(text).ok_or_else(|| {
            Complaint::new(format!("`{}` is no time span", clip(text)), "such as 500ms, 10s, 2m or 4h")
        })
    }

    fn print(&self) -> String {
        crate::span::print(*self)
    }
}

impl Textual for IpAddr {
    const WHAT: &'static str = "an address";

    fn parse(text: &str) -> Result<Self, Complaint> {
        text.parse().map_err(|_| {
            Complaint::new(format!("`{}` is no address", clip(text)), "such as 192.0.2.10 or 2001:db8::1")
        })
    }

    fn print(&self) -> String {
        self.to_string()
    }
}

impl Textual for SocketAddr {
    const WHAT: &'static str = "an address and port";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let hint = "such as 127.0.0.1:8080 or [::1]:8080";
        let complaint = || Complaint::new(format!("`{}` is no address with a port", clip(text)), hint);
        let address: SocketAddr = text.parse().map_err(|_| complaint())?;
        if address.port() == 0 { Err(Complaint::new("port 0 is none", "1 to 65535")) } else { Ok(address) }
    }

    fn print(&self) -> String {
        self.to_string()
    }
}

impl Textual for IpNet {
    const WHAT: &'static str = "a network";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let hint = "such as 192.0.2.0/24, 192.0.2.10 or 2001:db8::/32";
        let network = parse_network(text)
            .ok_or_else(|| Complaint::new(format!("`{}` is no network", clip(text)), hint))?;
        match text.parse::<IpNet>() {
            Ok(written) if written.addr() != network.network() => {
                let message = format!("`{}` has bits set beyond its prefix length", clip(text));
                Err(Complaint::new(message, &format!("the network is {network}")))
            }
            _ => Ok(network),
        }
    }

    fn print(&self) -> String {
        self.to_string()
    }
}

impl Textual for Host {
    const WHAT: &'static str = "a host";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let bare_v6 = text.parse::<std::net::Ipv6Addr>().ok().map(|ip| Host::Ip(ip.into()));
        bare_v6.or_else(|| Host::parse(text)).ok_or_else(|| {
            Complaint::new(format!("`{}` is neither an address nor a DNS name", clip(text)), "")
        })
    }

    fn print(&self) -> String {
        self.to_string()
    }
}

impl Textual for PortRange {
    const WHAT: &'static str = "a range of ports";

    fn parse(text: &str) -> Result<Self, Complaint> {
        PortRange::parse(text).ok_or_else(|| {
            Complaint::new(
                format!("`{}` is no range of ports", clip(text)),
                "such as 10000-20000, the lower first",
            )
        })
    }

    fn print(&self) -> String {
        self.to_string()
    }
}

impl Textual for HostPattern {
    const WHAT: &'static str = "an address, a network or a domain";

    fn parse(text: &str) -> Result<Self, Complaint> {
        HostPattern::parse(text)
            .ok_or_else(|| Complaint::new(format!("`{}` is no address, network or domain", clip(text)), ""))
    }

    fn print(&self) -> String {
        self.to_string()
    }
}

impl Textual for TargetSpec {
    const WHAT: &'static str = "a target";

    fn parse(text: &str) -> Result<Self, Complaint> {
        TargetSpec::parse(text).map_err(|error| not_a_target(text, &error))
    }

    fn print(&self) -> String {
        self.to_string()
    }
}

impl Textual for SipTarget {
    const WHAT: &'static str = "a SIP URI";

    fn parse(text: &str) -> Result<Self, Complaint> {
        SipTarget::parse(text).map_err(|error| not_a_target(text, &error))
    }

    fn print(&self) -> String {
        self.to_string()
    }
}

fn not_a_target(text: &str, error: &trunk::TargetError) -> Complaint {
    Complaint::new(format!("`{}` is no target", clip(text)), &error.to_string())
}

impl Textual for Money {
    const WHAT: &'static str = "an amount";

    fn parse(text: &str) -> Result<Self, Complaint> {
        Money::parse(text).ok_or_else(|| {
            Complaint::new(format!("`{}` is no amount", clip(text)), "such as 0.0120, at most six decimals")
        })
    }

    fn print(&self) -> String {
        self.to_string()
    }
}

impl Textual for FalloutVia {
    const WHAT: &'static str = "text";

    fn parse(text: &str) -> Result<Self, Complaint> {
        match text.split_once(':') {
            None if text == "trunk" => Ok(FalloutVia::Trunk),
            Some(("gateway", name)) => Name::parse(name).map(FalloutVia::Gateway),
            _ => Err(Complaint::new(format!("`{}` is no way back", clip(text)), "`trunk` or `gateway:NAME`")),
        }
    }

    fn print(&self) -> String {
        match self {
            FalloutVia::Trunk => "trunk".to_owned(),
            FalloutVia::Gateway(name) => format!("gateway:{name}"),
        }
    }
}

impl Textual for Listen {
    const WHAT: &'static str = "a socket";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let complaint =
            || Complaint::new(format!("`{}` is no socket", clip(text)), "such as udp://127.0.0.1:5060");
        let (word, address) = text.split_once("://").ok_or_else(complaint)?;
        let transport = Transport::parse(word)?;
        let address = SocketAddr::parse(address)?;
        Ok(Listen { transport, address })
    }

    fn print(&self) -> String {
        format!("{}://{}", self.transport, self.address)
    }
}

impl Textual for HomePort {
    const WHAT: &'static str = "a transport and port";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let complaint =
            || Complaint::new(format!("`{}` is no transport and port", clip(text)), "such as udp:5060");
        let (word, port) = text.split_once(':').ok_or_else(complaint)?;
        let transport = Transport::parse(word)?;
        let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(complaint)?;
        Ok(HomePort { transport, port })
    }

    fn print(&self) -> String {
        format!("{}:{}", self.transport, self.port)
    }
}

impl Textual for Peer {
    const WHAT: &'static str = "a node and its address";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let complaint =
            || Complaint::new(format!("`{}` is no node and address", clip(text)), "such as 1@127.0.0.1:7000");
        let (id, address) = text.split_once('@').ok_or_else(complaint)?;
        let id = id.parse().map_err(|_| complaint())?;
        let is_name = |address: &str| {
            address.rsplit_once(':').is_some_and(|(host, port)| {
                trunk::is_dns_name(host) && port.parse::<u16>().is_ok_and(|port| port > 0)
            })
        };
        if address.parse::<SocketAddr>().is_ok() || is_name(address) {
            Ok(Peer { id, address: address.to_owned() })
        } else {
            Err(complaint())
        }
    }

    fn print(&self) -> String {
        format!("{}@{}", self.id, self.address)
    }
}

/// A status of our own, read as a number or as text, written as `TEXT` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Status<const TEXT: bool>(pub(crate) u16);

impl<const TEXT: bool> Field for Status<TEXT> {
    fn read(node: &Node, sink: &mut Sink<'_, '_>) -> Option<Self> {
        let number = match &node.value {
            Value::Text(text) => text.parse().ok(),
            Value::Integer(number) => Some(*number),
            _ => None,
        };
        let status = number.and_then(|number: i64| u16::try_from(number).ok());
        let good = status.filter(|status| (400..700).contains(status)).map(Status);
        if good.is_none() {
            sink.error(&node.span, Complaint::new("not a status that refuses a call", "400 to 699"));
        }
        good
    }

    fn write(&self) -> Out {
        if TEXT { Out::Text(self.0.to_string()) } else { Out::Integer(i64::from(self.0)) }
    }
}

impl Field for StatusPattern {
    fn read(node: &Node, sink: &mut Sink<'_, '_>) -> Option<Self> {
        let text = match &node.value {
            Value::Text(text) => text.clone(),
            Value::Integer(number) => number.to_string(),
            _ => String::new(),
        };
        let read = StatusPattern::parse(&text);
        if read.is_none() {
            sink.error(
                &node.span,
                Complaint::new("not a status or a class of them", "such as \"408\" or \"5xx\""),
            );
        }
        read
    }

    fn write(&self) -> Out {
        Out::Text(self.to_string())
    }
}

impl<T: Field> Field for Option<T> {
    fn read(node: &Node, sink: &mut Sink<'_, '_>) -> Option<Self> {
        T::read(node, sink).map(Some)
    }

    fn write(&self) -> Out {
        self.as_ref().map_or(Out::Absent, Field::write)
    }
}

impl<T: Field> Field for Vec<T> {
    fn read(node: &Node, sink: &mut Sink<'_, '_>) -> Option<Self> {
        let Value::List(items) = &node.value else {
            sink.wrong_type(node, "a list", "in square brackets");
            return None;
        };
        // Every bad item is reported, not only the first.
        let read: Vec<Option<T>> = items.iter().map(|item| T::read(item, sink)).collect();
        read.into_iter().collect()
    }

    fn write(&self) -> Out {
        Out::List(self.iter().map(Field::write).collect())
    }
}

impl Field for [u32; 2] {
    fn read(node: &Node, sink: &mut Sink<'_, '_>) -> Option<Self> {
        let read = Vec::<u32>::read(node, sink)?;
        let pair = <[u32; 2]>::try_from(read).ok().filter(|pair| !pair.contains(&0));
        if pair.is_none() {
            sink.error(&node.span, Complaint::new("expected two numbers, both above 0", "such as [60, 1]"));
        }
        pair
    }

    fn write(&self) -> Out {
        self.to_vec().write()
    }
}

impl Field for BTreeMap<String, String> {
    fn read(node: &Node, sink: &mut Sink<'_, '_>) -> Option<Self> {
        let Value::Table(table) = &node.value else {
            sink.wrong_type(node, "a table", "such as { \"X-Name\" = \"value\" }");
            return None;
        };
        let read: Vec<Option<(String, String)>> = table
            .entries
            .iter()
            .map(|entry| {
                let value = String::read(&entry.node, sink)?;
                let complaint = crate::rules::header_name(&entry.key);
                match complaint.or_else(|| crate::rules::template(&value)) {
                    None => Some((entry.key.clone(), value)),
                    Some(complaint) => {
                        sink.error(&entry.key_span, complaint);
                        None
                    }
                }
            })
            .collect();
        read.into_iter().collect()
    }

    fn write(&self) -> Out {
        Out::Inline(self.iter().map(|(key, value)| (key.clone(), Out::Text(value.clone()))).collect())
    }
}

impl Field for StirPolicy {
    fn read(node: &Node, sink: &mut Sink<'_, '_>) -> Option<Self> {
        let Value::Table(table) = &node.value else {
            sink.wrong_type(node, "a table", "such as { sign = \"auto\", verify = true }");
            return None;
        };
        let mut policy = trunk::settings::Identity::default().stir;
        let mut is_good = true;
        for entry in &table.entries {
            match entry.key.as_str() {
                "sign" => match StirSign::read(&entry.node, sink) {
                    Some(sign) => policy.sign = sign,
                    None => is_good = false,
                },
                "verify" => match bool::read(&entry.node, sink) {
                    Some(verify) => policy.verify = verify,
                    None => is_good = false,
                },
                key => {
                    sink.error(&entry.key_span, nearest::unknown_key(key, "stir", &["sign", "verify"]));
                    is_good = false;
                }
            }
        }
        is_good.then_some(policy)
    }

    fn write(&self) -> Out {
        Out::Inline(vec![
            ("sign".to_owned(), self.sign.write()),
            ("verify".to_owned(), Out::Truth(self.verify)),
        ])
    }
}

/// A text for a message: not longer than a line can bear, and without control characters.
pub(crate) fn clip(text: &str) -> String {
    let mut clipped: String = text.chars().take(60).map(|c| if c.is_control() { '·' } else { c }).collect();
    if text.chars().nth(60).is_some() {
        clipped.push('…');
    }
    clipped
}
