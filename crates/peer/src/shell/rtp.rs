//! The thread that carries media: one socket per call's end, as real phones have, so that a packet that reaches
//! the wrong port is seen. Of its own, so that signalling and media do not disturb each other.

use std::collections::{BTreeMap, BinaryHeap};
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use env::Clock;
use machine::Instant;
use rustix::event::epoll;

use super::clock::SystemClock;
use crate::agent::MediaPorts;
use crate::local::CallRef;
use crate::media::{Stream, StreamReport};

/// The media of one agent: opens ports, and hands them to the thread.
pub struct Rtp {
    address: IpAddr,
    commands: Sender<Command>,
    next_port: u16,
}

/// The running thread.
pub struct RtpHandle {
    commands: Sender<Command>,
    thread: JoinHandle<BTreeMap<CallRef, StreamReport>>,
}

enum Command {
    Open(CallRef, UdpSocket),
    Start(CallRef, SocketAddr, u8),
    Stop { call: CallRef, ended: bool },
    Finish,
}

impl Rtp {
    /// Starts the thread. The calls of `run` hear on ports of `address`.
    ///
    /// # Errors
    /// The system refuses a thread or an epoll instance.
    pub fn start(address: IpAddr, run: u32, clock: Arc<SystemClock>) -> io::Result<(Rtp, RtpHandle)> {
        let (commands, inbox) = channel();
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let carrier = Carrier {
            run,
            clock,
            poll,
            inbox,
            ends: Vec::new(),
            index: BTreeMap::new(),
            due: BinaryHeap::new(),
        };
        let thread = std::thread::Builder::new().name("peer-rtp".into()).spawn(move || carrier.run())?;
        // Spread the first port, so that runs that follow each other do not hear each other's stragglers.
        let next_port = FIRST_PORT + u16::try_from(run % 10_000).unwrap_or(0) * 2;
        Ok((Rtp { address, commands: commands.clone(), next_port }, RtpHandle { commands, thread }))
    }
}

impl MediaPorts for Rtp {
    fn open(&mut self, call: CallRef) -> SocketAddr {
        for _ in 0..PORTS {
            let port = self.next_port;
            // Even ports for RTP (RFC 3550 §11).
            self.next_port = if port >= LAST_PORT { FIRST_PORT } else { port + 2 };
            let address = SocketAddr::new(self.address, port);
            let Ok(socket) = UdpSocket::bind(address) else { continue };
            if socket.set_nonblocking(true).is_ok() && self.commands.send(Command::Open(call, socket)).is_ok()
            {
                return address;
            }
        }
        // No port is free: the call goes on without media, and the report shows that it had none.
        SocketAddr::new(self.address, LAST_PORT)
    }
}

impl RtpHandle {
    /// Sends media of the call to `remote` from now on.
    pub fn start(&self, call: CallRef, remote: SocketAddr, payload: u8) {
        let _ = self.commands.send(Command::Start(call, remote, payload));
    }

    /// Pauses or ends media of the call.
    pub fn stop(&self, call: CallRef, ended: bool) {
        let _ = self.commands.send(Command::Stop { call, ended });
    }

    /// Ends the thread; gives what every end sent and heard.
    pub fn finish(self) -> BTreeMap<CallRef, StreamReport> {
        let _ = self.commands.send(Command::Finish);
        self.thread.join().unwrap_or_default()
    }
}

/// What the thread owns.
struct Carrier {
    run: u32,
    clock: Arc<SystemClock>,
    poll: OwnedFd,
    inbox: Receiver<Command>,
    ends: Vec<End>,
    index: BTreeMap<CallRef, usize>,
    due: BinaryHeap<std::cmp::Reverse<(Instant, usize)>>,
}

struct End {
    socket: Option<UdpSocket>,
    stream: Stream,
    close_at: Option<Instant>,
}

