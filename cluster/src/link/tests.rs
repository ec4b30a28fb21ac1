//! Links over real sockets on loopback. Waiting has limits so that a failure ends; no test asserts a time.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use env::{FRAME_MAX, Frames, LinkEvent, Peer, Purpose};
use machine::Rng;
use quinn::ConnectionError;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};

use super::*;

const OURS: &[u8] = b"the secret of one cluster, long enough to be good";
const THEIRS: &[u8] = b"the secret of another cluster, which is as long";
const LONG: Duration = Duration::from_secs(30);
/// Long enough that a busy machine is not taken for a dead node.
const DETECT: Duration = Duration::from_secs(2);

struct Node {
    id: u64,
    quic: Arc<Quic>,
    seen: VecDeque<LinkEvent>,
}

fn config(id: u64, secret: &[u8]) -> LinkConfig {
    let identity = Identity::Key(ClusterKey::parse(secret).unwrap());
    LinkConfig { node: id, listen: "127.0.0.1:0".parse().unwrap(), identity, detect: DETECT, waits: false }
}

fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

impl Node {
    fn start(id: u64, secret: &[u8]) -> Node {
        Node::with(config(id, secret))
    }

    fn with(config: LinkConfig) -> Node {
        let id = config.node;
        let quic = Quic::start(config, Rng::from_u64(id)).unwrap();
        Node { id, quic, seen: VecDeque::new() }
    }

    fn peer(&self) -> Peer {
        Peer { node: self.id, at: self.quic.local().unwrap() }
    }

    async fn event(&mut self) -> LinkEvent {
        if self.seen.is_empty() {
            let mut events = Vec::new();
            let come = poll_fn(|cx| self.quic.poll_events(cx, &mut events));
            tokio::time::timeout(LONG, come).await.expect("nothing has come");
            self.seen.extend(events);
        }
        self.seen.pop_front().unwrap()
    }

    #[track_caller]
    fn sends(&self, to: u64, purpose: Purpose, bytes: &[u8]) {
        assert!(self.quic.send(to, purpose, bytes.to_vec()), "the frame was taken");
    }

    /// Waits for this event; what comes before it must not be there.
    async fn sees(&mut self, expected: LinkEvent) {
        assert_eq!(self.event().await, expected, "at node {}", self.id);
    }

