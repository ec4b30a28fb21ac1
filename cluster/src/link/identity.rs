//! Who a node is, proved by certificates (TLS 1.3, mutual).
//!
//! From a shared secret, an authority is derived that every holder of the secret derives alike; each process
//! issues itself a certificate under it. Or an operator's authority does. Either way the certificate names
//! its node, as the DNS name `node-ID`, and one that names several is refused.

use std::fmt;
use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair};
use ring::{hkdf, hmac};
use rustls::RootCertStore;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use thiserror::Error;

/// Why an identity can't be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The secret is missing.
    #[error(
        "the cluster's secret is empty: write some 32 random characters into secret_file, the same on every node"
    )]
    EmptySecret,
    /// No certificate is in the file.
    #[error("[cluster] certificate holds no certificate in PEM form: {0}")]
    Certificate(rustls::pki_types::pem::Error),
    /// No key is in the file.
    #[error("[cluster] key holds no private key in PEM form: {0}")]
    Key(rustls::pki_types::pem::Error),
    /// No authority is in the file.
    #[error("[cluster] ca holds no certificate in PEM form: {0}")]
    Authority(rustls::pki_types::pem::Error),
    /// The certificate speaks for somebody else.
    #[error("[cluster] certificate does not name this node: its subjectAltName needs DNS:{0}")]
    NamesAnother(NodeName),
    /// TLS takes none of it.
    #[error("[cluster] certificate, key and ca do not go together: {0}")]
    Tls(#[from] rustls::Error),
    /// The authority's certificate can't be trusted.
    #[error("[cluster] ca is no authority for peers: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    /// A certificate of our own could not be made.
    #[error("a certificate can't be made: {0}")]
    Issue(#[from] rcgen::Error),
}

/// The name of a node in certificates: `node-3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeName(pub u64);

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node-{}", self.0)
    }
}

/// The secret that all nodes share.
#[derive(Clone)]
pub struct ClusterKey(Arc<[u8]>);

impl fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterKey")
    }
}

impl ClusterKey {
    /// The key that a file's bytes are; space around them is no part of it.
    ///
    /// # Errors
    /// Nothing is left.
    pub fn parse(file: &[u8]) -> Result<ClusterKey, IdentityError> {
        let secret = file.trim_ascii();
        if secret.is_empty() {
            return Err(IdentityError::EmptySecret);
        }
        Ok(ClusterKey(secret.into()))
    }

    /// Whether it is so short that it might be guessed: whoever dials a node can try secrets at home.
    pub fn is_short(&self) -> bool {
        self.0.len() < SHORT
    }

    /// 32 bytes for one use (RFC 5869).
    fn derive(&self, usage: &[u8]) -> [u8; 32] {
        let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, b"banyan cluster").extract(&self.0);
        let mut bytes = [0; 32];
        secret
            .expand(&[usage], hkdf::HKDF_SHA256)
            .and_then(|derived| derived.fill(&mut bytes))
            .expect("32 bytes are within what one expansion gives");
        bytes
    }

    /// The key under which all nodes derive the tags and branches of calls.
    pub fn tags(&self) -> [u8; 16] {
        let derived = self.derive(b"tags and branches");
        *derived.first_chunk().expect("32 bytes hold 16")
    }

    /// The key under which guards seal their word that a process has ended.
    pub fn guards(&self) -> [u8; 32] {
        self.derive(b"guards")
    }

    /// The authority's key (RFC 8410 §7: the seed in PKCS #8).
    fn authority(&self) -> Result<KeyPair, IdentityError> {
        let mut der = ED25519_PKCS8_HEAD.to_vec();
        der.extend_from_slice(&self.derive(b"authority ed25519"));
        let der = PrivatePkcs8KeyDer::from(der);
        Ok(KeyPair::from_pkcs8_der_and_sign_algo(&der, &rcgen::PKCS_ED25519)?)
    }
}

/// An operator's own certificates, as the files' bytes in PEM form.
#[derive(Clone)]
pub struct Certificates {
    /// This node's, with what leads to the authority.
    pub certificate: Vec<u8>,
    /// Its private key.
    pub key: Vec<u8>,
    /// The authority of all nodes.
    pub ca: Vec<u8>,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Certificates")
    }
}

