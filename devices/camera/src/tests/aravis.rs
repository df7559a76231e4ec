//! A GigE Vision camera: Aravis' simulator by `aravissrc` and by the library itself, alone in a network namespace with
//! nothing but loopback, because discovery broadcasts on every interface there is.

use crate::{CameraError, CameraSettings, CameraSource, open};
use carm::{DeviceError, FrameHeader, FrameSource, LinkCounts, SourceEvent};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Set in the copy of this test program that runs inside the namespace.
const INSIDE: &str = "ISOCENTER_TEST_ALONE_ON_LOOPBACK";
const SIMULATOR: &str = "arv-fake-gv-camera-0.8";

#[test]
fn gige_vision_camera_streams_by_a_launch_line_and_its_unplugging_is_told() {
    let launch = "aravissrc ! video/x-raw,format=GRAY16_LE,width=512,height=256,framerate=25/1 ! appsink";
    let settings = CameraSettings { frame_rate_hz: Some(25.0), ..CameraSettings::new("fake-gige", launch) };
    alone_on_loopback("gige_vision_camera_streams_by_a_launch_line_and_its_unplugging_is_told", || {
        stream_and_unplug(&settings);
    });
}

#[test]
fn gige_vision_panel_streams_by_its_own_numbers_and_its_unplugging_is_told() {
    alone_on_loopback("gige_vision_panel_streams_by_its_own_numbers_and_its_unplugging_is_told", || {
        let headers = stream_and_unplug(&panel(""));
        // The simulator stamps by the wall clock of this machine, and sends 25 frames a second.
        let [first, last] = [headers[0], headers[headers.len() - 1]];
        assert!(first.stamps.wall.0.abs_diff(first.stamps.device.0) < 1_000_000_000, "{first:?}");
        let passed_ns = last.stamps.device.0 - first.stamps.device.0;
        let periods = passed_ns as f64 / 40e6;
        let numbers = (last.sequence - first.sequence) as f64;
        assert!((periods - numbers).abs() < 0.2 * numbers, "{numbers} numbers in {periods} frame times");
    });
}

