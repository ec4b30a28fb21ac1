//! SIP over TLS (RFC 3261 §26.3, RFC 5922): who we are, whom we believe, and a stream under TLS.
//!
//! Connections keep what they were made with; what is replaced counts for those that come.

mod budget;
mod credentials;
mod names;
mod network;
mod stream;
mod validity;

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};

use env::{Clock, Stream};
use machine::WallTime;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConnection, ServerConnection};

pub(crate) use budget::Budget;
use credentials::Credentials;
pub use credentials::{Authorities, TlsError, TlsFiles};
pub(crate) use names::Names;
pub use network::TlsNetwork;
pub(crate) use stream::TlsStream;

use crate::lock;

/// A node's certificate and the authorities that it believes. Clones are the same.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    clock: Arc<dyn Clock>,
    credentials: Mutex<Arc<Credentials>>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// What these files say; certificates are valid or not by this clock's civil time.
    ///
    /// # Errors
    /// They hold no certificate or no key, or don't go together.
    pub fn new(files: &TlsFiles, clock: Arc<dyn Clock>) -> Result<Tls, TlsError> {
        let credentials = Mutex::new(Arc::new(Credentials::read(files, &clock)?));
        Ok(Tls(Arc::new(Inner { clock, credentials })))
    }

    /// From now on what these files say; connections that stand go on.
    ///
    /// # Errors
    /// As [`Tls::new`]; then nothing changes.
    pub fn replace(&self, files: &TlsFiles) -> Result<(), TlsError> {
        let credentials = Arc::new(Credentials::read(files, &self.0.clock)?);
        *lock(&self.0.credentials) = credentials;
        Ok(())
    }

    /// When our certificate expires, where it says so legibly.
    pub fn expires(&self) -> Option<WallTime> {
        self.current().expires
    }

    /// Our side of a connection that a peer opened; its handshake is made as it is read.
    pub(crate) fn accept(&self, stream: Box<dyn Stream>) -> io::Result<TlsStream> {
        let server = self.current().server.clone();
        let connection = ServerConnection::new(server).map_err(io::Error::other)?;
        Ok(TlsStream::new(stream, connection.into()))
    }

    /// Our side of a connection that we opened, once its peer has proved to have one of these names; and how.
    pub(crate) async fn connect(
        &self,
        stream: Box<dyn Stream>,
        names: &Names,
    ) -> io::Result<(TlsStream, CertificateDer<'static>)> {
        let (config, name) = self.current().client(names)?;
        let connection = ClientConnection::new(config, name).map_err(io::Error::other)?;
        let mut stream = TlsStream::new(stream, connection.into());
        stream.handshake().await?;
        let proof = stream.certificate().ok_or(io::ErrorKind::InvalidData)?;
        Ok((stream, proof))
    }

    fn current(&self) -> Arc<Credentials> {
        lock(&self.0.credentials).clone()
    }
}

/// What an operator can do about a peer that we could not open a connection to; absent where TLS is not the reason.
pub(crate) fn advice(error: &io::Error) -> Option<&'static str> {
    use rustls::{CertificateError as Bad, Error};
    let inner = error.get_ref()?;
    if let Some(TlsError::NoAuthority) = inner.downcast_ref::<TlsError>() {
        return Some("install Debian's ca-certificates, or name a file of authorities in sip.tls.ca");
    }
    Some(match inner.downcast_ref::<Error>()? {
        Error::InvalidCertificate(Bad::UnknownIssuer | Bad::BadSignature) => {
            "its authority is unknown here: name the authority's file in sip.tls.ca"
        }
        Error::InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. }) => {
            "its certificate is somebody else's: call it by a name that stands in its certificate"
        }
        Error::InvalidCertificate(
            Bad::Expired | Bad::ExpiredContext { .. } | Bad::NotValidYet | Bad::NotValidYetContext { .. },
        ) => "its certificate is not valid today: its operator must renew it, unless the clock here is wrong",
        Error::AlertReceived(_) => "it refuses us: does it know the authority of sip.tls.certificate?",
        Error::InvalidMessage(_) => "it does not speak TLS there: is the port right?",
        _ => "try `openssl s_client -connect` from here",
    })
}
