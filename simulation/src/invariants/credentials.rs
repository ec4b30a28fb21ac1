//! I-35: what an account is proved with goes to its gateway's targets, for their realm, and nowhere else; a password goes
//! nowhere.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Invariant, Sent};
use crate::accounts::{self, Accounts, CANARY, REALM, field};
use crate::letter::headers;
use crate::plan::{self, Plan};

/// I-35 on the wire.
#[derive(Debug)]
pub struct NoLeak {
    /// Whom each account may be proved to.
    owners: BTreeMap<String, IpAddr>,
    /// The registrar's accounts: their realm is known.
    registered: Vec<String>,
}

impl NoLeak {
    /// Of the accounts of a plan.
    pub fn new(plan: &Plan, accounts: &Accounts) -> NoLeak {
        let registered: Vec<String> = (1..=accounts.count).map(accounts::username).collect();
        let mut owners: BTreeMap<String, IpAddr> =
            registered.iter().map(|name| (name.clone(), accounts::at().ip())).collect();
        if accounts.at_callees {
            let callees = 0..plan.desk().unwrap_or(plan.callees.len());
            owners.extend(callees.map(|place| (accounts::at_callee(place), plan::callee(place).ip())));
        }
        NoLeak { owners, registered }
    }

    /// What is wrong with a proof that goes to an address.
    fn leaks(&self, to: IpAddr, proof: &str) -> Option<String> {
        let username = field(proof, "username").unwrap_or_default();
        let realm = field(proof, "realm").unwrap_or_default();
        if self.owners.get(username) != Some(&to) {
            return Some(format!("{to} learns of {username}"));
        }
        let is_foreign = realm != REALM && self.registered.iter().any(|name| name == username);
        is_foreign.then(|| format!("{username} is proved for the realm {realm}"))
    }
}

impl Invariant for NoLeak {
    fn clause(&self) -> &'static str {
        "I-35 credentials go to their own gateway and realm only"
    }

    fn sent(&mut self, sent: &Sent<'_>) -> Option<String> {
        if sent.life.node() == 0 {
            return None;
        }
        if sent.bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes()) {
            return Some(format!("{} is told a password", sent.to));
        }
        sent.letter?;
        let proofs =
            ["Authorization", "Proxy-Authorization"].into_iter().flat_map(|name| headers(sent.bytes, name));
        proofs.into_iter().find_map(|proof| self.leaks(sent.to.ip(), proof))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i35_a_proof_that_goes_astray_or_is_for_another_realm_is_found() {
        let ip = |last: u8| IpAddr::from([10, 0, 4, last]);
        let owners = [("acct-1".to_owned(), ip(1)), ("callee-0".to_owned(), ip(2))].into();
        let no_leak = NoLeak { owners, registered: vec!["acct-1".into()] };
        let proof =
            |username: &str, realm: &str| format!("Digest username=\"{username}\", realm=\"{realm}\"");
        assert_eq!(no_leak.leaks(ip(1), &proof("acct-1", REALM)), None);
        assert!(no_leak.leaks(ip(1), &proof("acct-1", "elsewhere.example")).is_some());
        assert!(no_leak.leaks(ip(2), &proof("acct-1", REALM)).is_some());
        assert_eq!(no_leak.leaks(ip(2), &proof("callee-0", "elsewhere.example")), None);
        assert!(no_leak.leaks(ip(1), &proof("desk-1", "sim.example")).is_some(), "nobody proves a trunk's");
    }
}