/// How a node proves who it is.
#[derive(Clone, Debug)]
pub enum Identity {
    /// By the secret that all share.
    Key(ClusterKey),
    /// By certificates.
    Certificates(Certificates),
}

/// What TLS needs, in both directions.
pub(super) struct Credentials {
    pub(super) server: QuicServerConfig,
    pub(super) client: QuicClientConfig,
    /// Under which a restarted process disowns the connections of its predecessor (RFC 9000 §10.3).
    pub(super) reset: hmac::Key,
}

impl Identity {
    pub(super) fn credentials(&self, node: u64) -> Result<Credentials, IdentityError> {
        let (chain, key, ca) = match self {
            Identity::Key(secret) => issue(secret, node)?,
            Identity::Certificates(files) => read(files)?,
        };
        if !chain.first().is_some_and(|own| is_named(own, node)) {
            return Err(IdentityError::NamesAnother(NodeName(node)));
        }
        let mut roots = RootCertStore::empty();
        for authority in ca {
            roots.add(authority)?;
        }
        // The same after a restart, and no other node's: a reset that anyone could make would be a weapon.
        let root = hmac::Key::new(hmac::HMAC_SHA256, &self.root(&key));
        let reset = hmac::sign(&root, &node.to_be_bytes());
        let (server, client) = tls(chain, key, Arc::new(roots))?;
        Ok(Credentials { server, client, reset: hmac::Key::new(hmac::HMAC_SHA256, reset.as_ref()) })
    }

    fn root(&self, key: &PrivateKeyDer<'_>) -> [u8; 32] {
        match self {
            Identity::Key(secret) => secret.derive(b"resets"),
            Identity::Certificates(_) => ClusterKey(key.secret_der().into()).derive(b"resets"),
        }
    }
}

pub(super) type Material =
    (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>, Vec<CertificateDer<'static>>);

/// A certificate for this process, from the authority that the secret is.
pub(super) fn issue(secret: &ClusterKey, node: u64) -> Result<Material, IdentityError> {
    let authority = secret.authority()?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "banyan cluster");
    let ca = params.self_signed(&authority)?.der().clone();
    let key = KeyPair::generate_for(&rcgen::PKCS_ED25519)?;
    let mut own = CertificateParams::new(vec![NodeName(node).to_string()])?;
    own.distinguished_name = DistinguishedName::new();
    own.distinguished_name.push(DnType::CommonName, NodeName(node).to_string());
    let own = own.signed_by(&key, &Issuer::new(params, authority))?.der().clone();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    Ok((vec![own], key, vec![ca]))
}

fn read(files: &Certificates) -> Result<Material, IdentityError> {
    let all = |pem: &[u8]| -> Result<Vec<CertificateDer<'static>>, rustls::pki_types::pem::Error> {
        let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>()?;
        if found.is_empty() { Err(rustls::pki_types::pem::Error::NoItemsFound) } else { Ok(found) }
    };
    let chain = all(&files.certificate).map_err(IdentityError::Certificate)?;
    let key = PrivateKeyDer::from_pem_slice(&files.key).map_err(IdentityError::Key)?;
    let ca = all(&files.ca).map_err(IdentityError::Authority)?;
    Ok((chain, key, ca))
}

fn tls(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    roots: Arc<RootCertStore>,
) -> Result<(QuicServerConfig, QuicClientConfig), IdentityError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone()).build()?;
    let mut server = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain.clone(), key.clone_key())?;
    let mut client = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)?;
    server.alpn_protocols = vec![ALPN.to_vec()];
    client.alpn_protocols = vec![ALPN.to_vec()];
    // Every connection proves both sides anew.
    server.send_tls13_tickets = 0;
    client.resumption = Resumption::disabled();
    let no_cipher = |_| rustls::Error::General("no cipher for QUIC's first packets".to_owned());
    let server = QuicServerConfig::try_from(server).map_err(no_cipher)?;
    let client = QuicClientConfig::try_from(client).map_err(no_cipher)?;
    Ok((server, client))
}

/// Whether a certificate, which the authority vouches for, names this node.
pub(super) fn is_named(certificate: &CertificateDer<'_>, node: u64) -> bool {
    let Ok(parsed) = ParsedCertificate::try_from(certificate) else { return false };
    let Ok(name) = ServerName::try_from(NodeName(node).to_string()) else { return false };
    rustls::client::verify_server_name(&parsed, &name).is_ok()
}

