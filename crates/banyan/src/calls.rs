//! `calls`, `call show`, `call hangup`: what is going on.

use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use crate::cli::{CallCommand, Format};
use crate::client::Client;
use crate::failure::{Failure, Result};
use crate::output::{self, say};
use crate::resources::{CALLS, escape};

/// `banyan calls`.
pub fn calls(client: &Client, watch: bool, format: Format) -> Result {
    loop {
        let answer = client.get("/v1/calls")?;
        let items = answer.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
        if !watch {
            return output::list(&items, format, CALLS);
        }
        // Clears the screen and goes home, as `watch` does.
        let count = items.len();
        say(&format!("\x1b[2J\x1b[H{count} call(s); Ctrl-C ends\n\n{}", output::table(&items, CALLS)));
        sleep(Duration::from_secs(1));
    }
}

/// `banyan call`.
pub fn call(client: &Client, command: &CallCommand) -> Result {
    match command {
        CallCommand::Show { id, output: format } => {
            match client.find(&format!("/v1/calls/{}", escape(id)))? {
                Some(call) => output::item(&call, *format, CALLS),
                None => Err(gone(id)),
            }
        }
        CallCommand::Hangup { id } => {
            if client.find(&format!("/v1/calls/{}", escape(id)))?.is_none() {
                return Err(gone(id));
            }
            client.delete(&format!("/v1/calls/{}", escape(id)))?;
            say(&format!("call {id} is being ended"));
            Ok(())
        }
    }
}

fn gone(id: &str) -> Failure {
    Failure::No(format!(
        "no call has the id {id}; `banyan calls` lists those that live, `banyan get cdrs` those that ended"
    ))
}