    /// Waits until it is said why there is no link to a peer.
    async fn refuses(&self, peer: u64) -> Refusal {
        let said = async {
            loop {
                if let Some(refusal) = self.quic.refusal(peer) {
                    return refusal;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LONG, said).await.expect("no refusal")
    }
}

fn frame(from: u64, purpose: Purpose, bytes: &[u8]) -> LinkEvent {
    LinkEvent::Frame { from, purpose, bytes: bytes.to_vec() }
}

fn acquaint(nodes: &[&Node]) {
    let peers: Vec<Peer> = nodes.iter().map(|node| node.peer()).collect();
    nodes.iter().for_each(|node| node.quic.set_peers(&peers));
}

async fn pair() -> (Node, Node) {
    let (mut one, mut two) = (Node::start(1, OURS), Node::start(2, OURS));
    acquaint(&[&one, &two]);
    one.sees(LinkEvent::Up(2)).await;
    two.sees(LinkEvent::Up(1)).await;
    (one, two)
}

#[tokio::test]
async fn two_nodes_link_and_each_purpose_keeps_its_order() {
    let (one, mut two) = pair().await;
    assert!(one.quic.is_up(2) && two.quic.is_up(1));
    for n in 0..100u8 {
        for purpose in Purpose::ALL {
            one.sends(2, purpose, &[n]);
        }
    }
    let mut next = std::collections::BTreeMap::<Purpose, u8>::new();
    for _ in 0..400 {
        let LinkEvent::Frame { from: 1, purpose, bytes } = two.event().await else { panic!("no frame of 1") };
        let expected = next.entry(purpose).or_default();
        assert_eq!(bytes, [*expected], "{purpose:?}");
        *expected += 1;
    }
    assert_eq!(next.into_values().collect::<Vec<_>>(), [100; 4]);
}

#[tokio::test]
async fn frames_go_from_the_accepting_side_too_and_empty_ones_are_frames() {
    let (mut one, two) = pair().await;
    two.sends(1, Purpose::Raft, b"");
    two.sends(1, Purpose::Raft, b"back");
    one.sees(frame(2, Purpose::Raft, b"")).await;
    one.sees(frame(2, Purpose::Raft, b"back")).await;
}

#[tokio::test]
async fn three_nodes_have_three_links() {
    let mut nodes = [1, 2, 3].map(|id| Node::start(id, OURS));
    acquaint(&nodes.each_ref());
    for node in &mut nodes {
        let mut up = [node.event().await, node.event().await];
        up.sort_by_key(|event| format!("{event:?}"));
        let others: Vec<u64> = [1, 2, 3].into_iter().filter(|id| *id != node.id).collect();
        assert_eq!(up, [LinkEvent::Up(others[0]), LinkEvent::Up(others[1])]);
    }
    let [one, two, three] = &mut nodes;
    one.sends(3, Purpose::Forward, b"from 1");
    three.sees(frame(1, Purpose::Forward, b"from 1")).await;
    three.sends(2, Purpose::Query, b"from 3");
    two.sees(frame(3, Purpose::Query, b"from 3")).await;
}

#[tokio::test]
async fn the_longest_frame_arrives_whole_and_holds_up_no_heartbeat() {
    let mut long = (0..251).collect::<Vec<u8>>().repeat(FRAME_MAX / 251 + 1);
    long.truncate(FRAME_MAX);
    let (one, mut two) = pair().await;
    assert!(!one.quic.send(2, Purpose::Snapshot, vec![0; FRAME_MAX + 1]));
    one.sends(2, Purpose::Snapshot, &long);
    one.sends(2, Purpose::Raft, b"heartbeat");
    two.sees(frame(1, Purpose::Raft, b"heartbeat")).await;
    // Not `assert_eq`, which would print it.
    match two.event().await {
        LinkEvent::Frame { from: 1, purpose: Purpose::Snapshot, bytes } => assert!(bytes == long, "damaged"),
        other => panic!("{other:?}, {:?}", two.quic.refusal(1)),
    }
}

#[tokio::test]
async fn nobody_is_reached_who_is_no_peer() {
    let (one, _two) = pair().await;
    assert!(!one.quic.send(1, Purpose::Raft, Vec::new()), "nor oneself");
    assert!(!one.quic.send(3, Purpose::Raft, Vec::new()));
    assert!(!one.quic.is_up(3));
}

/// Threat 37. Node 2 has another secret: it is refused by whom it dials and by who dials it. The twin, with
/// the same secret, is `three_nodes_have_three_links`.
#[tokio::test]
async fn another_secret_is_refused_in_both_directions() {
    let (one, two, mut three) = (Node::start(1, OURS), Node::start(2, THEIRS), Node::start(3, OURS));
    acquaint(&[&one, &two, &three]);
    assert_eq!(one.refuses(2).await, Refusal::Stranger);
    assert_eq!(two.refuses(3).await, Refusal::Stranger);
    three.sees(LinkEvent::Up(1)).await;
    assert!(!one.quic.is_up(2) && !two.quic.is_up(1) && !two.quic.is_up(3) && !three.quic.is_up(2));
}

/// Takes any server: what a forger would do.
#[derive(Debug)]
struct Gullible;

impl ServerCertVerifier for Gullible {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

/// Dials a node as a forger does: with the certificate of node 1 of another cluster, or with none.
async fn forge(to: &Node, secret: Option<&[u8]>, alpn: &[u8]) -> (Endpoint, Result<(), ConnectionError>) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Gullible));
    let mut tls = match secret {
        Some(secret) => {
            let (chain, key, _) = identity::issue(&ClusterKey::parse(secret).unwrap(), 1).unwrap();
            tls.with_client_auth_cert(chain, key).unwrap()
        }
        None => tls.with_no_client_auth(),
    };
    tls.alpn_protocols = vec![alpn.to_vec()];
    let client = ClientConfig::new(Arc::new(quinn::crypto::rustls::QuicClientConfig::try_from(tls).unwrap()));
    let endpoint = Endpoint::client(loopback()).unwrap();
    let connected = async {
        let connection = endpoint.connect_with(client, to.peer().at, "node-2").unwrap().await?;
        connection.accept_uni().await.map(|_| ())
    };
    let connected = tokio::time::timeout(LONG, connected).await.expect("an answer");
    (endpoint, connected)
}

