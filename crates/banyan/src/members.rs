//! `node status|join|drain|resume|remove`: the cluster's members.

use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::{Format, NodeCommand};
use crate::client::Client;
use crate::failure::{Failure, Result};
use crate::output::{self, Column, say};
use crate::resources::{column, escape};

/// `banyan node`.
pub fn run(client: &Client, command: &NodeCommand) -> Result {
    match command {
        NodeCommand::Status { node: None, output } => status(client, *output),
        NodeCommand::Status { node: Some(node), output } => match client.find(&path(node, ""))? {
            Some(found) => output::item(&found, *output, COLUMNS),
            None => Err(unknown(node)),
        },
        NodeCommand::Join { node } => join(client, node),
        NodeCommand::Drain { node, timeout } => drain(client, node, *timeout),
        NodeCommand::Resume { node } => {
            client.order(&path(node, "/resume"))?;
            say(&format!("node {node} takes homes and calls again"));
            Ok(())
        }
        NodeCommand::Remove { node, force } => {
            client.delete(&path(node, if *force { "?force=true" } else { "" }))?;
            say(&format!("node {node} removed"));
            Ok(())
        }
    }
}

fn status(client: &Client, format: Format) -> Result {
    let status = client.get("/v1/status")?;
    let nodes = status.get("nodes").and_then(Value::as_array).cloned().unwrap_or_default();
    match format {
        Format::Table => {
            say(&headline(&status));
            say(&format!("\n{}", output::table(&nodes, COLUMNS)));
        }
        Format::Json => output::item(&status, format, COLUMNS)?,
        Format::Csv | Format::Toml => output::list(&nodes, format, COLUMNS)?,
    }
    // Scripts ask this before they go on.
    if status.get("quorum").and_then(Value::as_bool) == Some(true) { Ok(()) } else { Err(Failure::Said(1)) }
}

/// The cluster in a line or two.
fn headline(status: &Value) -> String {
    let text = |name: &str| status.get(name).map(ToString::to_string).unwrap_or_default();
    let message = status.get("message").and_then(Value::as_str).unwrap_or_default();
    let leader = match status.get("leader").and_then(Value::as_u64) {
        Some(leader) => format!("node {leader} leads in term {}", text("term")),
        None => "nobody leads".to_owned(),
    };
    format!("{message}\n{leader}; {} home(s), {} call(s)", text("homes"), text("calls"))
}

fn join(client: &Client, node: &str) -> Result {
    let wrong =
        || Failure::Usage(format!("{node}: a node is written as ID@ADDR:PORT, such as 4@192.0.2.4:7000"));
    let (id, address) = node.split_once('@').ok_or_else(wrong)?;
    let id: u64 = id.parse().ok().filter(|id| *id > 0).ok_or_else(wrong)?;
    let address = resolve(address).ok_or_else(wrong)?;
    let body = json!({"id": id, "address": address}).to_string();
    let joined = client.post("/v1/nodes", "application/json", body.as_bytes())?;
    let votes = joined.get("voter").and_then(Value::as_bool) == Some(true);
    say(&format!("node {id} joined{}", if votes { " and votes" } else { "; it learns and does not vote" }));
    Ok(())
}

/// A name is looked up here, where it was typed.
fn resolve(address: &str) -> Option<String> {
    use std::net::ToSocketAddrs;
    address.to_socket_addrs().ok()?.next().map(|found| found.to_string())
}

fn drain(client: &Client, node: &str, timeout_s: u64) -> Result {
    let mut row = client.order(&path(node, "/drain"))?;
    let count = |row: &Value, name: &str| row.get(name).and_then(Value::as_u64).unwrap_or(0);
    let mut polls = 0;
    loop {
        let (homes, calls) = (count(&row, "floating_homes"), count(&row, "calls"));
        if homes == 0 && calls == 0 {
            say(&format!("node {node} is drained"));
            return Ok(());
        }
        if timeout_s == 0 {
            say(&format!("node {node} drains: {homes} floating home(s) and {calls} call(s) are left"));
            return Ok(());
        }
        if polls >= timeout_s * POLLS_PER_S {
            return Err(Failure::No(format!(
                "node {node} still has {homes} floating home(s) and {calls} call(s) after {timeout_s} s. It takes no \
                 new ones; those that ring, or have a party with media.reinvite = \"never\", end by themselves"
            )));
        }
        polls += 1;
        sleep(POLL);
        row = client.find(&path(node, ""))?.ok_or_else(|| unknown(node))?;
    }
}

fn path(node: &str, rest: &str) -> String {
    format!("/v1/nodes/{}{rest}", escape(node))
}

fn unknown(node: &str) -> Failure {
    Failure::No(format!("no node is called {node}; `banyan get nodes` lists them"))
}

const POLLS_PER_S: u64 = 5;
const POLL: Duration = Duration::from_millis(1_000 / POLLS_PER_S);

const COLUMNS: &[Column] = &[
    column("ID", "id"),
    column("NAME", "name"),
    column("STATE", "state"),
    column("ROLE", "role"),
    column("LIGHT", "light"),
    column("LEASE", "lease"),
    column("APPLIED", "applied"),
    column("LAG", "lag"),
    column("COMMIT P50", "commit_p50_ms"),
    column("P99", "commit_p99_ms"),
    column("HOMES", "homes"),
    column("CALLS", "calls"),
    column("VERSION", "version"),
    column("ADDRESS", "cluster_address"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headline_says_who_leads_or_that_nobody_does() {
        let mut status = json!({
            "message": "all voters answer", "leader": 2, "term": 7, "homes": 6, "calls": 41, "quorum": true,
        });
        assert_eq!(headline(&status), "all voters answer\nnode 2 leads in term 7; 6 home(s), 41 call(s)");
        status["leader"] = Value::Null;
        assert_eq!(headline(&status), "all voters answer\nnobody leads; 6 home(s), 41 call(s)");
    }

    #[test]
    fn a_name_is_resolved_and_what_is_no_address_is_not() {
        assert_eq!(resolve("127.0.0.1:7000"), Some("127.0.0.1:7000".to_owned()));
        assert_eq!(resolve("127.0.0.1"), None);
    }
}
