//! DNS through hickory: the servers of `/etc/resolv.conf`, or those that the node file names, and `/etc/hosts`. Nothing is kept
//! here: the node knows how long an answer is good.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use env::BoxFuture;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use trunk::locate::{Naptr, RecordKind, Srv};
use trunk::{Answer, Question, Records};

use crate::Resolve;

/// DNS as this machine has it.
#[derive(Clone, Default)]
pub struct SystemResolve(Arc<Servers>);

#[derive(Default)]
struct Servers {
    /// None: those of the system.
    at: Vec<SocketAddr>,
    /// Made with the first question; nothing where the system's can't be read.
    resolver: OnceLock<Option<TokioResolver>>,
}

/// How long one server gets to answer; each is asked twice.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long the word that there is nothing is good, where its SOA does not say.
const NEGATIVE: Duration = Duration::from_secs(30);
/// The longest that an SOA may say (RFC 2308 §5).
const NEGATIVE_MAX: Duration = Duration::from_secs(10_800);

impl SystemResolve {
    /// DNS by these servers; by none: by the system's.
    pub fn by(servers: Vec<SocketAddr>) -> SystemResolve {
        SystemResolve(Arc::new(Servers { at: servers, resolver: OnceLock::new() }))
    }
}

impl Resolve for SystemResolve {
    fn look_up(&self, question: Question) -> BoxFuture<'static, Answer> {
        let servers = self.0.clone();
        Box::pin(async move {
            let Some(resolver) = servers.resolver() else { return Answer::Failed };
            let Question { name, kind } = &question;
            let answer = match kind {
                RecordKind::Naptr => one(resolver, name, RecordType::NAPTR).await,
                RecordKind::Srv => one(resolver, name, RecordType::SRV).await,
                RecordKind::Address => {
                    let v4 = one(resolver, name, RecordType::A);
                    let (v4, v6) = futures::join!(v4, one(resolver, name, RecordType::AAAA));
                    both(v4, v6)
                }
            };
            if answer == Answer::Failed {
                tracing::warn!(name, ?kind, "no name server answers");
            }
            answer
        })
    }
}

impl Servers {
    fn resolver(&self) -> Option<&TokioResolver> {
        self.resolver.get_or_init(|| self.make()).as_ref()
    }

    fn make(&self) -> Option<TokioResolver> {
        let mut builder = if self.at.is_empty() {
            match TokioResolver::builder_tokio() {
                Ok(builder) => builder,
                Err(error) => {
                    tracing::warn!(%error, "the system's name servers can't be read: no name leads anywhere");
                    return None;
                }
            }
        } else {
            let servers = self.at.iter().map(server).collect();
            let config = ResolverConfig::from_name_servers(servers);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        let options = builder.options_mut();
        (options.cache_size, options.timeout, options.attempts) = (0, PATIENCE, 2);
        builder.build().ok()
    }
}

fn server(at: &SocketAddr) -> NameServerConfig {
    let over = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = at.port();
        connection
    });
    NameServerConfig::new(at.ip(), true, over.into())
}

/// The records of one type.
async fn one(resolver: &TokioResolver, name: &str, kind: RecordType) -> Answer {
    let Ok(mut name) = Name::from_ascii(name) else { return Answer::Said(Records::default(), NEGATIVE) };
    // Names of resource files are whole: a search list would lead `carrier.example` astray.
    name.set_fqdn(true);
    match resolver.lookup(name, kind).await {
        Ok(found) => {
            let ttl = found.answers().iter().map(|record| record.ttl).min().unwrap_or(0);
            let mut records = Records::default();
            found.answers().iter().for_each(|record| take(&mut records, &record.data));
            Answer::Said(records, Duration::from_secs(ttl.into()))
        }
        Err(NetError::Dns(DnsError::NoRecordsFound(none)))
            if matches!(none.response_code, ResponseCode::NoError | ResponseCode::NXDomain) =>
        {
            let said = none.negative_ttl.map(|ttl| Duration::from_secs(ttl.into()));
            Answer::Said(Records::default(), said.unwrap_or(NEGATIVE).min(NEGATIVE_MAX))
        }
        Err(error) => {
            tracing::debug!(%error, "a question to DNS failed");
            Answer::Failed
        }
    }
}

fn take(records: &mut Records, data: &RData) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match data {
        RData::A(ip) => records.addresses.push(IpAddr::V4(ip.0)),
        RData::AAAA(ip) => records.addresses.push(IpAddr::V6(ip.0)),
        RData::SRV(it) => records.srv.push(Srv {
            priority: it.priority,
            weight: it.weight,
            port: it.port,
            host: plain(&it.target),
        }),
        RData::NAPTR(it) => records.naptr.push(Naptr {
            order: it.order,
            preference: it.preference,
            flags: text(&it.flags),
            service: text(&it.services),
            replacement: plain(&it.replacement),
        }),
        _ => {}
    }
}

/// A name as the node writes them: small letters, no dot at the end. The root is empty.
fn plain(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_ascii_lowercase()
}

/// A and AAAA together: one that failed is not missed where the other said something.
fn both(v4: Answer, v6: Answer) -> Answer {
    match (v4, v6) {
        (Answer::Said(mut four, ttl), Answer::Said(six, other)) => {
            // An empty half says nothing of how long the full one is good.
            let ttl = match (four.addresses.is_empty(), six.addresses.is_empty()) {
                (false, true) => ttl,
                (true, false) => other,
                _ => ttl.min(other),
            };
            four.addresses.extend(six.addresses);
            Answer::Said(four, ttl)
        }
        (Answer::Said(found, ttl), Answer::Failed) | (Answer::Failed, Answer::Said(found, ttl))
            if !found.addresses.is_empty() =>
        {
            Answer::Said(found, ttl)
        }
        _ => Answer::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(ip: Option<&str>, seconds: u64) -> Answer {
        let addresses = ip.map(|ip| ip.parse().expect("an address")).into_iter().collect();
        Answer::Said(Records { addresses, ..Records::default() }, Duration::from_secs(seconds))
    }

    #[test]
    fn both_families_make_one_answer() {
        let (v4, v6) = (said(Some("192.0.2.1"), 60), said(Some("2001:db8::1"), 30));
        let Answer::Said(records, ttl) = both(v4.clone(), v6.clone()) else { panic!("both answered") };
        assert_eq!((records.addresses.len(), ttl), (2, Duration::from_secs(30)));
        assert_eq!(both(v4.clone(), said(None, 5)), v4);
        assert_eq!(both(said(None, 5), v6.clone()), v6);
        assert_eq!(both(v4.clone(), Answer::Failed), v4);
        assert_eq!(both(said(None, 5), Answer::Failed), Answer::Failed);
        assert_eq!(both(said(None, 5), said(None, 7)), said(None, 5));
    }
}
