//! A byte stream under TLS, over any other byte stream.

use std::future::poll_fn;
use std::io::{self, BufRead, Write};
use std::net::SocketAddr;
use std::task::{Context, Poll, Waker, ready};

use env::Stream;
use rustls::Connection;
use rustls::pki_types::CertificateDer;

/// One end of a stream under TLS.
pub(crate) struct TlsStream {
    stream: Box<dyn Stream>,
    tls: Connection,
    /// What came and is not decrypted yet.
    incoming: Vec<u8>,
    /// How much of it was taken.
    taken: usize,
    /// What is encrypted and has not left.
    outgoing: Vec<u8>,
    /// How much of it has left.
    sent: usize,
    /// The peer's end of the stream came.
    ended: bool,
}

/// What is read of the network at once.
const CHUNK: usize = 16 << 10;

impl TlsStream {
    pub(super) fn new(stream: Box<dyn Stream>, tls: Connection) -> TlsStream {
        let (incoming, outgoing) = (Vec::new(), Vec::new());
        TlsStream { stream, tls, incoming, taken: 0, outgoing, sent: 0, ended: false }
    }

    /// Makes the handshake.
    pub(super) async fn handshake(&mut self) -> io::Result<()> {
        poll_fn(|cx| {
            loop {
                ready!(self.poll_flush(cx))?;
                if !self.tls.is_handshaking() {
                    return Poll::Ready(Ok(()));
                }
                ready!(self.poll_fetch(cx))?;
            }
        })
        .await
    }

    /// The peer's certificate, which was verified.
    pub(super) fn certificate(&self) -> Option<CertificateDer<'static>> {
        Some(self.tls.peer_certificates()?.first()?.clone().into_owned())
    }

    /// Gives what is decrypted; `None` if nothing is.
    fn decrypted(&mut self, into: &mut Vec<u8>, max: usize) -> io::Result<Option<usize>> {
        let mut reader = self.tls.reader();
        match reader.fill_buf() {
            Ok(bytes) => {
                let bytes = bytes.get(..max).unwrap_or(bytes);
                into.extend_from_slice(bytes);
                let count = bytes.len();
                reader.consume(count);
                Ok(Some(count))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            // The end without TLS's own word for it: what is cut short does not pass for a whole message anyway.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Some(0)),
            Err(error) => Err(error),
        }
    }

    /// Reads some of the network and lets TLS take it. Nothing may be decrypted and not yet fetched.
    fn poll_fetch(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.taken >= self.incoming.len() {
            (self.incoming, self.taken) = (Vec::new(), 0);
            if ready!(self.stream.poll_read(cx, &mut self.incoming, CHUNK))? == 0 {
                self.ended = true;
                let cut = self.tls.is_handshaking();
                return Poll::Ready(if cut { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) });
            }
        }
        let handshaking = self.tls.is_handshaking();
        let mut rest = self.incoming.get(self.taken..).unwrap_or_default();
        self.taken += self.tls.read_tls(&mut rest)?;
        if let Err(error) = self.tls.process_new_packets() {
            // The alert says why.
            let _ = self.poll_flush(cx);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
        }
        if handshaking && !self.tls.is_handshaking() {
            // What was to be written could not be until now.
            cx.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }
}

impl Stream for TlsStream {
    fn local(&self) -> SocketAddr {
        self.stream.local()
    }

    fn remote(&self) -> SocketAddr {
        self.stream.remote()
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut Vec<u8>, max: usize) -> Poll<io::Result<usize>> {
        loop {
            if let Some(count) = self.decrypted(into, max)? {
                return Poll::Ready(Ok(count));
            }
            if self.ended {
                return Poll::Ready(Ok(0));
            }
            // TLS has words of its own: handshakes, alerts.
            if let Poll::Ready(Err(error)) = self.poll_flush(cx) {
                return Poll::Ready(Err(error));
            }
            ready!(self.poll_fetch(cx))?;
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.tls.is_handshaking() {
            // Whoever reads it makes the handshake, and is woken when it is done.
            return Poll::Pending;
        }
        ready!(self.poll_flush(cx))?;
        let count = self.tls.writer().write(bytes)?;
        match self.poll_flush(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            // The rest leaves with the next flush.
            _ => Poll::Ready(Ok(count)),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.sent >= self.outgoing.len() {
                (self.outgoing, self.sent) = (Vec::new(), 0);
                if !self.tls.wants_write() {
                    return Poll::Ready(Ok(()));
                }
                while self.tls.wants_write() {
                    self.tls.write_tls(&mut self.outgoing)?;
                }
            }
            let rest = self.outgoing.get(self.sent..).unwrap_or_default();
            match ready!(self.stream.poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.sent += count,
            }
        }
    }
}

impl Drop for TlsStream {
    /// Says goodbye (RFC 8446 §6.1) where there is room for it, so that the peer need not wonder.
    fn drop(&mut self) {
        self.tls.send_close_notify();
        let _ = self.poll_flush(&mut Context::from_waker(Waker::noop()));
    }
}
