//! Who is calling: from the source's address, the Request-URI and a few header fields to a trunk or gateway.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::index::{Admitted, Candidate, Found};
use crate::number;
use crate::party::{Party, Transport};
use crate::reject::Reject;
use crate::resource::{Gateway, Trunk};
use crate::resources::Resources;
use crate::settings::{AuthMethod, OnBadPrefix};

/// What a request shows of who sent it.
pub struct Asked<'a> {
    /// Where it came from.
    pub source: SocketAddr,
    /// How.
    pub transport: Transport,
    /// At which port of ours.
    pub local_port: u16,
    /// The Request-URI's user, as it was written, escapes included.
    pub request_user: &'a str,
    /// The Request-URI's host.
    pub request_host: &'a str,
    /// The From URI's host.
    pub from_host: &'a str,
    /// The user name of an Authorization or Proxy-Authorization with our realm.
    pub username: Option<&'a str>,
    /// Reads a header field by its name.
    pub header: &'a dyn Fn(&str) -> Option<&'a str>,
}

impl<'a> Asked<'a> {
    /// The same, without the user name that it claims.
    pub fn unnamed(&self) -> Asked<'a> {
        Asked { username: None, ..*self }
    }
}

/// Who is calling.
#[derive(Debug, Clone, PartialEq)]
pub enum Identified {
    /// A trunk, proven.
    Trunk {
        /// The trunk.
        trunk: Arc<Trunk>,
        /// How many bytes of the Request-URI's user, as written, are its tech prefix.
        strip: usize,
    },
    /// A gateway.
    Gateway {
        /// The gateway.
        gateway: Arc<Gateway>,
    },
    /// A trunk's account, if its digest is right: that is still to be checked.
    Claimed {
        /// The trunk.
        trunk: Arc<Trunk>,
        /// Which account, counted from one.
        account: u8,
        /// Bytes of tech prefix.
        strip: usize,
    },
    /// 407, or 401 to a REGISTER: one of these may answer it.
    Challenge {
        /// Trunks that take digest from this source.
        candidates: Vec<Arc<Trunk>>,
    },
    /// No.
    Refuse(Reject),
    /// Nobody admits this source.
    Unknown,
}

impl Resources {
    /// Who is calling, by the seven rules of the contract: the first that matches decides.
    pub fn identify(&self, asked: &Asked<'_>) -> Identified {
        let found = self.index.candidates(asked.source.ip(), asked.transport, asked.local_port);
        if found.is_empty() {
            return Identified::Unknown;
        }
        let prefix = number::tech_prefix(asked.request_user);
        if let Some((trunk, account)) = self.claimed(asked, &found) {
            let strip = prefix.filter(|(digits, _)| trunk.access.tech_prefix.as_deref() == Some(digits));
            return match self.agrees(trunk, asked) {
                Ok(()) => Identified::Claimed {
                    trunk: Arc::clone(trunk),
                    account,
                    strip: strip.map_or(0, |(_, bytes)| bytes),
                },
                Err(reject) => Identified::Refuse(reject),
            };
        }
        if let Some((digits, bytes)) = prefix
            && let Some(trunk) = by_prefix(&found, digits)
        {
            return self.proven(trunk, bytes, asked);
        }
        if let Some(trunk) = self.by_account_header(&found, asked) {
            return self.proven(trunk, 0, asked);
        }
        if let Some(gateway) = self.by_target(&found, asked.source) {
            return Identified::Gateway { gateway: self.by_account(&found, asked, gateway) };
        }
        match self.by_longest_network(&found, asked) {
            Some(Identified::Gateway { gateway }) => {
                return Identified::Gateway { gateway: self.by_account(&found, asked, gateway) };
            }
            Some(identified) => return identified,
            None => {}
        }
        challenge(&found)
    }

    /// Who registers: whoever its credentials say, since a binding leads calls away (KW22). An address or a prefix
    /// proves nothing here.
    pub fn identify_registrant(&self, asked: &Asked<'_>) -> Identified {
        let found = self.index.candidates(asked.source.ip(), asked.transport, asked.local_port);
        if found.is_empty() {
            return Identified::Unknown;
        }
        if let Some((trunk, account)) = self.claimed(asked, &found) {
            return match self.agrees(trunk, asked) {
                Ok(()) => Identified::Claimed { trunk: Arc::clone(trunk), account, strip: 0 },
                Err(reject) => Identified::Refuse(reject),
            };
        }
        let takes = |trunk: &Trunk| trunk.access.takes(AuthMethod::Digest) && !trunk.accounts.is_empty();
        let candidates: Vec<_> =
            trunks(&found).filter(|(trunk, _)| takes(trunk)).map(|(trunk, _)| Arc::clone(trunk)).collect();
        if candidates.is_empty() {
            Identified::Refuse(Reject::NotIdentified)
        } else {
            Identified::Challenge { candidates }
        }
    }

