//! The dashboard: a page that asks the same paths as everyone else, and draws what it hears.

use axum::http::{HeaderValue, header};
use axum::response::{Html, IntoResponse, Response};

/// GET /.
pub(crate) async fn dashboard() -> Html<&'static str> {
    Html(include_str!("dashboard/index.html"))
}

/// GET /dashboard.js.
pub(crate) async fn script() -> Response {
    let kind = HeaderValue::from_static("text/javascript; charset=utf-8");
    ([(header::CONTENT_TYPE, kind)], include_str!("dashboard/dashboard.js")).into_response()
}

/// GET /dashboard.css.
pub(crate) async fn style() -> Response {
    let kind = HeaderValue::from_static("text/css; charset=utf-8");
    ([(header::CONTENT_TYPE, kind)], include_str!("dashboard/dashboard.css")).into_response()
}
