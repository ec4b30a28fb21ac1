//! Digest from outside: who is challenged, who is let in, who is refused, and what is kept of it.

use std::net::SocketAddr;

use auth::{Ha1, Offered};

use super::bench::{header, request};
use super::{Bench, Peer};

/// Two trunks at 127.0.0.5: `shop` by digest, `bank` by digest from elsewhere alone; and `shop` again from anywhere.
const ACCOUNTS: &str = "\n[[trunk]]\nname = \"shop\"\ntenant = \"house\"\ncaller_ids = [\"+31201234567\"]\n\
    account = [{ username = \"shop-1\", password = \"canary-shop\" }, { username = \"shop-2\", password = \"two\" }]\n\
    [trunk.access]\nnetworks = [\"127.0.0.5/32\"]\nauth = [\"digest\"]\n[trunk.media]\nmode = \"direct\"\n\
    [trunk.delivery]\ntargets = [\"account:1\", \"account:2\"]\n\n\
    [[trunk]]\nname = \"bank\"\ntenant = \"house\"\n\
    account = [{ username = \"bank-1\", password = \"canary-bank\" }]\n\
    [trunk.access]\nnetworks = [\"127.0.0.6/32\"]\nauth = [\"digest\"]\ndigest = [\"SHA-256\", \"MD5\"]\n\n\
    [[number]]\ne164 = \"+31207000001\"\ntrunk = \"shop\"\n";

const TO: &str = "<sip:+493012345678@127.0.0.1>";

async fn bench() -> (Bench, Peer) {
    (Bench::with(ACCOUNTS).await, Peer::bind("127.0.0.5:0".parse().expect("literal")).await)
}

/// A field of a challenge, without quotes.
fn field<'a>(challenge: &'a str, name: &str) -> &'a str {
    let found = challenge
        .split(", ")
        .find_map(|it| it.trim_start_matches("Digest ").strip_prefix(name)?.strip_prefix('='));
    found.unwrap_or_else(|| panic!("no {name} in {challenge}")).trim_matches('"')
}

/// Who answers a challenge.
#[derive(Clone, Copy)]
struct User<'a> {
    name: &'a str,
    password: &'a str,
}

const SHOP: User<'_> = User { name: "shop-1", password: "canary-shop" };

impl User<'_> {
    /// The line that answers a challenge, for this method, as the `count`th use of its nonce.
    fn answer(&self, challenge: &str, method: &str, count: u32) -> String {
        let algorithm = field(challenge, "algorithm");
        let offered = Offered {
            realm: field(challenge, "realm").as_bytes(),
            nonce: field(challenge, "nonce").as_bytes(),
            algorithm: Some(algorithm.as_bytes()),
            qop: Some(b"auth"),
            opaque: None,
            stale: false,
        };
        let uri = "sip:+493012345678@127.0.0.1";
        let ha1 = Ha1::new(self.name, field(challenge, "realm"), self.password);
        let said =
            auth::respond(self.name, &ha1, &offered, method.as_bytes(), uri.as_bytes(), count, b"0a4f113b")
                .expect("a known challenge");
        let header = if method == "REGISTER" { "Authorization" } else { "Proxy-Authorization" };
        format!(
            "{header}: Digest username=\"{}\", realm=\"{}\", nonce=\"{}\", uri=\"{uri}\", algorithm={algorithm}, \
             response=\"{}\", qop=auth, nc={count:08x}, cnonce=\"0a4f113b\"\r\n",
            self.name,
            field(challenge, "realm"),
            field(challenge, "nonce"),
            String::from_utf8_lossy(&said.response),
        )
    }
}

/// A request with further lines.
fn with(request: &str, lines: &str) -> String {
    request.replacen("Content-Length:", &format!("{lines}Content-Length:"), 1)
}

fn invite(name: &str, cseq: u32, from: SocketAddr) -> String {
    request("INVITE", name, cseq, from, TO, "")
}