    /// The trunk that has an account of this name, wherever its requests may come from, and which account it is.
    pub fn owner_of(&self, username: &str) -> Option<(&Arc<Trunk>, u8)> {
        let (name, account) = self.index.account(username)?;
        Some((self.trunks.get(name)?, *account))
    }

    /// Whether anyone admits this source: for OPTIONS, and before anything is kept for a stranger.
    pub fn is_known(&self, source: SocketAddr, transport: Transport, local_port: u16) -> bool {
        !self.index.candidates(source.ip(), transport, local_port).is_empty()
    }

    /// Whether any trunk or gateway names the source by its address, and not only takes whoever authenticates.
    pub fn is_named(&self, source: SocketAddr, transport: Transport, local_port: u16) -> bool {
        let found = self.index.candidates(source.ip(), transport, local_port);
        found.iter().any(|(_, admitted)| *admitted != Admitted::Open)
    }

    /// Whether this party admits the source: for requests inside a dialog. The source's port never matters, and a
    /// gateway may also speak from the address of a target that its calls were sent to.
    pub fn admits(&self, party: &Party, source: SocketAddr, transport: Transport, local_port: u16) -> bool {
        let found = self.index.candidates(source.ip(), transport, local_port);
        let is_candidate = found.iter().any(|(candidate, _)| match (candidate, party) {
            (Candidate::Trunk(trunk), Party::Trunk { name, .. }) => trunk.name == *name,
            (Candidate::Gateway(gateway), Party::Gateway { name }) => gateway.name == *name,
            _ => false,
        });
        is_candidate || self.is_target_of(party, source)
    }

    fn is_target_of(&self, party: &Party, source: SocketAddr) -> bool {
        match party {
            Party::Gateway { name } => {
                self.gateways.get(name).is_some_and(|it| self.index.is_target(it, source.ip(), None))
            }
            Party::Trunk { .. } => false,
        }
    }

