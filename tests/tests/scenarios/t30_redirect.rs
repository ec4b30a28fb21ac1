//! A redirect server that balances the load of two PBXs: the worked example of the PortaSIP document, with SIPp.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use tests::node::Node;
use tests::record::Record;
use tests::resources::caller;
use tests::sipp::{Running, Sipp, Transport};

const PATIENCE: Duration = Duration::from_secs(30);
/// The document's number, in E.164 form.
const NUMBER: &str = "+80032555939";
/// What the server makes of it (PS8).
const USER: &str = "12035554433";

fn server(node: &Node) -> SocketAddr {
    (node.place().address(4), 5070).into()
}

fn pbx(node: &Node, which: u8) -> SocketAddr {
    (node.place().address(4 + which), 5080).into()
}

/// The call centre: its number leads to its redirect server; two PBXs are trusted, the second by its network.
fn call_centre(node: &Node, follow: bool, failover: &str) -> String {
    let (first, second) = (pbx(node, 1).ip(), pbx(node, 2).ip());
    format!(
        "[[gateway]]\nname = \"pstn\"\ntargets = [\"sip:{pstn}\"]\nnetworks = [\"{pstn_ip}/32\"]\nconcurrent = 100\n\
         [gateway.probe]\ninterval = \"0s\"\n\n\
         [[trunk]]\nname = \"easycall\"\ncaller_ids = [\"{NUMBER}\"]\ndefault_caller_id = \"{NUMBER}\"\n\n\
         [trunk.limits]\nconcurrent = 20\nper_minute = 1000\nper_hour = 10000\n\n\
         [trunk.delivery]\ntargets = [\"sip:{server}\"]\nfailover = [{failover}]\n\n\
         [trunk.probe]\ninterval = \"0s\"\n\n\
         [trunk.redirect]\nfollow = {follow}\ntrusted = [\"{first}\", \"{second}/32\", \"{server_ip}\"]\nmax_hops = 3\n\n\
         [[number]]\ne164 = \"{NUMBER}\"\ntrunk = \"easycall\"\n",
        pstn = caller(node),
        pstn_ip = caller(node).ip(),
        server = server(node),
        server_ip = server(node).ip(),
    )
}

struct Stage {
    node: Node,
    server: Running,
    pbxs: Vec<Running>,
}

/// The server gives these Contacts, one call after the other; three PBXs wait, the third is nobody's friend.
fn stage(contacts: impl Fn(&Node) -> Vec<String>, follow: bool, with_failover: bool) -> Stage {
    let failover = |node: &Node| match with_failover {
        true => format!("\"sip:{}\"", pbx(node, 2)),
        false => String::new(),
    };
    let node = Node::with_resources(|node| call_centre(node, follow, &failover(node)));
    let dir = node.dir().to_owned();
    let list = dir.join("contacts.csv");
    let lines = contacts(&node).join("\n");
    fs::write(&list, format!("SEQUENTIAL\n{lines}\n")).expect("the list can be written");
    let list = list.to_string_lossy().into_owned();
    let server = Sipp::callee(&dir, "redirect_server", server(&node), Transport::Udp)
        .options(&["-inf", &list])
        .start();
    let pbxs = [1, 2, 3].map(|which| Sipp::callee(&dir, "uas", pbx(&node, which), Transport::Udp).start());
    Stage { node, server, pbxs: pbxs.into() }
}

impl Stage {
    /// So many calls from the PSTN. Gives how many were answered, the records, and how many each PBX had.
    fn call(mut self, calls: u32) -> (u64, Vec<Record>, Vec<u64>) {
        let dir = self.node.dir().to_owned();
        let (from, to) = (caller(&self.node), self.node.sip());
        let mut pstn = Sipp::caller(&dir, "uac", from, to, Transport::Udp)
            .load(10, calls, Duration::from_millis(300), NUMBER)
            .start();
        let counts = pstn.finish(PATIENCE);
        let records = self.node.settle(calls as usize);
        assert!(self.node.get("calls", &[]).is_empty(), "no call, and no slot, is left");
        self.server.stop();
        let at_pbxs = self.pbxs.iter_mut().map(|pbx| pbx.stop().created).collect();
        (counts.successful, records, at_pbxs)
    }
}

