//! The system calls that no safe crate offers in the shape we need: datagrams in batches
//! (`recvmmsg`, `sendmmsg`), receive buffers, the limit on open files, and sockets for whole frames.
//!
//! This is one of the two places in the workspace where `unsafe` is allowed; every block says why it is
//! sound. Nothing here knows SIP or RTP.
//!
//! Absent by design: other sockets. The caller makes, binds and closes them; we borrow their descriptors.
//!
//! ```
//! use std::net::UdpSocket;
//! use std::os::fd::AsFd;
//!
//! let (a, b) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
//! let to = b.local_addr()?;
//! syscall::send_batch(a.as_fd(), [(to, &b"one"[..]), (to, &b"two"[..])])?;
//! let mut batch = syscall::RecvBatch::new(64, 2048);
//! assert_eq!(syscall::recv_batch(b.as_fd(), &mut batch)?, 2);
//! assert_eq!(batch.iter().next(), Some((a.local_addr()?, &b"one"[..])));
//! # Ok::<(), std::io::Error>(())
//! ```
#![allow(unsafe_code)]

mod address;
mod limits;
mod packet;
mod recv;
mod send;
mod socket;

pub use limits::{OpenFiles, open_files, raise_open_files};
pub use packet::{Hears, packet_socket};
pub use recv::{RecvBatch, recv_batch};
pub use send::{Sender, send_batch};
pub use socket::{receive_buffer, set_receive_buffer};
