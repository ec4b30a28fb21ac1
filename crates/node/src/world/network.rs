//! The network of the operating system: batched datagrams, and streams.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use env::{Batch, BoxFuture, Datagrams, Listener, Network, Outgoing, Stream};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use syscall::RecvBatch;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

/// Sockets of the operating system. Used inside a tokio runtime.
#[derive(Clone, Debug, Default)]
pub struct SystemNetwork {
    floating: Arc<BTreeSet<IpAddr>>,
}

impl SystemNetwork {
    /// A network in which these addresses can be bound before the machine has them (ip(7), IP_FREEBIND).
    pub fn with_floating(floating: BTreeSet<IpAddr>) -> SystemNetwork {
        SystemNetwork { floating: Arc::new(floating) }
    }

    /// A socket that is about to be bound to `local`.
    fn socket(&self, local: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(local), kind, Some(protocol))?;
        socket.set_nonblocking(true)?;
        if local.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        if self.floating.contains(&local.ip()) {
            bind_early(&socket, local.ip())?;
        }
        Ok(socket)
    }
}

/// Lets a socket be bound to an address that the machine does not have yet.
pub(crate) fn bind_early(socket: &Socket, address: IpAddr) -> io::Result<()> {
    match address {
        IpAddr::V4(_) => socket.set_freebind_v4(true),
        IpAddr::V6(_) => socket.set_freebind_v6(true),
    }
}

/// Datagrams per system call.
const BATCH: usize = 64;
/// The largest datagram that UDP carries.
const DATAGRAM_MAX: usize = 65_535;
/// What a burst may fill before the kernel drops: SIP servers that leave the default lose calls at a third
/// of a core.
const RECEIVE_BUFFER: usize = 4 << 20;
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1_024;
/// Bytes read from a stream at once.
const CHUNK: usize = 16 << 10;
/// A peer that vanished is found by the kernel after this long.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// Unacknowledged data ends a connection after this long: half-open peers don't hold queues.
const USER_TIMEOUT: Duration = Duration::from_secs(20);

impl Network for SystemNetwork {
    fn bind(&self, at: SocketAddr) -> io::Result<Arc<dyn Datagrams>> {
        let socket = self.socket(at, Type::DGRAM, Protocol::UDP)?;
        socket.bind(&at.into())?;
        syscall::set_receive_buffer(socket.as_fd(), RECEIVE_BUFFER)?;
        let socket = UdpSocket::from_std(socket.into())?;
        let local = socket.local_addr()?;
        let batch = Mutex::new(RecvBatch::new(BATCH, DATAGRAM_MAX));
        Ok(Arc::new(Udp { local, socket, batch }))
    }

    fn listen(&self, at: SocketAddr) -> io::Result<Box<dyn Listener>> {
        let socket = self.socket(at, Type::STREAM, Protocol::TCP)?;
        // A restarted node must get its port back although old connections linger in TIME_WAIT.
        socket.set_reuse_address(true)?;
        socket.bind(&at.into())?;
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from_std(socket.into())?;
        Ok(Box::new(Tcp { local: listener.local_addr()?, listener }))
    }

    fn dial(&self, from: SocketAddr, to: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        let socket = self.socket(from, Type::STREAM, Protocol::TCP);
        Box::pin(async move {
            let socket = socket?;
            let mut any_port = from;
            any_port.set_port(0);
            socket.bind(&any_port.into())?;
            let stream = tokio::net::TcpSocket::from_std_stream(socket.into()).connect(to).await?;
            Ok(Box::new(TcpConnection::new(stream)?) as Box<dyn Stream>)
        })
    }
}

struct Udp {
    local: SocketAddr,
    socket: UdpSocket,
    batch: Mutex<RecvBatch>,
}

impl Datagrams for Udp {
    fn local(&self) -> SocketAddr {
        self.local
    }

    fn poll_recv(&self, cx: &mut Context<'_>, into: &mut Batch) -> Poll<io::Result<()>> {
        let mut batch = self.batch.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            ready!(self.socket.poll_recv_ready(cx))?;
            let mut received = None;
            let result = self.socket.try_io(Interest::READABLE, || {
                let n = syscall::recv_batch(self.socket.as_fd(), &mut batch)?;
                received = Some(n);
                // Fewer than asked for: the queue was emptied, so the next datagram is a new edge, and a
                // call that finds nothing is saved.
                if n < BATCH { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
            });
            match (received, result) {
                (Some(_), _) => {
                    for (from, bytes) in batch.iter() {
                        into.push(from, bytes);
                    }
                    return Poll::Ready(Ok(()));
                }
                (None, Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
                // ICMP errors of earlier sends: nothing to do with what waits to be received.
                (None, Err(error)) if is_passing(&error) => {}
                (None, Err(error)) => return Poll::Ready(Err(error)),
                (None, Ok(())) => {}
            }
        }
    }

    fn send(&self, datagrams: &[Outgoing]) -> usize {
        let datagrams = datagrams.iter().map(|out| (out.to, out.bytes.as_ref()));
        syscall::send_batch(self.socket.as_fd(), datagrams).unwrap_or(0)
    }
}

fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable};
    matches!(error.kind(), ConnectionRefused | ConnectionReset | HostUnreachable | NetworkUnreachable)
}

struct Tcp {
    local: SocketAddr,
    listener: TcpListener,
}

impl Listener for Tcp {
    fn local(&self) -> SocketAddr {
        self.local
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Box<dyn Stream>>> {
        let (stream, _) = ready!(self.listener.poll_accept(cx))?;
        Poll::Ready(TcpConnection::new(stream).map(|stream| Box::new(stream) as Box<dyn Stream>))
    }
}

struct TcpConnection {
    local: SocketAddr,
    remote: SocketAddr,
    stream: TcpStream,
}

impl TcpConnection {
    fn new(stream: TcpStream) -> io::Result<TcpConnection> {
        stream.set_nodelay(true)?;
        let socket = SockRef::from(&stream);
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))?;
        socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
        Ok(TcpConnection { local: stream.local_addr()?, remote: stream.peer_addr()?, stream })
    }
}

impl Stream for TcpConnection {
    fn local(&self) -> SocketAddr {
        self.local
    }

    fn remote(&self) -> SocketAddr {
        self.remote
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut Vec<u8>, max: usize) -> Poll<io::Result<usize>> {
        // Through the stack, so that an idle connection holds no buffer.
        let mut chunk = [std::mem::MaybeUninit::uninit(); CHUNK];
        let room = chunk.get_mut(..max.min(CHUNK)).unwrap_or_default();
        let mut read = ReadBuf::uninit(room);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read))?;
        into.extend_from_slice(read.filled());
        Poll::Ready(Ok(read.filled().len()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }
}
