//! Where the servers of a target are (RFC 3263 §4), and in which order their hosts are tried (RFC 2782): a function of what
//! DNS has said. Who looks names up, and for how long an answer is good, others know.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crate::number::unescape;
use crate::party::{Party, Transport};
use crate::plan::Target;
use crate::resources::Resources;
use crate::routing::Draws;
use crate::target::{Host, SipTarget, TargetSpec};

/// What is asked about a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RecordKind {
    /// Which transports a domain prefers.
    Naptr,
    /// On which hosts a service of a domain is.
    Srv,
    /// A and AAAA.
    Address,
}

/// A question to DNS.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Question {
    /// About which name.
    pub name: String,
    /// What.
    pub kind: RecordKind,
}

/// Its answer: records of one kind, or none at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Records {
    /// To [`RecordKind::Naptr`].
    pub naptr: Vec<Naptr>,
    /// To [`RecordKind::Srv`].
    pub srv: Vec<Srv>,
    /// To [`RecordKind::Address`].
    pub addresses: Vec<IpAddr>,
}

/// A NAPTR record (RFC 3403 §4.1), as far as SIP uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Naptr {
    /// Lower first; a higher one counts only where no lower one can be used.
    pub order: u16,
    /// Lower first, among those of one order.
    pub preference: u16,
    /// `s`, where SRV follows.
    pub flags: String,
    /// `SIP+D2U` and the like.
    pub service: String,
    /// Of which name SRV is asked.
    pub replacement: String,
}

/// An SRV record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Srv {
    /// Lower first.
    pub priority: u16,
    /// Share among those of one priority.
    pub weight: u16,
    /// The port.
    pub port: u16,
    /// The host; a single dot: the service is not there.
    pub host: String,
}

/// A name whose servers are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The name.
    pub host: String,
    /// Its port, where one is given: no SRV then.
    pub port: Option<u16>,
    /// The transport, where one is given: no NAPTR then.
    pub transport: Option<Transport>,
    /// `sips:`: nothing but TLS.
    pub secure: bool,
}

/// One host of a target, and how it is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hop {
    /// By which transport.
    pub transport: Transport,
    /// Where.
    pub address: SocketAddr,
}

/// As many hosts of one target are tried at most, and as many records of one answer are looked at.
pub const HOPS_MAX: usize = 16;

/// The hosts of a target in the order in which they are tried, or what has to be asked first. `may` are the transports that
/// we have; `draw` decides among weights: the same draw gives the same order.
///
/// # Errors
/// Something is not known yet.
pub fn locate(
    wanted: &Wanted,
    may: &[Transport],
    draw: u64,
    known: &BTreeMap<Question, Records>,
) -> Result<Vec<Hop>, Vec<Question>> {
    let mut search = Search { known, missing: Vec::new(), may, draws: Draws::new(draw) };
    let found = search.servers(wanted);
    if !search.missing.is_empty() {
        return Err(search.missing);
    }
    let mut hops: Vec<Hop> = Vec::new();
    for hop in found {
        if hops.len() < HOPS_MAX && !hops.contains(&hop) {
            hops.push(hop);
        }
    }
    Ok(hops)
}

struct Search<'a> {
    known: &'a BTreeMap<Question, Records>,
    missing: Vec<Question>,
    may: &'a [Transport],
    draws: Draws,
}

