//! Launch lines that are no camera.

use crate::{CameraError, CameraSettings};

fn refused(launch: &str) -> CameraError {
    match crate::open(&CameraSettings::new("panel", launch)) {
        Ok(_) => panic!("{launch}: expected a refusal"),
        Err(error) => error,
    }
}

#[test]
fn launch_line_that_does_not_parse_is_refused_with_the_reason() {
    let error = refused("nosuchelement ! appsink");
    assert!(matches!(error, CameraError::LaunchLine { .. }), "{error:?}");
    assert!(error.to_string().contains("nosuchelement"), "{error}");
    assert!(matches!(refused("appsink"), CameraError::LaunchLine { .. } | CameraError::NoFirstFrame { .. }));
    assert!(matches!(refused("videotestsrc ! ! appsink"), CameraError::LaunchLine { .. }));
}

#[test]
fn launch_line_without_exactly_one_appsink_is_refused() {
    assert!(matches!(refused("videotestsrc ! fakesink"), CameraError::AppSink { found: 0, .. }));
    let two = "videotestsrc ! tee name=t ! appsink t. ! appsink";
    assert!(matches!(refused(two), CameraError::AppSink { found: 2, .. }));
}

#[test]
fn launch_line_that_converts_pixels_is_refused() {
    for element in ["videoconvert", "videoscale", "gamma", "videobalance", "videoconvertscale", "videorate"] {
        let error = refused(&format!("videotestsrc ! {element} ! appsink"));
        assert!(
            matches!(&error, CameraError::Converts { element: found, .. } if found == element),
            "{error}"
        );
    }
}

#[test]
fn launch_line_of_colour_frames_is_refused() {
    let error = refused("videotestsrc ! video/x-raw,format=RGB ! appsink");
    assert!(matches!(error, CameraError::LaunchLine { .. } | CameraError::NoFirstFrame { .. }), "{error:?}");
    let error = refused("videotestsrc ! video/x-raw,format=GRAY16_BE ! appsink");
    assert!(matches!(error, CameraError::LaunchLine { .. } | CameraError::NoFirstFrame { .. }), "{error:?}");
}

#[test]
fn source_that_does_not_start_is_refused_with_its_own_words() {
    let error = refused(
        "filesrc location=/nowhere/frames.raw ! rawvideoparse format=gray16-le width=8 height=8 ! appsink",
    );
    assert!(matches!(error, CameraError::NoFirstFrame { .. }), "{error:?}");
    assert!(error.to_string().contains("/nowhere/frames.raw"), "{error}");
}

#[test]
fn settings_that_cannot_be_are_refused() {
    let good =
        CameraSettings::new("panel", "videotestsrc num-buffers=1 ! video/x-raw,format=GRAY8 ! appsink");
    let rate = CameraSettings { frame_rate_hz: Some(f64::NAN), ..good.clone() };
    assert!(matches!(crate::open(&rate), Err(CameraError::Setting { .. })));
    let bits = CameraSettings { bits_stored: Some(17), ..good.clone() };
    assert!(matches!(crate::open(&bits), Err(CameraError::Setting { .. })));
    let pitch = CameraSettings { pixel_pitch_mm: [0.0, 0.3], ..good };
    assert!(matches!(crate::open(&pitch), Err(CameraError::Detector { .. })));
}
