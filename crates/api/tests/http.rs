//! The paths of the contract, asked over a socket of a node that runs.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use api::{Options, ServeError};
use call::NodeId;
use node::disk::FileDisk;
use node::relay::SocketRelay;
use node::world::World;
use node::{Node, NodeConfig, SystemClock};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use trunk::Transport;

struct Bench {
    at: SocketAddr,
    token: Option<&'static str>,
    _server: api::Server,
    _directory: tempfile::TempDir,
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }
}

impl Bench {
    async fn start(token: Option<&'static str>, per_minute: u32) -> Bench {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let clock = Arc::new(SystemClock::start());
        let disk = FileDisk::open(directory.path()).expect("the directory is ours");
        let relay = SocketRelay::start(1, clock.clone()).expect("a thread");
        let options = Options {
            listen: "127.0.0.1:0".parse().expect("literal"),
            token: token.map(str::to_owned),
            per_minute,
            clock: clock.clone(),
        };
        let bound = api::bind(options).expect("a free port");
        let world = World::system(clock, Arc::new(disk), Arc::new(relay));
        let listen = vec![(Transport::Udp, "127.0.0.1:0".parse().expect("literal"))];
        let node = Node::start(world, NodeConfig::new(NodeId(1), "a", listen)).await.expect("a node");
        let server = bound.serve(Arc::new(OnceLock::from(node))).expect("a thread");
        Bench { at: server.local(), token, _server: server, _directory: directory }
    }

    async fn ask(&self, method: &str, path: &str, kind: &str, body: &str) -> Answer {
        let token = self.token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        self.raw(&format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\n{token}Content-Type: {kind}\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            self.at,
            body.len()
        ))
        .await
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "text/plain", "").await
    }

    async fn raw(&self, request: &str) -> Answer {
        let mut stream = TcpStream::connect(self.at).await.expect("it listens");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("an answer in UTF-8");
        let (head, body) = text.split_once("\r\n\r\n").expect("a header section");
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("a status");
        Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }
}

const FILE: &str = "[[tenant]]\nname = \"house\"\n\n[[trunk]]\nname = \"office\"\ntenant = \"house\"\n\
                    [trunk.access]\nnetworks = [\"192.0.2.0/24\"]\n\n\
                    [[number]]\ne164 = \"+31201234567\"\ntrunk = \"office\"\n";

#[tokio::test]
async fn a_file_is_applied_whole_shown_and_taken_away_in_order() {
    let bench = Bench::start(None, 0).await;
    let rehearsal = bench.ask("POST", "/v1/apply?dry_run=true", "application/toml", FILE).await;
    assert_eq!(rehearsal.json()["results"][1]["change"], "created");
    assert_eq!(bench.get("/v1/trunks").await.json(), json!({"items": [], "next": null}));

    let applied = bench.ask("POST", "/v1/apply", "application/toml", FILE).await;
    let results = applied.json()["results"].clone();
    assert_eq!(results[0], json!({"kind": "tenant", "name": "house", "change": "created"}));
    let again = bench.ask("POST", "/v1/apply", "application/toml", FILE).await.json();
    assert_eq!(again["results"][0]["change"], "unchanged");
    assert_eq!(bench.get("/v1/trunks/office").await.json()["tenant"], "house");
    assert_eq!(bench.get("/v1/trunks/office?describe=true").await.json()["in_use"]["calls"], 0);
    let toml = bench.get("/v1/numbers?format=toml").await.json()["toml"].clone();
    assert!(toml.as_str().is_some_and(|text| text.contains("[[number]]")));

    // Others name it: refused, and said which.
    let refused = bench.ask("DELETE", "/v1/trunks/office", "text/plain", "").await;
    assert_eq!(refused.status, 409);
    assert!(refused.json()["detail"].as_str().is_some_and(|text| text.contains("+31201234567")));
    for path in ["/v1/numbers/%2B31201234567", "/v1/trunks/office", "/v1/tenants/house"] {
        assert_eq!(bench.ask("DELETE", path, "text/plain", "").await.status, 200, "{path}");
    }
    assert_eq!(bench.get("/v1/trunks/office").await.status, 404);
}

#[tokio::test]
async fn one_resource_is_put_by_its_name() {
    let bench = Bench::start(None, 0).await;
    let body = json!({"name": "house", "domain": "house.example"}).to_string();
    let put = bench.ask("PUT", "/v1/tenants/house", "application/json", &body).await;
    assert_eq!(put.json()["results"][0]["change"], "created", "{}", put.body);
    let other = bench.ask("PUT", "/v1/tenants/barn", "application/json", &body).await;
    assert_eq!(other.status, 400);
}

