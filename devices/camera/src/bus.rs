//! What a pipeline says about itself, kept to the one thing that matters: how it ended.

use gstreamer::prelude::*;
use gstreamer::{Bus, BusSyncReply, MessageView};
use std::sync::{Arc, OnceLock};

/// How a pipeline ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It said that nothing more comes.
    Stream,
    /// An element failed.
    Failed {
        /// Whether the device itself is gone.
        is_gone: bool,
        /// The element and its words.
        reason: String,
    },
}

/// Listens on a bus and drops all that it hears but the end: over months a bus that nobody empties would grow.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listener(Arc<OnceLock<Ended>>);

impl Listener {
    pub(crate) fn on(bus: &Bus) -> Self {
        let listener = Self::default();
        let heard = listener.0.clone();
        bus.set_sync_handler(move |_, message| {
            if let Some(ended) = end_of(message) {
                // Only the first end counts.
                let _ = heard.set(ended);
            }
            BusSyncReply::Drop
        });
        listener
    }

    pub(crate) fn ended(&self) -> Option<&Ended> {
        self.0.get()
    }
}

fn end_of(message: &gstreamer::Message) -> Option<Ended> {
    match message.view() {
        MessageView::Eos(_) => Some(Ended::Stream),
        MessageView::Error(error) => {
            let fault = error.error();
            let is_gone = matches!(
                fault.kind::<gstreamer::ResourceError>(),
                Some(
                    gstreamer::ResourceError::NotFound
                        | gstreamer::ResourceError::Read
                        | gstreamer::ResourceError::OpenRead
                )
            );
            let place = message.src().map_or_else(|| "pipeline".into(), |source| source.name());
            // GStreamer's second line is for developers; the one after its place in the source names file and cause.
            let debug = error.debug();
            let cause = debug.as_deref().and_then(|text| text.lines().nth(1)).unwrap_or_default();
            Some(Ended::Failed { is_gone, reason: format!("{place}: {} {cause}", fault.message()) })
        }
        _ => None,
    }
}
