//! Telephones that others wrote speak SRTP with the node (SDES over TLS): to each other, and to one that speaks in
//! clear.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tests::baresip::Telephone;
use tests::certificate::Authority;
use tests::node::Node;
use tests::record::Record;
use tests::sipp::Transport;

use crate::t30_audio::assert_heard;
use crate::t30_takeover::await_version;
use crate::t30_tls::section;

const ALICE_HERTZ: f64 = 440.0;
const BOB_HERTZ: f64 = 1_100.0;
const BOB: &str = "+31201110002";

/// One node, a caller at it, and whoever is called.
struct Stage {
    node: Node,
    authority: Authority,
}

impl Stage {
    fn new() -> Stage {
        let mut node = Node::at_localhost();
        let authority = Authority::new(node.dir());
        let own = authority.issue("node", &["127.0.0.1"]);
        let file = node.default_node_file();
        let (before, rest) = file.split_once("listen = [").expect("[sip] stands before [http]");
        let (_, after) = rest.split_once("]\n").expect("a list");
        let listen = "\"udp://127.0.0.1:5060\", \"tls://127.0.0.1:5061\"";
        let tls = section(&own, &authority.file());
        node.write_node_file(&format!("{before}listen = [{listen}]\n{after}{tls}"));
        node.start();
        await_version(&node);
        Stage { node, authority }
    }

    fn telephone(&self, name: &str, transport: Transport, media: Option<&str>) -> Telephone {
        let (port, rtp, hertz) = match name {
            "alice" => (5072, 30_200, ALICE_HERTZ),
            _ => (5076, 30_300, BOB_HERTZ),
        };
        let dir = self.node.dir().join(format!("{transport:?}-{media:?}"));
        fs::create_dir_all(&dir).expect("the telephone's place");
        telephone(&dir, &self.authority, (name, port, rtp, hertz), transport, media)
    }

    /// Alice calls Bob; gives how that went.
    fn call(&mut self, alice: &mut Telephone, bob: &mut Telephone, wish: &str) -> (Record, String) {
        self.node.apply(&office(&bob.uri(), wish));
        bob.start();
        let before = self.node.cdrs().len();
        alice.call(BOB, "127.0.0.1:5061", 5);
        alice.finish(Duration::from_secs(20));
        let records = self.node.settle(before + 1);
        bob.stop();
        let ladder = format!("alice:\n{}\nbob:\n{}\n{}", alice.words(), bob.words(), self.node.log_tail());
        (records.last().expect("a record").clone(), ladder)
    }
}

#[test]
fn ex11_two_telephones_speak_srtp_over_tls_each_with_keys_of_its_own() {
    let mut stage = Stage::new();
    let mut alice = stage.telephone("alice", Transport::Tls, Some("srtp-mand"));
    let mut bob = stage.telephone("bob", Transport::Tls, Some("srtp-mand"));
    let (record, ladder) = stage.call(&mut alice, &mut bob, "required");
    assert!(record.answered(), "{}\n{ladder}", record.0);
    assert_heard("alice", &alice.heard(), BOB_HERTZ, ALICE_HERTZ, &ladder);
    assert_heard("bob", &bob.heard(), ALICE_HERTZ, BOB_HERTZ, &ladder);
    // This telephone's first RTCP goes out before its keys are in place.
    assert!(stage.node.metric("banyan_srtp_forged_total").is_some_and(|forged| forged < 5.0), "{ladder}");
    assert!(!stage.node.log().contains("inline:"), "{}", stage.node.log_tail());

    // The twin: a caller that can't is refused where it is required, and served where it is off.
    let mut plain = stage.telephone("alice", Transport::Tls, None);
    let (record, ladder) = stage.call(&mut plain, &mut bob, "required");
    assert_eq!(record.0["sip_status"], 488, "{}\n{ladder}", record.0);
    let mut clear = stage.telephone("bob", Transport::Tls, None);
    let (record, ladder) = stage.call(&mut plain, &mut clear, "off");
    assert!(record.answered(), "{}\n{ladder}", record.0);
    assert_heard("bob", &clear.heard(), ALICE_HERTZ, BOB_HERTZ, &ladder);
}

#[test]
fn ex11_srtp_on_one_leg_and_rtp_on_the_other() {
    let mut stage = Stage::new();
    let mut alice = stage.telephone("alice", Transport::Tls, Some("srtp-mand"));
    let mut bob = stage.telephone("bob", Transport::Udp, None);
    let (record, ladder) = stage.call(&mut alice, &mut bob, "optional");
    assert!(record.answered(), "{}\n{ladder}", record.0);
    assert_heard("alice", &alice.heard(), BOB_HERTZ, ALICE_HERTZ, &ladder);
    assert_heard("bob", &bob.heard(), ALICE_HERTZ, BOB_HERTZ, &ladder);
}

/// A telephone that speaks so, believes the authority, and shows a certificate of it.
fn telephone(
    dir: &Path,
    authority: &Authority,
    (name, port, rtp, hertz): (&str, u16, u16, f64),
    transport: Transport,
    media: Option<&str>,
) -> Telephone {
    let mut telephone = Telephone::new(dir, name, port, rtp, transport, hertz);
    if transport == Transport::Tls {
        telephone.believes(&authority.file());
        telephone.shows(&authority.issue("phone", &["127.0.0.1"]));
    }
    if let Some(media) = media {
        telephone.secures(media);
    }
    telephone
}

/// One trunk whose media is secured as said, and a number that is delivered to the target.
fn office(target: &str, wish: &str) -> String {
    format!(
        "[[tenant]]\nname = \"house\"\n\n[[trunk]]\nname = \"office\"\ntenant = \"house\"\n\
         caller_ids = [\"+31201110001\"]\ndefault_caller_id = \"+31201110001\"\n\n\
         [trunk.access]\nnetworks = [\"127.0.0.1/32\"]\nauth = [\"address\"]\n\n[trunk.media]\nsrtp = \"{wish}\"\n\n\
         [trunk.limits]\nconcurrent = 4\n\n\
         [[number]]\ne164 = \"{BOB}\"\ntrunk = \"office\"\ndelivery = [\"{target}\"]\n"
    )
}