/// FR4: no credentials, then the right ones.
#[tokio::test]
async fn fr4_an_invite_is_challenged_without_a_trace_and_let_in_with_the_right_digest() {
    let (bench, shop) = bench().await;
    shop.send(bench.sip, &invite("first", 1, shop.at)).await;
    let answer = shop.expect("SIP/2.0 407").await;
    assert_eq!(
        (bench.node.calls(), bench.node.counters().invites.load(std::sync::atomic::Ordering::Relaxed)),
        (0, 0)
    );
    let challenge = header(&answer, "Proxy-Authenticate");
    assert_eq!((field(challenge, "realm"), field(challenge, "algorithm")), ("localhost", "MD5"));
    assert!(!challenge.contains("stale"), "{challenge}");

    let line = SHOP.answer(challenge, "INVITE", 1);
    shop.send(bench.sip, &with(&invite("first", 2, shop.at), &line)).await;
    let passed = bench.callee.expect("INVITE ").await;
    // I-35: what the caller proved itself with goes no further.
    assert!(!passed.contains("Authorization") && !passed.contains("shop-1"), "{passed}");
    assert!(bench.node.cluster().read(|state| state.nonces()) == 1);
}

/// FR5: the same use of a nonce, shown again for another call.
#[tokio::test]
async fn fr5_a_use_of_a_nonce_counts_once_and_the_next_one_again() {
    let (bench, shop) = bench().await;
    shop.send(bench.sip, &invite("asks", 1, shop.at)).await;
    let answer = shop.expect("SIP/2.0 407").await;
    let challenge = header(&answer, "Proxy-Authenticate").to_owned();
    let line = SHOP.answer(&challenge, "INVITE", 1);
    shop.send(bench.sip, &with(&invite("asks", 2, shop.at), &line)).await;
    bench.callee.expect("INVITE ").await;

    shop.send(bench.sip, &with(&invite("again", 1, shop.at), &line)).await;
    let answer = shop.expect("SIP/2.0 407").await;
    assert!(header(&answer, "Proxy-Authenticate").contains("stale=true"), "{answer}");
    assert_eq!(bench.node.calls(), 1);
    // A device that goes on counting needs no new challenge.
    shop.send(bench.sip, &with(&invite("more", 1, shop.at), &SHOP.answer(&challenge, "INVITE", 2))).await;
    bench.callee.expect("INVITE ").await;
    assert_eq!(bench.node.calls(), 2);
}

/// Contract: no credentials or wrong ones: 407; the same again, then 403. A name that nobody has is told from one that
/// somebody has by nothing (threat 2).
#[tokio::test]
async fn wrong_credentials_are_asked_again_then_refused_whoever_they_name() {
    let (bench, shop) = bench().await;
    let mut seen = Vec::new();
    for name in ["shop-1", "nobody"] {
        let user = User { name, password: "wrong" };
        shop.send(bench.sip, &invite(name, 1, shop.at)).await;
        let first = shop.expect("SIP/2.0 407").await;
        let line = user.answer(header(&first, "Proxy-Authenticate"), "INVITE", 1);
        shop.send(bench.sip, &with(&invite(name, 2, shop.at), &line)).await;
        let second = shop.expect("SIP/2.0 407").await;
        let line = user.answer(header(&second, "Proxy-Authenticate"), "INVITE", 1);
        shop.send(bench.sip, &with(&invite(name, 3, shop.at), &line)).await;
        let third = shop.expect("SIP/2.0 403").await;
        let shape = |text: &str| {
            text.lines().filter(|line| !line.contains(name)).map(|line| line.len()).collect::<Vec<_>>()
        };
        seen.push([shape(&first), shape(&second), shape(&third)]);
    }
    assert_eq!(seen.first(), seen.last());
    assert_eq!(bench.node.calls(), 0);
    assert_eq!(bench.node.counters().wrong_credentials.load(std::sync::atomic::Ordering::Relaxed), 4);
}

/// KW11: right credentials from a source that only another trunk admits: 403, and nothing before.
#[tokio::test]
async fn kw11_right_credentials_from_a_foreign_source_are_refused() {
    let (bench, shop) = bench().await;
    let bank = User { name: "bank-1", password: "canary-bank" };
    shop.send(bench.sip, &invite("foreign", 1, shop.at)).await;
    let answer = shop.expect("SIP/2.0 407").await;
    let line = bank.answer(header(&answer, "Proxy-Authenticate"), "INVITE", 1);
    shop.send(bench.sip, &with(&invite("foreign", 2, shop.at), &line)).await;
    let answer = shop.expect("SIP/2.0 403").await;
    assert!(header(&answer, "Warning").contains("access.networks"), "{answer}");
    // Its twin: with a wrong password the name is worth nothing.
    let wrong = User { password: "wrong", ..bank };
    shop.send(bench.sip, &invite("foreign2", 1, shop.at)).await;
    let answer = shop.expect("SIP/2.0 407").await;
    let line = wrong.answer(header(&answer, "Proxy-Authenticate"), "INVITE", 1);
    shop.send(bench.sip, &with(&invite("foreign2", 2, shop.at), &line)).await;
    shop.expect("SIP/2.0 407").await;
}

