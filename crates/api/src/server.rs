//! The thread that serves HTTP.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, OnceLock};
use std::thread;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use env::Clock;
use node::NodeHandle;
use thiserror::Error;
use tokio::sync::oneshot;
use tower::ServiceExt;

use crate::auth::{Guard, guard};
use crate::problem::Problem;
use crate::{backup, live, members, openapi, pages, registrations, resources};

/// Where and for whom HTTP is served.
#[derive(Clone)]
pub struct Options {
    /// Where.
    pub listen: SocketAddr,
    /// What clients must show; without one only loopback is served.
    pub token: Option<String>,
    /// Requests per minute and token.
    pub per_minute: u32,
    /// For the minute.
    pub clock: Arc<dyn Clock>,
}

/// Why HTTP can't be served.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServeError {
    /// Beyond loopback everybody could ask.
    #[error("http.listen {0} is not loopback: set http.token_file, or listen on 127.0.0.1")]
    TokenNeeded(SocketAddr),
    /// The port is taken, or the address is not ours.
    #[error("cannot listen on http://{at}: {error}; is another process using it?")]
    Listen {
        /// Where.
        at: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// No thread or runtime.
    #[error("cannot start the HTTP thread: {0}")]
    Thread(io::Error),
}

/// A running server; it stops when this is dropped.
pub struct Server {
    local: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

/// A resource file may be as large as this.
const BODY_MAX: usize = 32 << 20;

impl Server {
    /// Where it listens, port filled in.
    pub fn local(&self) -> SocketAddr {
        self.local
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // The thread may have ended by itself.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A port taken for HTTP, which nobody serves yet: what comes meanwhile waits.
pub struct Bound {
    listener: TcpListener,
    local: SocketAddr,
    guard: Arc<Guard>,
}

/// Takes the port.
///
/// # Errors
/// It is taken already, or the address would let everybody in.
pub fn bind(options: Options) -> Result<Bound, ServeError> {
    if options.token.is_none() && !options.listen.ip().is_loopback() {
        return Err(ServeError::TokenNeeded(options.listen));
    }
    let at = options.listen;
    let listener = TcpListener::bind(at)
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        .map_err(|error| ServeError::Listen { at, error })?;
    let local = listener.local_addr().map_err(|error| ServeError::Listen { at, error })?;
    let guard = Arc::new(Guard::new(options.token, options.per_minute, options.clock));
    Ok(Bound { listener, local, guard })
}

impl Bound {
    /// Serves a node, on a thread of its own, from when this returns. Until the node is there, which may have to
    /// wait for others, it says so.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn serve(self, node: Arc<OnceLock<NodeHandle>>) -> Result<Server, ServeError> {
        let Bound { listener, local, guard } = self;
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ServeError::Thread)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let work = move || {
            runtime.block_on(async move {
                let listener = match tokio::net::TcpListener::from_std(listener) {
                    Ok(listener) => listener,
                    Err(error) => return tracing::error!(%error, "HTTP is not served"),
                };
                let app = until_ready(node, guard);
                tokio::select! {
                    biased;
                    _ = stopped => {}
                    ended = async { axum::serve(listener, app).await } => {
                        if let Err(error) = ended {
                            tracing::error!(%error, "HTTP is not served any more");
                        }
                    }
                }
            });
        };
        let thread =
            thread::Builder::new().name("banyan-http".to_owned()).spawn(work).map_err(ServeError::Thread)?;
        Ok(Server { local, stop: Some(stop), thread: Some(thread) })
    }
}

/// What is served while the node starts, and the node from when it is there.
fn until_ready(node: Arc<OnceLock<NodeHandle>>, rule: Arc<Guard>) -> Router {
    let ready: Arc<OnceLock<Router>> = Arc::default();
    let answer = move |request: Request| {
        let (node, rule, ready) = (node.clone(), rule.clone(), ready.clone());
        async move {
            match node.get() {
                Some(node) => {
                    let app = ready.get_or_init(|| app(node.clone(), rule)).clone();
                    app.oneshot(request).await.into_response()
                }
                None => starting(request.uri().path()),
            }
        }
    };
    Router::new().fallback(answer)
}

fn starting(path: &str) -> Response {
    match path {
        "/livez" => "ok\n".into_response(),
        "/readyz" => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {STARTING}\n")).into_response(),
        _ => Problem::unavailable(STARTING).into_response(),
    }
}

/// Nothing else can keep a node from starting for long.
const STARTING: &str =
    "the node starts; it waits until a majority of the cluster's voters is there, or until it is let in";

fn app(node: NodeHandle, rule: Arc<Guard>) -> Router {
    let guarded = Router::new()
        .route("/v1/apply", post(resources::apply))
        .route("/v1/backup", get(backup::backup))
        .route("/v1/restore", post(backup::restore))
        .route("/v1/calls", get(live::calls))
        .route("/v1/calls/{id}", get(live::call_by_id).delete(live::hang_up))
        .route("/v1/cdrs", get(live::cdrs))
        .route("/v1/cdrs/{id}", get(live::cdr_by_id))
        .route("/v1/status", get(members::status))
        .route("/v1/nodes", get(members::nodes).post(members::join))
        .route("/v1/nodes/{name}", get(members::node_by_name).delete(members::remove))
        .route("/v1/nodes/{name}/drain", post(members::drain))
        .route("/v1/nodes/{name}/resume", post(members::resume))
        .route("/v1/registrations", get(registrations::list))
        .route("/v1/registrations/{name}", get(registrations::by_name))
        .route("/v1/homes", get(live::homes))
        .route("/v1/homes/{name}", get(live::home_by_name))
        .route("/v1/{kind}", get(resources::list))
        .route("/v1/{kind}/{name}", get(resources::get).put(resources::put).delete(resources::delete))
        .route("/metrics", get(metrics))
        .route("/openapi.json", get(openapi::document))
        .route("/", get(pages::dashboard))
        .route("/dashboard.js", get(pages::script))
        .route("/dashboard.css", get(pages::style))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(rule, guard));
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .merge(guarded)
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(from_fn(harden))
        .with_state(node)
}

async fn ready(State(node): State<NodeHandle>) -> Response {
    if node.is_ready() {
        (StatusCode::OK, "ready\n").into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {}\n", node.why_not_ready())).into_response()
    }
}

async fn metrics(State(node): State<NodeHandle>) -> Response {
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(header::CONTENT_TYPE, kind)], node.metrics()).into_response()
}

async fn unknown() -> Problem {
    Problem::not_found("there is nothing here; /openapi.json lists what there is")
}

async fn wrong_method() -> Problem {
    Problem::not_allowed("this path does not serve this method; see /openapi.json")
}

/// Nothing of ours runs or frames foreign content.
async fn harden(request: axum::extract::Request, next: axum::middleware::Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                  img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
