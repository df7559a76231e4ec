//! Routes, listening, and the files of the page.

use crate::error::WebError;
use crate::live::LiveFeeds;
use crate::{api, guard, live, metrics};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::header::CONTENT_TYPE;
use axum::middleware;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use service::Service;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A request's body at most.
const MOST_BODY_BYTES: usize = 4096;

/// Where the page is served.
#[derive(Clone, Copy, Debug)]
pub struct WebSettings {
    /// A loopback address; port 0 takes any that is free.
    pub listen: SocketAddr,
}

/// What the routes share.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) service: Arc<Service>,
    pub(crate) feeds: Arc<LiveFeeds>,
}

/// The page, until it is dropped.
pub struct Server {
    address: SocketAddr,
    feeds: Arc<LiveFeeds>,
    serving: JoinHandle<()>,
}

impl Server {
    /// Serves the page; needs a tokio runtime.
    ///
    /// # Errors
    /// [`WebError`]: an address that others can reach or that cannot be had.
    pub async fn start(service: Arc<Service>, settings: WebSettings) -> Result<Self, WebError> {
        let found = settings.listen;
        if !found.ip().is_loopback() {
            return Err(WebError::NotLoopback { found });
        }
        let failed = |source| WebError::Listen { address: found, source };
        let listener = TcpListener::bind(found).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let feeds = Arc::new(LiveFeeds::start(&service)?);
        let routes = routes(App { service, feeds: feeds.clone() });
        let serving = tokio::spawn(async move {
            // An image's last bytes do not wait for the client to confirm those before.
            let listener = listener.tap_io(|client| drop(client.set_nodelay(true)));
            if let Err(error) = axum::serve(listener, routes).await {
                tracing::error!(%error, "the web page is gone");
            }
        });
        Ok(Self { address, feeds, serving })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
        self.feeds.stop();
    }
}

fn routes(app: App) -> Router {
    Router::new()
        .route("/", get(|| file("text/html; charset=utf-8", include_str!("../assets/index.html"))))
        .route("/page.css", get(|| file("text/css; charset=utf-8", include_str!("../assets/page.css"))))
        .route("/page.js", get(|| file("text/javascript; charset=utf-8", include_str!("../assets/page.js"))))
        .route(
            "/screen.js",
            get(|| file("text/javascript; charset=utf-8", include_str!("../assets/screen.js"))),
        )
        .route("/icon.svg", get(|| file("image/svg+xml", include_str!("../assets/icon.svg"))))
        .route("/ws/live/{stream}", get(live::connect))
        .route("/api/status", get(api::status))
        .route("/api/runs", get(api::runs))
        .route("/api/runs/{run}/reconstruct", post(api::reconstruct))
        .route("/api/runs/{run}/keep/{answer}", post(api::keep))
        .route("/api/jobs/{job}/cancel", post(api::cancel))
        .route("/api/streams/{stream}/spin/{action}", post(api::spin))
        .route("/api/streams/{stream}/recording/{action}", post(api::recording))
        .route("/api/streams/{stream}/dose/{action}", post(api::dose))
        .route("/api/streams/{stream}/stages", post(api::stages))
        .route("/api/streams/{stream}/remask", post(api::remask))
        .route("/metrics", get(metrics::metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(api::ready))
        .layer(DefaultBodyLimit::max(MOST_BODY_BYTES))
        .layer(middleware::from_fn(guard::guard))
        .with_state(app)
}

async fn file(media_type: &'static str, text: &'static str) -> impl IntoResponse {
    ([(CONTENT_TYPE, media_type)], text)
}
