//! A whole network under TLS: its listeners prove who they are, and whoever is dialled has to. For callers and callees
//! that know nothing of TLS.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use env::{BoxFuture, Datagrams, Listener, Network, Stream};

use super::{Names, Tls};

/// A network whose streams are all under TLS.
pub struct TlsNetwork {
    network: Arc<dyn Network>,
    tls: Tls,
    names: Names,
}

impl TlsNetwork {
    /// Whoever is dialled over this network has to prove that it is `host`.
    pub fn new(network: Arc<dyn Network>, tls: Tls, host: &str) -> TlsNetwork {
        TlsNetwork { network, tls, names: Names::host(host) }
    }
}

impl Network for TlsNetwork {
    fn bind(&self, at: SocketAddr) -> io::Result<Arc<dyn Datagrams>> {
        self.network.bind(at)
    }

    fn listen(&self, at: SocketAddr) -> io::Result<Box<dyn Listener>> {
        let (listener, tls) = (self.network.listen(at)?, self.tls.clone());
        Ok(Box::new(TlsListener { listener, tls }))
    }

    fn dial(&self, from: SocketAddr, to: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        let (dialled, tls, names) = (self.network.dial(from, to), self.tls.clone(), self.names.clone());
        Box::pin(async move {
            let (stream, _) = tls.connect(dialled.await?, &names).await?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    }
}

struct TlsListener {
    listener: Box<dyn Listener>,
    tls: Tls,
}

impl Listener for TlsListener {
    fn local(&self) -> SocketAddr {
        self.listener.local()
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Box<dyn Stream>>> {
        let stream = ready!(self.listener.poll_accept(cx))?;
        Poll::Ready(self.tls.accept(stream).map(|stream| Box::new(stream) as Box<dyn Stream>))
    }
}