impl<'a> Search<'a> {
    /// An answer; one that is missing counts as empty for now.
    fn ask(&mut self, name: &str, kind: RecordKind) -> Option<&'a Records> {
        let question = Question { name: name.to_owned(), kind };
        let records = self.known.get(&question);
        if records.is_none() && !self.missing.contains(&question) {
            self.missing.push(question);
        }
        records
    }

    fn servers(&mut self, wanted: &Wanted) -> Vec<Hop> {
        let usual = if wanted.secure { Transport::Tls } else { Transport::Udp };
        let host = &wanted.host;
        if let Some(port) = wanted.port {
            return self.hosts(host, port, wanted.transport.unwrap_or(usual));
        }
        if let Some(transport) = wanted.transport {
            return self
                .service(&service_name(transport, host), transport)
                .unwrap_or_else(|| self.hosts(host, transport.default_port(), transport));
        }
        let by_preference = self.preferred(host, wanted.secure);
        if !by_preference.is_empty() || !self.missing.is_empty() {
            return by_preference;
        }
        // §4.1: without NAPTR, the services of all transports that we have.
        let all: &[Transport] =
            if wanted.secure { &[Transport::Tls] } else { &[Transport::Udp, Transport::Tcp] };
        let mut found: Option<Vec<Hop>> = None;
        for transport in all.iter().copied().filter(|it| self.may.contains(it)) {
            if let Some(hops) = self.service(&service_name(transport, host), transport) {
                found.get_or_insert_default().extend(hops);
            }
        }
        if found.is_none() && self.missing.is_empty() {
            return self.hosts(host, usual.default_port(), usual);
        }
        found.unwrap_or_default()
    }

    /// By NAPTR (§4.1): of the lowest order that leads anywhere, by preference.
    fn preferred(&mut self, host: &str, secure: bool) -> Vec<Hop> {
        let Some(records) = self.ask(host, RecordKind::Naptr) else { return Vec::new() };
        let usable = |it: &&Naptr| it.flags.eq_ignore_ascii_case("s") && !it.replacement.is_empty();
        let transports = records.naptr.iter().filter(usable).filter_map(|it| {
            let transport = transport_of(&it.service)?;
            let may = self.may.contains(&transport) && (!secure || transport == Transport::Tls);
            may.then_some((it, transport))
        });
        let mut usable: Vec<(&Naptr, Transport)> = transports.collect();
        usable.sort_by_key(|(it, _)| (it.order, it.preference));
        let (mut found, mut order) = (Vec::new(), None);
        for (it, transport) in usable.into_iter().take(HOPS_MAX) {
            if order.is_some_and(|order| order != it.order) && !found.is_empty() {
                break;
            }
            order = Some(it.order);
            found.extend(self.service(&it.replacement, transport).unwrap_or_default());
            if !self.missing.is_empty() {
                break;
            }
        }
        found
    }

    /// The hosts of a service; nothing where it has no SRV.
    fn service(&mut self, name: &str, transport: Transport) -> Option<Vec<Hop>> {
        let records = self.ask(name, RecordKind::Srv)?;
        if records.srv.is_empty() {
            return None;
        }
        let mut found = Vec::new();
        for srv in ordered(&records.srv, &mut self.draws).into_iter().take(HOPS_MAX) {
            if !srv.host.is_empty() && srv.host != "." {
                found.extend(self.hosts(&srv.host, srv.port, transport));
            }
        }
        Some(found)
    }

    fn hosts(&mut self, host: &str, port: u16, transport: Transport) -> Vec<Hop> {
        let Some(records) = self.ask(host, RecordKind::Address) else { return Vec::new() };
        let hop = |ip: &IpAddr| Hop { transport, address: SocketAddr::new(*ip, port) };
        records.addresses.iter().take(HOPS_MAX).map(hop).collect()
    }
}

/// RFC 3263 §4.1: the SRV name of a domain's service.
fn service_name(transport: Transport, host: &str) -> String {
    let service = match transport {
        Transport::Udp => "_sip._udp",
        Transport::Tcp => "_sip._tcp",
        Transport::Tls => "_sips._tcp",
    };
    format!("{service}.{host}")
}

fn transport_of(service: &str) -> Option<Transport> {
    let is = |word: &str| service.eq_ignore_ascii_case(word);
    match () {
        () if is("SIP+D2U") => Some(Transport::Udp),
        () if is("SIP+D2T") => Some(Transport::Tcp),
        () if is("SIPS+D2T") => Some(Transport::Tls),
        () => None,
    }
}

/// RFC 2782: by priority; within one, drawn by weight, those of weight zero first in line.
fn ordered<'a>(records: &'a [Srv], draws: &mut Draws) -> Vec<&'a Srv> {
    let mut waiting: Vec<&Srv> = records.iter().collect();
    waiting.sort_by_key(|it| (it.priority, it.weight, &it.host, it.port));
    let mut order = Vec::with_capacity(waiting.len());
    while let Some(first) = waiting.first() {
        let peers: Vec<u16> =
            waiting.iter().take_while(|it| it.priority == first.priority).map(|it| it.weight).collect();
        let sum: u64 = peers.iter().copied().map(u64::from).sum();
        order.push(waiting.remove(pick(&peers, draws.next() % (sum + 1))));
    }
    order
}

