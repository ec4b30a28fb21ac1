//! One stream: bytes in, messages out; messages queued, bytes out.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use env::Stream;
use futures::task::AtomicWaker;
use machine::Instant;
use rustls::pki_types::CertificateDer;
use sip::{Frame, FrameError, Framer};

use crate::streams::{Peer, Shared, Standing};
use crate::tls::Names;
use crate::{Counters, StreamLimits, lock};

/// One open stream. Its task owns the socket; everyone else has the queue and the flag.
pub(crate) struct Connection {
    pub(crate) id: u64,
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    far: FarEnd,
    waker: AtomicWaker,
    state: Mutex<State>,
}

/// What is known of whoever is at the far end.
pub(crate) enum FarEnd {
    /// Its address: the stream is plain.
    Address,
    /// It came to us, under TLS.
    Came,
    /// We went to it, and its certificate was verified.
    Proved(CertificateDer<'static>),
}

struct State {
    queue: VecDeque<Bytes>,
    queued_bytes: usize,
    closed: bool,
    /// A message of a known source came, or we dialled it.
    known: bool,
    /// When the last byte came or went; at first, when it was opened.
    active: Instant,
    heard: bool,
    /// Since when a message is incomplete.
    partial: Option<Instant>,
    /// When the peer's end of stream came.
    ended: Option<Instant>,
}

/// Why a connection's task ends.
enum Close {
    /// It was told to, or the peer is gone.
    Gone,
    /// What came can't be framed.
    Unframeable,
}

impl Connection {
    pub(crate) fn new(
        id: u64,
        local: SocketAddr,
        remote: SocketAddr,
        far: FarEnd,
        now: Instant,
        known: bool,
    ) -> Connection {
        let state = State {
            queue: VecDeque::new(),
            queued_bytes: 0,
            closed: false,
            known,
            active: now,
            heard: known,
            partial: None,
            ended: None,
        };
        Connection { id, local, remote, far, waker: AtomicWaker::new(), state: Mutex::new(state) }
    }

    /// Whether it is under TLS.
    pub(crate) fn is_secure(&self) -> bool {
        !matches!(self.far, FarEnd::Address)
    }

    /// Whether a message for a peer that has its address may go over it. Under TLS an address proves nothing: the message
    /// is for whoever came to us from there, or for whoever has proved the name that the message calls it by
    /// (RFC 5923 §9.1).
    pub(crate) fn carries(&self, peer: Peer, message: &[u8]) -> bool {
        let for_who_came = peer.connection == Peer::CAME;
        match &self.far {
            FarEnd::Address => !peer.secure,
            FarEnd::Came => peer.secure && for_who_came,
            FarEnd::Proved(certificate) => {
                peer.secure && !for_who_came && Names::of(message).are_proved_by(certificate)
            }
        }
    }

    /// Queues a message. A peer that does not read loses its connection, and the message comes back.
    pub(crate) fn push(&self, shared: &Shared, message: Bytes) {
        let mut state = lock(&self.state);
        if !state.closed && state.queued_bytes + message.len() <= shared.limits.write_queue_bytes_max {
            state.queued_bytes += message.len();
            state.queue.push_back(message);
            drop(state);
            Counters::count(&shared.counters.stream_messages_out);
            self.waker.wake();
            return;
        }
        if !state.closed {
            Counters::count(&shared.counters.congested);
        }
        state.closed = true;
        drop(state);
        self.waker.wake();
        shared.sink.unreachable(self.peer(), message);
    }

    /// Closes it at its task's next turn.
    pub(crate) fn close(&self) {
        lock(&self.state).closed = true;
        self.waker.wake();
    }

    /// Whether the peer has said that it is done, and has had time to hear what was left to say.
    pub(crate) fn is_done(&self, now: Instant, limits: &StreamLimits) -> bool {
        let state = lock(&self.state);
        let limit = if state.queue.is_empty() { limits.linger } else { limits.message };
        state.ended.is_some_and(|ended| now.since(ended) > limit)
    }

    /// Whether the peer has taken too long for whatever it is doing.
    pub(crate) fn is_overdue(&self, now: Instant, limits: &StreamLimits) -> bool {
        let state = lock(&self.state);
        let over = |since: Instant, limit: Duration| now.since(since) > limit;
        if state.partial.is_some_and(|since| over(since, limits.message)) {
            return true;
        }
        let idle = match (state.known, state.heard) {
            (true, _) => limits.idle,
            (false, true) => limits.stranger_idle,
            (false, false) => limits.first_byte,
        };
        over(state.active, idle)
    }