/// RFC 8760 §2.4: in the order of `access.digest`, and the answer may be in any of them.
#[tokio::test]
async fn both_algorithms_are_offered_in_order_and_taken() {
    let (bench, _) = bench().await;
    let bank = Peer::bind("127.0.0.6:0".parse().expect("literal")).await;
    let user = User { name: "bank-1", password: "canary-bank" };
    for (name, place) in [("sha", 0), ("md5", 1)] {
        bank.send(bench.sip, &invite(name, 1, bank.at)).await;
        let answer = bank.expect("SIP/2.0 407").await;
        let offers: Vec<&str> =
            answer.lines().filter_map(|line| line.strip_prefix("Proxy-Authenticate: ")).collect();
        assert_eq!(offers.iter().map(|it| field(it, "algorithm")).collect::<Vec<_>>(), ["SHA-256", "MD5"]);
        let line = user.answer(offers[place], "INVITE", 1);
        bank.send(bench.sip, &with(&invite(name, 2, bank.at), &line)).await;
        // No caller ID of its own, but past the digest.
        let answer = bank.expect("SIP/2.0 ").await;
        assert!(!answer.starts_with("SIP/2.0 407"), "{answer}");
    }
}

fn registration(name: &str, cseq: u32, from: SocketAddr, lines: &str) -> String {
    let request = request("REGISTER", name, cseq, from, "<sip:shop-1@localhost>", "");
    let own = format!("Contact: <sip:caller@{from}>\r\n");
    with(&request.replace(&own, ""), lines)
}

/// Registers and gives the answer.
async fn register(bench: &Bench, shop: &Peer, name: &str, lines: &str) -> String {
    shop.send(bench.sip, &registration(name, 1, shop.at, lines)).await;
    let answer = shop.expect("SIP/2.0 401").await;
    let line = SHOP.answer(header(&answer, "WWW-Authenticate"), "REGISTER", 1);
    shop.send(bench.sip, &registration(name, 2, shop.at, &format!("{line}{lines}"))).await;
    shop.expect("SIP/2.0 ").await
}

fn shop_binding(bench: &Bench) -> Option<std::sync::Arc<cluster::Binding>> {
    let name = trunk::Name::new("shop").expect("a name");
    bench.node.cluster().read(|state| state.binding(&name, 1).cloned())
}

/// RFC 3261 §10.2, §10.3: bound, asked for, replaced, removed; and calls go where it is.
#[tokio::test]
async fn a_registered_account_gets_the_calls_of_its_trunk() {
    let (bench, shop) = bench().await;
    let contact = format!("Contact: <sip:desk@{}>;expires=600\r\n", shop.at);
    let answer = register(&bench, &shop, "reg", &contact).await;
    assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
    assert_eq!(header(&answer, "Contact"), format!("<sip:desk@{}>;expires=600", shop.at));
    let bound = shop_binding(&bench).expect("registered");
    assert_eq!((bound.username.as_str(), bound.place.behind_nat), ("shop-1", false));

    let answer = register(&bench, &shop, "query", "").await;
    assert!(header(&answer, "Contact").starts_with(&format!("<sip:desk@{}>;expires=", shop.at)), "{answer}");

    let call = request("INVITE", "call", 1, bench.caller.at, "<sip:+31207000001@127.0.0.1>", "");
    let call = call.replacen("sip:+493012345678@", "sip:+31207000001@", 1);
    bench.caller.send(bench.sip, &call).await;
    let rings = shop.expect("INVITE ").await;
    // The Request-URI is the Contact, To says the number.
    assert!(rings.starts_with(&format!("INVITE sip:desk@{} SIP/2.0", shop.at)), "{rings}");
    assert_eq!(header(&rings, "To"), "<sip:+31207000001@localhost>");

    let answer = register(&bench, &shop, "star", "Contact: *\r\nExpires: 0\r\n").await;
    assert!(answer.starts_with("SIP/2.0 200") && !answer.contains("\r\nContact:"), "{answer}");
    assert!(shop_binding(&bench).is_none());
    let call = call.replace("call@test", "call2@test").replace("-call-", "-call2-");
    bench.caller.send(bench.sip, &call).await;
    bench.caller.expect("SIP/2.0 480").await;
}

