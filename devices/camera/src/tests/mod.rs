//! Cameras without a camera: GStreamer's own sources, files, a pipe that a test writes at its own pace, and Aravis'
//! camera simulator in a network of its own.

mod aravis;
mod faults;
mod refusals;
mod streams;

use crate::CameraSettings;
use carm::{DeviceError, FrameHeader, FrameSource, SourceEvent};

/// Every frame until the end, with its counts.
fn play(camera: &mut dyn FrameSource) -> Result<Vec<(FrameHeader, Vec<u16>)>, DeviceError> {
    let mut frames = Vec::new();
    let mut counts = vec![0; camera.description().detector.pixel_count()];
    loop {
        match camera.next_frame(&mut counts)? {
            SourceEvent::Frame(header) => frames.push((header, counts.clone())),
            SourceEvent::End => return Ok(frames),
        }
    }
}

fn open(launch: &str) -> Box<dyn FrameSource> {
    crate::open(&CameraSettings::new("test", launch)).unwrap_or_else(|error| panic!("{launch}: {error}"))
}
