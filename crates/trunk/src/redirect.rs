//! What becomes of a 3xx: which of its Contacts are followed, and by which rule (RFC 3261 §8.1.3.4).

use std::net::IpAddr;

use machine::museum::planted;
use serde::{Deserialize, Serialize};

use crate::party::Transport;
use crate::plan::Target;
use crate::settings::{AfterProgress, HostPattern, Redirect};
use crate::target::Host;

/// One Contact of a 3xx, as far as policy looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    /// The Request-URI that it asks for: without header fields, which nobody trusts (RFC 3261 §19.1.1).
    pub uri: String,
    /// The host.
    pub host: Host,
    /// The port, where it names one.
    pub port: Option<u16>,
    /// By which transport.
    pub transport: Transport,
    /// Its preference in thousandths (RFC 3261 §20.10); 1,000 where it names none.
    pub q: u16,
}

/// How a target came into the plan of a call: a server sent the call there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redirected {
    /// The Request-URI that was answered by a 3xx.
    pub server: String,
    /// The entry of `trusted` that allowed it.
    pub rule: String,
    /// How many redirects led here, this included.
    pub hops: u8,
}

/// Why a 3xx is not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfollowed {
    /// `follow` is off, or the status asks for something else (305 Use Proxy, 380 Alternative Service).
    NotWanted,
    /// The caller hears ringing already.
    Progressed,
    /// The chain would be longer than `max_hops`.
    TooManyHops,
    /// None of its Contacts is trusted, or can be called at all.
    Untrusted,
    /// All of its trusted Contacts were tried before, or will be.
    Loop,
}

impl Unfollowed {
    /// What the CDR says of it; nothing where nobody expects that it is followed.
    pub fn event(self) -> Option<&'static str> {
        match self {
            Unfollowed::NotWanted => None,
            Unfollowed::Progressed => Some("redirect-after-ringing"),
            Unfollowed::TooManyHops => Some("redirect-hops"),
            Unfollowed::Untrusted => Some("redirect-untrusted"),
            Unfollowed::Loop => Some("redirect-loop"),
        }
    }
}

impl Redirect {
    /// Where a 3xx of `from` leads, best first. Each Contact is judged by itself; the targets hold what `from` held.
    /// `tried`: the Request-URIs of the call so far, and those to which it was sent on.
    ///
    /// # Errors
    ///
    /// It leads nowhere.
    pub fn follow(
        &self,
        status: u16,
        progressed: bool,
        from: &Target,
        mut offered: Vec<Offered>,
        tried: &[&str],
    ) -> Result<Vec<Target>, Unfollowed> {
        if !self.follow || !matches!(status, 300..=302) {
            return Err(Unfollowed::NotWanted);
        }
        let stops = self.after_progress == AfterProgress::Stop && !planted("redirect-after-ringing");
        if progressed && stops {
            return Err(Unfollowed::Progressed);
        }
        let hops = from.redirected.as_ref().map_or(0, |before| before.hops).saturating_add(1);
        if hops > self.max_hops && !planted("redirect-hops-uncounted") {
            return Err(Unfollowed::TooManyHops);
        }
        // Stable: Contacts of the same preference keep their order.
        offered.sort_by_key(|contact| std::cmp::Reverse(contact.q));
        let trusted = offered.into_iter().filter_map(|it| Some((self.rule(&it.host)?.to_string(), it)));
        let trusted: Vec<(String, Offered)> = trusted.take(CONTACTS_MAX).collect();
        if trusted.is_empty() {
            return Err(Unfollowed::Untrusted);
        }
        let mut targets: Vec<Target> = Vec::new();
        for (rule, contact) in trusted {
            // RFC 3261 §8.1.3.4: no URI comes into the target set more than once.
            let known = |uri: &str| tried.contains(&uri) || targets.iter().any(|target| target.uri == uri);
            if !known(&contact.uri) || planted("redirect-loop-unnoticed") {
                targets.push(sent_on(from, contact, rule, hops));
            }
        }
        if targets.is_empty() { Err(Unfollowed::Loop) } else { Ok(targets) }
    }

    /// Whether a redirected call may not be sent to an address, whatever name led there.
    pub fn is_denied(&self, ip: IpAddr) -> bool {
        self.deny.iter().any(|denied| denied.covers(&Host::Ip(ip)))
    }

    /// The entry of `trusted` that covers a host, unless one of `deny` does.
    fn rule(&self, host: &Host) -> Option<&HostPattern> {
        let covers = |pattern: &&HostPattern| pattern.covers(host);
        if self.deny.iter().any(|denied| covers(&denied)) {
            return None;
        }
        self.trusted.iter().find(covers)
    }
}

fn sent_on(from: &Target, contact: Offered, rule: String, hops: u8) -> Target {
    let sheds = planted("redirect-sheds-its-slots");
    Target {
        party: from.party.clone(),
        host: contact.host,
        port: contact.port,
        transport: contact.transport,
        slots: if sheds { Vec::new() } else { from.slots.clone() },
        is_failover: from.is_failover,
        registered: None,
        redirected: Some(Box::new(Redirected { server: from.uri.clone(), rule, hops })),
        uri: contact.uri,
    }
}

