//! Names to addresses through the operating system's resolver (A and AAAA).

use std::net::SocketAddr;

use env::BoxFuture;

use crate::Resolve;

/// The operating system's resolver.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolve;

impl Resolve for SystemResolve {
    fn resolve(&self, host: String, port: u16) -> BoxFuture<'static, Vec<SocketAddr>> {
        Box::pin(async move {
            match tokio::net::lookup_host((host.as_str(), port)).await {
                Ok(found) => found.collect(),
                Err(error) => {
                    tracing::warn!(host, %error, "cannot resolve");
                    Vec::new()
                }
            }
        })
    }
}
