//! The generator: N calls of G.711 in both directions, 20 ms packets spread evenly, through a relay that
//! delivers each to the far end; it counts what comes and how long it took.
//!
//! One socket stands for all callers and one for all callees, so that the generator costs little; each
//! packet carries its call and the time of its sending.

use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::time::{ClockId, clock_gettime};
use syscall::RecvBatch;

/// Where the callers' end is.
pub const INGRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 50, 0, 4)), 6000);
/// Where the callees' end is.
pub const EGRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 50, 0, 5)), 6000);

/// A frame of G.711 lasts 20 ms and has 160 bytes; before it the RTP header.
const FRAME_NS: u64 = 20_000_000;
const PACKET: usize = 12 + 160;
/// What our packets carry, to tell them from strays.
const MARK: u32 = 0xB0A7_B0A7;
/// How often packets that are due are sent.
const TICK_NS: u64 = 250_000;
/// Not counted: the relay learns, caches fill.
const WARM_UP_NS: u64 = 500_000_000;
/// After the last packet, wait for those still under way.
const LINGER_NS: u64 = 500_000_000;
const BATCH: usize = 32;

/// Nanoseconds on the system's monotonic clock.
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

/// What a run gave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Packets sent after the warm-up.
    pub sent: u64,
    /// Packets of those that arrived.
    pub received: u64,
    /// Packets sent in the whole run.
    pub sent_in_all: u64,
    /// Median time through the relay.
    pub p50_us: u32,
    /// Its 99th percentile.
    pub p99_us: u32,
}

impl Report {
    fn write(&self) -> String {
        let Report { sent, received, sent_in_all, p50_us, p99_us } = self;
        format!("{sent} {received} {sent_in_all} {p50_us} {p99_us}")
    }

    /// Reads what the generator's process printed.
    pub fn read(text: &str) -> io::Result<Report> {
        let mut numbers = text.split_whitespace().map_while(|word| word.parse::<u64>().ok());
        let mut next = || numbers.next().ok_or_else(|| io::Error::other("the generator reported nothing"));
        Ok(Report {
            sent: next()?,
            received: next()?,
            sent_in_all: next()?,
            p50_us: u32::try_from(next()?).unwrap_or(u32::MAX),
            p99_us: u32::try_from(next()?).unwrap_or(u32::MAX),
        })
    }
}

/// The generator's own process: targets on standard input, one call per line.
pub fn main(words: &[&str]) -> io::Result<()> {
    let duration_ms: u64 = words.first().and_then(|n| n.parse().ok()).unwrap_or(1000);
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    let mut targets = [Vec::new(), Vec::new()];
    for line in text.lines() {
        let mut ends = line.split(' ').map_while(|end| end.parse::<SocketAddr>().ok());
        for target in &mut targets {
            target.extend(ends.next());
        }
    }
    let report = Generator::open(targets)?.run(duration_ms * 1_000_000)?;
    println!("{}", report.write());
    Ok(())
}

struct Generator {
    /// The callers' socket and the callees'.
    sockets: [UdpSocket; 2],
    /// Where each caller sends, and each callee.
    targets: [Vec<SocketAddr>; 2],
    batch: RecvBatch,
    packets: Vec<[u8; PACKET]>,
    /// Arrivals by microsecond.
    histogram: Vec<u64>,
    report: Report,
}

impl Generator {
    fn open(targets: [Vec<SocketAddr>; 2]) -> io::Result<Generator> {
        let sockets = [UdpSocket::bind(INGRESS)?, UdpSocket::bind(EGRESS)?];
        for socket in &sockets {
            syscall::set_receive_buffer(socket.as_fd(), 64 << 20)?;
        }
        Ok(Generator {
            sockets,
            targets,
            batch: RecvBatch::new(64, 2048),
            packets: vec![[0; PACKET]; BATCH],
            histogram: vec![0; 2_000_001],
            report: Report::default(),
        })
    }

