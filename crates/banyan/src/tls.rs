//! The files of `[sip.tls]`: read at the start, at SIGHUP, and by `banyan check`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use config::NodeFile;
use config::node::TlsSection;
use node::SystemClock;
use transport::{Authorities, Tls, TlsError, TlsFiles};

use crate::failure::{Failure, Result};

/// A node's certificate, and where it is read anew.
pub struct Certificates {
    files: TlsSection,
    tls: Tls,
}

impl Certificates {
    /// What the node file names; `None` where it names nothing.
    ///
    /// # Errors
    /// A file can't be read, or what is in them can't be used.
    pub fn read(file: &NodeFile, clock: Arc<SystemClock>) -> Result<Option<Certificates>> {
        let Some(files) = &file.sip.tls else { return Ok(None) };
        warn_of_readers(&files.key);
        let tls = load(files).and_then(|read| Ok(Tls::new(&read, clock)?));
        let tls = tls.map_err(|mistake| Failure::No(mistake.words))?;
        ends_soon(&tls).into_iter().for_each(|words| tracing::warn!("{words}"));
        Ok(Some(Certificates { files: files.clone(), tls }))
    }

    /// For the node.
    pub fn tls(&self) -> Tls {
        self.tls.clone()
    }

    /// Reads the files again; what can't be used changes nothing.
    pub fn reload(&self) {
        match load(&self.files).and_then(|read| Ok(self.tls.replace(&read)?)) {
            Ok(()) => {
                tracing::info!(
                    "SIGHUP: the files of [sip.tls] were read again and count for new connections; those that stand go on"
                );
                ends_soon(&self.tls).into_iter().for_each(|words| tracing::warn!("{words}"));
            }
            Err(Mistake { words, .. }) => {
                tracing::error!("SIGHUP: {words}; what was read before stays in use");
            }
        }
    }
}

/// A file that can't be used.
pub struct Mistake {
    /// The key that names it.
    pub key: &'static str,
    /// What is wrong.
    pub words: String,
}

impl From<TlsError> for Mistake {
    fn from(error: TlsError) -> Mistake {
        Mistake { key: error.key(), words: error.to_string() }
    }
}

/// Reads and tries the files that a node file names; nothing is kept. Gives what is to be said of them all the same.
///
/// # Errors
/// The first that can't be used.
pub fn check(files: &TlsSection) -> std::result::Result<Option<String>, Mistake> {
    Ok(ends_soon(&Tls::new(&load(files)?, Arc::new(SystemClock::start()))?))
}

/// That the certificate expires, a while before it does.
fn ends_soon(tls: &Tls) -> Option<String> {
    let (expires, now) = (tls.expires()?, env::Clock::wall(&SystemClock::start()));
    let date = expires.to_rfc3339();
    let date = date.split('T').next()?;
    match expires.0 - now.0 {
        ..0 => Some(format!("sip.tls.certificate has expired on {date}; nobody who verifies it connects")),
        0..SOON_MS => Some(format!("sip.tls.certificate expires on {date}; renew it, then send SIGHUP")),
        _ => None,
    }
}

/// Whoever renews certificates by himself does so a month before.
const SOON_MS: i64 = 14 * 86_400_000;

/// Reads the files.
///
/// # Errors
/// Which one can't be read, and why.
pub fn load(files: &TlsSection) -> std::result::Result<TlsFiles, Mistake> {
    let ca = files.ca.as_deref().map(|path| bytes("ca", path)).transpose()?;
    Ok(TlsFiles {
        certificate: bytes("certificate", &files.certificate)?,
        key: bytes("key", &files.key)?,
        client_ca: files.client_ca.as_deref().map(|path| bytes("client_ca", path)).transpose()?,
        authorities: match ca {
            Some(file) => Authorities::File(file),
            None => Authorities::System(system()),
        },
    })
}

/// The authorities that the system trusts; nothing where it keeps them nowhere that is known.
fn system() -> Vec<u8> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let places = named.into_iter().chain(SYSTEM.map(PathBuf::from));
    places.filter_map(|path| fs::read(path).ok()).next().unwrap_or_default()
}

/// Debian and Arch, Fedora and its kin, openSUSE, Alpine.
const SYSTEM: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

fn bytes(key: &'static str, path: &Path) -> std::result::Result<Vec<u8>, Mistake> {
    fs::read(path)
        .map_err(|error| Mistake { key, words: format!("sip.tls.{key} {}: {error}", path.display()) })
}

fn warn_of_readers(key: &Path) {
    let mode = fs::metadata(key).map(|meta| meta.permissions().mode()).unwrap_or_default();
    if mode & 0o007 != 0 {
        tracing::warn!(
            "sip.tls.key {0} can be read by everybody on this machine (mode {1:o}); `chmod 640 {0}`",
            key.display(),
            mode & 0o777
        );
    }
}
