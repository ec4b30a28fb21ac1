//! Streams under TLS over a network in memory: who is believed, who is not, and what that costs.

use std::sync::Arc;
use std::time::Duration;

use crate::support::{Far, Heard, World, at, message};
use bytes::Bytes;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection};
use transport::{Authorities, Peer, StreamLimits, Tls, TlsError, TlsFiles};

const CARRIER: &str = "carrier.example";

/// Somebody who vouches for others.
struct Authority(Issuer<'static, KeyPair>, String);

/// A certificate and its key, in PEM form.
#[derive(Clone)]
struct Own(String, String);

impl Authority {
    fn new() -> Authority {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let own = pem("CERTIFICATE", params.self_signed(&key).expect("signs itself").der());
        Authority(Issuer::new(params, key), own)
    }

    fn issue(&self, name: &str) -> Own {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.0).expect("signs");
        Own(pem("CERTIFICATE", certificate.der()), pem("PRIVATE KEY", &key.serialize_der()))
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.1.as_bytes()).expect("PEM")).expect("an authority");
        roots
    }
}

/// RFC 7468 §2, with the base64 of RFC 4648 §4 in one line.
fn pem(kind: &str, der: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in der.chunks(3) {
        let bits = three.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for digit in 0..4 {
            let value = (bits >> (18 - 6 * digit) & 63) as usize;
            text.push(if digit <= three.len() { char::from(ALPHABET[value]) } else { '=' });
        }
    }
    format!("-----BEGIN {kind}-----\n{text}\n-----END {kind}-----\n")
}

fn files(own: &Own, believed: &Authority, client_ca: Option<&Authority>) -> TlsFiles {
    TlsFiles {
        certificate: own.0.clone().into_bytes(),
        key: own.1.clone().into_bytes(),
        client_ca: client_ca.map(|authority| authority.1.clone().into_bytes()),
        authorities: Authorities::File(believed.1.clone().into_bytes()),
    }
}

/// A node that has a certificate of this authority, and believes it.
fn node(authority: &Authority, client_ca: Option<&Authority>) -> Tls {
    let own = authority.issue("node.example");
    Tls::new(&files(&own, authority, client_ca), crate::support::clock()).expect("good files")
}

/// The far end, speaking TLS.
struct Secured {
    far: Far,
    tls: Connection,
}

impl Secured {
    fn client(far: Far, authority: &Authority, own: Option<&Own>) -> Secured {
        let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let builder = builder.expect("versions").with_root_certificates(authority.roots());
        let config = match own {
            None => builder.with_no_client_auth(),
            Some(own) => builder.with_client_auth_cert(chain(own), key(own)).expect("a pair"),
        };
        let name = ServerName::try_from("node.example").expect("a name");
        let tls = ClientConnection::new(Arc::new(config), name).expect("a client").into();
        Secured { far, tls }
    }

    fn server(far: Far, own: &Own) -> Secured {
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain(own), key(own))
            .expect("a pair");
        Secured { far, tls: ServerConnection::new(Arc::new(config)).expect("a server").into() }
    }

    /// Whether the handshake succeeds.
    async fn handshake(&mut self) -> bool {
        loop {
            self.flush().await;
            if !self.tls.is_handshaking() {
                return true;
            }
            if !self.fetch().await {
                return false;
            }
        }
    }

    async fn write(&mut self, bytes: &[u8]) {
        std::io::Write::write_all(&mut self.tls.writer(), bytes).expect("room");
        self.flush().await;
    }

    /// What comes next; nothing at the end.
    async fn read(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            let _ = std::io::Read::read_to_end(&mut self.tls.reader(), &mut bytes);
            if !bytes.is_empty() || !self.fetch().await {
                return bytes;
            }
        }
    }

    async fn flush(&mut self) {
        let mut out = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut out).expect("a vector has room");
        }
        self.far.write(&out).await;
    }

    /// False at the end, or where what came is refused.
    async fn fetch(&mut self) -> bool {
        let bytes = self.far.read().await;
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            self.tls.read_tls(&mut rest).expect("room");
            if self.tls.process_new_packets().is_err() {
                self.flush().await;
                return false;
            }
        }
        !bytes.is_empty()
    }

    /// What the node proved to be.
    fn certificate(&self) -> Option<&CertificateDer<'_>> {
        self.tls.peer_certificates()?.first()
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn chain(own: &Own) -> Vec<CertificateDer<'static>> {
    vec![CertificateDer::from_pem_slice(own.0.as_bytes()).expect("PEM")]
}

fn key(own: &Own) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(own.1.as_bytes()).expect("PEM")
}

/// A request to whoever is called so.
fn request(host: &str, call_id: &str) -> Bytes {
    let text =
        String::from_utf8(message(call_id)).expect("text").replace("sip:node", &format!("sip:7@{host}"));
    Bytes::from(text)
}

fn carrier(world: &World) -> Peer {
    Peer { local: world.local(), remote: at("192.0.2.9:5061"), connection: 0, secure: true }
}

