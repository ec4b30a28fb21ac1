//! What the bridge sees: the frames that come from and go to some hosts.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, recv};
use syscall::{Hears, packet_socket};

use super::{BRIDGE, Net, port};
use crate::wait;

/// A UDP datagram that passed the bridge.
#[derive(Debug, Clone)]
pub struct Frame {
    /// When it was seen.
    pub at: Instant,
    /// The hardware address that it came from.
    pub hardware: [u8; 6],
    /// Its source.
    pub from: SocketAddrV4,
    /// Its destination.
    pub to: SocketAddrV4,
    /// The first line, of a SIP message.
    pub sip: Option<String>,
}

/// A capture under way.
#[derive(Debug)]
pub struct Capture {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Frame>>,
}

impl Capture {
    /// Begins to see what passes the bridge's ports to these hosts.
    ///
    /// # Panics
    /// When the sockets can't be made.
    pub fn start(net: &Net, hosts: &[&str]) -> Capture {
        let names: Vec<String> = hosts.iter().map(|host| port(host)).collect();
        let sockets: Vec<OwnedFd> = net.on(BRIDGE, || {
            let any = std::net::UdpSocket::bind("0.0.0.0:0").expect("a socket to ask by");
            let socket = |name: &String| {
                let index = rustix::net::netdevice::name_to_index(&any, name).expect("a port of the bridge");
                let socket = packet_socket(index, Hears::Everything).expect("root may listen");
                syscall::set_receive_buffer(socket.as_fd(), BUFFER).expect("a buffer");
                socket
            };
            names.iter().map(socket).collect()
        });
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut frames = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                see(&sockets, &mut frames);
            }
            frames
        });
        Capture { stop, thread }
    }

    /// Ends it; gives what was seen, in its order.
    ///
    /// # Panics
    /// As its thread did.
    pub fn finish(self) -> Vec<Frame> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the capture went on")
    }
}

/// Takes what has come, waiting for a moment.
fn see(sockets: &[OwnedFd], frames: &mut Vec<Frame>) {
    let mut polled: Vec<_> = sockets.iter().map(|it| PollFd::new(it, PollFlags::IN)).collect();
    if poll(&mut polled, Some(&MOMENT)).is_err() {
        return;
    }
    let (now, mut bytes) = (wait::now(), [0; LOOK]);
    for socket in sockets {
        while let Ok((length, _)) = recv(socket, &mut bytes, RecvFlags::DONTWAIT) {
            frames.extend(read(now, bytes.get(..length).unwrap_or_default()));
        }
    }
}

/// An Ethernet frame with IPv4 and UDP.
fn read(at: Instant, frame: &[u8]) -> Option<Frame> {
    let hardware = frame.get(6..12)?.try_into().ok()?;
    let packet = frame.get(14..).filter(|_| frame.get(12..14) == Some(&[0x08, 0x00]))?;
    let length = usize::from(packet.first()? & 0x0f) * 4;
    let datagram = packet.get(length..).filter(|_| packet.get(9) == Some(&17))?;
    let address = |from: usize, port: usize| {
        let ip: [u8; 4] = packet.get(from..from + 4)?.try_into().ok()?;
        let port = u16::from_be_bytes(datagram.get(port..port + 2)?.try_into().ok()?);
        Some(SocketAddrV4::new(Ipv4Addr::from(ip), port))
    };
    let (from, to) = (address(12, 0)?, address(16, 2)?);
    let line = datagram.get(8..)?.split(|byte| *byte == b'\r').next()?;
    let is_sip = [from.port(), to.port()].contains(&5060);
    let sip = is_sip.then(|| String::from_utf8_lossy(line).into_owned());
    Some(Frame { at, hardware, from, to, sip })
}

const BUFFER: usize = 32 << 20;
const MOMENT: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
/// Of each frame so much is looked at: headers and the first line.
const LOOK: usize = 160;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_as_far_as_its_first_line() {
        let mut frame = vec![0xff; 6];
        frame.extend([2, 0, 0, 0, 0, 9, 8, 0]);
        // RFC 791: version 4, five words; protocol 17; 10.77.0.1 to 10.77.0.2.
        frame.extend([0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 10, 77, 0, 1, 10, 77, 0, 2]);
        // RFC 768: 5060 to 5080.
        frame.extend([0x13, 0xc4, 0x13, 0xd8, 0, 0, 0, 0]);
        frame.extend(b"SIP/2.0 200 OK\r\nVia: ");
        let read = read(wait::now(), &frame).expect("it is UDP");
        assert_eq!(
            (read.from.to_string(), read.to.to_string()),
            ("10.77.0.1:5060".into(), "10.77.0.2:5080".into())
        );
        assert_eq!((read.hardware, read.sip.as_deref()), ([2, 0, 0, 0, 0, 9], Some("SIP/2.0 200 OK")));
    }
}