    fn run(mut self, duration_ns: u64) -> io::Result<Report> {
        let calls = self.targets[0].len() as u64;
        if calls == 0 || self.targets[1].len() as u64 != calls {
            return Err(io::Error::other("no targets"));
        }
        let start = now_ns() + 1_000_000;
        let counted = start + WARM_UP_NS..start + WARM_UP_NS + duration_ns;
        // The k-th packet of each direction belongs to call k mod N and is due at k·20 ms/N.
        let mut k = 0;
        loop {
            let now = now_ns();
            if now >= counted.end + LINGER_NS {
                break;
            }
            if now >= start && now < counted.end {
                let due = (now - start) / TICK_NS * TICK_NS * calls / FRAME_NS + 1;
                while k < due {
                    let count = (due - k).min(BATCH as u64);
                    self.send(k, count, calls, &counted)?;
                    k += count;
                    self.receive(&counted);
                }
            }
            self.receive(&counted);
            let now = now_ns();
            let next = if now < counted.end {
                start + (now.saturating_sub(start) / TICK_NS + 1) * TICK_NS
            } else {
                now + 10_000_000
            };
            self.wait(next.saturating_sub(now))?;
        }
        self.report.sent_in_all = k * 2;
        self.report.p50_us = self.percentile(50);
        self.report.p99_us = self.percentile(99);
        Ok(self.report)
    }

    /// Packets k to k + count, in both directions.
    fn send(&mut self, k: u64, count: u64, calls: u64, counted: &std::ops::Range<u64>) -> io::Result<()> {
        for (side, socket) in self.sockets.iter().enumerate() {
            let sent_at = now_ns();
            let Some(targets) = self.targets.get(side) else { continue };
            for (i, packet) in (k..k + count).zip(&mut self.packets) {
                fill(packet, i % calls, i / calls, side as u32, sent_at);
            }
            let datagrams = (k..k + count).zip(&self.packets).filter_map(|(i, packet)| {
                targets.get((i % calls) as usize).map(|target| (*target, &packet[..]))
            });
            let taken = syscall::send_batch(socket.as_fd(), datagrams)?;
            if counted.contains(&sent_at) {
                self.report.sent += taken as u64;
            }
        }
        Ok(())
    }

    /// Counts what has come.
    fn receive(&mut self, counted: &std::ops::Range<u64>) {
        for socket in &self.sockets {
            while syscall::recv_batch(socket.as_fd(), &mut self.batch).is_ok() {
                let now = now_ns();
                for (_, packet) in self.batch.iter() {
                    let Some(sent_at) = read(packet) else { continue };
                    if counted.contains(&sent_at) {
                        self.report.received += 1;
                        let us = (now.saturating_sub(sent_at) / 1000).min(2_000_000) as usize;
                        if let Some(slot) = self.histogram.get_mut(us) {
                            *slot += 1;
                        }
                    }
                }
                if self.batch.len() < 64 {
                    break;
                }
            }
        }
    }

    /// Waits for packets, at most so long.
    fn wait(&self, ns: u64) -> io::Result<()> {
        let [ingress, egress] = &self.sockets;
        let mut fds = [PollFd::new(ingress, PollFlags::IN), PollFd::new(egress, PollFlags::IN)];
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::try_from(ns).unwrap_or(0) };
        poll(&mut fds, Some(&timeout))?;
        Ok(())
    }

    fn percentile(&self, percent: u64) -> u32 {
        let wanted = (self.report.received * percent).div_ceil(100);
        let mut seen = 0;
        for (us, count) in self.histogram.iter().enumerate() {
            seen += count;
            if seen >= wanted && seen > 0 {
                return u32::try_from(us).unwrap_or(u32::MAX);
            }
        }
        0
    }
}

/// Writes one G.711 packet; its payload begins with our mark, the call and the time.
fn fill(packet: &mut [u8; PACKET], call: u64, frame: u64, side: u32, sent_at: u64) {
    let [b0, b1, s0, s1, rest @ ..] = packet;
    let sequence = (frame as u16).to_be_bytes();
    (*b0, *b1, *s0, *s1) = (0x80, 8, sequence[0], sequence[1]);
    let fields =
        [(frame as u32).wrapping_mul(160), 0x1000_0000 + (call as u32) * 2 + side, MARK, call as u32];
    let words = fields.into_iter().chain([(sent_at >> 32) as u32, sent_at as u32]);
    for (slot, word) in rest.chunks_exact_mut(4).zip(words) {
        slot.copy_from_slice(&word.to_be_bytes());
    }
}

/// When one of our packets was sent.
fn read(packet: &[u8]) -> Option<u64> {
    let mark = packet.get(12..16)?;
    let sent_at = packet.get(20..28)?;
    (mark == MARK.to_be_bytes()).then_some(())?;
    Some(u64::from_be_bytes(sent_at.try_into().ok()?))
}
