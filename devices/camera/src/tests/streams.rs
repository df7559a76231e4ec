//! Frames come through bit for bit, numbered and stamped.

use super::{open, play};
use crate::{CameraSettings, FrameNumbers};
use carm::DeviceError;
use std::io::Write;

/// Counts that use every bit, different in every frame.
fn counts(frames: usize, pixels: usize) -> Vec<u16> {
    (0..frames * pixels).map(|i| (i as u32).wrapping_mul(2_654_435_761).rotate_right(13) as u16).collect()
}

#[test]
fn file_of_16_bit_counts_comes_through_bit_for_bit() {
    let sent = counts(5, 36 * 21);
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&sent.iter().flat_map(|count| count.to_le_bytes()).collect::<Vec<u8>>()).unwrap();
    let mut camera = open(&format!(
        "filesrc location={} ! rawvideoparse format=gray16-le width=36 height=21 framerate=30/1 ! appsink",
        file.path().display()
    ));
    assert_eq!((camera.description().detector.nu, camera.description().detector.nv), (36, 21));
    assert_eq!((camera.description().bits_stored, camera.description().frame_rate_hz), (16, 30.0));
    let frames = play(camera.as_mut()).unwrap();
    assert_eq!(frames.iter().map(|(header, _)| header.sequence).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    assert_eq!(frames.into_iter().flat_map(|(_, counts)| counts).collect::<Vec<_>>(), sent);
}

#[test]
fn file_with_an_odd_width_comes_through_whatever_the_padding() {
    // 37 counts are 74 bytes: GStreamer pads rows to 76 where the file does not.
    let sent = counts(3, 37 * 5);
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&sent.iter().flat_map(|count| count.to_le_bytes()).collect::<Vec<u8>>()).unwrap();
    let mut camera = open(&format!(
        "filesrc location={} ! rawvideoparse use-sink-caps=false format=gray16-le width=37 height=5 plane-strides=<74> \
         plane-offsets=<0> frame-size=370 framerate=30/1 ! appsink",
        file.path().display()
    ));
    let frames = play(camera.as_mut()).unwrap();
    assert_eq!(frames.into_iter().flat_map(|(_, counts)| counts).collect::<Vec<_>>(), sent);
}

#[test]
fn bytes_are_widened_and_nothing_else() {
    let mut camera = open(
        "videotestsrc num-buffers=2 pattern=solid-color foreground-color=0xff808080 ! \
         video/x-raw,format=GRAY8,width=33,height=7,framerate=15/1 ! appsink",
    );
    assert_eq!(camera.description().bits_stored, 8);
    let frames = play(camera.as_mut()).unwrap();
    let first = frames[0].1[0];
    assert!(frames.iter().all(|(_, counts)| counts.iter().all(|&count| count == first)) && first < 256);
}

#[test]
fn frames_carry_device_and_host_clocks_that_advance() {
    let mut camera = open(
        "videotestsrc num-buffers=5 is-live=true ! video/x-raw,format=GRAY16_LE,width=16,height=8,framerate=50/1 ! appsink",
    );
    let frames = play(camera.as_mut()).unwrap();
    for pair in frames.windows(2) {
        let (before, after) = (&pair[0].0, &pair[1].0);
        let step_ms = (after.stamps.device.0 - before.stamps.device.0) as f64 * 1e-6;
        assert!((step_ms - 20.0).abs() < 5.0, "device clock advanced by {step_ms} ms");
        assert!(after.stamps.host > before.stamps.host && after.stamps.wall.0 > 1_700_000_000_000_000_000);
    }
}

#[test]
fn frames_that_never_came_show_as_jumps_of_the_number() {
    // `identity` drops frames on their way, as a lossy link does; the source numbers all of them.
    let launch = "videotestsrc num-buffers=200 ! video/x-raw,format=GRAY8,width=16,height=8,framerate=100/1 ! \
                  identity drop-probability=0.2 ! appsink";
    for numbers in [FrameNumbers::Offset, FrameNumbers::TimeStamps] {
        let settings = CameraSettings { numbers, ..CameraSettings::new("test", launch) };
        let frames = play(crate::open(&settings).unwrap().as_mut()).unwrap();
        let (first, last) = (frames[0].0.sequence, frames[frames.len() - 1].0.sequence);
        let lost: u64 = frames.windows(2).map(|pair| pair[1].0.sequence - pair[0].0.sequence - 1).sum();
        assert_eq!(lost + frames.len() as u64, last - first + 1);
        assert!((10..90).contains(&lost), "{numbers:?}: {lost} lost of 200");
        assert!(frames.windows(2).all(|pair| {
            let step = pair[1].0.sequence - pair[0].0.sequence;
            pair[1].0.stamps.device.0 - pair[0].0.stamps.device.0 == step * 10_000_000
        }));
    }
}

#[test]
fn slot_of_another_size_is_refused() {
    let mut camera = open(
        "videotestsrc num-buffers=1 ! video/x-raw,format=GRAY8,width=16,height=8,framerate=30/1 ! appsink",
    );
    let error = camera.next_frame(&mut [0; 100]).unwrap_err();
    assert!(matches!(error, DeviceError::SlotSize { expected: 128, found: 100 }), "{error}");
}
