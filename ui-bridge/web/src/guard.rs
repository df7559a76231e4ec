//! Who may ask: pages of this daemon in a browser on this machine, and nobody else.
//!
//! Listening on loopback keeps other machines out. Other pages in the same browser are kept out here: a name that was
//! made to point to this machine shows in `Host`, a foreign page in `Origin`.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::IpAddr;

const POLICY: &str = "default-src 'self'; connect-src 'self'; object-src 'none'; base-uri 'none'; \
                      frame-ancestors 'none'; form-action 'none'";

/// Refuses what did not come from here, and tells browsers to ask nobody else.
pub(crate) async fn guard(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let host = text(headers, header::HOST);
    if !host.is_some_and(is_loopback) {
        let found = host.unwrap_or("none");
        return refuse(&format!("expected a request to localhost, found one to {found}"));
    }
    if let Some(origin) = headers.get(header::ORIGIN) {
        let page = origin.to_str().ok().and_then(|origin| origin.strip_prefix("http://"));
        if page != host {
            return refuse("expected a request of this page, found one of another");
        }
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn refuse(why: &str) -> Response {
    (StatusCode::FORBIDDEN, why.to_owned()).into_response()
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// Whether `host`, with or without a port, names this machine.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_must_name_this_machine() {
        for host in ["localhost", "LOCALHOST:80", "127.0.0.1:8477", "127.9.9.9", "[::1]:8477", "[::1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in
            ["", "example.org", "localhost.example.org", "10.0.0.1", "[::2]:80", "127.0.0.1.example.org"]
        {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