/// Threats 37: wrong authority, no certificate, another protocol; the twin has the right one of each.
#[tokio::test]
async fn a_stranger_is_refused_whatever_it_believes() {
    let mut node = Node::start(2, OURS);
    node.quic.set_peers(&[Peer { node: 1, at: loopback() }]);
    for (secret, alpn, expected) in [
        (Some(THEIRS), &b"banyan/1"[..], Some(Refusal::Stranger)),
        (None, b"banyan/1", Some(Refusal::Stranger)),
        (Some(OURS), b"banyan/0", Some(Refusal::Version)),
        (Some(OURS), b"banyan/1", None),
    ] {
        let (_endpoint, connected) = forge(&node, secret, alpn).await;
        assert_eq!(connected.err().as_ref().map(Refusal::from), expected);
        assert_eq!(node.quic.is_up(1), expected.is_none());
    }
    node.sees(LinkEvent::Up(1)).await;
}

#[tokio::test]
async fn a_node_of_the_cluster_waits_until_it_is_made_a_member() {
    let (mut one, mut two) = (Node::start(1, OURS), Node::start(2, OURS));
    one.quic.set_peers(&[two.peer()]);
    assert_eq!(one.refuses(2).await, Refusal::NotPeer);
    two.quic.set_peers(&[one.peer()]);
    one.sees(LinkEvent::Up(2)).await;
    two.sees(LinkEvent::Up(1)).await;
    assert_eq!(one.quic.refusal(2), None);
}

/// A node that is to be let in knows nobody yet; a lower id than the members' makes no difference.
#[tokio::test]
async fn a_node_that_waits_to_be_let_in_is_dialled_by_members_of_any_id() {
    for (member, coming) in [(1, 2), (2, 1)] {
        let mut member = Node::start(member, OURS);
        let mut waiting = Node::with(LinkConfig { waits: true, ..config(coming, OURS) });
        waiting.quic.set_peers(&[]);
        member.quic.set_peers(&[waiting.peer()]);
        member.sees(LinkEvent::Up(waiting.id)).await;
        waiting.sees(LinkEvent::Up(member.id)).await;
        // Once it has peers, no other is one.
        waiting.quic.set_peers(&[member.peer()]);
        let late = Node::start(3, OURS);
        late.quic.set_peers(&[waiting.peer()]);
        assert_eq!(late.refuses(waiting.id).await, Refusal::NotPeer);
        assert!(waiting.quic.is_up(member.id));
    }
    // The twin: who waits for nobody takes no guest.
    let (member, settled) = (Node::start(1, OURS), Node::start(2, OURS));
    settled.quic.set_peers(&[]);
    member.quic.set_peers(&[settled.peer()]);
    assert_eq!(member.refuses(2).await, Refusal::NotPeer);
}

/// A node whose log lags may not know who leads, or may have read that the leader was removed and not yet that it is back.
#[tokio::test]
async fn a_node_that_knows_no_leader_takes_whoever_counts_it_among_its_peers() {
    for (lagging, leader) in [(1, 2), (2, 1)] {
        let (mut lagging, mut leader) = (Node::start(lagging, OURS), Node::start(leader, OURS));
        let third = Peer { node: 3, at: loopback() };
        lagging.quic.set_open(true);
        lagging.quic.set_peers(&[third]);
        leader.quic.set_peers(&[lagging.peer()]);
        leader.sees(LinkEvent::Up(lagging.id)).await;
        lagging.sees(LinkEvent::Up(leader.id)).await;
        // Its log goes on, and still does not name the leader.
        lagging.quic.set_peers(&[third]);
        assert!(lagging.quic.is_up(leader.id));
        // Now it knows better.
        lagging.quic.set_open(false);
        lagging.quic.set_peers(&[third]);
        leader.sees(LinkEvent::Down(lagging.id)).await;
    }
}

