//! A GigE Vision camera: Aravis' simulator and its `aravissrc`, alone in a network namespace with nothing but loopback,
//! because discovery broadcasts on every interface there is.

use crate::{Camera, CameraSettings};
use carm::{DeviceError, FrameSource, SourceEvent};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Set in the copy of this test program that runs inside the namespace.
const INSIDE: &str = "ISOCENTER_TEST_ALONE_ON_LOOPBACK";
const SIMULATOR: &str = "arv-fake-gv-camera-0.8";

#[test]
fn gige_vision_camera_streams_and_its_unplugging_is_told() {
    if std::env::var_os(INSIDE).is_some() {
        return stream_and_unplug();
    }
    let program = std::env::current_exe().unwrap();
    let output = Command::new("unshare")
        .args(["--net", "sh", "-c", "ip link set lo up && exec \"$0\" \"$@\""])
        .arg(program)
        .args([
            "--exact",
            "tests::aravis::gige_vision_camera_streams_and_its_unplugging_is_told",
            "--nocapture",
        ])
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
    fn plug_in() -> Self {
        let child = Command::new(SIMULATOR)
            .args(["--interface", "127.0.0.1"])
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

fn settings() -> CameraSettings {
    let launch = "aravissrc ! video/x-raw,format=GRAY16_LE,width=512,height=256,framerate=25/1 ! appsink";
    CameraSettings { frame_rate_hz: Some(25.0), ..CameraSettings::new("fake-gige", launch) }
}

/// Opens the camera as soon as it answers.
fn wait_for_camera() -> Camera {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match Camera::open(&settings()) {
            Ok(camera) => return camera,
            Err(error) if Instant::now() > deadline => panic!("{error}"),
            Err(_) => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}

fn stream_and_unplug() {
    let mut simulator = Simulator::plug_in();
    let mut camera = wait_for_camera();
    let grid = camera.description().detector;
    assert_eq!((grid.nu, grid.nv, camera.description().bits_stored), (512, 256, 16));
    let mut counts = vec![0; grid.pixel_count()];
    let (mut frames, mut last_sequence) = (0, None);
    let mut brightest = 0;
    while frames < 25 {
        match camera.next_frame(&mut counts) {
            Ok(SourceEvent::Frame(header)) => {
                assert!(last_sequence.is_none_or(|last| header.sequence > last));
                last_sequence = Some(header.sequence);
                brightest = brightest.max(counts.iter().copied().max().unwrap());
                frames += 1;
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

    simulator = Simulator::plug_in();
    let mut camera = wait_for_camera();
    assert!(matches!(camera.next_frame(&mut counts).unwrap(), SourceEvent::Frame(_)), "it is back");
    drop(camera);
    simulator.unplug();
}
