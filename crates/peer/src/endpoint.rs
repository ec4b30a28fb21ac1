//! An agent on the network, over the seams of `env`: the same code over real sockets and in the simulation.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use env::{Batch, BoxFuture, Clock, Datagrams, Listener, Network, Outgoing, Spawn, Stream};
use machine::Instant;

use crate::agent::Agent;
use crate::framer::first_message;
use crate::local::{Flow, Output, Transport, address_of};

/// The world that peers live in.
#[derive(Clone)]
pub struct World {
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// How to wait.
    pub spawn: Arc<dyn Spawn>,
    /// Sockets.
    pub network: Arc<dyn Network>,
}

/// An agent and its sockets.
pub struct Endpoint {
    agent: Agent,
    address: SocketAddr,
    network: Arc<dyn Network>,
    datagrams: Option<Arc<dyn Datagrams>>,
    batch: Batch,
    outgoing: Vec<Outgoing>,
    listener: Option<Box<dyn Listener>>,
    connections: Vec<Connection>,
    accepted: u64,
}

/// One stream, open or being opened.
struct Connection {
    flow: Flow,
    state: Wire,
    received: Vec<u8>,
    unsent: Vec<u8>,
}

enum Wire {
    Dialling(BoxFuture<'static, io::Result<Box<dyn Stream>>>),
    Open(Box<dyn Stream>),
    Closed,
}

impl Endpoint {
    /// Binds the agent's sockets at `address`, which is where its Via and Contact point.
    ///
    /// # Errors
    /// The address is taken or not ours.
    pub fn open(
        world: &World,
        transport: Transport,
        address: SocketAddr,
        agent: Agent,
    ) -> io::Result<Endpoint> {
        let (mut datagrams, mut listener) = (None, None);
        match transport {
            Transport::Udp => datagrams = Some(world.network.bind(address)?),
            Transport::Tcp | Transport::Tls => listener = Some(world.network.listen(address)?),
        }
        Ok(Endpoint {
            agent,
            address,
            network: world.network.clone(),
            datagrams,
            batch: Batch::default(),
            outgoing: Vec::new(),
            listener,
            connections: Vec::new(),
            accepted: 0,
        })
    }

    /// The agent.
    pub fn agent(&mut self) -> &mut Agent {
        &mut self.agent
    }

    /// Fires the agent's timers, sends what it wants sent, and gives the rest of its outputs to `sink`.
    fn pump(&mut self, now: Instant, sink: &mut dyn FnMut(Instant, Output)) {
        self.agent.handle_timeout(now);
        while let Some(output) = self.agent.poll_output() {
            match output {
                Output::Send { flow, bytes } => self.send(flow, bytes),
                other => sink(now, other),
            }
        }
        if let Some(datagrams) = &self.datagrams
            && !self.outgoing.is_empty()
        {
            // What a full buffer drops is lost, as on any network; retransmission heals it.
            datagrams.send(&self.outgoing);
            self.outgoing.clear();
        }
    }

    fn send(&mut self, flow: Flow, bytes: Bytes) {
        match (flow, &self.datagrams) {
            (Flow::Datagram(to), Some(_)) => self.outgoing.push(Outgoing { to, bytes }),
            (Flow::Datagram(_), None) => {}
            (Flow::Dialled(to), _) => {
                let found = self.connections.iter_mut().find(|connection| connection.flow == flow);
                match found {
                    Some(connection) => connection.unsent.extend_from_slice(&bytes),
                    None => {
                        let dial = self.network.dial(SocketAddr::new(self.address.ip(), 0), to);
                        let mut connection = Connection::new(flow, Wire::Dialling(dial));
                        connection.unsent.extend_from_slice(&bytes);
                        self.connections.push(connection);
                    }
                }
            }
            (Flow::Accepted(_), _) => {
                let found = self.connections.iter_mut().find(|connection| connection.flow == flow);
                match (found, next_hop(&bytes)) {
                    (Some(connection), _) => connection.unsent.extend_from_slice(&bytes),
                    (None, Some(to)) => self.send(Flow::Dialled(to), bytes),
                    // Timers tell the call.
                    (None, None) => {}
                }
            }
        }
    }

