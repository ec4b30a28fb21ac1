//! The scanners that everybody meets on the open network (sipvicious): they find nothing, tell nobody from somebody, and
//! guess no further than the ban.

use std::fs;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::time::Duration;

use tests::node::Node;
use tests::sipp::{Sipp, Transport};

const PATIENCE: Duration = Duration::from_secs(30);
const PASSWORD: &str = "canary-alice";

/// A trunk whose accounts may come from anywhere, and one that is known by its address.
fn house(office: Ipv4Addr) -> String {
    format!(
        "[[tenant]]\nname = \"house\"\n\n\
         [[trunk]]\nname = \"homes\"\ntenant = \"house\"\ncaller_ids = [\"+31201110001\"]\n\
         account = [{{ username = \"alice\", password = \"{PASSWORD}\" }}]\n\n\
         [trunk.access]\nauth = [\"digest\"]\n\n\
         [[trunk]]\nname = \"office\"\ntenant = \"house\"\ncaller_ids = [\"+31201110002\"]\n\n\
         [trunk.access]\nnetworks = [\"{office}/32\"]\nauth = [\"address\"]\n"
    )
}

struct Scene {
    node: Node,
    office: Ipv4Addr,
    stranger: Ipv4Addr,
}

fn scene() -> Scene {
    let mut node = Node::new();
    let (office, stranger) = (node.place().address(2), node.place().address(9));
    node.start();
    node.apply(&house(office));
    Scene { node, office, stranger }
}

impl Scene {
    /// What a tool says, run from `source`, for half a minute at most.
    fn run(&self, tool: &str, source: Ipv4Addr, arguments: &[&str]) -> String {
        let (sip, source) = (self.node.sip(), source.to_string());
        let port = sip.port().to_string();
        let mut command = Command::new("timeout");
        command.args(["30", tool, "-b", &source, "-x", &source, "-P", "5099", "-p", &port]);
        command.args(arguments).arg(sip.ip().to_string());
        // Its sessions go to the home directory.
        command.env("HOME", self.node.dir()).current_dir(self.node.dir()).stdin(Stdio::null());
        let output =
            command.output().expect("sipvicious starts; install it with `apt-get install sipvicious`");
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat()
    }

    fn list(&self, name: &str, words: impl Iterator<Item = String>) -> String {
        let path = self.node.dir().join(name);
        fs::write(&path, words.collect::<Vec<_>>().join("\n")).expect("the list can be written");
        path.to_string_lossy().into_owned()
    }
}

/// Threat 1: a sweep of OPTIONS finds nothing; from an address that a trunk names it does.
#[test]
fn t40_svmap_finds_nothing() {
    let scene = scene();
    let is_found = |said: &str| said.contains(&scene.node.sip().to_string());
    let said = scene.run("svmap", scene.stranger, &[]);
    assert!(!is_found(&said) && said.contains("found nothing"), "{said}");
    let said = scene.run("svmap", scene.office, &[]);
    assert!(is_found(&said), "the tool works: {said}");
}

/// Threat 2: a name that exists is answered as one that does not.
#[test]
fn t40_svwar_tells_nobody_from_somebody() {
    let scene = scene();
    let names = scene.list("names", ["alice", "bob", "carol", "100", "101"].map(String::from).into_iter());
    for method in ["REGISTER", "INVITE", "OPTIONS"] {
        let said = scene.run("svwar", scene.stranger, &["-m", method, "-d", &names, "--force"]);
        let rows: Vec<&str> = said.lines().filter(|line| line.starts_with('|')).collect();
        let of = |name: &str| rows.iter().find(|row| row.contains(name)).map(|row| row.replace(name, ""));
        assert_eq!(of("alice"), of("carol"), "{method}: {said}");
    }
}

/// Threat 3: guesses end at the ban, though the right password is among them; elsewhere a telephone registers.
#[test]
fn t40_svcrack_guesses_no_further_than_the_ban() {
    let scene = scene();
    let words = (0..200).map(|i| if i == 150 { PASSWORD.to_owned() } else { format!("guess{i}") });
    let words = scene.list("words", words);
    let said =
        scene.run("svcrack", scene.stranger, &["-u", "alice", "-d", &words, "--domain", "banyan.test"]);
    assert!(!said.contains(PASSWORD), "{said}");
    let metric = |name: &str| scene.node.metric(name).unwrap_or_default();
    let wrong = metric("banyan_wrong_credentials_total");
    assert!((1.0..=11.0).contains(&wrong), "{wrong} guesses; {said}");
    assert_eq!(metric("banyan_bans_total"), 1.0, "{said}");

    let mut telephone = Sipp::caller(
        scene.node.dir(),
        "register",
        (scene.node.place().address(3), 5072).into(),
        scene.node.sip(),
        Transport::Udp,
    )
    .load(1, 1, Duration::ZERO, "alice")
    .options(&["-au", "alice", "-ap", PASSWORD])
    .start();
    assert_eq!(telephone.finish(PATIENCE).successful, 1, "{}", telephone.errors());
    assert!(scene.node.get("registrations", &[]).iter().any(|it| it["name"] == "alice"));
    assert!(!scene.node.log().contains(PASSWORD), "{}", scene.node.log_tail());
}
