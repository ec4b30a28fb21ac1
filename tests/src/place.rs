//! A block of loopback addresses that nobody else uses: 127.x.y.1 to 127.x.y.253.
//!
//! Ports need not be hunted for: the block is the test's own as long as its lock is bound, and every
//! scenario can use 5060 as people do.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};

/// A block of loopback addresses, held until dropped.
#[derive(Debug)]
pub struct Place {
    first: u8,
    second: u8,
    _lock: UdpSocket,
}

impl Place {
    /// Takes the first free block, starting where this process is likely to be alone.
    ///
    /// # Errors
    /// When every block is taken.
    pub fn take() -> io::Result<Self> {
        let start = std::process::id() % BLOCKS;
        for step in 0..BLOCKS {
            let block = (start + step) % BLOCKS;
            // 127.32.0 to 127.223.255: clear of the addresses that people and distributions use.
            let first = u8::try_from(32 + block / 256).unwrap_or(32);
            let second = u8::try_from(block % 256).unwrap_or(0);
            if let Ok(lock) = UdpSocket::bind((Ipv4Addr::new(127, first, second, 254), LOCK_PORT)) {
                return Ok(Self { first, second, _lock: lock });
            }
        }
        Err(io::ErrorKind::AddrInUse.into())
    }

    /// One address of the block.
    pub fn address(&self, last: u8) -> Ipv4Addr {
        Ipv4Addr::new(127, self.first, self.second, last)
    }

    /// The whole block, as a network.
    pub fn network(&self) -> String {
        format!("{}/24", self.address(0))
    }
}

const BLOCKS: u32 = 192 * 256;
const LOCK_PORT: u16 = 9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_places_never_share_a_block() {
        let (one, two) = (Place::take().expect("a block"), Place::take().expect("another block"));
        assert_ne!(one.network(), two.network());
    }
}
