//! The nodes' processes: started, watched, killed, ended.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use rustix::process::{Pid, Signal, kill_process};

use super::POLL;
use super::kill::unknown;
use super::stage::Stage;
use crate::failure::{Failure, Result};

/// The processes by node; those that still run when this is dropped are killed.
pub(super) struct Nodes {
    running: Mutex<Vec<(u64, Child)>>,
}

impl Nodes {
    /// Starts one for each seat.
    ///
    /// # Errors
    /// The system gives no process.
    pub(super) fn start(stage: &Stage) -> Result<Nodes> {
        let refused = |error: std::io::Error| Failure::No(format!("cannot start a node: {error}"));
        let binary = std::env::current_exe().map_err(refused)?;
        let nodes = Nodes { running: Mutex::default() };
        for seat in stage.seats() {
            let log = File::create(&seat.log).map_err(refused)?;
            let child = server(&binary, &seat.file, log).map_err(refused)?;
            nodes.with(|running| running.push((seat.node, child)));
        }
        Ok(nodes)
    }

    /// Waits until every node takes calls.
    ///
    /// # Errors
    /// One ended, or takes too long.
    pub(super) fn await_ready(&self, stage: &Stage) -> Result {
        for seat in stage.seats() {
            let client = seat.client();
            let mut polls = 0;
            while client.get("/readyz").is_err() {
                if let Some((node, status)) = self.with(|running| {
                    running.iter_mut().find_map(|(node, child)| Some((*node, child.try_wait().ok()??)))
                }) {
                    return Err(Failure::No(format!("node {node} ended before it was ready ({status})")));
                }
                polls += 1;
                if polls > READY_POLLS {
                    return Err(Failure::No(format!("node {} was not ready within 30 seconds", seat.node)));
                }
                std::thread::sleep(POLL);
            }
        }
        Ok(())
    }

    /// SIGKILL: no word of farewell.
    ///
    /// # Errors
    /// It is none of ours.
    pub(super) fn kill(&self, node: u64) -> Result {
        let found = self.with(|running| {
            let at = running.iter().position(|(id, _)| *id == node)?;
            Some(running.swap_remove(at).1)
        });
        let mut child = found.ok_or_else(|| unknown(node))?;
        child.kill().map_err(|error| Failure::No(format!("node {node} can't be killed: {error}")))?;
        // Its exit status is the kill's.
        let _ = child.wait();
        Ok(())
    }

    /// SIGKILL to all that run.
    pub(super) fn kill_all(&self) {
        for (_, mut child) in self.with(std::mem::take) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGTERM to all that run; whether each ended with exit code 0. SIGKILL where one does not end.
    pub(super) fn stop(&self) -> bool {
        let mut children = self.with(std::mem::take);
        for (_, child) in &children {
            if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::TERM);
            }
        }
        let mut well = true;
        for (_, child) in &mut children {
            well &= ends_well(child);
        }
        well
    }

    fn with<R>(&self, act: impl FnOnce(&mut Vec<(u64, Child)>) -> R) -> R {
        act(&mut self.running.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.kill_all();
    }
}

fn ends_well(child: &mut Child) -> bool {
    for _ in 0..STOP_POLLS {
        if let Ok(Some(status)) = child.try_wait() {
            return status.success();
        }
        std::thread::sleep(POLL);
    }
    let _ = child.kill();
    let _ = child.wait();
    false
}

fn server(binary: &Path, config: &Path, log: File) -> std::io::Result<Child> {
    let out = log.try_clone()?;
    let mut command = Command::new(binary);
    command.arg("server").arg("--ends-with-parent").arg("--config").arg(config);
    // Nothing of the caller's environment may point the node elsewhere.
    command.env_remove("BANYAN_ENDPOINT").env_remove("BANYAN_TOKEN");
    command.stdin(Stdio::null()).stdout(out).stderr(log).spawn()
}

const READY_POLLS: u32 = 600;
const STOP_POLLS: u32 = 400;