#[test]
fn gige_vision_panel_tells_frames_of_which_packets_never_came() {
    alone_on_loopback("gige_vision_panel_tells_frames_of_which_packets_never_came", || {
        // Some 180 packets a frame: every sixth frame or so is hit.
        let _simulator = Simulator::plug_in(&["--gvsp-lost-ratio", "1"]);
        let mut panel = wait_for_camera(&panel(""));
        let mut counts = vec![0; panel.description().detector.pixel_count()];
        let mut headers: Vec<FrameHeader> = Vec::new();
        let deadline = Instant::now() + Duration::from_secs(30);
        while (headers.len() < 40 || panel.link_counts().incomplete < 3) && Instant::now() < deadline {
            match panel.next_frame(&mut counts) {
                Ok(SourceEvent::Frame(header)) => headers.push(header),
                Ok(SourceEvent::End) => panic!("expected frames, found the end"),
                Err(DeviceError::Stalled { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        let LinkCounts { incomplete, packets_lost, packets_resent } = panel.link_counts();
        assert!(incomplete >= 3 && packets_lost >= incomplete, "{:?}", panel.link_counts());
        assert_eq!(packets_resent, 0, "the simulator does not send again");
        let lost: u64 = headers.windows(2).map(|pair| pair[1].sequence - pair[0].sequence - 1).sum();
        // The last incomplete frame may not be followed by a whole one yet, or may have been the very first.
        assert!(
            lost <= incomplete && lost + 2 >= incomplete,
            "{lost} numbers missing, {incomplete} frames incomplete"
        );
    });
}

#[test]
fn gige_vision_panel_that_cannot_be_used_says_why() {
    alone_on_loopback("gige_vision_panel_that_cannot_be_used_says_why", || {
        let _simulator = Simulator::plug_in(&[]);
        drop(wait_for_camera(&panel("")));
        let refused = |source| match open(&CameraSettings::from("fake-gige", source)) {
            Ok(_) => panic!("expected a refusal"),
            Err(error) => error,
        };
        let genicam = |camera: &str, features: &str| CameraSource::GenICam {
            camera: camera.into(),
            features: features.into(),
        };
        let error = refused(genicam("", "NoSuchFeature=1"));
        assert!(matches!(error, CameraError::GenICam { doing: "features", .. }), "{error}");
        assert!(error.to_string().contains("NoSuchFeature"), "{error}");
        let error = refused(genicam("", "PixelFormat=BayerRG8"));
        assert!(matches!(&error, CameraError::Format { found, .. } if found.contains("BayerRG8")), "{error}");
        let error = refused(genicam("no-such-panel", ""));
        assert!(matches!(error, CameraError::GenICam { doing: "opening", .. }), "{error}");
    });
}

/// The simulator by the library itself.
fn panel(camera: &str) -> CameraSettings {
    let features = "Width=512 Height=256 PixelFormat=Mono16 AcquisitionFrameRate=25".into();
    CameraSettings::from("fake-gige", CameraSource::GenICam { camera: camera.into(), features })
}

/// Runs the test of this name in a copy of this program that has a loopback of its own.
fn alone_on_loopback(test: &str, inside: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return inside();
    }
    let program = std::env::current_exe().unwrap();
    let output = Command::new("unshare")
        .args(["--net", "sh", "-c", "ip link set lo up && exec \"$0\" \"$@\""])
        .arg(program)
        .args(["--exact", &format!("tests::aravis::{test}"), "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .expect("`unshare` of util-linux");
    let told = String::from_utf8_lossy(&output.stderr);
    if told.contains("unshare failed: Operation not permitted") {
        println!("not run: a network namespace needs root, and this user may not make one");
        return;
    }
    assert!(output.status.success(), "{}{told}", String::from_utf8_lossy(&output.stdout));
}

struct Simulator(Child);

impl Simulator {
    fn plug_in(more: &[&str]) -> Self {
        let child = Command::new(SIMULATOR)
            .args(["--interface", "127.0.0.1"])
            .args(more)
            .stdout(Stdio::null())
            .spawn()
            .expect("Aravis' camera simulator, Debian's aravis-tools");
        Self(child)
    }

    fn unplug(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.unplug();
    }
}

/// Opens the camera as soon as it answers.
fn wait_for_camera(settings: &CameraSettings) -> Box<dyn FrameSource> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match open(settings) {
            Ok(camera) => return camera,
            Err(error) if Instant::now() > deadline => panic!("{error}"),
            Err(_) => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}

/// Streams, unplugs and plugs in again; gives what came before the unplugging.
fn stream_and_unplug(settings: &CameraSettings) -> Vec<FrameHeader> {
    let mut simulator = Simulator::plug_in(&[]);
    let mut camera = wait_for_camera(settings);
    let grid = camera.description().detector;
    assert_eq!((grid.nu, grid.nv, camera.description().bits_stored), (512, 256, 16));
    let mut counts = vec![0; grid.pixel_count()];
    let mut headers: Vec<FrameHeader> = Vec::new();
    let mut brightest = 0;
    while headers.len() < 25 {
        match camera.next_frame(&mut counts) {
            Ok(SourceEvent::Frame(header)) => {
                assert!(headers.last().is_none_or(|last| header.sequence > last.sequence));
                headers.push(header);
                brightest = brightest.max(counts.iter().copied().max().unwrap());
            }
            Ok(SourceEvent::End) => panic!("expected frames, found the end"),
            Err(DeviceError::Stalled { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert!(brightest > 255, "16-bit counts, found at most {brightest}");

    simulator.unplug();
    let unplugged = Instant::now();
    let stalled = camera.next_frame(&mut counts);
    let stalled = std::iter::once(stalled)
        .chain(std::iter::from_fn(|| Some(camera.next_frame(&mut counts))))
        .find(Result::is_err)
        .unwrap()
        .unwrap_err();
    // A frame or two may still have been on their way.
    assert!(unplugged.elapsed() < Duration::from_millis(5 * 40), "declared after {:?}", unplugged.elapsed());
    assert!(matches!(stalled, DeviceError::Stalled { .. } | DeviceError::Disconnected { .. }), "{stalled}");
    drop(camera);

    simulator = Simulator::plug_in(&[]);
    let mut camera = wait_for_camera(settings);
    // It may need more than two frame times for its first one.
    let is_back = (0..20).any(|_| matches!(camera.next_frame(&mut counts), Ok(SourceEvent::Frame(_))));
    assert!(is_back, "no frame after it was plugged in again");
    drop(camera);
    simulator.unplug();
    headers
}