/// The first place whose running sum of weights reaches the draw.
fn pick(weights: &[u16], draw: u64) -> usize {
    let mut sum = 0;
    weights
        .iter()
        .position(|weight| {
            sum += u64::from(*weight);
            sum >= draw
        })
        .unwrap_or(0)
}

impl Resources {
    /// What is to be located of a plan's target, where its host is a name.
    pub fn wanted(&self, target: &Target) -> Option<Wanted> {
        let Host::Name(host) = &target.host else { return None };
        let secure = target.uri.get(..5).is_some_and(|head| head.eq_ignore_ascii_case("sips:"));
        let says = target.uri.to_ascii_lowercase().contains(";transport=");
        // Of a target without a transport UDP is a guess, and so is TLS where `sips:` demanded it.
        let is_guess = match target.transport {
            Transport::Udp => !says && !self.names_udp(target),
            Transport::Tcp => false,
            Transport::Tls => secure && !says,
        };
        let transport = (!is_guess).then_some(target.transport);
        Some(Wanted { host: host.clone(), port: target.port, transport, secure })
    }

    /// Whether the target's owner wrote `transport=udp`, of which the Request-URI says nothing.
    fn names_udp(&self, target: &Target) -> bool {
        let is_it = |it: &SipTarget| {
            it.transport == Some(Transport::Udp) && it.host == target.host && it.port == target.port
        };
        let lists =
            |specs: &[TargetSpec]| specs.iter().any(|spec| matches!(spec, TargetSpec::Sip(it) if is_it(it)));
        match &target.party {
            Party::Gateway { name } => {
                self.gateways.get(name).is_some_and(|gateway| gateway.targets.iter().any(is_it))
            }
            Party::Trunk { name, .. } => {
                let delivery = self.trunks.get(name).map(|trunk| &trunk.delivery);
                let user = target.uri.split_once(':').and_then(|(_, rest)| rest.split_once('@'));
                let number = user.and_then(|(user, _)| self.number(&unescape(user)));
                delivery.is_some_and(|it| lists(&it.targets) || lists(&it.failover))
                    || number.is_some_and(|number| lists(&number.delivery))
            }
        }
    }
}