fn contact(at: SocketAddr) -> String {
    format!("<sip:{USER}@{at}>")
}

/// PS1 to PS3, PS7 to PS9, PS19, PS21: each call is offered to the server, goes where its own answer says, and is one
/// record on the account that was called.
#[test]
fn ps21_each_call_goes_where_the_redirect_server_sends_it() {
    let contacts = |node: &Node| vec![contact(pbx(node, 1)), contact(pbx(node, 2))];
    let stage = stage(contacts, true, false);
    let (first, second, server) = (pbx(&stage.node, 1), pbx(&stage.node, 2), server(&stage.node));
    let (answered, records, at_pbxs) = stage.call(10);
    assert_eq!((answered, at_pbxs), (10, vec![5, 5, 0]));
    for record in &records {
        assert!(record.answered(), "{}", record.0);
        assert_eq!((record.text("trunk"), record.text("direction")), ("easycall", "in"), "{}", record.0);
        assert_eq!(record.text("redirect_server"), format!("sip:{NUMBER}@{server}"), "{}", record.0);
        assert_eq!(record.text("redirect_verdict"), "trusted");
        let to = record.text("redirected_to").to_owned();
        let rule = record.text("redirect_rule");
        let expected = if to == format!("sip:{USER}@{first}") { first } else { second };
        assert_eq!(to, format!("sip:{USER}@{expected}"));
        assert_eq!(rule, format!("{}/32", expected.ip()));
        let tried: Vec<_> = record.0["attempts"].as_array().expect("attempts").iter().collect();
        assert_eq!((&tried[0]["status"], &tried[1]["status"]), (&302.into(), &200.into()));
    }
}

/// PS6, PS12, PS14, PS16: a stranger gets nothing, even beside a friend; where nobody is followed the failover is called.
#[test]
fn ps12_strangers_get_no_call() {
    let beside = |node: &Node| vec![format!("{}, {}", contact(pbx(node, 3)), contact(pbx(node, 1)))];
    let (answered, _, at_pbxs) = stage(beside, true, false).call(4);
    assert_eq!((answered, at_pbxs), (4, vec![4, 0, 0]));

    let alone = |node: &Node| vec![contact(pbx(node, 3))];
    let (answered, records, at_pbxs) = stage(alone, true, false).call(4);
    assert_eq!((answered, at_pbxs), (0, vec![0, 0, 0]));
    for record in &records {
        assert_eq!(record.status(), 480, "{}", record.0);
        assert_eq!(record.0["events"], serde_json::json!(["redirect-untrusted"]));
        assert_eq!(record.text("redirected_to"), "");
    }
    let (answered, _, at_pbxs) = stage(alone, true, true).call(4);
    assert_eq!((answered, at_pbxs), (4, vec![0, 4, 0]), "the failover");

    // The twin: with `follow` off not even a friend is called.
    let friend = |node: &Node| vec![contact(pbx(node, 1))];
    let (answered, records, at_pbxs) = stage(friend, false, false).call(4);
    assert_eq!((answered, at_pbxs), (0, vec![0, 0, 0]));
    assert!(records.iter().all(|record| record.status() == 480));
}

/// PS13: a server that sends calls to itself is asked once; one that sends them on and on, `max_hops` times.
#[test]
fn ps13_loops_end() {
    let itself = |node: &Node| vec![format!("<sip:{NUMBER}@{}>", server(node))];
    let (answered, records, _) = stage(itself, true, false).call(2);
    assert_eq!(answered, 0);
    for record in &records {
        assert_eq!(record.status(), 480);
        assert_eq!(record.0["events"], serde_json::json!(["redirect-loop"]));
        assert_eq!(record.0["attempts"].as_array().map(Vec::len), Some(1));
    }
    let onward = |node: &Node| {
        let server = server(node);
        (1..=20).map(|hop| format!("<sip:{hop}@{server}>")).collect()
    };
    let (answered, records, _) = stage(onward, true, false).call(1);
    assert_eq!(answered, 0);
    for record in &records {
        assert_eq!(record.status(), 480);
        assert_eq!(record.0["events"], serde_json::json!(["redirect-hops"]));
        assert_eq!(record.0["attempts"].as_array().map(Vec::len), Some(4), "{}", record.0);
    }
}
