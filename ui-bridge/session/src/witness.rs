//! Hashes of everything that a replay makes of its frames, whatever its speed and threads.
//!
//! A [`Witness`] stands between device and session: each frame goes through a correction and a live chain of its own,
//! every one and in order, before the session sees it. So the hashes do not depend on which frames a live view found time
//! for. Two replays with the same hashes made the same images to the last bit.

use crate::error::SessionError;
use crate::stages::Stages;
use carm::{DeviceError, FrameHeader, FrameSource, RunDescription, SourceEvent};
use std::sync::{Arc, Mutex, PoisonError};

/// BLAKE3 of what each stage made, as hexadecimal text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FrameHashes {
    /// Frames that went in.
    pub frames: u64,
    /// Numbers, poses, exposures, the device's clock, and counts.
    pub raw: String,
    /// Corrected intensities and the air beside them; none without maps.
    pub corrected: Option<String>,
    /// Live images with their windows.
    pub live: String,
}

/// A source whose every frame is hashed on its way.
pub struct Witness {
    source: Box<dyn FrameSource>,
    stages: Stages,
    testimony: Arc<Mutex<Testimony>>,
}

/// What a witness has seen so far; stays when the session has used the witness up.
#[derive(Clone, Debug, Default)]
struct Testimony {
    frames: u64,
    raw: blake3::Hasher,
    corrected: Option<blake3::Hasher>,
    live: blake3::Hasher,
}

/// Asks a witness after the replay.
#[derive(Clone, Debug)]
pub struct WitnessHandle(Arc<Mutex<Testimony>>);

impl WitnessHandle {
    /// The hashes of all frames so far.
    pub fn hashes(&self) -> FrameHashes {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let hex = |hasher: &blake3::Hasher| hasher.finalize().to_hex().to_string();
        FrameHashes {
            frames: seen.frames,
            raw: hex(&seen.raw),
            corrected: seen.corrected.as_ref().map(hex),
            live: hex(&seen.live),
        }
    }
}

impl Witness {
    /// Stands in front of a source whose frames are the first that the panel has seen.
    ///
    /// # Errors
    /// Maps that are unusable.
    pub fn new(source: Box<dyn FrameSource>) -> Result<(Self, WitnessHandle), SessionError> {
        let stages = Stages::new(source.description())?;
        Ok(Self::after(stages, source))
    }

    /// Stands in front of a source whose frames follow those that the stages have seen.
    pub fn after(stages: Stages, source: Box<dyn FrameSource>) -> (Self, WitnessHandle) {
        let corrected = stages.corrector().map(|_| blake3::Hasher::new());
        let testimony = Arc::new(Mutex::new(Testimony { corrected, ..Testimony::default() }));
        (Self { source, stages, testimony: Arc::clone(&testimony) }, WitnessHandle(testimony))
    }
}

impl FrameSource for Witness {
    fn description(&self) -> &RunDescription {
        self.source.description()
    }

    fn next_frame(&mut self, slot: &mut [u16]) -> Result<SourceEvent, DeviceError> {
        let event = self.source.next_frame(slot)?;
        let SourceEvent::Frame(header) = event else { return Ok(event) };
        self.stages.make(&header, slot).map_err(|error| DeviceError::Failed {
            device: "replay".into(),
            reason: error.to_string(),
            source: Some(Box::new(error)),
        })?;
        let mut seen = self.testimony.lock().unwrap_or_else(PoisonError::into_inner);
        let made = self.stages.made();
        seen.frames += 1;
        for word in header_words(&header) {
            seen.raw.update(&word.to_le_bytes());
        }
        update(&mut seen.raw, slot, u16::to_le_bytes);
        if let Some(corrected) = &mut seen.corrected {
            corrected.update(&made.corrected.air_intensity.to_le_bytes());
            update(corrected, &made.corrected.intensity, f32::to_le_bytes);
        }
        update(&mut seen.live, &[made.window.low, made.window.high], u16::to_le_bytes);
        update(&mut seen.live, &made.image, u16::to_le_bytes);
        Ok(event)
    }
}

/// What a frame's header says, but for the host's clocks, which are another host's on replay.
fn header_words(header: &FrameHeader) -> [u64; 9] {
    [
        header.sequence,
        header.stamps.device.0,
        header.mid_exposure.0,
        u64::from(header.is_xray_on),
        header.gantry.primary_angle_rad.to_bits(),
        header.gantry.secondary_angle_rad.to_bits(),
        header.exposure.tube_voltage_kv.to_bits(),
        header.exposure.tube_current_ma.to_bits(),
        header.exposure.pulse_width_ms.to_bits(),
    ]
}

fn update<T: Copy, const N: usize>(hasher: &mut blake3::Hasher, values: &[T], bytes: impl Fn(T) -> [u8; N]) {
    let mut buffer = Vec::with_capacity(N << 12);
    for chunk in values.chunks(1 << 12) {
        buffer.clear();
        buffer.extend(chunk.iter().flat_map(|value| bytes(*value)));
        hasher.update(&buffer);
    }
}
