//! The word that a process has ended: told by its guard, heard by the other nodes.
//!
//! It goes over TCP, to the number that the node's links have over UDP: a guard must not need what made its server fail.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use call::{Incarnation, NodeId};
use cluster::link::Obituary;
use node::NodeHandle;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::word::Life;
use crate::failure::{Failure, Result};

/// Tells all peers, each as often as it takes, for a while.
#[allow(clippy::disallowed_methods)] // a guard lives in real time
pub(super) fn tell(life: &Life) {
    let obituary =
        Obituary { node: NodeId(life.node), incarnation: Incarnation(life.incarnation) }.seal(&life.key);
    let deadline = Instant::now() + TELL_MAX;
    let told = life.peers.iter().map(|peer| {
        let peer = *peer;
        thread::spawn(move || {
            while tell_one(peer, &obituary).is_err() && Instant::now() < deadline {
                thread::sleep(TELL_AGAIN);
            }
        })
    });
    // Whoever could not be told finds out by silence.
    told.collect::<Vec<_>>().into_iter().for_each(|thread| drop(thread.join()));
}

fn tell_one(peer: SocketAddr, obituary: &[u8]) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&peer, PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(obituary)?;
    stream.read_exact(&mut [0; 1])
}

/// Takes the port on which guards are heard.
///
/// # Errors
/// It is taken.
pub(crate) async fn bind(at: SocketAddr) -> Result<TcpListener> {
    let listener = TcpListener::bind(at).await;
    listener.map_err(|error| Failure::No(format!("cannot hear guards on tcp://{at}: {error}")))
}

/// Hears the guards of other nodes. Never ends.
pub(crate) async fn hear(listener: TcpListener, key: [u8; 32], node: NodeHandle) {
    let guests = Arc::new(Semaphore::new(GUESTS_MAX));
    loop {
        let Ok(guest) = guests.clone().acquire_owned().await else { return };
        let Ok((mut stream, _)) = listener.accept().await else {
            // Out of descriptors, most likely: that passes.
            tokio::time::sleep(TELL_AGAIN).await;
            continue;
        };
        let node = node.clone();
        tokio::spawn(async move {
            let _guest = guest;
            let mut sealed = [0; Obituary::LEN];
            let read = tokio::time::timeout(PATIENCE, stream.read_exact(&mut sealed)).await;
            if !matches!(read, Ok(Ok(_))) {
                return;
            }
            match Obituary::open(&key, &sealed) {
                Some(Obituary { node: dead, incarnation }) => {
                    tracing::warn!(node = %dead, incarnation = incarnation.0, "its guard says that its process has ended");
                    node.cluster().died(dead, incarnation);
                    // Not heard, it is told again.
                    let _ = stream.write_all(&[1]).await;
                }
                None => tracing::warn!("somebody without the cluster's key says that a process has ended"),
            }
        });
    }
}

const TELL_MAX: Duration = Duration::from_secs(5);
const TELL_AGAIN: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_millis(500);
/// Whoever connects and says nothing takes one of so many places, for a moment.
const GUESTS_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener as Listener;

    #[test]
    fn peers_are_told_until_they_have_answered() {
        let listener = Listener::bind("127.0.0.1:0").expect("bind");
        let peer = listener.local_addr().expect("bound");
        let life = Life { node: 3, incarnation: 9, key: [7; 32], peers: [peer].into() };
        let hearer = thread::spawn(move || {
            let mut heard = Vec::new();
            for answer in [false, true] {
                let (mut stream, _) = listener.accept().expect("it comes");
                let mut sealed = [0; Obituary::LEN];
                stream.read_exact(&mut sealed).expect("it speaks");
                heard.push(Obituary::open(&[7; 32], &sealed));
                if answer {
                    stream.write_all(&[1]).expect("it listens");
                }
            }
            heard
        });
        tell(&life);
        let said = Some(Obituary { node: NodeId(3), incarnation: Incarnation(9) });
        assert_eq!(hearer.join().expect("no panic"), [said, said]);
    }
}