#[tokio::test]
async fn mistakes_are_problem_documents_with_their_places() {
    let bench = Bench::start(None, 0).await;
    let wrong = bench.ask("POST", "/v1/apply", "application/toml", "[[tenant]]\nnmae = \"x\"\n").await;
    assert_eq!(wrong.status, 422);
    assert!(wrong.head.contains("application/problem+json"));
    let problems = wrong.json()["problems"].clone();
    assert!(problems[0].as_str().is_some_and(|line| line.starts_with("body.toml:")), "{problems}");
    // A name that nothing has: nothing is applied.
    let dangling = "[[number]]\ne164 = \"+31201234567\"\ntrunk = \"nobody\"\n";
    assert_eq!(bench.ask("POST", "/v1/apply", "application/toml", dangling).await.status, 422);
    assert_eq!(bench.get("/v1/numbers").await.json()["items"], json!([]));
    for (path, status) in [("/nothing", 404), ("/v1/sheep", 404), ("/v1/cdrs?since=yesterday", 400)] {
        let answer = bench.get(path).await;
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.json()["status"], status);
    }
    assert_eq!(bench.ask("PATCH", "/v1/calls", "text/plain", "").await.status, 405);
    assert_eq!(bench.ask("DELETE", "/v1/calls/0000010000000001", "text/plain", "").await.status, 404);
}

#[tokio::test]
async fn what_goes_on_can_be_asked() {
    let bench = Bench::start(None, 0).await;
    assert_eq!(bench.get("/livez").await.status, 200);
    assert_eq!(bench.get("/readyz").await.status, 200);
    for path in ["/v1/calls", "/v1/cdrs"] {
        assert_eq!(bench.get(path).await.json(), json!({"items": [], "next": null}), "{path}");
    }
    let nodes = bench.get("/v1/nodes").await.json();
    assert_eq!((&nodes["items"][0]["name"], &nodes["items"][0]["state"]), (&json!("a"), &json!("ready")));
    assert_eq!(bench.get("/v1/nodes/a").await.json()["id"], 1);
    assert_eq!(bench.get("/v1/homes/a").await.json()["holder"], 1);
    assert_eq!(bench.get("/v1/profiles/generic").await.json()["name"], "generic");
    let metrics = bench.get("/metrics").await.body;
    for name in ["banyan_calls ", "banyan_log_syncs_total ", "banyan_log_sync_seconds_bucket{le=\"+Inf\"} "] {
        assert!(metrics.contains(name), "{name}");
    }
    let document = bench.get("/openapi.json").await.json();
    assert!(document["paths"]["/v1/apply"]["post"].is_object());
    let page = bench.get("/").await;
    assert!(page.body.contains("dashboard.js") && page.head.contains("content-security-policy"));
    assert!(!page.body.contains("<script>"), "no script stands in the page itself");
}

#[tokio::test]
async fn with_a_token_nothing_but_the_probes_is_open() {
    let bench = Bench::start(Some("secret"), 100).await;
    assert_eq!(bench.get("/v1/trunks").await.status, 200);
    let stranger = Bench { token: Some("guess"), ..bench };
    for path in ["/v1/trunks", "/metrics", "/", "/openapi.json", "/nothing"] {
        assert_eq!(stranger.get(path).await.status, 401, "{path}");
    }
    for path in ["/livez", "/readyz"] {
        assert_eq!(stranger.get(path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn beyond_its_rate_a_token_waits() {
    let bench = Bench::start(Some("secret"), 3).await;
    for left in [2, 1, 0] {
        let answer = bench.get("/v1/calls").await;
        assert_eq!(answer.status, 200);
        assert!(answer.head.contains(&format!("x-ratelimit-remaining: {left}")), "{}", answer.head);
    }
    let answer = bench.get("/v1/calls").await;
    assert_eq!(answer.status, 429);
    assert!(answer.head.contains("retry-after: "));
}

#[tokio::test]
async fn beyond_loopback_a_token_is_demanded_at_the_start() {
    let options = Options {
        listen: "0.0.0.0:0".parse().expect("literal"),
        token: None,
        per_minute: 1,
        clock: Arc::new(SystemClock::start()),
    };
    assert!(matches!(api::bind(options), Err(ServeError::TokenNeeded(_))));
}
