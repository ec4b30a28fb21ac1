//! Certificates, keys and authorities, from files in PEM form to what rustls wants.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use env::Clock;
use machine::WallTime;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme,
};
use thiserror::Error;

use super::Names;

/// What `[sip.tls]` names, as the files hold it.
#[derive(Clone)]
pub struct TlsFiles {
    /// Our certificate, and what leads from it to its authority.
    pub certificate: Vec<u8>,
    /// Its private key.
    pub key: Vec<u8>,
    /// The authorities whose certificates we demand of peers that connect to us; absent: none is asked for.
    pub client_ca: Option<Vec<u8>>,
    /// The authorities of peers that we connect to.
    pub authorities: Authorities,
}

impl fmt::Debug for TlsFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsFiles")
    }
}

/// Authorities.
#[derive(Clone)]
pub enum Authorities {
    /// Those of a file, and no others.
    File(Vec<u8>),
    /// Those that the system trusts, as far as they can be read; and those of `client_ca`.
    System(Vec<u8>),
}

/// Why files can't be used. None of it repeats what is in a key's file.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// No certificate.
    #[error("sip.tls.certificate holds no certificate in PEM form")]
    Certificate,
    /// No key.
    #[error("sip.tls.key holds no private key in PEM form (an encrypted one can't be used)")]
    Key,
    /// Two halves of different things.
    #[error("sip.tls.key is not the key of sip.tls.certificate")]
    Mismatch,
    /// No authority.
    #[error("sip.tls.{0} holds no authority's certificate in PEM form")]
    Authority(&'static str),
    /// Neither a file nor the system names one.
    #[error("no authority is known that could vouch for anybody")]
    NoAuthority,
    /// TLS takes none of it.
    #[error("sip.tls: {0}")]
    Tls(#[from] rustls::Error),
}

impl TlsError {
    /// The key of `[sip.tls]` whose file it is about.
    pub fn key(&self) -> &'static str {
        match self {
            TlsError::Certificate | TlsError::Tls(_) => "certificate",
            TlsError::Key | TlsError::Mismatch => "key",
            TlsError::Authority(key) => key,
            TlsError::NoAuthority => "ca",
        }
    }
}

/// What connections are made with.
pub(super) struct Credentials {
    pub(super) server: Arc<ServerConfig>,
    client: ClientConfig,
    verifier: Option<Arc<WebPkiServerVerifier>>,
    pub(super) expires: Option<WallTime>,
}

impl Credentials {
    pub(super) fn read(files: &TlsFiles, clock: &Arc<dyn Clock>) -> Result<Credentials, TlsError> {
        let chain = certificates(&files.certificate).ok_or(TlsError::Certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&files.key).map_err(|_| TlsError::Key)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let clients = files.client_ca.as_deref().map(|file| authorities(file, "client_ca")).transpose()?;
        let servers = match &files.authorities {
            Authorities::File(file) => authorities(file, "ca")?,
            Authorities::System(known) => {
                let mut roots = clients.clone().unwrap_or_else(RootCertStore::empty);
                roots.add_parsable_certificates(CertificateDer::pem_slice_iter(known).filter_map(Result::ok));
                roots
            }
        };
        let expires = chain.first().and_then(|own| super::validity::expires(own));
        let civil: Arc<dyn TimeProvider> = Arc::new(Civil(clock.clone()));
        let server = server(&provider, &civil, (chain.clone(), key.clone_key()), clients)?;
        let client = client(&provider, &civil, (chain, key))?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(servers), provider).build().ok();
        Ok(Credentials { server: Arc::new(server), client, verifier, expires })
    }

    /// What a connection to a peer of these names is made with, and the name that it is asked for (RFC 6066 §3).
    pub(super) fn client(&self, names: &Names) -> io::Result<(Arc<ClientConfig>, ServerName<'static>)> {
        let verifier = self.verifier.clone().ok_or_else(|| io::Error::other(TlsError::NoAuthority))?;
        let name =
            names.first().ok_or_else(|| io::Error::other("nothing says by which name to verify it"))?;
        let mut config = self.client.clone();
        config.dangerous().set_certificate_verifier(Arc::new(OneOf { names: names.clone(), verifier }));
        Ok((Arc::new(config), name))
    }
}

type Own = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn server(
    provider: &Arc<CryptoProvider>,
    civil: &Arc<dyn TimeProvider>,
    (chain, key): Own,
    clients: Option<RootCertStore>,
) -> Result<ServerConfig, TlsError> {
    let builder = ServerConfig::builder_with_details(provider.clone(), civil.clone())
        .with_safe_default_protocol_versions()?;
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(roots) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
            let verifier = verifier.build().map_err(|_| TlsError::Authority("client_ca"))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(mismatch)?;
    // Every connection proves both sides anew, so that authorities that were taken away count no more.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

fn client(
    provider: &Arc<CryptoProvider>,
    civil: &Arc<dyn TimeProvider>,
    (chain, key): Own,
) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_details(provider.clone(), civil.clone())
        .with_safe_default_protocol_versions()?;
    // Whom it believes depends on the peer that is called.
    let builder = builder.with_root_certificates(RootCertStore::empty());
    let mut config = builder.with_client_auth_cert(chain, key).map_err(mismatch)?;
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn mismatch(error: rustls::Error) -> TlsError {
    match error {
        rustls::Error::InconsistentKeys(_) => TlsError::Mismatch,
        other => TlsError::Tls(other),
    }
}

fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().ok()?;
    (!found.is_empty()).then_some(found)
}

fn authorities(pem: &[u8], key: &'static str) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(pem).ok_or(TlsError::Authority(key))? {
        roots.add(authority).map_err(|_| TlsError::Authority(key))?;
    }
    Ok(roots)
}

/// The node's civil time, as rustls asks for it.
struct Civil(Arc<dyn Clock>);

impl fmt::Debug for Civil {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Civil")
    }
}

impl TimeProvider for Civil {
    fn current_time(&self) -> Option<UnixTime> {
        let ms = u64::try_from(self.0.wall().0).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_millis(ms)))
    }
}

/// Believes a peer whose certificate has one of the names by which it is called (RFC 5922 §7.1, D-011).
#[derive(Debug)]
struct OneOf {
    names: Names,
    verifier: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for OneOf {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let mut result = Err(rustls::Error::InvalidCertificate(CertificateError::NotValidForName));
        for name in self.names.iter() {
            result = self.verifier.verify_server_cert(certificate, intermediates, &name, ocsp, now);
            if result.is_ok() {
                break;
            }
        }
        result
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