impl Carrier {
    fn run(mut self) -> BTreeMap<CallRef, StreamReport> {
        let mut events = Vec::with_capacity(256);
        while self.take_commands() {
            let now = self.clock.now();
            self.send_due(now);
            let wait =
                self.due.peek().map_or(IDLE, |std::cmp::Reverse((at, _))| at.since(now).clamp(TICK, IDLE));
            let timeout = rustix::time::Timespec { tv_sec: 0, tv_nsec: i64::from(wait.subsec_nanos()) };
            events.clear();
            let spare = rustix::buffer::spare_capacity(&mut events);
            if epoll::wait(&self.poll, spare, Some(&timeout)).is_err() {
                continue;
            }
            let now = self.clock.now();
            for event in &events {
                let end = usize::try_from(event.data.u64()).ok().and_then(|index| self.ends.get_mut(index));
                if let Some(end) = end {
                    end.receive(now);
                }
            }
        }
        let ends = self.ends;
        self.index
            .into_iter()
            .filter_map(|(call, index)| Some((call, ends.get(index)?.stream.report())))
            .collect()
    }

    /// Whether the thread goes on.
    fn take_commands(&mut self) -> bool {
        loop {
            let command = match self.inbox.try_recv() {
                Ok(command) => command,
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            };
            let now = self.clock.now();
            match command {
                Command::Open(call, socket) => self.open(call, socket),
                Command::Start(call, remote, payload) => {
                    if let Some((index, end)) = find(&self.index, &mut self.ends, call) {
                        let idle = end.stream.next().is_none();
                        end.stream.start(now, remote, payload);
                        if idle {
                            self.due.push(std::cmp::Reverse((now, index)));
                        }
                    }
                }
                Command::Stop { call, ended } => {
                    if let Some((index, end)) = find(&self.index, &mut self.ends, call) {
                        end.stream.stop(now);
                        if ended && end.close_at.is_none() {
                            // Packets under way still belong to this call, not to the port's next user.
                            end.close_at = Some(now + LINGER);
                            self.due.push(std::cmp::Reverse((now + LINGER, index)));
                        }
                    }
                }
                Command::Finish => return false,
            }
        }
    }

    fn open(&mut self, call: CallRef, socket: UdpSocket) {
        let index = self.ends.len();
        let data = epoll::EventData::new_u64(index as u64);
        let socket = epoll::add(&self.poll, &socket, data, epoll::EventFlags::IN).is_ok().then_some(socket);
        self.index.insert(call, index);
        self.ends.push(End { socket, stream: Stream::new(self.run, call, PACKET_INTERVAL), close_at: None });
    }

    fn send_due(&mut self, now: Instant) {
        // What is due within the tick goes now, so that a thousand calls are a hundred wake-ups.
        let horizon = now + TICK;
        while let Some(std::cmp::Reverse((at, index))) = self.due.peek().copied() {
            if at > horizon {
                break;
            }
            self.due.pop();
            let Some(end) = self.ends.get_mut(index) else { continue };
            if end.close_at.is_some_and(|close| close <= horizon) {
                end.receive(now);
                end.socket = None;
                continue;
            }
            if let Some((remote, packet)) = end.stream.poll_send(horizon)
                && let Some(socket) = &end.socket
            {
                // A refused packet is lost, and the far end counts it.
                let _ = socket.send_to(&packet, remote);
            }
            if let Some(next) = end.stream.next() {
                self.due.push(std::cmp::Reverse((next, index)));
            }
        }
    }
}

impl End {
    fn receive(&mut self, now: Instant) {
        let Some(socket) = &self.socket else { return };
        let mut packet = [0; 2048];
        loop {
            match socket.recv(&mut packet) {
                Ok(length) => self.stream.receive(now, packet.get(..length).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // An ICMP error of an earlier packet; each is reported once.
                Err(_) => {}
            }
        }
    }
}

fn find<'a>(
    index: &BTreeMap<CallRef, usize>,
    ends: &'a mut [End],
    call: CallRef,
) -> Option<(usize, &'a mut End)> {
    let at = *index.get(&call)?;
    ends.get_mut(at).map(|end| (at, end))
}

const PACKET_INTERVAL: Duration = Duration::from_millis(20);
const TICK: Duration = Duration::from_millis(1);
const IDLE: Duration = Duration::from_millis(5);
const LINGER: Duration = Duration::from_millis(500);
/// Below the range in which Linux picks ports for others.
const FIRST_PORT: u16 = 11_000;
const LAST_PORT: u16 = 31_998;
const PORTS: usize = 10_500;