    /// Rule 1: the owner of the user name that the request claims.
    fn claimed<'a>(&self, asked: &Asked<'_>, found: &Found<'a>) -> Option<(&'a Arc<Trunk>, u8)> {
        let (name, account) = self.index.account(asked.username?)?;
        trunks(found)
            .find(|(trunk, _)| trunk.name == *name && trunk.access.takes(AuthMethod::Digest))
            .map(|(trunk, _)| (trunk, *account))
    }

    /// Rule 3: the trunk whose tenant the account header names.
    fn by_account_header<'a>(&self, found: &Found<'a>, asked: &Asked<'_>) -> Option<&'a Arc<Trunk>> {
        trunks(found).filter(|(trunk, why)| by_address(trunk, *why)).map(|(trunk, _)| trunk).find(|trunk| {
            trunk.access.account_header.is_some() && self.account_header_agrees(trunk, asked).is_ok()
        })
    }

    /// Rule 4: the gateway that calls to this very address and port are sent to.
    fn by_target(&self, found: &Found<'_>, source: SocketAddr) -> Option<Arc<Gateway>> {
        found.iter().find_map(|(candidate, _)| match candidate {
            Candidate::Gateway(gateway)
                if self.index.is_target(gateway, source.ip(), Some(source.port())) =>
            {
                Some(Arc::clone(gateway))
            }
            _ => None,
        })
    }

    /// Of several gateways that speak from this address the one whose account is called: its carrier calls the Contact that
    /// we registered for it.
    fn by_account(&self, found: &Found<'_>, asked: &Asked<'_>, known: Arc<Gateway>) -> Arc<Gateway> {
        let speaks = |gateway: &Gateway, why: Admitted| {
            let port = Some(asked.source.port());
            matches!(why, Admitted::Network(_)) || self.index.is_target(gateway, asked.source.ip(), port)
        };
        let called = found.iter().find_map(|(candidate, why)| match candidate {
            Candidate::Gateway(it) if it.registers(asked.request_user) && speaks(it, *why) => Some(it),
            Candidate::Gateway(_) | Candidate::Trunk(_) => None,
        });
        called.map_or(known, Arc::clone)
    }

    /// Rule 5: the candidate with the longest network, if its address is proof enough. A shorter network never
    /// wins over a longer one that wants more proof.
    fn by_longest_network(&self, found: &Found<'_>, asked: &Asked<'_>) -> Option<Identified> {
        let longest = found.iter().map(|(_, why)| *why).max().filter(|why| *why != Admitted::Open)?;
        let mut refusal = None;
        for (candidate, _) in found.iter().filter(|(_, why)| *why == longest) {
            match candidate {
                Candidate::Gateway(gateway) if matches!(longest, Admitted::Network(_)) => {
                    return Some(Identified::Gateway { gateway: Arc::clone(gateway) });
                }
                Candidate::Trunk(trunk) if trunk.access.takes(AuthMethod::Address) => {
                    // An account header that is wrong or missing refuses the call, unless a tie is broken by it.
                    match self.proven(trunk, 0, asked) {
                        Identified::Refuse(reject) => refusal = refusal.or(Some(reject)),
                        identified => return Some(identified),
                    }
                }
                Candidate::Gateway(_) | Candidate::Trunk(_) => {}
            }
        }
        refusal.map(Identified::Refuse)
    }

    /// A trunk that has proven itself, unless what it says of its account contradicts that.
    fn proven(&self, trunk: &Arc<Trunk>, strip: usize, asked: &Asked<'_>) -> Identified {
        match self.agrees(trunk, asked) {
            Ok(()) => Identified::Trunk { trunk: Arc::clone(trunk), strip },
            Err(reject) => Identified::Refuse(reject),
        }
    }

    fn agrees(&self, trunk: &Trunk, asked: &Asked<'_>) -> Result<(), Reject> {
        self.account_header_agrees(trunk, asked)?;
        if let Some(pattern) = &trunk.access.from_domain {
            let expected = pattern.replace("{account_sid}", self.account_sid(trunk).unwrap_or_default());
            if !asked.from_host.eq_ignore_ascii_case(&expected) {
                return Err(Reject::FromDomain { expected });
            }
        }
        match self.index.tenant_of_domain(asked.request_host) {
            Some(tenant) if trunk.tenant.as_ref() != Some(tenant) => {
                Err(Reject::ForeignTenant { domain: asked.request_host.to_owned() })
            }
            _ => Ok(()),
        }
    }

    fn account_header_agrees(&self, trunk: &Trunk, asked: &Asked<'_>) -> Result<(), Reject> {
        let Some(header) = &trunk.access.account_header else { return Ok(()) };
        match (asked.header)(header) {
            None => Err(Reject::AccountHeaderMissing { header: header.clone() }),
            Some(value) if self.account_sid(trunk) == Some(value.trim()) => Ok(()),
            Some(_) => Err(Reject::AccountHeaderMismatch { header: header.clone() }),
        }
    }

    fn account_sid(&self, trunk: &Trunk) -> Option<&str> {
        self.tenants.get(trunk.tenant.as_ref()?)?.account_sid.as_deref()
    }
}

/// Rule 2: the trunk with this tech prefix. The prefix counts only from a network of the trunk's own.
fn by_prefix<'a>(found: &Found<'a>, digits: &str) -> Option<&'a Arc<Trunk>> {
    trunks(found).filter(|(_, why)| *why != Admitted::Open).map(|(trunk, _)| trunk).find(|trunk| {
        trunk.access.takes(AuthMethod::Prefix) && trunk.access.tech_prefix.as_deref() == Some(digits)
    })
}

/// Rules 6 and 7: a challenge, where one could be answered, else no.
fn challenge(found: &Found<'_>) -> Identified {
    let wants_prefix = |trunk: &Trunk, why: Admitted| {
        why != Admitted::Open && trunk.access.takes(AuthMethod::Prefix) && trunk.access.tech_prefix.is_some()
    };
    let mut candidates = Vec::new();
    let mut bad_prefix = false;
    for (trunk, why) in trunks(found) {
        let challenged = if wants_prefix(trunk, why) {
            bad_prefix = true;
            trunk.access.on_bad_prefix == OnBadPrefix::Challenge
        } else {
            trunk.access.takes(AuthMethod::Digest)
        };
        if challenged {
            candidates.push(Arc::clone(trunk));
        }
    }
    match (candidates.is_empty(), bad_prefix) {
        (false, _) => Identified::Challenge { candidates },
        (true, true) => Identified::Refuse(Reject::BadPrefix),
        (true, false) => Identified::Refuse(Reject::NotIdentified),
    }
}

fn by_address(trunk: &Trunk, why: Admitted) -> bool {
    why != Admitted::Open && trunk.access.takes(AuthMethod::Address)
}

fn trunks<'a, 'f>(found: &'f Found<'a>) -> impl Iterator<Item = (&'a Arc<Trunk>, Admitted)> + use<'a, 'f> {
    found.iter().filter_map(|(candidate, why)| match candidate {
        Candidate::Trunk(trunk) => Some((trunk, *why)),
        Candidate::Gateway(_) => None,
    })
}
