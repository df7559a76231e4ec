//! Live images on WebSockets: newest wins for each client, however slow it is.
//!
//! One thread a stream waits on the live ring and packs each image once, if anybody listens. Clients share the packed
//! message; one that is busy sending takes the newest when it is done, and one that does not read is given up.

use crate::error::WebError;
use crate::frame::Packer;
use crate::server::App;
use crate::socket::{self, Socket};
use acquisition::LiveNote;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use service::{Service, Stream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

/// How often the status is sent.
const STATUS: Duration = Duration::from_millis(200);
/// A client that takes longer for one message is given up.
const PATIENCE: Duration = Duration::from_secs(5);
/// Live clients at once.
const MOST_CLIENTS: usize = 32;
/// How often a thread that waits looks whether it should stop.
const LOOK: Duration = Duration::from_millis(50);

/// The newest image of every stream, packed.
pub(crate) struct LiveFeeds {
    newest: Vec<watch::Receiver<Option<Bytes>>>,
    stops: Arc<AtomicBool>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    places: Arc<Semaphore>,
}

impl LiveFeeds {
    pub(crate) fn start(service: &Arc<Service>) -> Result<Self, WebError> {
        let stops = Arc::new(AtomicBool::new(false));
        let (mut newest, mut threads) = (Vec::new(), Vec::new());
        for (index, stream) in service.streams().iter().enumerate() {
            let (sender, receiver) = watch::channel(None);
            let (service, stops) = (service.clone(), stops.clone());
            let thread = std::thread::Builder::new()
                .name(format!("web {}", stream.name()))
                .spawn(move || feed(&service.streams()[index], &sender, &stops))
                .map_err(|source| WebError::Thread { stream: stream.name().into(), source })?;
            newest.push(receiver);
            threads.push(thread);
        }
        let places = Arc::new(Semaphore::new(MOST_CLIENTS));
        Ok(Self { newest, stops, threads: Mutex::new(threads), places })
    }

    pub(crate) fn stop(&self) {
        self.stops.store(true, Ordering::Release);
        for thread in self.threads.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // A panic was reported when it happened.
            let _ = thread.join();
        }
    }
}

fn feed(stream: &Stream, newest: &watch::Sender<Option<Bytes>>, stops: &AtomicBool) {
    stream.prefer_this_thread();
    let is_stopped = || stops.load(Ordering::Acquire);
    let (ring, size) = loop {
        if is_stopped() {
            return;
        }
        match (stream.live_ring(), stream.description()) {
            (Ok(ring), Some(description)) => {
                break (ring, [description.detector.nu, description.detector.nv]);
            }
            _ => std::thread::sleep(LOOK),
        }
    };
    let mut reader = ring.newest_reader();
    let mut packer = Packer::new(size);
    while !is_stopped() {
        // The channel itself keeps one receiver.
        if newest.receiver_count() <= 1 {
            // Whoever comes next begins with the ring's newest image, not with one that was packed for the last client.
            newest.send_if_modified(|image| reader.has_newer() && image.take().is_some());
            std::thread::sleep(LOOK);
            continue;
        }
        let packed = packer.pack(|counts| {
            let image = reader.next(counts).expect("a buffer of the ring's size")?;
            Some((image.header, LiveNote::from_words(&reader.note())))
        });
        match packed {
            Some(message) => {
                newest.send_replace(Some(message));
            }
            None => reader.wait(LOOK),
        }
    }
}

/// Upgrades to a WebSocket.
pub(crate) async fn connect(State(app): State<App>, Path(name): Path<String>, request: Request) -> Response {
    let streams = app.service.streams();
    let Some(index) = streams.iter().position(|stream| stream.name() == name) else {
        return (StatusCode::NOT_FOUND, format!("stream: found none called {name}")).into_response();
    };
    let Ok(place) = app.feeds.places.clone().try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "expected at most 32 live clients").into_response();
    };
    let newest = app.feeds.newest[index].clone();
    socket::upgrade(request, move |socket| async move {
        attend(socket, newest, &app.service, index).await;
        drop(place);
    })
}

async fn attend(
    mut socket: Socket,
    mut newest: watch::Receiver<Option<Bytes>>,
    service: &Service,
    index: usize,
) {
    let mut statuses = tokio::time::interval(STATUS);
    statuses.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let sent = tokio::select! {
            _ = statuses.tick() => match serde_json::to_string(&service.streams()[index].status()) {
                Ok(status) => tokio::time::timeout(PATIENCE, socket.send_text(status)).await,
                Err(_) => return,
            },
            changed = newest.changed() => {
                let image = newest.borrow_and_update().clone();
                match (changed, image) {
                    (Ok(()), Some(image)) => tokio::time::timeout(PATIENCE, socket.send_binary(image)).await,
                    (Ok(()), None) => continue,
                    (Err(_), _) => return,
                }
            }
            // Nothing is expected from a client but that it goes.
            is_heard = socket.is_heard() => if is_heard { continue } else { return },
        };
        if !matches!(sent, Ok(Ok(()))) {
            return;
        }
    }
}
