//! One connection: who comes in, and the streams of whoever may stay.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use env::Purpose;
use quinn::{Connection, Endpoint, Incoming, RecvStream};
use rustls::pki_types::CertificateDer;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::frame::{Splitter, priority, purpose, tag};
use super::identity::{is_named, named};
use super::refusal::Refusal;
use super::table::{Lanes, Table, lane_of};

/// Takes in whoever dials and is a peer.
pub(super) async fn accept(table: Arc<Table>, endpoint: Endpoint) {
    let places = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    let strangers = Arc::new(AtomicU64::new(0));
    let mut guests = JoinSet::new();
    while let Some(incoming) = endpoint.accept().await {
        while guests.try_join_next().is_some() {}
        // Handshakes cost us more than whoever only pretends to want one: when there are many, an address
        // must first prove that it receives what we send (RFC 9000 §8.1.2).
        if places.available_permits() < HANDSHAKES_MAX / 2 && incoming.may_retry() {
            let _ = incoming.retry();
            continue;
        }
        let Ok(place) = places.clone().try_acquire_owned() else {
            incoming.ignore();
            continue;
        };
        let (table, strangers) = (table.clone(), strangers.clone());
        guests.spawn(async move {
            let met = timeout(HANDSHAKE_MAX, meet(&table, incoming, &strangers)).await;
            drop(place);
            if let Ok(Some((node, connection))) = met {
                serve(&table, (node, node), connection, None).await;
            }
        });
    }
}

/// The handshake, and who it is.
async fn meet(table: &Table, incoming: Incoming, strangers: &AtomicU64) -> Option<(u64, Connection)> {
    let from = incoming.remote_address();
    let connection = match incoming.accept() {
        Ok(connecting) => connecting.await,
        Err(error) => Err(error),
    };
    let connection = match connection {
        Ok(connection) => connection,
        Err(error) => {
            let refusal = Refusal::from(&error);
            let count = strangers.fetch_add(1, Ordering::Relaxed) + 1;
            // Whoever knocks often must not fill the log.
            if count.is_power_of_two() {
                warn!(%from, count, "a stranger dialled this node: {refusal}");
            }
            return None;
        }
    };
    let identity = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    let own = identity.first()?;
    match named(own).filter(|node| is_named(own, *node) && table.is_peer(*node, from)) {
        Some(node) => Some((node, connection)),
        None => {
            debug!(%from, "a node dialled that is none of our peers");
            connection.close(Refusal::NotPeer.code(), b"");
            // The peer must hear it; dropped at once, it might not.
            connection.closed().await;
            None
        }
    }
}

/// Serves a connection with a node, which one of both dialled, until it ends; says why it did.
pub(super) async fn serve(
    table: &Arc<Table>,
    (node, dialled_by): (u64, u64),
    connection: Connection,
    first: Option<RecvStream>,
) -> Refusal {
    let Some(link) = table.up(node, connection.clone(), dialled_by) else {
        let refusal = if table.is_up(node) { Refusal::Linked } else { Refusal::NotPeer };
        connection.close(refusal.code(), b"");
        return refusal;
    };
    let who = (node, link.serial);
    let mut tasks = JoinSet::new();
    for purpose in Purpose::ALL {
        tasks.spawn(write(connection.clone(), purpose, link.lanes.clone()));
    }
    if let Some(first) = first {
        tasks.spawn(read(table.clone(), who, first));
    }
    let refusal = loop {
        tokio::select! {
            biased;
            error = connection.closed() => break Refusal::from(&error),
            stream = connection.accept_uni() => {
                if let Ok(stream) = stream {
                    tasks.spawn(read(table.clone(), who, stream));
                }
            }
            Some(ended) = tasks.join_next() => {
                if let Ok(Some(refusal)) = ended {
                    break refusal;
                }
            }
        }
    };
    connection.close(refusal.code(), b"");
    table.down(node, Some(link.serial), refusal);
    refusal
}

/// Writes what is queued for a purpose. Ends with the connection.
async fn write(connection: Connection, purpose: Purpose, lanes: Arc<Lanes>) -> Option<Refusal> {
    let lane = lane_of(&lanes, purpose);
    let mut stream = connection.open_uni().await.ok()?;
    stream.set_priority(priority(purpose)).ok()?;
    stream.write_all(&[tag(purpose)]).await.ok()?;
    loop {
        let mut joined = lane.next().await;
        stream.write_all_chunks(&mut joined.pieces).await.ok()?;
    }
}

/// Reads a stream: its purpose, then its frames. Gives a reason where the peer breaks the protocol.
async fn read(table: Arc<Table>, who: (u64, u64), mut stream: RecvStream) -> Option<Refusal> {
    let first = stream.read_chunk(1, true).await.ok()?;
    let Some(purpose) = first.and_then(|chunk| chunk.bytes.first().copied()).and_then(purpose) else {
        return Some(Refusal::Protocol);
    };
    let mut splitter = Splitter::default();
    // A standing stream does not end by itself.
    while let Some(chunk) = stream.read_chunk(READ_BYTES_MAX, true).await.ok()? {
        match table.deliver(who, purpose, &mut splitter, &chunk.bytes) {
            Ok(true) => {}
            Ok(false) => return None,
            Err(error) => {
                warn!(node = who.0, %error, "a peer broke the protocol of links");
                return Some(Refusal::Protocol);
            }
        }
        table.room().await;
    }
    Some(Refusal::Protocol)
}

const READ_BYTES_MAX: usize = 256 << 10;
/// Handshakes under way at once.
const HANDSHAKES_MAX: usize = 32;
const HANDSHAKE_MAX: Duration = Duration::from_secs(3);
