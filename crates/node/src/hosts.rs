//! Whom host names admit: the names in `access.hosts` and of gateways' targets, followed through DNS. What they lead to is this
//! node's own view of the resources; nothing of it is replicated.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use machine::Instant;
use trunk::locate::RecordKind;
use trunk::{Hosts, Question, Resources, Transport, Wanted};

use crate::lock;
use crate::shared::Shared;

/// What names lead to, as far as it is known here.
#[derive(Default)]
pub(crate) struct Followed {
    hosts: Arc<Hosts>,
    /// The version of the resources that was followed.
    version: Option<u64>,
    due: Instant,
    is_asking: bool,
}

impl Followed {
    /// Whether it is time to ask; whoever is told so asks.
    fn begin(&mut self, now: Instant, version: u64) -> bool {
        if self.is_asking || (self.version == Some(version) && now < self.due) {
            return false;
        }
        (self.version, self.due, self.is_asking) = (Some(version), now + AGAIN, true);
        true
    }

    /// What came of it; whether that is news.
    fn end(&mut self, hosts: Hosts) -> bool {
        self.is_asking = false;
        let is_news = *self.hosts != hosts;
        if is_news {
            self.hosts = Arc::new(hosts);
        }
        is_news
    }
}

impl Shared {
    /// Follows the names of the resources again when they have changed, and now and then: how long an answer is good,
    /// the names themselves know.
    pub(crate) fn tend_hosts(self: &Arc<Shared>) {
        let resources = self.cluster.resources();
        if !lock(&self.followed).begin(self.now(), resources.version) {
            return;
        }
        let names = resources.host_names();
        if names.is_empty() {
            if lock(&self.followed).end(Hosts::new()) {
                self.see_resources();
            }
            return;
        }
        let shared = self.clone();
        self.world.spawn.spawn("hosts", Box::pin(async move { shared.follow(names).await }));
    }

    async fn follow(self: Arc<Shared>, names: BTreeSet<String>) {
        let found = names.into_iter().map(|name| async {
            let addresses = self.addresses_of(&name).await;
            (name, addresses)
        });
        let hosts: Hosts = join_all(found).await.into_iter().filter(|(_, found)| !found.is_empty()).collect();
        if lock(&self.followed).end(hosts) {
            self.see_resources();
        }
    }

    /// All addresses of a name: its own, and those of the servers that serve it (RFC 3263 §4).
    async fn addresses_of(&self, name: &str) -> Vec<IpAddr> {
        let question = Question { name: name.to_owned(), kind: RecordKind::Address };
        let mut found = self.ask_dns(question).await.1.addresses;
        let wanted = Wanted { host: name.to_owned(), port: None, transport: None, secure: false };
        let all = [Transport::Udp, Transport::Tcp, Transport::Tls];
        found.extend(self.servers(&wanted, &all, 0).await.into_iter().map(|hop| hop.address.ip()));
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Resources or what their names lead to have changed: calls that begin from now on see them. Whoever comes last sees
    /// both as they are.
    pub(crate) fn see_resources(&self) {
        loop {
            let (resources, hosts) = (self.cluster.resources(), lock(&self.followed).hosts.clone());
            self.set_resources(&seen(&resources, &hosts));
            let is_latest = Arc::ptr_eq(&hosts, &lock(&self.followed).hosts);
            if is_latest && Arc::ptr_eq(&resources, &self.cluster.resources()) {
                return;
            }
        }
    }

    /// The resources as this node sees them.
    pub(crate) fn seen_resources(&self) -> Arc<Resources> {
        let hosts = lock(&self.followed).hosts.clone();
        seen(&self.cluster.resources(), &hosts)
    }
}

fn seen(resources: &Arc<Resources>, hosts: &Hosts) -> Arc<Resources> {
    if hosts.is_empty() { resources.clone() } else { Arc::new(resources.with_hosts(hosts.clone())) }
}

/// How often it is looked whether answers have run out.
const AGAIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    #[test]
    fn names_are_asked_for_once_a_second_and_at_once_when_resources_change() {
        let mut followed = Followed::default();
        assert!(followed.begin(at(0), 1));
        // Who asks is not disturbed, whatever changes.
        assert!(!followed.begin(at(5_000), 2));
        let hosts: Hosts = [("a".to_owned(), vec!["192.0.2.1".parse().expect("an address")])].into();
        assert!(followed.end(hosts.clone()));
        assert!(followed.begin(at(5_000), 2));
        assert!(!followed.end(hosts));
        assert!(!followed.begin(at(5_999), 2));
        assert!(followed.begin(at(6_000), 2));
    }
}