/// The name in the certificate counts: who answers at 2's address must be 2.
#[tokio::test]
async fn a_member_that_answers_at_anothers_address_is_refused() {
    let (one, three) = (Node::start(1, OURS), Node::start(3, OURS));
    one.quic.set_peers(&[Peer { node: 2, at: three.peer().at }]);
    assert_eq!(one.refuses(2).await, Refusal::Stranger);
}

#[tokio::test]
async fn a_member_that_is_removed_loses_its_link() {
    let (mut one, mut two) = pair().await;
    one.quic.set_peers(&[]);
    one.sees(LinkEvent::Down(2)).await;
    two.sees(LinkEvent::Down(1)).await;
    assert_eq!(two.quic.refusal(1), Some(Refusal::NotPeer));
    assert!(!one.quic.send(2, Purpose::Raft, Vec::new()));
}

#[tokio::test]
async fn of_two_processes_with_one_id_the_newer_is_linked_and_the_other_told() {
    let (mut one, mut two) = pair().await;
    let mut twin = Node::start(1, OURS);
    twin.quic.set_peers(&[two.peer()]);
    twin.sees(LinkEvent::Up(2)).await;
    two.sees(LinkEvent::Down(1)).await;
    two.sees(LinkEvent::Up(1)).await;
    one.sees(LinkEvent::Down(2)).await;
    assert_eq!(one.quic.refusal(2), Some(Refusal::Twin));
    twin.sends(2, Purpose::Raft, b"newer");
    two.sees(frame(1, Purpose::Raft, b"newer")).await;
    two.sends(1, Purpose::Raft, b"to the newer");
    twin.sees(frame(2, Purpose::Raft, b"to the newer")).await;
}

#[tokio::test]
async fn a_node_that_is_stopped_and_started_is_linked_again() {
    let (one, mut two) = pair().await;
    let (peers, at) = ([one.peer(), two.peer()], one.peer().at);
    one.quic.close().await;
    two.sees(LinkEvent::Down(1)).await;
    drop(one);
    let mut again = start_again(LinkConfig { listen: at, ..config(1, OURS) }).await;
    again.quic.set_peers(&peers);
    again.sees(LinkEvent::Up(2)).await;
    two.sees(LinkEvent::Up(1)).await;
    again.sends(2, Purpose::Forward, b"again");
    two.sees(frame(1, Purpose::Forward, b"again")).await;
}

