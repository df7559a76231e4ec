//! `org.isocenter.LiveStream1`: the finished live images and the account of every frame.

use super::StreamHandle;
use crate::error::{CallError, waiting};
use acquisition::LiveStages;
use service::Ledger;
use std::collections::HashMap;
use zbus::zvariant::OwnedFd;

pub(crate) struct LiveStream(pub(crate) StreamHandle);

#[zbus::interface(name = "org.isocenter.LiveStream1")]
impl LiveStream {
    /// Hands out the memory of the live ring, to be mapped for reading: sealed, so that nobody who has it can change
    /// what others see. `layout` says how it lies, in 64-bit words: `slots`, `columns`, `rows`, `control_words`,
    /// `slot_words`, `header_words`, `note_words`. Word 0 counts the images; image n lies in slot n modulo `slots`, whose
    /// first word is 2 n + 2 while it does. Whoever finds another number there was overrun.
    #[zbus(out_args("ring", "layout"))]
    async fn open_ring(&self) -> Result<(OwnedFd, HashMap<String, u64>), CallError> {
        let handle = self.0.clone();
        waiting(move || {
            let ring = handle.stream().live_ring()?;
            let shape = handle.status().shape;
            let duplicate = ring.memory_file().try_clone_to_owned();
            let layout = ring.layout();
            let words = [
                ("slots", layout.slots),
                ("columns", shape.map_or(0, |shape| shape.nu)),
                ("rows", shape.map_or(0, |shape| shape.nv)),
                ("control_words", layout.control_words),
                ("slot_words", layout.slot_words),
                ("header_words", layout.header_words),
                ("note_words", layout.note_words),
            ];
            let words = words.map(|(name, count)| (name.to_owned(), count as u64));
            Ok(duplicate.map(|file| (OwnedFd::from(file), HashMap::from(words))))
        })
        .await?
        .map_err(|error| CallError::Failed(error.to_string()))
    }

    /// Switches the first three stages of the live image; the others stay.
    fn set_stages(&self, correction: bool, noise_reduction: bool, automatic_window: bool) {
        let now = LiveStages::from_bits(self.0.status().stages);
        self.0.stream().set_stages(LiveStages { correction, noise_reduction, automatic_window, ..now });
    }

    /// Switches stages by the names that `Stages` has; those not named stay.
    fn switch_stages(&self, stages: HashMap<String, bool>) -> Result<(), CallError> {
        let now = LiveStages::from_bits(self.0.status().stages);
        let switched = stages.iter().try_fold(now, |all, (name, is_on)| {
            all.with(name, *is_on).ok_or_else(|| {
                let known = LiveStages::NAMES.join(", ");
                CallError::Unknown(format!("stage: expected one of {known}, found {name}"))
            })
        })?;
        self.0.stream().set_stages(switched);
        Ok(())
    }

    /// Takes the next frames as a new mask for subtraction.
    fn remask(&self) {
        self.0.stream().remask();
    }

    /// `waiting`, `live`, `last-image` or `stalled`.
    #[zbus(property)]
    fn state(&self) -> String {
        self.0.status().live.name().to_owned()
    }

    /// Since the newest image's frame arrived, ms; negative before the first.
    #[zbus(property(emits_changed_signal = "false"))]
    fn age_ms(&self) -> f64 {
        self.0.status().age_ms.unwrap_or(-1.0)
    }

    /// The newest image's number.
    #[zbus(property(emits_changed_signal = "false"))]
    fn last_sequence(&self) -> u64 {
        self.0.status().last_sequence
    }

    /// What became of the frames: `received`, `lost`, `shown`, `skipped`, `recorded` and so on.
    #[zbus(property)]
    fn ledger(&self) -> HashMap<String, u64> {
        ledger(&self.0.status().ledger)
    }

    /// From arrival to finished image, ms: the median and the 99th percentile since the start; negative before the
    /// first image.
    #[zbus(property(emits_changed_signal = "false"))]
    fn latency_ms(&self) -> (f64, f64) {
        let status = self.0.status();
        (status.latency_p50_ms.unwrap_or(-1.0), status.latency_p99_ms.unwrap_or(-1.0))
    }

    /// Stages asked for: `correction`, `noise_reduction`, `automatic_window`, `enhancement`, `subtraction`,
    /// `peak_opacification`, `roadmap`, `last_image_hold`.
    #[zbus(property)]
    fn stages(&self) -> HashMap<String, bool> {
        stages(self.0.status().stages)
    }
}

pub(crate) fn ledger(ledger: &Ledger) -> HashMap<String, u64> {
    ledger.counts().map(|(name, count)| (name.to_owned(), count)).into()
}

pub(crate) fn stages(bits: u8) -> HashMap<String, bool> {
    LiveStages::from_bits(bits).named().map(|(name, is_on)| (name.to_owned(), is_on)).into()
}
