//! `banyan explain`: one message, and what this node would make of it. It asks the very functions that the
//! node asks.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use config::{NodeFile, Severity};
use sip::verdict::{self, Extensions, Rules, Verdict};
use sip::{Framing, Message, Method, Name, reason_of};
use trunk::{Asked, Identified, Party, Resources, Trunk};

use crate::cli::{ExplainArgs, Transport};
use crate::failure::{Failure, Result};
use crate::output::say;
use crate::resources::read;

/// Where a message comes from that names no source: an address that documents use (RFC 5737).
const ANYWHERE: SocketAddr =
    SocketAddr::V4(std::net::SocketAddrV4::new(std::net::Ipv4Addr::new(192, 0, 2, 1), 5060));

/// Runs `banyan explain`.
pub fn explain(args: &ExplainArgs) -> Result {
    let bytes = std::fs::read(&args.file)
        .map_err(|error| Failure::Usage(format!("{}: {error}", args.file.display())))?;
    let node = args.config.as_deref().map(node_file).transpose()?;
    let resources = resources(args)?;
    let rules = Rules::default();
    let reading = verdict::read(&bytes, Framing::Datagram, &rules);
    let mut verdict = reading.verdict.to_string();
    let mut accepted = reading.verdict == Verdict::Accept;
    let mut more = String::new();
    if let Some(message) = &reading.message {
        fields(message, &mut more);
        if let (true, true, Some(resources)) = (accepted, message.is_request(), &resources) {
            let policy = Policy { args, node: node.as_ref(), resources };
            if let Err(no) = policy.judge(message, &mut more) {
                verdict = no;
                accepted = false;
            }
        }
    }
    say(&format!("verdict: {verdict}\n{more}"));
    if accepted { Ok(()) } else { Err(Failure::Said(1)) }
}

fn node_file(path: &Path) -> Result<NodeFile> {
    config::read_node(&read(path)?).map(|(node, _)| node).map_err(|problems| {
        problems.iter().for_each(|problem| eprintln!("{problem}"));
        Failure::Said(2)
    })
}

fn resources(args: &ExplainArgs) -> Result<Option<Resources>> {
    if args.resources.is_empty() {
        return Ok(None);
    }
    let sources = args.resources.iter().map(|path| read(path)).collect::<Result<Vec<_>>>()?;
    let checked = config::check(&sources);
    let errors = checked.problems.iter().filter(|problem| problem.severity == Severity::Error);
    errors.for_each(|problem| eprintln!("{problem}"));
    if checked.has_errors() {
        return Err(Failure::Said(2));
    }
    let mut resources = Resources::default();
    resources.apply(checked.resources).map_err(|error| Failure::Usage(error.to_string()))?;
    Ok(Some(resources))
}

/// What the configuration adds to the protocol's own verdict.
struct Policy<'a> {
    args: &'a ExplainArgs,
    node: Option<&'a NodeFile>,
    resources: &'a Resources,
}

