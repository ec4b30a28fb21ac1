//! UDP and TCP sockets behind `env::Network`.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use env::{Batch, BoxFuture, Datagrams, Listener, Network, Outgoing, Stream};
use syscall::{RecvBatch, recv_batch, send_batch, set_receive_buffer};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// The system's sockets, on the current tokio runtime.
#[derive(Clone, Copy, Debug)]
pub struct Sockets;

impl Network for Sockets {
    fn bind(&self, at: SocketAddr) -> io::Result<Arc<dyn Datagrams>> {
        let socket = UdpSocket::bind(at)?;
        socket.set_nonblocking(true)?;
        // As much as the system gives; a burst of a thousand calls is a few megabytes.
        let _ = set_receive_buffer(socket.as_fd(), RECEIVE_BUFFER);
        let local = socket.local_addr()?;
        let batch = Mutex::new(RecvBatch::new(BATCH, DATAGRAM_MAX));
        Ok(Arc::new(Udp { local, socket: tokio::net::UdpSocket::from_std(socket)?, batch }))
    }

    fn listen(&self, at: SocketAddr) -> io::Result<Box<dyn Listener>> {
        let socket = std::net::TcpListener::bind(at)?;
        socket.set_nonblocking(true)?;
        let local = socket.local_addr()?;
        Ok(Box::new(Listening { local, socket: TcpListener::from_std(socket)? }))
    }

    fn dial(&self, from: SocketAddr, to: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            socket.bind(from)?;
            let stream = socket.connect(to).await?;
            Ok(Box::new(Tcp::new(stream)?) as Box<dyn Stream>)
        })
    }
}

struct Udp {
    local: SocketAddr,
    socket: tokio::net::UdpSocket,
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
            match self.socket.try_io(Interest::READABLE, || recv_batch(self.socket.as_fd(), &mut batch)) {
                Ok(_) => {
                    for (from, bytes) in batch.iter() {
                        into.push(from, bytes);
                    }
                    return Poll::Ready(Ok(()));
                }
                // Nothing there after all: tokio has noted it, so the next turn waits.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // ICMP errors of earlier sends: the calls concerned find out by their timers.
                Err(_) => {}
            }
        }
    }

    fn send(&self, datagrams: &[Outgoing]) -> usize {
        let datagrams = datagrams.iter().map(|datagram| (datagram.to, datagram.bytes.as_ref()));
        send_batch(self.socket.as_fd(), datagrams).unwrap_or(0)
    }
}

struct Listening {
    local: SocketAddr,
    socket: TcpListener,
}

impl Listener for Listening {
    fn local(&self) -> SocketAddr {
        self.local
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Box<dyn Stream>>> {
        let (stream, _) = ready!(self.socket.poll_accept(cx))?;
        Poll::Ready(Tcp::new(stream).map(|stream| Box::new(stream) as Box<dyn Stream>))
    }
}

struct Tcp {
    local: SocketAddr,
    remote: SocketAddr,
    stream: TcpStream,
    buffer: Box<[u8]>,
}

impl Tcp {
    fn new(stream: TcpStream) -> io::Result<Tcp> {
        stream.set_nodelay(true)?;
        let (local, remote) = (stream.local_addr()?, stream.peer_addr()?);
        Ok(Tcp { local, remote, stream, buffer: vec![0; 65_536].into() })
    }
}

impl Stream for Tcp {
    fn local(&self) -> SocketAddr {
        self.local
    }

    fn remote(&self) -> SocketAddr {
        self.remote
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut Vec<u8>, max: usize) -> Poll<io::Result<usize>> {
        let length = self.buffer.len().min(max);
        let mut read = ReadBuf::new(self.buffer.get_mut(..length).unwrap_or_default());
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read))?;
        into.extend_from_slice(read.filled());
        Poll::Ready(Ok(read.filled().len()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }
}

const BATCH: usize = 64;
const DATAGRAM_MAX: usize = 16 * 1024;
const RECEIVE_BUFFER: usize = 16 << 20;