/// Most Contacts of one 3xx that are tried.
const CONTACTS_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::party::Party;
    use crate::{Name, Scope, Side, Slot};

    fn server() -> Target {
        let name = Name::new("easycall").unwrap();
        Target {
            party: Party::Trunk { name: name.clone(), account: None },
            uri: "sip:80032555939@55.55.5.6".into(),
            host: Host::parse("55.55.5.6").unwrap(),
            port: None,
            transport: Transport::Udp,
            slots: vec![Slot { scope: Scope::Trunk(name), side: Side::Egress }],
            is_failover: false,
            registered: None,
            redirected: None,
        }
    }

    fn contact(host: &str, q: u16) -> Offered {
        Offered {
            uri: format!("sip:12035554433@{host}"),
            host: Host::parse(host).unwrap(),
            port: None,
            transport: Transport::Udp,
            q,
        }
    }

    fn policy(trusted: &[&str], deny: &[&str]) -> Redirect {
        let read = |list: &[&str]| list.iter().map(|text| HostPattern::parse(text).unwrap()).collect();
        Redirect { follow: true, trusted: read(trusted), deny: read(deny), ..Redirect::default() }
    }

    fn hosts(followed: Result<Vec<Target>, Unfollowed>) -> Result<Vec<String>, Unfollowed> {
        followed.map(|targets| targets.iter().map(|target| target.host.to_string()).collect())
    }

    #[test]
    fn ps3_ps8_a_trusted_address_is_followed_with_the_user_that_the_server_says() {
        let policy = policy(&["193.148.210.22", "195.111.134.0/24"], &[]);
        let followed = policy.follow(302, false, &server(), vec![contact("195.111.134.55", 1000)], &[]);
        let [target] = &followed.unwrap()[..] else { panic!("one Contact, one target") };
        assert_eq!(target.uri, "sip:12035554433@195.111.134.55");
        let redirected = target.redirected.as_ref().unwrap();
        assert_eq!((redirected.rule.as_str(), redirected.hops), ("195.111.134.0/24", 1));
        assert_eq!(redirected.server, "sip:80032555939@55.55.5.6");
    }

    #[test]
    fn ps2_ps12_each_contact_is_judged_alone_and_they_are_tried_in_the_order_of_q() {
        let policy = policy(&["193.148.210.0/24", "pbx.example.com"], &[]);
        let offered = || {
            vec![
                contact("193.148.210.1", 200),
                contact("198.51.100.7", 1000),
                contact("PBX.example.com", 700),
                contact("193.148.210.2", 700),
                contact("evil.pbx.example.com", 900),
            ]
        };
        let followed = policy.follow(302, false, &server(), offered(), &[]);
        assert_eq!(
            hosts(followed).unwrap(),
            ["pbx.example.com", "193.148.210.2", "193.148.210.1"].map(String::from)
        );
        let nobody = self::policy(&["203.0.113.1"], &[]);
        let followed = nobody.follow(302, false, &server(), offered(), &[]);
        assert_eq!(hosts(followed), Err(Unfollowed::Untrusted));
    }

    #[test]
    fn ps14_what_is_denied_is_not_followed_though_it_is_trusted() {
        let offered = || vec![contact("193.148.210.22", 1000)];
        let (open, closed) = (policy(&["0.0.0.0/0"], &[]), policy(&["0.0.0.0/0"], &["193.148.0.0/16"]));
        assert!(open.follow(302, false, &server(), offered(), &[]).is_ok());
        assert_eq!(hosts(closed.follow(302, false, &server(), offered(), &[])), Err(Unfollowed::Untrusted));
        assert!(closed.is_denied("193.148.210.22".parse().unwrap()));
        assert!(!open.is_denied("193.148.210.22".parse().unwrap()));
    }

    #[test]
    fn ps13_a_chain_ends_at_max_hops_and_a_circle_at_once() {
        let policy = Redirect { max_hops: 2, ..policy(&["192.0.2.0/24"], &[]) };
        let offered = |last: u8| vec![contact(&format!("192.0.2.{last}"), 1000)];
        let first = policy.follow(302, false, &server(), offered(1), &[]).unwrap().remove(0);
        let second = policy.follow(302, false, &first, offered(2), &[]).unwrap().remove(0);
        assert_eq!(second.redirected.as_ref().unwrap().hops, 2);
        assert_eq!(hosts(policy.follow(302, false, &second, offered(3), &[])), Err(Unfollowed::TooManyHops));
        let tried = ["sip:12035554433@192.0.2.1"];
        assert_eq!(hosts(policy.follow(302, false, &server(), offered(1), &tried)), Err(Unfollowed::Loop));
        assert!(policy.follow(302, false, &server(), offered(2), &tried).is_ok());
    }

    /// RFC 3261 §8.1.3.4.
    #[test]
    fn ps13_a_uri_that_a_server_names_twice_is_one_target_and_two_uris_are_two() {
        let policy = policy(&["192.0.2.0/24"], &[]);
        let follow = |offered| hosts(policy.follow(302, false, &server(), offered, &[])).unwrap();
        let twice = vec![contact("192.0.2.1", 700), contact("192.0.2.2", 800), contact("192.0.2.1", 900)];
        assert_eq!(follow(twice), ["192.0.2.1", "192.0.2.2"]);
        assert_eq!(follow(vec![contact("192.0.2.1", 700), contact("192.0.2.2", 800)]).len(), 2);
    }

    #[test]
    fn ps6_ps17_ps18_what_is_not_followed_at_all() {
        let on = policy(&["192.0.2.1"], &[]);
        let follow = |policy: &Redirect, status, progressed| {
            hosts(policy.follow(status, progressed, &server(), vec![contact("192.0.2.1", 1000)], &[]))
        };
        for status in [300, 301, 302] {
            assert!(follow(&on, status, false).is_ok(), "{status}");
        }
        for status in [305, 380, 399] {
            assert_eq!(follow(&on, status, false), Err(Unfollowed::NotWanted), "{status}");
        }
        let off = Redirect { follow: false, ..on.clone() };
        assert_eq!(follow(&off, 302, false), Err(Unfollowed::NotWanted));
        assert_eq!(follow(&on, 302, true), Err(Unfollowed::Progressed));
        let later = Redirect { after_progress: AfterProgress::Continue, ..on };
        assert!(follow(&later, 302, true).is_ok());
    }
}
