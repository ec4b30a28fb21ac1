//! What an operator does with a cluster, `banyan node …`, and the load under which he does it.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::node;
use crate::trio::{Trio, items};

impl Trio {
    /// `banyan node …` asked of a node: its exit code, and what it said.
    ///
    /// # Panics
    /// When the binary can't be started.
    pub fn order(&self, of: u8, arguments: &[&str]) -> (i32, String) {
        let output = self.node(of).banyan([&["node"], arguments].concat());
        let words = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&words).into_owned())
    }

    /// The same, which must be done.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn ordered(&self, of: u8, arguments: &[&str]) -> String {
        let (code, words) = self.order(of, arguments);
        assert_eq!(code, 0, "banyan node {}: {words}", arguments.join(" "));
        words
    }

    /// How a node is, by another's word; null if that one does not know it, or does not answer.
    pub fn row(&self, of: u8, id: u8) -> Value {
        let rows = items(self.node(of), "nodes");
        let found = rows.into_iter().find(|row| row.get("id").and_then(Value::as_u64) == Some(id.into()));
        found.unwrap_or_default()
    }

    /// How many floating homes a node holds, by another's word.
    pub fn floating(&self, of: u8, id: u8) -> u64 {
        self.row(of, id).get("floating_homes").and_then(Value::as_u64).unwrap_or(0)
    }

    /// Where the PBX of [`office`] calls from and is called.
    pub fn pbx(&self) -> SocketAddr {
        self.peer(202)
    }
}

/// A trunk with a number, whose PBX calls itself: its calls to the number come back to it.
pub fn office(trio: &Trio) -> String {
    let pbx = trio.pbx();
    format!(
        "[[tenant]]\nname = \"house\"\n\n[[trunk]]\nname = \"office\"\ntenant = \"house\"\n\
         default_caller_id = \"{NUMBER}\"\n\n[trunk.access]\nnetworks = [\"{}/32\"]\nauth = [\"address\"]\n\n\
         [trunk.limits]\nconcurrent = 10000\nper_minute = 1000000\nper_hour = 1000000\nper_day = 1000000\n\
         per_week = 1000000\n\n[trunk.delivery]\ntargets = [\"sip:{pbx}\"]\n\n\
         [[number]]\ne164 = \"{NUMBER}\"\ntrunk = \"office\"\n",
        pbx.ip()
    )
}

/// A run of `banyan load`: calls of a PBX to itself.
#[derive(Debug)]
pub struct Load {
    child: Option<Child>,
}

impl Load {
    /// Begins to place calls at a home.
    ///
    /// # Panics
    /// When the binary can't be started.
    pub fn start(target: SocketAddr, pbx: SocketAddr, calls: (u32, u32), hold_s: f64) -> Self {
        Self::start_to(NUMBER, target, pbx, calls, hold_s)
    }

    /// The same to another number.
    ///
    /// # Panics
    /// As [`Load::start`].
    pub fn start_to(
        number: &str,
        target: SocketAddr,
        pbx: SocketAddr,
        (calls, rate): (u32, u32),
        hold_s: f64,
    ) -> Self {
        let child = Command::new(node::binary())
            .args(["load", "--target", &target.to_string(), "--listen", &pbx.to_string()])
            .args(["--calls", &calls.to_string(), "--rate", &rate.to_string(), "--hold", &hold_s.to_string()])
            .args(["--to", number, "--from", number, "-o", "json"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        Load { child: Some(child.expect("the binary starts; build it with `cargo build -p banyan`")) }
    }

    /// Places no more calls; those that are up end as planned (SIGINT).
    pub fn no_more(&self) {
        let id = self.child.as_ref().and_then(|child| Pid::from_raw(i32::try_from(child.id()).ok()?));
        if let Some(id) = id {
            // It may have ended.
            let _ = kill_process(id, Signal::INT);
        }
    }

    /// Waits for its end; what it printed.
    ///
    /// # Panics
    /// When it printed no figures.
    pub fn figures(mut self) -> Value {
        let child = self.child.take().expect("it is waited for once");
        let output = child.wait_with_output().expect("the load ends");
        serde_json::from_slice(&output.stdout).expect("-o json prints JSON")
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The number of the office.
pub const NUMBER: &str = "+31201234567";
