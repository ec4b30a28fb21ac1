//! The cluster's HTTP interface, as a client.

use std::time::Duration;

use serde_json::Value;

use crate::cli::ClusterArgs;
use crate::failure::{Failure, Result};

/// Talks to one node's HTTP interface.
pub struct Client {
    agent: ureq::Agent,
    endpoint: String,
    token: Option<String>,
}

type Answer = std::result::Result<ureq::http::Response<ureq::Body>, ureq::Error>;

/// How long a node may take to answer.
const TIMEOUT: Duration = Duration::from_secs(20);

impl Client {
    /// A client for this cluster.
    pub fn new(cluster: &ClusterArgs) -> Client {
        let config =
            ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(TIMEOUT)).build();
        let endpoint = cluster.endpoint.trim_end_matches('/').to_owned();
        Client { agent: config.into(), endpoint, token: cluster.token.clone() }
    }

    /// GET.
    pub fn get(&self, path: &str) -> Result<Value> {
        let request = self.agent.get(format!("{}{path}", self.endpoint));
        self.finish(self.with_token(request).call())
    }

    /// GET of a file.
    pub fn download(&self, path: &str) -> Result<Vec<u8>> {
        let request = self.agent.get(format!("{}{path}", self.endpoint));
        self.read(self.with_token(request).call())
    }

    /// GET of something that may not be there.
    pub fn find(&self, path: &str) -> Result<Option<Value>> {
        let request = self.agent.get(format!("{}{path}", self.endpoint));
        match self.with_token(request).call() {
            Ok(answer) if answer.status() == 404 => Ok(None),
            other => self.finish(other).map(Some),
        }
    }

    /// POST of an order that says all by its path.
    pub fn order(&self, path: &str) -> Result<Value> {
        self.post(path, "application/json", b"{}")
    }

    /// POST of a file.
    pub fn post(&self, path: &str, kind: &str, body: &[u8]) -> Result<Value> {
        let request = self.agent.post(format!("{}{path}", self.endpoint)).content_type(kind);
        self.finish(self.with_token(request).send(body))
    }

    /// DELETE.
    pub fn delete(&self, path: &str) -> Result<Value> {
        let request = self.agent.delete(format!("{}{path}", self.endpoint));
        self.finish(self.with_token(request).call())
    }

    fn with_token<B>(&self, request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
        match &self.token {
            Some(token) => request.header("Authorization", format!("Bearer {token}")),
            None => request,
        }
    }

    /// What is answered, in JSON; nothing else is null.
    fn finish(&self, answer: Answer) -> Result<Value> {
        Ok(serde_json::from_slice(&self.read(answer)?).unwrap_or(Value::Null))
    }

    fn read(&self, answer: Answer) -> Result<Vec<u8>> {
        let mut answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                return Err(Failure::Unreachable(format!(
                    "cannot reach {}: {error}. Is the server running? --endpoint or BANYAN_ENDPOINT says where",
                    self.endpoint
                )));
            }
        };
        let status = answer.status().as_u16();
        // A week of call detail records is more than a client of strangers' servers would read.
        let bytes = answer.body_mut().with_config().limit(ANSWER_MAX).read_to_vec();
        let bytes = bytes.map_err(|error| Failure::Unreachable(format!("the answer broke off: {error}")))?;
        if answer.status().is_success() {
            return Ok(bytes);
        }
        let body: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        match status {
            401 => Err(Failure::No("the cluster wants a token: --token or BANYAN_TOKEN".to_owned())),
            400 | 422 => Err(Failure::Usage(describe(status, &body))),
            503 => Err(Failure::Unreachable(describe(status, &body))),
            _ => Err(Failure::No(describe(status, &body))),
        }
    }
}

/// What a problem document says (RFC 9457).
fn describe(status: u16, body: &Value) -> String {
    let member = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut text = member("title");
    if text.is_empty() {
        text = format!("HTTP status {status}");
    }
    let detail = member("detail");
    if !detail.is_empty() {
        text = if detail.contains(".toml:") || detail.contains('\n') {
            detail
        } else {
            format!("{text}: {detail}")
        };
    }
    for problem in body.get("problems").and_then(Value::as_array).into_iter().flatten() {
        if let Some(line) = problem.as_str() {
            text.push('\n');
            text.push_str(line);
        }
    }
    text
}

/// The longest answer that is read, in bytes.
const ANSWER_MAX: u64 = 16 << 30;
