//! What goes wrong comes back as a value, in time.

use super::{open, play};
use carm::{DeviceError, FrameSource, SourceEvent};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

const PIXELS: usize = 16 * 8;
/// 10 frames a second, so that a busy machine's own hiccups stay well below a frame time.
const PERIOD: Duration = Duration::from_millis(100);

/// A camera that shows what the test writes into the pipe, frame by frame.
fn piped(folder: &Path) -> (Box<dyn FrameSource>, File) {
    let path = folder.join("frames");
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    // Open for both, so that `filesrc`, which opens its file twice, never sees a pipe without a writer.
    let mut pipe = File::options().read(true).write(true).open(&path).unwrap();
    pipe.write_all(&[1; 2 * PIXELS]).unwrap();
    let camera = open(&format!(
        "filesrc location={} blocksize={} ! rawvideoparse format=gray16-le width=16 height=8 framerate=10/1 ! appsink",
        path.display(),
        2 * PIXELS
    ));
    (camera, pipe)
}

#[test]
fn source_that_falls_silent_is_declared_stalled_within_two_frame_times_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (mut camera, mut pipe) = piped(folder.path());
    let mut counts = [0; PIXELS];
    assert!(matches!(camera.next_frame(&mut counts).unwrap(), SourceEvent::Frame(_)));
    let silent = Instant::now();
    let error = camera.next_frame(&mut counts).unwrap_err();
    assert!(silent.elapsed() < 2 * PERIOD, "declared after {:?}", silent.elapsed());
    assert!(matches!(error, DeviceError::Stalled { .. }), "{error}");
    assert!(matches!(camera.next_frame(&mut counts), Err(DeviceError::Stalled { .. })), "it stays stalled");
    pipe.write_all(&[2; 2 * PIXELS]).unwrap();
    pipe.flush().unwrap();
    let back = loop {
        match camera.next_frame(&mut counts) {
            Err(DeviceError::Stalled { .. }) => {}
            other => break other,
        }
    };
    assert!(matches!(back.unwrap(), SourceEvent::Frame(_)));
    assert_eq!(counts, [0x0202; PIXELS]);
    drop(pipe);
    assert!(matches!(camera.next_frame(&mut counts).unwrap(), SourceEvent::End));
    assert!(matches!(camera.next_frame(&mut counts).unwrap(), SourceEvent::End), "an end stays an end");
}

#[test]
fn source_that_fails_hands_out_what_came_before_and_then_its_reason() {
    let mut camera = open(
        "videotestsrc is-live=true ! video/x-raw,format=GRAY8,width=16,height=8,framerate=10/1 ! \
         identity error-after=4 ! appsink",
    );
    let mut counts = [0; PIXELS];
    let mut frames = 0;
    let mut last = Instant::now();
    let error = loop {
        match camera.next_frame(&mut counts) {
            Ok(SourceEvent::Frame(_)) => {
                frames += 1;
                last = Instant::now();
            }
            Ok(SourceEvent::End) => panic!("expected a failure, found the end"),
            Err(error) => break error,
        }
    };
    assert!(last.elapsed() < 2 * PERIOD, "declared after {:?}", last.elapsed());
    assert_eq!(frames, 3, "error-after counts from one");
    assert!(
        matches!(&error, DeviceError::Failed { device, reason, .. } if device == "test" && reason.contains("identity")),
        "{error:?}"
    );
}

#[test]
fn camera_opens_again_after_it_was_dropped() {
    let launch =
        "videotestsrc num-buffers=2 ! video/x-raw,format=GRAY8,width=16,height=8,framerate=30/1 ! appsink";
    for _ in 0..3 {
        assert_eq!(play(open(launch).as_mut()).unwrap().len(), 2);
    }
}