/// RFC 3261 §10.2.8, contract: too brief is 423, too long is less, and behind NAT a minute at most.
#[tokio::test]
async fn bindings_last_as_long_as_the_trunk_lets_them() {
    let (bench, shop) = bench().await;
    let direct = |expires| format!("Contact: <sip:desk@{}>;expires={expires}\r\n", shop.at);
    let answer = register(&bench, &shop, "brief", &direct(29)).await;
    assert!(answer.starts_with("SIP/2.0 423"), "{answer}");
    assert_eq!(header(&answer, "Min-Expires"), "30");
    assert!(shop_binding(&bench).is_none());
    let answer = register(&bench, &shop, "long", &direct(86_400)).await;
    assert!(header(&answer, "Contact").ends_with(";expires=3600"), "{answer}");
    let answer =
        register(&bench, &shop, "nat", "Contact: <sip:desk@192.168.1.9:5060>\r\nExpires: 600\r\n").await;
    assert!(header(&answer, "Contact").ends_with(";expires=60"), "{answer}");
    let bound = shop_binding(&bench).expect("registered");
    assert!(bound.place.behind_nat);
    assert_eq!((bound.place.host.ip(), bound.place.port), (Some(shop.at.ip()), Some(shop.at.port())));
}

/// RFC 3261 §10.3 step 6: `*` stands alone and ends everything. Step 4: nobody registers another's address.
#[tokio::test]
async fn what_makes_no_sense_or_is_another_s_is_refused() {
    let (bench, shop) = bench().await;
    for (name, lines) in [
        ("star", "Contact: *\r\nExpires: 60\r\n"),
        ("two", "Contact: *\r\nContact: <sip:a@127.0.0.5>\r\nExpires: 0\r\n"),
        ("tel", "Contact: <tel:+31201234567>\r\n"),
    ] {
        let answer = register(&bench, &shop, name, lines).await;
        assert!(answer.starts_with("SIP/2.0 400"), "{name}: {answer}");
    }
    let other =
        registration("other", 1, shop.at, "").replace("<sip:shop-1@localhost>", "<sip:shop-2@localhost>");
    shop.send(bench.sip, &other).await;
    let answer = shop.expect("SIP/2.0 401").await;
    let line = SHOP.answer(header(&answer, "WWW-Authenticate"), "REGISTER", 1);
    shop.send(bench.sip, &with(&other.replace("REGISTER\r\n", "REGISTER \r\n").replace("-1;", "-2;"), &line))
        .await;
    let answer = shop.expect("SIP/2.0 403").await;
    assert!(header(&answer, "Warning").contains("access.register"), "{answer}");
}

/// A copy of a REGISTER is answered as the first was; it is not a second use of its nonce.
#[tokio::test]
async fn a_copy_of_a_register_gets_the_same_answer() {
    let (bench, shop) = bench().await;
    let contact = format!("Contact: <sip:desk@{}>\r\n", shop.at);
    shop.send(bench.sip, &registration("copy", 1, shop.at, &contact)).await;
    let answer = shop.expect("SIP/2.0 401").await;
    let line = SHOP.answer(header(&answer, "WWW-Authenticate"), "REGISTER", 1);
    let message = registration("copy", 2, shop.at, &format!("{line}{contact}"));
    shop.send(bench.sip, &message).await;
    let first = shop.expect("SIP/2.0 200").await;
    shop.send(bench.sip, &message).await;
    assert_eq!(shop.expect("SIP/2.0 ").await, first);
    // The same use in another request is another matter.
    let other = message.replace("-copy-2", "-copy-3");
    shop.send(bench.sip, &other).await;
    let answer = shop.expect("SIP/2.0 401").await;
    assert!(header(&answer, "WWW-Authenticate").contains("stale=true"), "{answer}");
}

