//! Who may ask, and how often.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use env::Clock;
use machine::Instant;

use crate::problem::Problem;

/// The rule for all paths but the probes'.
pub(crate) struct Guard {
    token: Option<String>,
    per_minute: u32,
    clock: Arc<dyn Clock>,
    window: Mutex<Window>,
}

#[derive(Default)]
struct Window {
    since: Instant,
    count: u32,
}

const MINUTE: Duration = Duration::from_secs(60);

impl Guard {
    pub(crate) fn new(token: Option<String>, per_minute: u32, clock: Arc<dyn Clock>) -> Guard {
        Guard { token, per_minute, clock, window: Mutex::default() }
    }

    fn check(&self, headers: &HeaderMap) -> Result<Option<Quota>, Problem> {
        let Some(token) = &self.token else {
            // Without a token we listen on loopback only; a page of some web site must not reach through the
            // browser of whoever sits here.
            return if is_local(headers) {
                Ok(None)
            } else {
                Err(Problem::forbidden("ask by address or as localhost, from no other site's page"))
            };
        };
        let given = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
        let given = given.strip_prefix(b"Bearer ").unwrap_or_default();
        if !is_same(given, token.as_bytes()) {
            return Err(Problem::unauthorized());
        }
        Ok(Some(self.take()))
    }

    /// One request of the minute's quota.
    fn take(&self) -> Quota {
        let now = self.clock.now();
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if now.since(window.since) >= MINUTE {
            *window = Window { since: now, count: 0 };
        }
        window.count = window.count.saturating_add(1);
        let left = self.per_minute.saturating_sub(window.count);
        let reset = MINUTE.saturating_sub(now.since(window.since));
        Quota {
            is_over: window.count > self.per_minute,
            limit: self.per_minute,
            left,
            reset_s: reset.as_secs() + 1,
        }
    }
}

struct Quota {
    is_over: bool,
    limit: u32,
    left: u32,
    reset_s: u64,
}

/// Lets a request through, or not.
pub(crate) async fn guard(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let quota = match guard.check(request.headers()) {
        Ok(quota) => quota,
        Err(problem) => return problem.into_response(),
    };
    let Some(quota) = quota else { return next.run(request).await };
    let mut response =
        if quota.is_over { Problem::too_many().into_response() } else { next.run(request).await };
    let headers = response.headers_mut();
    headers.insert("x-ratelimit-limit", quota.limit.into());
    headers.insert("x-ratelimit-remaining", quota.left.into());
    headers.insert("x-ratelimit-reset", quota.reset_s.into());
    if quota.is_over {
        headers.insert(header::RETRY_AFTER, quota.reset_s.into());
    }
    response
}

/// Compares without telling by its time how much was right.
fn is_same(given: &[u8], token: &[u8]) -> bool {
    let mut difference = u8::from(given.len() != token.len());
    for (index, byte) in token.iter().enumerate() {
        difference |= byte ^ given.get(index).copied().unwrap_or(!byte);
    }
    difference == 0
}

/// Whether the Host is an address or `localhost`, and the Origin, if any, is the same.
fn is_local(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let Some(host) = text(header::HOST) else { return true };
    let name = host.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(host, |(n, _)| n);
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let is_address = bare.parse::<IpAddr>().is_ok() || host.parse::<SocketAddr>().is_ok();
    let same_origin = text(header::ORIGIN).is_none_or(|origin| origin == format!("http://{host}"));
    (is_address || bare == "localhost") && same_origin
}

#[cfg(test)]
mod tests {
    use super::*;
    use machine::WallTime;

    struct Frozen;

    impl Clock for Frozen {
        fn now(&self) -> Instant {
            Instant::ZERO
        }

        fn wall(&self) -> WallTime {
            WallTime(0)
        }
    }

    fn headers(pairs: &[(header::HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn only_the_whole_token_is_the_token() {
        assert!(is_same(b"secret", b"secret"));
        for wrong in [&b""[..], b"secre", b"secrets", b"Secret"] {
            assert!(!is_same(wrong, b"secret"));
        }
    }

    #[test]
    fn a_foreign_page_cannot_ask_through_a_local_browser() {
        assert!(is_local(&headers(&[(header::HOST, "127.0.0.1:8080")])));
        assert!(is_local(&headers(&[(header::HOST, "[::1]:8080")])));
        assert!(is_local(&headers(&[(header::HOST, "localhost")])));
        // DNS rebinding: the name of a site that points here.
        assert!(!is_local(&headers(&[(header::HOST, "evil.example:8080")])));
        let page = [(header::HOST, "127.0.0.1:8080"), (header::ORIGIN, "https://evil.example")];
        assert!(!is_local(&headers(&page)));
        let own = [(header::HOST, "127.0.0.1:8080"), (header::ORIGIN, "http://127.0.0.1:8080")];
        assert!(is_local(&headers(&own)));
    }

    #[test]
    fn the_quota_of_a_minute_runs_out() {
        let guard = Guard::new(Some("t".to_owned()), 2, Arc::new(Frozen));
        assert_eq!((guard.take().left, guard.take().is_over), (1, false));
        let third = guard.take();
        assert!(third.is_over && third.left == 0 && third.reset_s == 61);
    }
}