/// The endpoint's task lets go of the socket a few turns after the last handle.
async fn start_again(config: LinkConfig) -> Node {
    let started = async {
        loop {
            match Quic::start(config.clone(), Rng::from_u64(99)) {
                Ok(quic) => return Node { id: config.node, quic, seen: VecDeque::new() },
                Err(LinkError::Bind { .. }) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    };
    tokio::time::timeout(LONG, started).await.expect("the address is free again")
}

/// A process that dies says nothing: its runtime is gone from one moment to the next.
struct Mortal {
    node: Node,
    end: tokio::sync::oneshot::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl Mortal {
    fn start(config: LinkConfig) -> Mortal {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let entered = runtime.enter();
        let node = Node::with(config);
        drop(entered);
        let (end, ended) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn(move || {
            // It ends when `end` is used or dropped; either is its death.
            let _ = runtime.block_on(ended);
        });
        Mortal { node, end, thread }
    }

    fn die(self) {
        drop(self.end);
        self.thread.join().unwrap();
        // Dropped after its tasks, so that nobody is left to say goodbye.
        drop(self.node);
    }
}

/// Nobody waits for a silence here: the new process tells whoever still speaks to the old one.
async fn dies_and_returns(mortal_id: u64, other_id: u64) {
    let patient = |id| LinkConfig { detect: LONG * 2, ..config(id, OURS) };
    let mut other = Node::with(patient(other_id));
    let mortal = Mortal::start(patient(mortal_id));
    let peers = [other.peer(), mortal.node.peer()];
    let listen = mortal.node.peer().at;
    acquaint(&[&other, &mortal.node]);
    other.sees(LinkEvent::Up(mortal_id)).await;
    mortal.die();
    let mut again = start_again(LinkConfig { listen, ..patient(mortal_id) }).await;
    again.quic.set_peers(&peers);
    // Into the void, or not even that: what is lost with a link is lost.
    other.quic.send(mortal_id, Purpose::Raft, b"lost".to_vec());
    again.sees(LinkEvent::Up(other_id)).await;
    other.sees(LinkEvent::Down(mortal_id)).await;
    other.sees(LinkEvent::Up(mortal_id)).await;
    again.sends(other_id, Purpose::Raft, b"again");
    other.sees(frame(mortal_id, Purpose::Raft, b"again")).await;
}

#[tokio::test]
async fn a_dialling_node_that_dies_without_a_word_is_linked_again() {
    dies_and_returns(1, 2).await;
}

#[tokio::test]
async fn an_accepting_node_that_dies_without_a_word_is_linked_again() {
    dies_and_returns(2, 1).await;
}

#[tokio::test]
async fn a_node_that_falls_silent_is_down() {
    let hasty = |id| LinkConfig { detect: Duration::from_millis(300), ..config(id, OURS) };
    let mut one = Node::with(hasty(1));
    let mortal = Mortal::start(hasty(2));
    acquaint(&[&one, &mortal.node]);
    one.sees(LinkEvent::Up(2)).await;
    mortal.die();
    one.sees(LinkEvent::Down(2)).await;
    assert_eq!(one.quic.refusal(2), Some(Refusal::Silent));
    assert!(!one.quic.send(2, Purpose::Raft, Vec::new()));
}

/// A peer that takes nothing in: what waits for it is bounded, and arrives in order once it does.
#[tokio::test]
async fn what_waits_is_bounded_and_not_lost() {
    let (one, mut two) = pair().await;
    let body = |n: u32| [&n.to_le_bytes()[..], &[0; 60_000]].concat();
    let mut sent = 0u32;
    // Unread events, flow control and the queue together are below this.
    let most = 100 << 20;
    let mut refused = 0;
    while refused < 1000 {
        if one.quic.send(2, Purpose::Forward, body(sent)) {
            (sent, refused) = (sent + 1, 0);
            assert!((sent as usize) * 60_000 < most, "nothing bounds what waits");
        } else {
            refused += 1;
            tokio::task::yield_now().await;
        }
    }
    one.sends(2, Purpose::Raft, b"another purpose has room");
    let mut raft = 0;
    for n in 0..sent {
        let mut event = two.event().await;
        if event == frame(1, Purpose::Raft, b"another purpose has room") {
            raft += 1;
            event = two.event().await;
        }
        assert!(event == frame(1, Purpose::Forward, &body(n)), "frame {n}");
    }
    if raft == 0 {
        two.sees(frame(1, Purpose::Raft, b"another purpose has room")).await;
    }
}

/// A member that breaks the protocol loses its link. The twin: the same bytes with a length that holds.
#[tokio::test]
async fn a_frame_that_is_too_long_or_a_stream_for_nothing_ends_the_link() {
    for (bytes, holds) in
        [(&b"r\xff\xff\xff\xff"[..], false), (b"x\x01\0\0\0a", false), (b"r\x01\0\0\0a", true)]
    {
        let mut two = Node::start(2, OURS);
        two.quic.set_peers(&[Peer { node: 1, at: loopback() }]);
        let credentials = config(1, OURS).identity.credentials(1).unwrap();
        let endpoint = Endpoint::client(loopback()).unwrap();
        let client = ClientConfig::new(Arc::new(credentials.client));
        let connection = endpoint.connect_with(client, two.peer().at, "node-2").unwrap().await.unwrap();
        let mut stream = connection.open_uni().await.unwrap();
        stream.write_all(bytes).await.unwrap();
        two.sees(LinkEvent::Up(1)).await;
        if holds {
            two.sees(frame(1, Purpose::Raft, b"a")).await;
            assert!(two.quic.is_up(1));
        } else {
            two.sees(LinkEvent::Down(1)).await;
            assert_eq!(two.quic.refusal(1), Some(Refusal::Protocol));
        }
    }
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let one = Node::start(1, OURS);
    let at = one.peer().at;
    let error = Quic::start(LinkConfig { listen: at, ..config(2, OURS) }, Rng::from_u64(2)).err().unwrap();
    assert!(error.to_string().starts_with(&format!("[cluster] listen {at} can't be bound: ")), "{error}");
}