/// I-39: what is kept of a password is not the password, and nothing that can be asked for shows it.
#[tokio::test]
async fn i39_no_password_is_in_the_state_or_what_is_printed_of_it() {
    let (bench, _) = bench().await;
    let resources = bench.node.cluster().read(|state| state.resources().clone());
    let mut bytes = Vec::new();
    let state = bench.node.cluster().read(Clone::clone);
    state.into_snapshot(Vec::new()).for_each(|chunk| bytes.extend(chunk));
    let has = |bytes: &[u8], word: &[u8]| bytes.windows(word.len()).any(|window| window == word);
    assert!(has(&bytes, b"shop-1"), "the snapshot holds the account");
    assert!(!has(&bytes, b"canary"), "and not its password");
    let printed = format!("{resources:?}");
    assert!(printed.contains("***") && !printed.contains("canary"));
    let toml = config::resources_to_toml(&resources.all(trunk::Kind::Trunk));
    assert!(toml.contains("password_stored = true") && !toml.contains("canary"), "{toml}");
    // What was printed can be applied again, and changes nothing.
    let source = config::Source { path: "again.toml".to_owned(), text: toml };
    let set =
        config::read_resources(&[source], config::Notation::Toml, &config::Passwords::Refuse).expect("valid");
    let kept = bench.node.with_passwords_kept(set.resources);
    let applied = bench.node.cluster().put(kept).await.expect("not fenced").expect("applied");
    assert!(applied.iter().all(|one| one.change == trunk::Change::Unchanged), "{applied:?}");
}

/// Threat 3: who guesses is not heard for a while, not even with the right password; another source is, and so is one
/// that the trunk names.
#[tokio::test]
async fn who_guesses_is_banned_and_nobody_else() {
    let open = ACCOUNTS.replace("networks = [\"127.0.0.5/32\"]\n", "");
    for (accounts, is_banned) in [(open.as_str(), true), (ACCOUNTS, false)] {
        let bench = Bench::with(accounts).await;
        let peer = async |at: &str| Peer::bind(at.parse().expect("literal")).await;
        let (guesser, other) = (peer("127.0.0.5:0").await, peer("127.0.0.7:0").await);
        let wrong = User { password: "wrong", ..SHOP };
        for guess in 0..11 {
            let name = format!("guess{guess}");
            guesser.send(bench.sip, &invite(&name, 1, guesser.at)).await;
            let asked = guesser.expect("SIP/2.0 407").await;
            let line = wrong.answer(header(&asked, "Proxy-Authenticate"), "INVITE", 1);
            guesser.send(bench.sip, &with(&invite(&name, 2, guesser.at), &line)).await;
            guesser.expect("SIP/2.0 407").await;
        }
        let counters = bench.node.counters();
        let bans = || counters.bans.load(std::sync::atomic::Ordering::Relaxed);
        assert_eq!(bans(), u64::from(is_banned));
        guesser.send(bench.sip, &invite("right", 1, guesser.at)).await;
        if is_banned {
            bench.until("it is not heard", || counters.drops(crate::metrics::Drop::Banned) == 1).await;
            // FL24: named by its trunk, it is heard at once.
            bench.apply(ACCOUNTS).await;
            guesser.send(bench.sip, &invite("named", 1, guesser.at)).await;
            guesser.expect("SIP/2.0 407").await;
            bench.apply(accounts).await;
            other.send(bench.sip, &invite("other", 1, other.at)).await;
            other.expect("SIP/2.0 407").await;
        } else {
            guesser.expect("SIP/2.0 407").await;
        }
    }
}

/// Threat 1: a trunk whose accounts may come from anywhere tells a scanner nothing; who wants something is asked who it is.
#[tokio::test]
async fn a_trunk_that_is_open_to_any_source_answers_no_options() {
    let bench = Bench::with(&ACCOUNTS.replace("networks = [\"127.0.0.5/32\"]\n", "")).await;
    let stranger = Peer::bind("127.0.0.7:0".parse().expect("literal")).await;
    for (name, to) in [("options", "<sip:127.0.0.1>"), ("tagged", "<sip:127.0.0.1>;tag=x")] {
        stranger.send(bench.sip, &request("OPTIONS", name, 1, stranger.at, to, "")).await;
    }
    stranger.send(bench.sip, "OPTIONS junk\r\n\r\n").await;
    let counters = bench.node.counters();
    bench.until("three are dropped", || counters.drops(crate::metrics::Drop::UnknownSource) == 3).await;
    assert!(stranger.is_silent());
    stranger.send(bench.sip, &invite("asks", 1, stranger.at)).await;
    stranger.expect("SIP/2.0 407").await;
    // The twin: from an address that a trunk names.
    bench
        .caller
        .send(bench.sip, &request("OPTIONS", "named", 1, bench.caller.at, "<sip:127.0.0.1>", ""))
        .await;
    bench.caller.expect("SIP/2.0 200").await;
}