impl Policy<'_> {
    /// Appends the rule that decides and what would be sent; gives the verdict line of a refusal.
    fn judge(&self, message: &Message<'_>, out: &mut String) -> std::result::Result<(), String> {
        if message.to().ok().is_some_and(|to| to.tag().is_some()) {
            line(out, "caller", "inside a dialog: its call decides");
            return Ok(());
        }
        let (party, strip) = self.caller(message, out)?;
        if let Some(trunk) = party.trunk().and_then(|name| self.resources.trunks.get(name)) {
            under_rules_of(trunk, message)?;
        }
        if message.method() == Some(Method::Invite) {
            self.route(message, &party, strip, out)
        } else {
            Ok(())
        }
    }

    fn caller(&self, message: &Message<'_>, out: &mut String) -> std::result::Result<(Party, usize), String> {
        let uri = message.request_uri().ok();
        let from = message.from().ok().and_then(|from| from.parse_uri().ok());
        let source = self.args.from.unwrap_or(ANYWHERE);
        let transport = match self.args.transport {
            Transport::Udp => trunk::Transport::Udp,
            Transport::Tcp => trunk::Transport::Tcp,
            Transport::Tls => trunk::Transport::Tls,
        };
        let listen = self.node.and_then(|node| node.sip.listen.iter().find(|it| it.transport == transport));
        let header = |name: &str| message.find(name.as_bytes()).and_then(text);
        let asked = Asked {
            source,
            transport,
            local_port: listen.map_or(transport.default_port(), |it| it.address.port()),
            request_user: uri.as_ref().and_then(|uri| text(uri.user?)).unwrap_or_default(),
            request_host: uri.as_ref().and_then(|uri| text(uri.host)).unwrap_or_default(),
            from_host: from.as_ref().and_then(|uri| text(uri.host)).unwrap_or_default(),
            username: None,
            header: &header,
        };
        match self.resources.identify(&asked) {
            Identified::Trunk { trunk, strip } => {
                line(out, "caller", &format!("trunk {}", trunk.name));
                Ok((Party::Trunk { name: trunk.name.clone(), account: None }, strip))
            }
            Identified::Gateway { gateway } => {
                line(out, "caller", &format!("gateway {}", gateway.name));
                Ok((Party::Gateway { name: gateway.name.clone() }, 0))
            }
            Identified::Refuse(reject) => {
                line(out, "rule", reject.rule());
                Err(format!("reject 403 {reject}"))
            }
            Identified::Claimed { .. } | Identified::Challenge { .. } => {
                line(out, "rule", "access.auth");
                let status = if message.method() == Some(Method::Register) { 401 } else { 407 };
                Err(format!("reject {status} the source must authenticate by digest"))
            }
            Identified::Unknown => {
                line(out, "rule", "access.networks");
                Err(match self.node.map(|node| node.sip.unknown_sources) {
                    Some(config::node::UnknownSources::Reject) => "reject 403 unknown source".to_owned(),
                    _ => format!("drop {source} is admitted by no trunk and no gateway"),
                })
            }
        }
    }

    fn route(
        &self,
        message: &Message<'_>,
        party: &Party,
        strip: usize,
        out: &mut String,
    ) -> std::result::Result<(), String> {
        let uri = message.request_uri().map_err(|error| format!("reject 400 {error}"))?;
        let user = uri.user.and_then(text).unwrap_or_default();
        let called = user.get(strip..).unwrap_or_default();
        let plan = self.resources.plan(party, called, 0).map_err(|reject| {
            line(out, "rule", reject.rule());
            let answer = call::reject::policy(&reject);
            format!("reject {} {}", answer.status, answer.text)
        })?;
        line(out, "called", &plan.called);
        line(out, "direction", &plan.direction.to_string());
        for (index, target) in plan.targets.iter().enumerate() {
            let port = target.port.map(|port| format!(":{port}")).unwrap_or_default();
            let party = match &target.party {
                Party::Trunk { name, .. } => format!("trunk {name}"),
                Party::Gateway { name } => format!("gateway {name}"),
            };
            let failover = if target.is_failover { ", failover" } else { "" };
            let way = format!("{} to {}{port} by {}", target.uri, target.host, target.transport);
            line(out, &format!("target {}", index + 1), &format!("INVITE {way} ({party}{failover})"));
        }
        Ok(())
    }
}

/// The protocol's verdict once more, with what this trunk demands.
fn under_rules_of(trunk: &Trunk, message: &Message<'_>) -> std::result::Result<(), String> {
    let access = &trunk.settings.access;
    let method = message.method().and_then(|method| text(method.as_bytes())).unwrap_or_default();
    let always = matches!(method, "ACK" | "CANCEL");
    if !always && !access.methods.iter().any(|served| served == method) {
        return Err(format!("reject 405 {}", reason_of(405)));
    }
    let rules = Rules {
        strict_headers: access.strict_headers,
        extensions: Extensions::from_tokens(access.extensions.iter().map(String::as_bytes)),
    };
    match verdict::request(message, &rules) {
        Verdict::Accept => Ok(()),
        other => Err(other.to_string()),
    }
}

/// The fields as the node understands them.
fn fields(message: &Message<'_>, out: &mut String) {
    match message.status() {
        Some(status) => {
            line(out, "status", &format!("{status} {}", lossy(message.reason_phrase())));
        }
        None => {
            line(out, "method", &lossy(message.method().map(|m| m.as_bytes().to_vec()).unwrap_or_default()));
            line(out, "request-uri", &lossy(message.uri().unwrap_or_default()));
        }
    }
    let names = [
        ("via", Name::Via),
        ("from", Name::From),
        ("to", Name::To),
        ("call-id", Name::CallId),
        ("cseq", Name::CSeq),
        ("max-forwards", Name::MaxForwards),
        ("contact", Name::Contact),
        ("route", Name::Route),
        ("record-route", Name::RecordRoute),
        ("require", Name::Require),
        ("supported", Name::Supported),
        ("content-type", Name::ContentType),
    ];
    for (label, name) in names {
        if name.is_list() {
            message.values(name).for_each(|value| line(out, label, &lossy(value)));
        } else {
            message.all(name).for_each(|value| line(out, label, &lossy(value)));
        }
    }
    line(out, "body", &format!("{} bytes", message.body().len()));
}

fn line(out: &mut String, label: &str, value: &str) {
    // Writing to a String can't fail.
    let _ = writeln!(out, "{label}: {value}");
}

/// Bytes as text that no terminal obeys.
fn lossy(bytes: impl AsRef<[u8]>) -> String {
    let text = String::from_utf8_lossy(bytes.as_ref()).into_owned();
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}