#[tokio::test(start_paused = true)]
async fn messages_arrive_whole_under_tls_and_are_answered_on_their_connection() {
    let authority = Authority::new();
    let mut world = World::start_under(StreamLimits::default(), Some(node(&authority, None)));
    let mut peer = Secured::client(world.connect(at("192.0.2.1:40000")).await, &authority, None);
    assert!(peer.handshake().await);
    // More than one record of TLS (RFC 8446 §5.1), and more than the network takes at once.
    let long = format!("{}{}", "x".repeat(30_000), "\r\n\r\n");
    let whole = String::from_utf8(message("long")).expect("text");
    let whole = whole.replace("Content-Length: 0\r\n\r\n", &format!("Content-Length: 30004\r\n\r\n{long}"));
    peer.write(whole.as_bytes()).await;
    let Heard::Message(from, got) = world.heard().await else { panic!("a message") };
    assert_eq!((got.as_slice(), from.secure), (whole.as_bytes(), true));
    world.streams.send(from, Bytes::from(vec![b'y'; 20_000]));
    let mut answer = Vec::new();
    while answer.len() < 20_000 {
        answer.extend(peer.read().await);
    }
    assert!(answer == vec![b'y'; 20_000] && world.dialled() == 0);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_proves_its_name_is_reached_and_reached_again() {
    let authority = Authority::new();
    let mut world = World::start_under(StreamLimits::default(), Some(node(&authority, None)));
    let peer = carrier(&world);
    world.streams.send(peer, request(CARRIER, "one"));
    let far = world.accept_dial(true).await.expect("dialled");
    let mut far = Secured::server(far, &authority.issue(CARRIER));
    assert!(far.handshake().await);
    assert_eq!(far.read().await, request(CARRIER, "one"));
    // RFC 5923: what is for the same name goes over the same connection, an address as the host of a Contact too, where
    // To says whom it is for.
    world.streams.send(peer, request(CARRIER, "two"));
    assert_eq!(far.read().await, request(CARRIER, "two"));
    let within = String::from_utf8(request(CARRIER, "three").to_vec()).expect("text");
    let within = Bytes::from(within.replacen(CARRIER, "192.0.2.9", 1));
    world.streams.send(peer, within.clone());
    assert_eq!(far.read().await, within);
    assert_eq!(world.dialled(), 1);
    // The twin: what is for another name at the same address needs another proof.
    world.streams.send(peer, request("other.example", "four"));
    let far = world.accept_dial(true).await.expect("dialled");
    let mut far = Secured::server(far, &authority.issue("other.example"));
    assert!(far.handshake().await);
    assert_eq!(far.read().await, request("other.example", "four"));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_cannot_be_verified_hears_nothing_and_counts_as_unreachable() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let mut world = World::start_under(StreamLimits::default(), Some(node(&authority, None)));
    let peer = carrier(&world);
    for own in [stranger.issue(CARRIER), authority.issue("other.example")] {
        world.streams.send(peer, request(CARRIER, "secret"));
        let far = world.accept_dial(true).await.expect("dialled");
        let mut far = Secured::server(far, &own);
        far.handshake().await;
        assert!(far.read().await.is_empty(), "not a byte of it");
        assert_eq!(world.heard().await, Heard::Unreachable(peer, request(CARRIER, "secret").to_vec()));
    }
    assert_eq!((world.handshakes_failed(), world.dialled()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_peer_without_a_certificate_is_refused_where_one_is_demanded() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let mut world = World::start_under(StreamLimits::default(), Some(node(&authority, Some(&clients))));
    for own in [None, Some(authority.issue("phone.example"))] {
        let far = world.connect(at("192.0.2.1:40000")).await;
        let mut peer = Secured::client(far, &authority, own.as_ref());
        peer.handshake().await;
        peer.write(&message("refused")).await;
        assert!(peer.read().await.is_empty(), "closed without a word");
    }
    // The twin: one of the authority that is demanded.
    let far = world.connect(at("192.0.2.1:40001")).await;
    let mut peer = Secured::client(far, &authority, Some(&clients.issue("phone.example")));
    assert!(peer.handshake().await);
    peer.write(&message("let in")).await;
    let Heard::Message(_, got) = world.heard().await else { panic!("a message") };
    assert_eq!(got, message("let in"));
    assert_eq!(world.handshakes_failed(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_tls_is_closed_at_once() {
    let authority = Authority::new();
    let mut world = World::start_under(StreamLimits::default(), Some(node(&authority, None)));
    let mut plain = world.connect(at("192.0.2.1:1")).await;
    plain.write(&message("plain")).await;
    // RFC 8446 §6: an alert, which is content type 21, and the end.
    assert_eq!(plain.read().await.first(), Some(&21));
    assert!(plain.read().await.is_empty());
    assert_eq!((world.heard_already(), world.streams.open()), (None, (0, 0)));
}

#[tokio::test(start_paused = true)]
async fn half_a_handshake_is_bounded_in_time_and_number() {
    let authority = Authority::new();
    let limits = StreamLimits { strangers_per_address_max: 4, ..StreamLimits::default() };
    let mut world = World::start_under(limits, Some(node(&authority, None)));
    let mut hanging = Vec::new();
    for port in 1..=20 {
        let mut far = world.connect(at(&format!("192.0.2.1:{port}"))).await;
        // RFC 8446 §5.1: a record that says that 512 bytes follow, of which four come.
        far.write(&[22, 3, 1, 2, 0, 1, 0, 1, 252]).await;
        hanging.push(far);
        assert!(world.streams.open().1 <= 4);
    }
    tokio::time::sleep(limits.first_byte + Duration::from_secs(2)).await;
    assert_eq!(world.streams.open(), (0, 0));
    // Where a peer that was dialled does not answer, what was to be said comes back.
    let peer = carrier(&world);
    world.streams.send(peer, request(CARRIER, "one"));
    let _silent = world.accept_dial(true).await.expect("dialled");
    assert_eq!(world.heard().await, Heard::Unreachable(peer, request(CARRIER, "one").to_vec()));
}

#[tokio::test(start_paused = true)]
async fn handshakes_of_strangers_are_so_many_a_second() {
    let authority = Authority::new();
    let limits = StreamLimits { handshakes_per_second: 8, ..StreamLimits::default() };
    let mut world = World::start_under(limits, Some(node(&authority, None)));
    let mut open = Vec::new();
    for port in 1..=20 {
        open.push(world.connect(at(&format!("192.0.2.1:{port}"))).await);
    }
    assert_eq!(world.streams.open().0, 4, "half of it is for those who are known");
    tokio::time::sleep(Duration::from_secs(1)).await;
    open.push(world.connect(at("192.0.2.1:99")).await);
    assert_eq!(world.streams.open().0, 5);
}

#[tokio::test(start_paused = true)]
async fn new_files_count_for_new_connections_and_old_ones_go_on() {
    let (authority, next) = (Authority::new(), Authority::new());
    let tls = node(&authority, None);
    let mut world = World::start_under(StreamLimits::default(), Some(tls.clone()));
    let mut old = Secured::client(world.connect(at("192.0.2.1:1")).await, &authority, None);
    assert!(old.handshake().await);
    let own = next.issue("node.example");
    tls.replace(&files(&own, &authority, None)).expect("good files");
    let mut new = Secured::client(world.connect(at("192.0.2.1:2")).await, &next, None);
    assert!(new.handshake().await);
    assert_eq!(new.certificate(), chain(&own).first());
    // What can't be used changes nothing.
    let (other, bad) = (next.issue("node.example"), b"no PEM".to_vec());
    let mixed = Own(other.0.clone(), own.1.clone());
    assert!(matches!(tls.replace(&files(&mixed, &authority, None)), Err(TlsError::Mismatch)));
    let without = TlsFiles { certificate: bad.clone(), ..files(&own, &authority, None) };
    assert!(matches!(tls.replace(&without), Err(TlsError::Certificate)));
    let without = TlsFiles { key: bad.clone(), ..files(&own, &authority, None) };
    let error = tls.replace(&without).expect_err("no key");
    assert_eq!(
        error.to_string(),
        "sip.tls.key holds no private key in PEM form (an encrypted one can't be used)"
    );
    let without = TlsFiles { authorities: Authorities::File(bad), ..files(&own, &authority, None) };
    assert!(matches!(tls.replace(&without), Err(TlsError::Authority("ca"))));
    let mut newest = Secured::client(world.connect(at("192.0.2.1:3")).await, &next, None);
    assert!(newest.handshake().await);
    assert_eq!(newest.certificate(), chain(&own).first());
    for peer in [&mut old, &mut new, &mut newest] {
        peer.write(&message("still here")).await;
        assert!(matches!(world.heard().await, Heard::Message(..)));
    }
}

#[tokio::test(start_paused = true)]
async fn who_came_is_called_over_its_own_connection_and_is_taken_for_nobody_else() {
    let authority = Authority::new();
    let mut world = World::start_under(StreamLimits::default(), Some(node(&authority, None)));
    let peer = carrier(&world);
    let mut came = Secured::client(world.connect(peer.remote).await, &authority, None);
    assert!(came.handshake().await);
    came.write(&message("here I am")).await;
    assert!(matches!(world.heard().await, Heard::Message(..)));
    let phone = Peer { connection: Peer::CAME, ..peer };
    world.streams.send(phone, request("phone.invalid", "call"));
    assert_eq!(came.read().await, request("phone.invalid", "call"));
    // RFC 5923 §9.1: whoever comes from a carrier's address is no carrier for that.
    world.streams.send(peer, request(CARRIER, "secret"));
    assert!(world.accept_dial(false).await.is_none());
    assert_eq!(world.heard().await, Heard::Unreachable(peer, request(CARRIER, "secret").to_vec()));
    // Nor does a plain message leave on it, or a secret one on a plain connection.
    let plain = Peer { secure: false, ..peer };
    assert!(!world.streams.reaches(plain, b"") && world.streams.reaches(phone, b""));
    // Nobody listens where it came from.
    drop(came);
    tokio::time::sleep(Duration::from_secs(5)).await;
    world.streams.send(phone, request("phone.invalid", "again"));
    assert_eq!(world.heard().await, Heard::Unreachable(phone, request("phone.invalid", "again").to_vec()));
}