    /// Receives and writes what can be; ready when the agent took something.
    fn poll(&mut self, cx: &mut Context<'_>, clock: &dyn Clock) -> Poll<io::Result<()>> {
        let mut busy = false;
        if let Some(datagrams) = &self.datagrams {
            self.batch.clear();
            if let Poll::Ready(result) = datagrams.poll_recv(cx, &mut self.batch) {
                result?;
                let now = clock.now();
                for (from, bytes) in self.batch.iter() {
                    self.agent.receive(now, Flow::Datagram(from), bytes);
                }
                busy = true;
            }
        }
        if let Some(listener) = &mut self.listener {
            while let Poll::Ready(stream) = listener.poll_accept(cx) {
                let flow = Flow::Accepted(self.accepted);
                self.accepted += 1;
                self.connections.push(Connection::new(flow, Wire::Open(stream?)));
            }
        }
        for connection in &mut self.connections {
            busy |= connection.poll(cx, clock, &mut self.agent);
        }
        self.connections.retain(|connection| !matches!(connection.state, Wire::Closed));
        if busy { Poll::Ready(Ok(())) } else { Poll::Pending }
    }
}

/// Where a message goes whose stream is gone: a request to its Request-URI (RFC 3261 §18.1.1), a response to the
/// sent-by of its Via (§18.2.2).
fn next_hop(bytes: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut lines = text.split("\r\n");
    let first = lines.next()?;
    if !first.starts_with("SIP/2.0 ") {
        return address_of(first.split(' ').nth(1)?);
    }
    let via = lines.find_map(|line| line.strip_prefix("Via: "))?;
    via.split(' ').nth(1)?.split(';').next()?.parse().ok()
}

impl Connection {
    fn new(flow: Flow, state: Wire) -> Connection {
        Connection { flow, state, received: Vec::new(), unsent: Vec::new() }
    }

    /// Whether the agent took a message.
    fn poll(&mut self, cx: &mut Context<'_>, clock: &dyn Clock, agent: &mut Agent) -> bool {
        if let Wire::Dialling(dial) = &mut self.state {
            match dial.as_mut().poll(cx) {
                Poll::Ready(Ok(stream)) => self.state = Wire::Open(stream),
                Poll::Ready(Err(_)) => self.state = Wire::Closed,
                Poll::Pending => return false,
            }
        }
        let Wire::Open(stream) = &mut self.state else { return false };
        while !self.unsent.is_empty() {
            match stream.poll_write(cx, &self.unsent) {
                Poll::Ready(Ok(written)) if written > 0 => {
                    self.unsent.drain(..written);
                }
                Poll::Ready(_) => {
                    self.state = Wire::Closed;
                    return false;
                }
                Poll::Pending => break,
            }
        }
        let mut closed = false;
        while self.received.len() < READ_AHEAD {
            match stream.poll_read(cx, &mut self.received, READ_AHEAD) {
                Poll::Ready(Ok(read)) if read > 0 => {}
                Poll::Ready(_) => {
                    closed = true;
                    break;
                }
                Poll::Pending => break,
            }
        }
        let mut used = 0;
        while let Some(length) = self.received.get(used..).and_then(first_message) {
            let message = self.received.get(used..used + length).unwrap_or_default();
            agent.receive(clock.now(), self.flow, message.trim_ascii_start());
            used += length;
        }
        self.received.drain(..used);
        if closed {
            self.state = Wire::Closed;
        }
        used > 0
    }
}

/// Runs endpoints until the clock says `until`. Outputs that are not messages go to `sink`.
///
/// # Errors
/// A socket is gone for good.
pub async fn drive(
    world: &World,
    endpoints: &mut [Endpoint],
    until: Instant,
    sink: &mut dyn FnMut(Instant, Output),
) -> io::Result<()> {
    let mut last_turn = false;
    loop {
        let now = world.clock.now();
        let mut wake = until;
        for endpoint in &mut *endpoints {
            endpoint.pump(now, sink);
            wake = endpoint.agent.poll_timeout().map_or(wake, |at| wake.min(at));
        }
        if last_turn {
            return Ok(());
        }
        let mut sleep = None;
        poll_fn(|cx| {
            let mut busy = false;
            for endpoint in &mut *endpoints {
                match endpoint.poll(cx, &*world.clock) {
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Ready(Ok(())) => busy = true,
                    Poll::Pending => {}
                }
            }
            // Even a caller that is late reads once: placing calls must not starve their answers.
            if busy || now >= until {
                return Poll::Ready(Ok(()));
            }
            // Asked for only now, since a busy endpoint never waits.
            let sleep = sleep.get_or_insert_with(|| world.spawn.sleep_until(wake));
            sleep.as_mut().poll(cx).map(Ok)
        })
        .await?;
        last_turn = world.clock.now() >= until;
    }
}

/// How much of a stream is read before it is parsed.
const READ_AHEAD: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_whose_stream_is_gone_finds_its_way() {
        let bye = b"BYE sip:192.0.2.7:5070;transport=tcp SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.1:5060\r\n\r\n";
        assert_eq!(next_hop(bye), "192.0.2.7:5070".parse().ok());
        let ok = b"SIP/2.0 200 OK\r\nVia: SIP/2.0/TCP 192.0.2.1:5060;branch=z9hG4bKa\r\n\r\n";
        assert_eq!(next_hop(ok), "192.0.2.1:5060".parse().ok());
        assert_eq!(next_hop(b"SIP/2.0 200 OK\r\n\r\n"), None);
    }
}