impl SipTarget {
    /// What is to be located, where its host is a name.
    pub fn wanted(&self) -> Option<Wanted> {
        let Host::Name(host) = &self.host else { return None };
        let transport = if self.secure { self.transport.map(|_| Transport::Tls) } else { self.transport };
        Some(Wanted { host: host.clone(), port: self.port, transport, secure: self.secure })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{Set, gateway, name, number, spec, trunk};

    const ALL: [Transport; 3] = [Transport::Udp, Transport::Tcp, Transport::Tls];

    /// What DNS says, by name.
    #[derive(Default)]
    struct Zone(BTreeMap<Question, Records>);

    impl Zone {
        fn with(mut self, name: &str, kind: RecordKind, records: Records) -> Zone {
            self.0.insert(Question { name: name.to_owned(), kind }, records);
            self
        }

        fn naptr(self, name: &str, lines: &[(u16, u16, &str, &str)]) -> Zone {
            let line = |&(order, preference, service, replacement): &(u16, u16, &str, &str)| Naptr {
                order,
                preference,
                flags: "s".to_owned(),
                service: service.to_owned(),
                replacement: replacement.to_owned(),
            };
            let naptr = lines.iter().map(line).collect();
            self.with(name, RecordKind::Naptr, Records { naptr, ..Records::default() })
        }

        fn srv(self, name: &str, lines: &[(u16, u16, u16, &str)]) -> Zone {
            let line = |&(priority, weight, port, host): &(u16, u16, u16, &str)| Srv {
                priority,
                weight,
                port,
                host: host.to_owned(),
            };
            let srv = lines.iter().map(line).collect();
            self.with(name, RecordKind::Srv, Records { srv, ..Records::default() })
        }

        fn host(self, name: &str, last: &[u8]) -> Zone {
            let addresses = last.iter().map(|last| [192, 0, 2, *last].into()).collect();
            self.with(name, RecordKind::Address, Records { addresses, ..Records::default() })
        }

        /// The hosts of a target, asking one round after the other; what is not in the zone has no records.
        fn find(&self, target: &str, may: &[Transport], draw: u64) -> Vec<String> {
            let wanted = SipTarget::parse(target).unwrap().wanted().expect("a name");
            let mut known = BTreeMap::new();
            for _ in 0..4 {
                match locate(&wanted, may, draw, &known) {
                    Ok(hops) => {
                        let show = |hop: &Hop| format!("{} {}", hop.transport, hop.address);
                        return hops.iter().map(show).collect();
                    }
                    Err(missing) => {
                        let answer =
                            |it: Question| (it.clone(), self.0.get(&it).cloned().unwrap_or_default());
                        known.extend(missing.into_iter().map(answer));
                    }
                }
            }
            panic!("four rounds are enough");
        }
    }

    /// The zone of RFC 3263 §4.1 and §4.2.
    fn example() -> Zone {
        Zone::default()
            .naptr(
                "example.com",
                &[
                    (50, 50, "SIPS+D2T", "_sips._tcp.example.com"),
                    (90, 50, "SIP+D2T", "_sip._tcp.example.com"),
                    (100, 50, "SIP+D2U", "_sip._udp.example.com"),
                ],
            )
            .srv(
                "_sip._tcp.example.com",
                &[(0, 1, 5060, "server1.example.com"), (0, 2, 5060, "server2.example.com")],
            )
            .srv("_sip._udp.example.com", &[(0, 0, 5070, "server1.example.com")])
            .srv("_sips._tcp.example.com", &[(0, 0, 5061, "server1.example.com")])
            .host("server1.example.com", &[1])
            .host("server2.example.com", &[2])
            .host("example.com", &[9])
    }

    /// FR30, RFC 3263 §4.1: a client that has TCP and UDP takes TCP, the lower order; one that has UDP alone takes that.
    #[test]
    fn fr30_the_order_of_naptr_decides_among_the_transports_that_we_have() {
        let both = example().find("sip:example.com", &[Transport::Udp, Transport::Tcp], 7);
        let mut sorted = both.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, ["tcp 192.0.2.1:5060", "tcp 192.0.2.2:5060"]);
        assert_eq!(example().find("sip:example.com", &[Transport::Udp], 7), ["udp 192.0.2.1:5070"]);
        assert_eq!(example().find("sip:example.com", &ALL, 7), ["tls 192.0.2.1:5061"]);
        assert_eq!(example().find("sips:example.com", &ALL, 7), ["tls 192.0.2.1:5061"]);
    }

    /// §4.1, §4.2: with a transport no NAPTR, with a port no SRV either.
    #[test]
    fn fr30_what_the_target_says_is_not_asked() {
        let udp = example().find("sip:example.com;transport=udp", &ALL, 7);
        assert_eq!(udp, ["udp 192.0.2.1:5070"]);
        assert_eq!(example().find("sip:example.com:5080", &ALL, 7), ["udp 192.0.2.9:5080"]);
        assert_eq!(example().find("sip:example.com:5080;transport=tcp", &ALL, 7), ["tcp 192.0.2.9:5080"]);
        assert_eq!(example().find("sips:example.com:5090", &ALL, 7), ["tls 192.0.2.9:5090"]);
    }

    /// §4.1: no NAPTR, SRV of each transport; §4.2: no SRV, the address with the port that the transport means.
    #[test]
    fn fr42_without_naptr_srv_is_tried_and_without_srv_the_address() {
        let plain = Zone::default().host("pbx.example", &[5]);
        assert_eq!(plain.find("sip:pbx.example", &ALL, 7), ["udp 192.0.2.5:5060"]);
        assert_eq!(plain.find("sip:pbx.example;transport=tls", &ALL, 7), ["tls 192.0.2.5:5061"]);
        assert_eq!(plain.find("sips:pbx.example", &ALL, 7), ["tls 192.0.2.5:5061"]);
        let tcp = plain.srv("_sip._tcp.pbx.example", &[(1, 0, 5070, "a.example")]).host("a.example", &[6]);
        assert_eq!(tcp.find("sip:pbx.example", &ALL, 7), ["tcp 192.0.2.6:5070"]);
        // RFC 2782: a dot says that the service is decidedly not there.
        let gone = Zone::default().srv("_sip._udp.pbx.example", &[(0, 0, 0, ".")]).host("pbx.example", &[5]);
        assert_eq!(gone.find("sip:pbx.example;transport=udp", &ALL, 7), [""; 0]);
    }