    /// Serves the stream until it ends.
    pub(crate) async fn run(self: Arc<Connection>, shared: Arc<Shared>, mut stream: Box<dyn Stream>) {
        shared.counters.open.fetch_add(1, Ordering::Relaxed);
        let mut reader = Reader { framer: Framer::default(), buffer: Vec::new() };
        let mut written = 0;
        let close = poll_fn(|cx| {
            // Registered first: a message queued from here on wakes the task again.
            self.waker.register(cx.waker());
            if let Poll::Ready(close) = self.poll_write(cx, &shared, stream.as_mut(), &mut written) {
                return Poll::Ready(close);
            }
            let read = self.poll_read(cx, &shared, stream.as_mut(), &mut reader);
            if read.is_ready() {
                // Say what is already queued, such as the 400 to what could not be framed.
                let _ = self.poll_write(cx, &shared, stream.as_mut(), &mut written);
            }
            read
        })
        .await;
        if matches!(close, Close::Unframeable) {
            Counters::count(&shared.counters.unframeable);
        }
        lock(&shared.table).remove(&self);
        shared.counters.open.fetch_sub(1, Ordering::Relaxed);
        let unsent = {
            let mut state = lock(&self.state);
            state.closed = true;
            std::mem::take(&mut state.queue)
        };
        for message in unsent {
            shared.sink.unreachable(self.peer(), message);
        }
    }

    fn peer(&self) -> Peer {
        Peer { local: self.local, remote: self.remote, connection: self.id, secure: self.is_secure() }
    }

    /// Writes what is queued. Pending when there is nothing left to do for now.
    fn poll_write(
        &self,
        cx: &mut Context<'_>,
        shared: &Shared,
        stream: &mut dyn Stream,
        written: &mut usize,
    ) -> Poll<Close> {
        let mut state = lock(&self.state);
        if state.closed {
            return Poll::Ready(Close::Gone);
        }
        while let Some(front) = state.queue.front() {
            let rest = front.slice((*written).min(front.len())..);
            match stream.poll_write(cx, &rest) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_) | Ok(0)) => return Poll::Ready(Close::Gone),
                Poll::Ready(Ok(n)) => {
                    *written += n;
                    state.active = shared.clock.now();
                    if n == rest.len() {
                        *written = 0;
                        let done = state.queue.pop_front().map_or(0, |message| message.len());
                        state.queued_bytes = state.queued_bytes.saturating_sub(done);
                    }
                }
            }
        }
        match stream.poll_flush(cx) {
            Poll::Ready(Err(_)) => Poll::Ready(Close::Gone),
            _ => Poll::Pending,
        }
    }

    /// Reads what is there, a bounded amount at once, and gives its messages to the sink.
    fn poll_read(
        &self,
        cx: &mut Context<'_>,
        shared: &Shared,
        stream: &mut dyn Stream,
        reader: &mut Reader,
    ) -> Poll<Close> {
        {
            let state = lock(&self.state);
            // A peer that does not read its answers is not read from either.
            if state.ended.is_some() || state.queued_bytes > shared.limits.write_queue_bytes_max / 2 {
                return Poll::Pending;
            }
        }
        reader.buffer.clear();
        match stream.poll_read(cx, &mut reader.buffer, shared.limits.read_bytes_max) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(error)) => {
                if error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) {
                    Counters::count(&shared.counters.handshakes_failed);
                    tracing::debug!(remote = %self.remote, %error, "TLS failed");
                }
                return Poll::Ready(Close::Gone);
            }
            Poll::Ready(Ok(0)) => {
                let mut state = lock(&self.state);
                state.ended = Some(shared.clock.now());
                return Poll::Pending;
            }
            Poll::Ready(Ok(_)) => {}
        }
        let result = self.take(shared, reader);
        // More may be there: others first, then us again.
        cx.waker().wake_by_ref();
        match result {
            Ok(()) => Poll::Pending,
            Err(close) => Poll::Ready(close),
        }
    }

    /// Frames what was read.
    fn take(&self, shared: &Shared, reader: &mut Reader) -> Result<(), Close> {
        reader.framer.push(&reader.buffer);
        let mut messages = 0;
        let mut known = false;
        let result = loop {
            match reader.framer.next() {
                Some(Ok(Frame::Message(message))) => {
                    messages += 1;
                    known |= shared.sink.message(self.peer(), message) == Standing::Known;
                }
                // A keep-alive is answered at once (RFC 5626 §4.4.1).
                Some(Ok(Frame::Ping)) => self.push(shared, Bytes::from_static(b"\r\n")),
                Some(Err(FrameError { error, head })) => {
                    shared.sink.unframeable(self.peer(), error, head);
                    break Err(Close::Unframeable);
                }
                None => break Ok(()),
            }
        };
        Counters::add(&shared.counters.stream_messages_in, messages);
        let now = shared.clock.now();
        let mut state = lock(&self.state);
        state.active = now;
        state.heard |= messages > 0;
        state.partial = match (reader.framer.pending(), messages) {
            (0, _) => None,
            // A new message has begun since the last whole one.
            (_, 1..) => Some(now),
            (_, 0) => state.partial.or(Some(now)),
        };
        if known && !state.known {
            state.known = true;
            drop(state);
            lock(&shared.table).promote(self);
        }
        result
    }
}

struct Reader {
    framer: Framer,
    buffer: Vec<u8>,
}