/// The node that a certificate, which the authority vouches for, names; one only.
pub(super) fn named(certificate: &CertificateDer<'_>) -> Option<u64> {
    let parsed = webpki::EndEntityCert::try_from(certificate).ok()?;
    let mut names = parsed.valid_dns_names().filter_map(|name| name.strip_prefix("node-")?.parse().ok());
    let first = names.next()?;
    names.next().is_none().then_some(first)
}

/// The protocol and its version (RFC 7301): nodes that speak no common one part in the handshake.
const ALPN: &[u8] = b"banyan/1";
/// RFC 8410 §7: everything before the 32 bytes of the seed.
const ED25519_PKCS8_HEAD: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
const SHORT: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_its_file_without_the_space_around_it() {
        let key = ClusterKey::parse(b" secret of ours \n").unwrap();
        assert_eq!(&*key.0, b"secret of ours");
        assert!(key.is_short());
        assert!(!ClusterKey::parse(&[b'x'; 32]).unwrap().is_short());
        assert!(matches!(ClusterKey::parse(b" \r\n"), Err(IdentityError::EmptySecret)));
    }

    #[test]
    fn i39_no_secret_is_in_what_is_printed_of_it() {
        let key = ClusterKey::parse(b"canary").unwrap();
        let files = Certificates { certificate: Vec::new(), key: b"canary".to_vec(), ca: Vec::new() };
        let printed = format!("{key:?} {:?} {files:?}", Identity::Key(key.clone()));
        assert!(!printed.contains("canary") && !printed.contains("99, 97"), "{printed}");
    }

    #[test]
    fn each_use_and_each_secret_derives_something_else() {
        let (a, b) = (ClusterKey::parse(b"a").unwrap(), ClusterKey::parse(b"b").unwrap());
        assert_eq!(a.derive(b"x"), a.clone().derive(b"x"));
        assert_ne!(a.derive(b"x"), a.derive(b"y"));
        assert_ne!(a.derive(b"x"), b.derive(b"x"));
    }

    #[test]
    fn a_certificate_of_the_key_names_its_node_and_no_other() {
        let key = ClusterKey::parse(b"a").unwrap();
        let (chain, ..) = issue(&key, 12).unwrap();
        assert!(is_named(&chain[0], 12));
        for other in [1, 2, 120, 0] {
            assert!(!is_named(&chain[0], other), "{other}");
        }
    }

    #[test]
    fn certificates_of_another_node_or_none_are_told_apart() {
        let key = ClusterKey::parse(b"a").unwrap();
        let (chain, private, ca) = issue(&key, 12).unwrap();
        let pem = |kind: &str, der: &[u8]| {
            let body: String = base64(der);
            format!("-----BEGIN {kind}-----\n{body}\n-----END {kind}-----\n").into_bytes()
        };
        let files = Certificates {
            certificate: pem("CERTIFICATE", &chain[0]),
            key: pem("PRIVATE KEY", private.secret_der()),
            ca: pem("CERTIFICATE", &ca[0]),
        };
        let try_as = |files: &Certificates, node| Identity::Certificates(files.clone()).credentials(node);
        assert!(try_as(&files, 12).is_ok());
        let error = try_as(&files, 13).err().unwrap();
        assert_eq!(
            error.to_string(),
            "[cluster] certificate does not name this node: its subjectAltName needs DNS:node-13"
        );
        let without = Certificates { key: b"nothing".to_vec(), ..files.clone() };
        assert!(matches!(try_as(&without, 12), Err(IdentityError::Key(_))));
        let without = Certificates { ca: Vec::new(), ..files };
        assert!(matches!(try_as(&without, 12), Err(IdentityError::Authority(_))));
    }

    /// RFC 4648 §4.
    fn base64(bytes: &[u8]) -> String {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = String::new();
        for chunk in bytes.chunks(3) {
            let mut word = [0u8; 4];
            word[1..=chunk.len()].copy_from_slice(chunk);
            let word = u32::from_be_bytes(word);
            for place in 0..4 {
                let sextet = (word >> (18 - 6 * place)) & 63;
                text.push(if place <= chunk.len() { char::from(ALPHABET[sextet as usize]) } else { '=' });
            }
        }
        text
    }
}