    /// RFC 2782: lower priorities first, every host once, and the same draw, the same order.
    #[test]
    fn fr30_priorities_come_one_after_the_other_and_a_host_with_two_addresses_twice() {
        let zone = Zone::default()
            .srv("_sip._udp.p.example", &[(20, 5, 5060, "c"), (10, 1, 5060, "a"), (10, 9, 5060, "b")])
            .host("a", &[1, 11])
            .host("b", &[2])
            .host("c", &[3]);
        for draw in 0..50 {
            let hops = zone.find("sip:p.example;transport=udp", &ALL, draw);
            assert_eq!(hops, zone.find("sip:p.example;transport=udp", &ALL, draw));
            assert_eq!(hops.len(), 4);
            assert_eq!(hops[3], "udp 192.0.2.3:5060");
            let at = hops.iter().position(|it| it == "udp 192.0.2.1:5060").unwrap();
            assert_eq!(hops[at + 1], "udp 192.0.2.11:5060");
        }
    }

    /// RFC 2782: the record whose running sum is the first to reach the draw, which goes from 0 to the sum.
    #[test]
    fn the_running_sum_of_weights_decides() {
        let weights = [0, 1, 3];
        let picked: Vec<usize> = (0..=4).map(|draw| pick(&weights, draw)).collect();
        assert_eq!(picked, [0, 1, 2, 2, 2]);
        assert_eq!(pick(&[0, 0], 0), 0);
    }

    #[test]
    fn a_share_is_as_large_as_its_weight() {
        let records = [("a", 60), ("b", 20), ("c", 20)].map(|(host, weight)| Srv {
            priority: 1,
            weight,
            port: 5060,
            host: host.to_owned(),
        });
        let first = |draw| ordered(&records, &mut Draws::new(draw))[0].host.clone();
        let a = (0..1_000).filter(|draw| first(*draw) == "a").count();
        // 60 of 100, of a thousand draws: three standard deviations are 46.
        assert!((550..650).contains(&a), "{a} of 1,000");
    }

    /// Whatever a zone says, no more than so many hosts are tried (reliability: ten thousand SRV records).
    #[test]
    fn a_flood_of_records_is_cut() {
        let lines: Vec<(u16, u16, u16, &str)> = (0..10_000).map(|port| (0, 0, port, "a")).collect();
        let zone = Zone::default().srv("_sip._udp.p.example", &lines).host("a", &[1]);
        assert_eq!(zone.find("sip:p.example;transport=udp", &ALL, 7).len(), HOPS_MAX);
    }

    #[test]
    fn a_plan_knows_whether_its_transport_was_given() {
        let wanted = |uri: &str, transport| {
            let mut pbx = trunk("pbx", "10.0.0.0/8");
            pbx.settings.delivery.targets = vec![spec(uri)];
            let mut own = number("+31207000002", "pbx");
            own.delivery = vec![spec(uri)];
            let set = Set::new().gateway(gateway("g", uri, &[])).trunk(pbx).number(own);
            let resources = set.number(number("+31207000001", "pbx")).build();
            let target = SipTarget::parse(uri).unwrap();
            let (from, to) =
                (Party::Gateway { name: name("g") }, Party::Trunk { name: name("pbx"), account: None });
            for (party, called) in [(&to, "+4930555"), (&from, "+31207000001"), (&from, "+31207000002")] {
                let plan = resources.plan(party, called, 1).unwrap();
                let wanted = resources.wanted(&plan.targets[0]);
                assert_eq!(wanted, target.wanted(), "{uri}");
                assert_eq!(wanted.unwrap().transport, transport, "{uri}");
            }
        };
        wanted("sip:a.example", None);
        wanted("sip:a.example;transport=udp", Some(Transport::Udp));
        wanted("sip:a.example;transport=tcp", Some(Transport::Tcp));
        wanted("sip:a.example;transport=tls", Some(Transport::Tls));
        wanted("sips:a.example", None);
        wanted("sips:a.example;transport=tcp", Some(Transport::Tls));
    }
}
