//! A network of pipes in memory, and a sink that writes down what it hears.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use env::{BoxFuture, Clock, Datagrams, Listener, Network, Spawn, Stream, Task};
use machine::{Instant, WallTime};
use sip::ParseError;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::sync::{mpsc, oneshot};
use transport::{Counters, Peer, Sink, Standing, StreamLimits, Streams, Tls};

/// An address.
pub fn at(text: &str) -> SocketAddr {
    text.parse().expect("literal")
}

/// A small whole message.
pub fn message(call_id: &str) -> Vec<u8> {
    format!(
        "OPTIONS sip:node SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.1;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n\
         To: <sip:node>\r\nCall-ID: {call_id}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

/// What the sink heard.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    Message(Peer, Vec<u8>),
    Unframeable(Peer),
    Unreachable(Peer, Vec<u8>),
}

/// Streams over a network in memory.
pub struct World {
    pub streams: Streams,
    counters: Arc<Counters>,
    incoming: mpsc::UnboundedSender<Pipe>,
    dials: mpsc::UnboundedReceiver<Dial>,
    heard: mpsc::UnboundedReceiver<Heard>,
}

type Dial = (SocketAddr, oneshot::Sender<io::Result<Box<dyn Stream>>>);

impl World {
    pub fn start(limits: StreamLimits) -> World {
        World::start_under(limits, None)
    }

    /// A world whose listener is under TLS, if there is any.
    pub fn start_under(limits: StreamLimits, tls: Option<Tls>) -> World {
        let (incoming, accepted) = mpsc::unbounded_channel();
        let (dialled, dials) = mpsc::unbounded_channel();
        let (tell, heard) = mpsc::unbounded_channel();
        let counters = Arc::new(Counters::default());
        let sink = Arc::new(Notes { tell, answer: Mutex::default() });
        let clock = clock();
        let streams = Streams::new(
            Arc::new(Pipes(dialled)),
            clock.clone(),
            clock,
            sink.clone(),
            limits,
            counters.clone(),
            tls.clone(),
        );
        *sink.answer.lock().expect("whole") = Some(streams.clone());
        streams.serve(Box::new(Door(accepted)), tls.is_some());
        let sweeper = streams.clone();
        tokio::spawn(async move { sweeper.sweep().await });
        World { streams, counters, incoming, dials, heard }
    }

    pub fn local(&self) -> SocketAddr {
        at("192.0.2.100:5060")
    }

    pub async fn connect(&mut self, remote: SocketAddr) -> Far {
        let (near, far) = tokio::io::duplex(4_096);
        self.incoming.send(Pipe { local: self.local(), remote, end: near }).expect("the node listens");
        tokio::task::yield_now().await;
        Far(far)
    }

    /// Takes what the node dials, or refuses it.
    pub async fn accept_dial(&mut self, accept: bool) -> Option<Far> {
        let (remote, tell) = self.dials.recv().await.expect("the node dials");
        let (near, far) = tokio::io::duplex(4_096);
        let near: Box<dyn Stream> = Box::new(Pipe { local: at("192.0.2.100:40000"), remote, end: near });
        let result = if accept { Ok(near) } else { Err(io::ErrorKind::ConnectionRefused.into()) };
        assert!(tell.send(result).is_ok());
        accept.then_some(Far(far))
    }

    pub fn handshakes_failed(&self) -> u64 {
        self.counters.handshakes_failed.load(Ordering::Relaxed)
    }

    pub fn dialled(&self) -> u64 {
        self.counters.dialled.load(Ordering::Relaxed)
    }

    pub async fn heard(&mut self) -> Heard {
        self.heard.recv().await.expect("the sink lives")
    }

    pub fn heard_already(&mut self) -> Option<Heard> {
        self.heard.try_recv().ok()
    }
}

/// The far end of a stream.
pub struct Far(DuplexStream);

impl Far {
    pub async fn write(&mut self, bytes: &[u8]) {
        // The node may have closed it, which the test then sees by reading.
        let _ = self.0.write_all(bytes).await;
    }

    pub async fn read(&mut self) -> Vec<u8> {
        let mut buffer = vec![0; 65_536];
        let length = self.0.read(&mut buffer).await.unwrap_or(0);
        buffer.truncate(length);
        buffer
    }

    pub async fn read_exactly(&mut self, count: usize) -> Vec<u8> {
        let mut buffer = vec![0; count];
        self.0.read_exact(&mut buffer).await.expect("as much was sent");
        buffer
    }
}

struct Notes {
    tell: mpsc::UnboundedSender<Heard>,
    answer: Mutex<Option<Streams>>,
}

impl Sink for Notes {
    fn message(&self, peer: Peer, message: Bytes) -> Standing {
        self.tell.send(Heard::Message(peer, message.to_vec())).expect("the test listens");
        Standing::Known
    }

    fn unframeable(&self, peer: Peer, _: ParseError, _: Bytes) {
        let streams = self.answer.lock().expect("whole").clone().expect("set at the start");
        streams.send(peer, Bytes::from_static(b"400"));
        self.tell.send(Heard::Unframeable(peer)).expect("the test listens");
    }

    fn unreachable(&self, peer: Peer, message: Bytes) {
        // A test that has seen enough no longer listens.
        let _ = self.tell.send(Heard::Unreachable(peer, message.to_vec()));
    }
}

/// tokio's paused clock, in November 2023.
pub fn clock() -> Arc<Paused> {
    Arc::new(Paused(tokio::time::Instant::now()))
}

/// tokio's paused clock.
pub struct Paused(tokio::time::Instant);

impl Clock for Paused {
    fn now(&self) -> Instant {
        Instant::from_nanos(self.0.elapsed().as_nanos() as u64)
    }

    fn wall(&self) -> WallTime {
        WallTime(1_700_000_000_000)
    }
}

struct Handle(tokio::task::AbortHandle);

impl Task for Handle {
    fn abort(&self) {
        self.0.abort();
    }
}

impl Spawn for Paused {
    fn spawn(&self, _: &'static str, task: BoxFuture<'static, ()>) -> Box<dyn Task> {
        Box::new(Handle(tokio::spawn(task).abort_handle()))
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()> {
        let until = self.0 + std::time::Duration::from_nanos(at.as_nanos());
        Box::pin(tokio::time::sleep_until(until))
    }
}

struct Pipes(mpsc::UnboundedSender<Dial>);

impl Network for Pipes {
    fn bind(&self, _: SocketAddr) -> io::Result<Arc<dyn Datagrams>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn listen(&self, _: SocketAddr) -> io::Result<Box<dyn Listener>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn dial(&self, _: SocketAddr, to: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        let (tell, told) = oneshot::channel();
        self.0.send((to, tell)).expect("the test takes dials");
        Box::pin(async move { told.await.unwrap_or_else(|_| Err(io::ErrorKind::ConnectionReset.into())) })
    }
}

struct Door(mpsc::UnboundedReceiver<Pipe>);

impl Listener for Door {
    fn local(&self) -> SocketAddr {
        at("192.0.2.100:5060")
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Box<dyn Stream>>> {
        match ready!(self.0.poll_recv(cx)) {
            Some(pipe) => Poll::Ready(Ok(Box::new(pipe))),
            None => Poll::Pending,
        }
    }
}

struct Pipe {
    local: SocketAddr,
    remote: SocketAddr,
    end: DuplexStream,
}

impl Stream for Pipe {
    fn local(&self) -> SocketAddr {
        self.local
    }

    fn remote(&self) -> SocketAddr {
        self.remote
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut Vec<u8>, max: usize) -> Poll<io::Result<usize>> {
        let mut space = vec![0; max];
        let mut read = ReadBuf::new(&mut space);
        ready!(Pin::new(&mut self.end).poll_read(cx, &mut read))?;
        into.extend_from_slice(read.filled());
        Poll::Ready(Ok(read.filled().len()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.end).poll_write(cx, bytes)
    }
}
