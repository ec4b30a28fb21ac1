//! Certificates for peers that others wrote, from an authority that lives as long as its test.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// An authority, and the directory that its files are in.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    dir: PathBuf,
}

impl Authority {
    /// A new one; its own certificate is `ca.pem`.
    ///
    /// # Panics
    /// When the file can't be written.
    pub fn new(dir: &Path) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, format!("the authority of {}", dir.display()));
        let own = params.self_signed(&key).expect("it signs itself").pem();
        fs::write(dir.join("ca.pem"), own).expect("the authority's certificate");
        Self { issuer: Issuer::new(params, key), dir: dir.to_owned() }
    }

    /// Its own certificate.
    pub fn file(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// A certificate and its key, one after the other in one file, for these names and addresses.
    ///
    /// # Panics
    /// When the file can't be written.
    pub fn issue(&self, file: &str, names: &[&str]) -> PathBuf {
        let key = KeyPair::generate().expect("a key");
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name.push(DnType::CommonName, file);
        let own = params.signed_by(&key, &self.issuer).expect("it signs").pem();
        let path = self.dir.join(file);
        fs::write(&path, own + &key.serialize_pem()).expect("a certificate");
        path
    }
}
