//! The replicated state as a file, and back into an empty cluster.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Json, Response};
use cluster::Restore;
use node::NodeHandle;
use serde_json::{Value, json};
use trunk::{Kind, Word};

use crate::problem::Problem;
use crate::resources::{decided, fenced};

/// GET /v1/backup.
pub(crate) async fn backup(State(node): State<NodeHandle>) -> Response {
    let chunks = node.cluster().read(cluster::State::backup);
    let bytes: Vec<u8> = chunks.flatten().collect();
    ([(header::CONTENT_TYPE, "application/octet-stream")], bytes).into_response()
}

/// Whether all programs of the cluster know backups. One that was just founded agrees on that a moment later.
async fn restores(node: &NodeHandle) -> bool {
    for _ in 0..AGREED_MAX.as_millis() / AGREED_POLL.as_millis() {
        if node.cluster().read(cluster::State::restores) {
            return true;
        }
        tokio::time::sleep(AGREED_POLL).await;
    }
    false
}

/// POST /v1/restore.
pub(crate) async fn restore(State(node): State<NodeHandle>, body: Bytes) -> Result<Json<Value>, Problem> {
    let backup = Restore::read(&body)
        .map_err(|error| Problem::bad(format!("this is no backup that can be restored: {error}")))?;
    if let Some(gateway) = node.unreadable_gateway(backup.resources()) {
        return Err(Problem::conflict(format!(
            "the passwords of gateway {gateway} are encrypted under another secret: start the cluster with the \
             cluster.secret_file that it had when the backup was made"
        )));
    }
    if !restores(&node).await {
        return Err(Problem::conflict(
            "a node runs an older program, which knows no backups: upgrade all nodes first",
        ));
    }
    let resources: usize = Kind::ALL.iter().map(|kind| backup.resources().all(*kind).len()).sum();
    let done = json!({ "resources": resources, "registrations": backup.registrations() });
    match decided(node.cluster().restore(backup)).await? {
        Some(Ok(())) => Ok(Json(done)),
        Some(Err(refused)) => Err(Problem::conflict(refused.to_string())),
        None => Err(fenced()),
    }
}

const AGREED_MAX: Duration = Duration::from_secs(3);
const AGREED_POLL: Duration = Duration::from_millis(50);
