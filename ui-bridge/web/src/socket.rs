//! A WebSocket (RFC 6455) whose large messages go out in fragments.
//!
//! What the socket does not take at once waits in a buffer, and is moved there after each part that it took: an image of
//! 8 MiB as one frame would be moved many times over.

use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{Frame, Utf8Bytes};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

/// Bytes of a fragment: little to be moved, and few enough fragments an image for clients that queue them.
const FRAGMENT_BYTES: usize = 1 << 20;
/// A client has nothing to say: its messages are no longer than this.
const MOST_HEARD_BYTES: usize = 1024;

/// The daemon's end.
pub(crate) struct Socket(WebSocketStream<TokioIo<Upgraded>>);

/// Answers a request for a WebSocket, and gives it to `attend` once the client has it.
pub(crate) fn upgrade<F: Future<Output = ()> + Send + 'static>(
    mut request: Request,
    attend: impl FnOnce(Socket) -> F + Send + 'static,
) -> Response {
    let answer = match create_response_with_body(&request, Body::empty) {
        Ok(answer) => answer,
        Err(error) => return (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    };
    let Some(upgrade) = request.extensions_mut().remove::<OnUpgrade>() else {
        return (StatusCode::UPGRADE_REQUIRED, "expected a connection that can become a WebSocket")
            .into_response();
    };
    tokio::spawn(async move {
        let upgraded = match upgrade.await {
            Ok(upgraded) => TokioIo::new(upgraded),
            Err(error) => return tracing::debug!(%error, "a client went before it had its WebSocket"),
        };
        let limits = WebSocketConfig::default()
            .max_message_size(Some(MOST_HEARD_BYTES))
            .max_frame_size(Some(MOST_HEARD_BYTES));
        attend(Socket(WebSocketStream::from_raw_socket(upgraded, Role::Server, Some(limits)).await)).await;
    });
    answer
}

impl Socket {
    /// Sends text.
    pub(crate) async fn send_text(&mut self, text: String) -> Result<(), Error> {
        self.0.send(Message::Text(Utf8Bytes::from(text))).await
    }

    /// Sends a binary message.
    pub(crate) async fn send_binary(&mut self, mut message: Bytes) -> Result<(), Error> {
        let mut kind = Data::Binary;
        loop {
            let fragment = message.split_to(FRAGMENT_BYTES.min(message.len()));
            let is_last = message.is_empty();
            let frame = Frame::message(fragment, OpCode::Data(kind), is_last);
            self.0.send(Message::Frame(frame)).await?;
            if is_last {
                return Ok(());
            }
            kind = Data::Continue;
        }
    }

    /// Waits for what the client says; false once it has gone.
    pub(crate) async fn is_heard(&mut self) -> bool {
        matches!(self.0.next().await, Some(Ok(message)) if !message.is_close())
    }
}
