//! Clients that nobody here wrote the protocol of: a WebSocket library, and plain bytes on a socket.

use crate::{Server, WebError, WebSettings, frame};
use carm::{
    BeamModel, DetectorGrid, DeviceError, DeviceIdentity, FrameHeader, FrameSource, PatientSetup, Pedal,
    RunDescription,
};
use futures_util::StreamExt;
use service::{Driver, NoJobs, PreRendered, Service, ServiceSettings, StreamSettings};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};

const NU: usize = 40;
const NV: usize = 30;

struct Panel;

fn counts(image: u64) -> Vec<u16> {
    (0..NU * NV).map(|i| (2000 * (image + 1) + i as u64) as u16).collect()
}

impl Driver for Panel {
    fn name(&self) -> &str {
        "panel"
    }

    fn open(&self) -> Result<Box<dyn FrameSource>, DeviceError> {
        let description = RunDescription {
            run_id: "test".into(),
            protocol: "fluoro".into(),
            device: DeviceIdentity::default(),
            seed: None,
            detector: DetectorGrid::new([NU, NV], [0.6, 0.6]).unwrap(),
            bits_stored: 16,
            frame_rate_hz: 50.0,
            planned_views: Vec::new(),
            detector_calibration: None,
            beam: BeamModel {
                tube_voltage_kv: 70.0,
                effective_energy_kev: 53.0,
                mu_water_per_mm: 0.022,
                water_precorrection: vec![1.0],
            },
            patient: PatientSetup::default(),
            volume_grid: None,
            remarks: Vec::new(),
        };
        let header = |sequence| FrameHeader {
            sequence,
            is_xray_on: true,
            pedal: Pedal::Fluoroscopy,
            ..FrameHeader::default()
        };
        let frames = (0..4).map(|image| (header(image), counts(image))).collect();
        Ok(Box::new(PreRendered::new(description, frames).again_and_again()))
    }
}

struct Rig {
    server: Server,
    service: Arc<Service>,
    runtime: Runtime,
    _folder: TempDir,
}

impl Rig {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = ServiceSettings { folder: folder.path().to_path_buf(), ..ServiceSettings::default() };
        let panel: Box<dyn Driver> = Box::new(Panel);
        let service = Service::start(&settings, vec![(panel, StreamSettings::default())], NoJobs).unwrap();
        let service = Arc::new(service);
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let settings = WebSettings { listen: SocketAddr::from(([127, 0, 0, 1], 0)) };
        let server = runtime.block_on(Server::start(service.clone(), settings)).unwrap();
        let rig = Self { server, service, runtime, _folder: folder };
        let deadline = Instant::now() + Duration::from_secs(20);
        while rig.service.streams()[0].status().ledger.shown == 0 {
            assert!(Instant::now() < deadline, "images");
            std::thread::sleep(Duration::from_millis(5));
        }
        rig
    }

    /// Status and body of a request with this first line's verb and path, and further headers.
    fn ask(&self, request: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
        let address = self.server.address();
        let mut socket = TcpStream::connect(address).unwrap();
        let mut text =
            format!("{request} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
        if headers.iter().all(|(name, _)| *name != "Host") {
            text += &format!("Host: {address}\r\n");
        }
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        socket.write_all(format!("{text}\r\n{body}").as_bytes()).unwrap();
        let mut reply = String::new();
        socket.read_to_string(&mut reply).unwrap();
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }
}

#[test]
fn websocket_carries_every_image_bit_for_bit_and_the_status() {
    let rig = Rig::start();
    let url = format!("ws://{}/ws/live/panel", rig.server.address());
    rig.runtime.block_on(async {
        let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        let (mut images, mut statuses) = (Vec::new(), 0);
        while images.len() < 25 {
            match socket.next().await.unwrap().unwrap() {
                Message::Binary(message) => {
                    let word = |at: usize| u64::from_le_bytes(message[at..at + 8].try_into().unwrap());
                    let sequence = word(16);
                    let sent: Vec<u8> =
                        counts(sequence % 4).iter().flat_map(|count| count.to_le_bytes()).collect();
                    assert_eq!(&message[frame::HEADER_BYTES..], sent);
                    assert!(word(32) >= word(24), "finished after it arrived");
                    images.push(sequence);
                }
                Message::Text(status) => {
                    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
                    assert_eq!((&status["name"], &status["live"]), (&"panel".into(), &"live".into()));
                    statuses += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(images.windows(2).all(|pair| pair[1] > pair[0]), "{images:?}");
        assert!(statuses >= 2, "{statuses} in half a second");
    });
}

#[test]
fn client_that_never_reads_holds_nobody_up() {
    let rig = Rig::start();
    let url = format!("ws://{}/ws/live/panel", rig.server.address());
    rig.runtime.block_on(async {
        let (lazy, _) = tokio_tungstenite::connect_async(&url).await.unwrap();
        let (mut keen, _) = tokio_tungstenite::connect_async(&url).await.unwrap();
        let before = rig.service.streams()[0].status().ledger;
        let mut images = 0;
        while images < 50 {
            images += usize::from(keen.next().await.unwrap().unwrap().is_binary());
        }
        let after = rig.service.streams()[0].status().ledger;
        assert_eq!((after.lost, after.record_lost), (before.lost, before.record_lost));
        drop(lazy);
    });
}

#[test]
fn page_and_its_files_are_served_and_ask_no_other_host() {
    let rig = Rig::start();
    for path in ["/", "/page.css", "/page.js", "/screen.js"] {
        let (status, body) = rig.ask(&format!("GET {path}"), &[], "");
        assert_eq!(status, 200, "{path}");
        assert!(!body.contains("https://") && !body.contains("http://"), "{path}");
    }
    assert_eq!(rig.ask("GET /elsewhere", &[], "").0, 404);
}

#[test]
fn requests_of_other_hosts_and_pages_are_refused() {
    let rig = Rig::start();
    let own = format!("http://{}", rig.server.address());
    assert_eq!(rig.ask("GET /api/status", &[("Host", "rebound.example.org")], "").0, 403);
    assert_eq!(rig.ask("GET /api/status", &[("Origin", "http://example.org")], "").0, 403);
    assert_eq!(rig.ask("GET /api/status", &[("Origin", &own)], "").0, 200);
    let start = "POST /api/streams/panel/recording/start";
    assert_eq!(rig.ask(start, &[("Origin", "http://127.0.0.1:1")], "").0, 403);
    assert_eq!(rig.service.runs().len(), 0);
    rig.runtime.block_on(async {
        let mut request =
            format!("ws://{}/ws/live/panel", rig.server.address()).into_client_request().unwrap();
        request.headers_mut().insert("origin", "http://example.org".parse().unwrap());
        assert!(tokio_tungstenite::connect_async(request).await.is_err());
    });
}

#[test]
fn recording_stages_and_jobs_are_asked_for_over_http() {
    let rig = Rig::start();
    let (status, body) = rig.ask("POST /api/streams/panel/recording/start", &[], "");
    assert_eq!(status, 200, "{body}");
    let (status, body) = rig.ask("POST /api/streams/panel/recording/start", &[], "");
    assert!(status == 409 && body.contains("expected none running"), "{body}");
    assert_eq!(rig.ask("POST /api/streams/panel/recording/stop", &[], "").0, 200);
    let (_, runs) = rig.ask("GET /api/runs", &[], "");
    assert!(runs.contains("\"state\":\"complete\""), "{runs}");
    let (_, runs) = rig.ask("GET /api/runs", &[], "");
    let id = runs.split("\"id\":\"").nth(1).unwrap().split('"').next().unwrap();
    let (status, body) = rig.ask(&format!("POST /api/runs/{id}/keep/yes"), &[], "");
    assert!(status == 200 && body.contains("\"is_kept\":true"), "{body}");
    assert_eq!(rig.ask(&format!("POST /api/runs/{id}/keep/perhaps"), &[], "").0, 404);
    let json = [("Content-Type", "application/json")];
    let off = r#"{"automatic_window":false}"#;
    assert_eq!(rig.ask("POST /api/streams/panel/stages", &json, off), (200, r#"{"stages":131}"#.into()));
    assert_eq!(rig.ask("POST /api/streams/panel/stages", &json, r#"{"colour":true}"#).0, 422);
    assert_eq!(rig.ask("POST /api/streams/panel/remask", &[], "").0, 200);
    assert_eq!(rig.ask("POST /api/streams/none/recording/start", &[], "").0, 404);
    assert_eq!(rig.ask("POST /api/streams/panel/spin/turn", &[], "").0, 404);
    assert_eq!(rig.ask("POST /api/streams/panel/spin/arm", &[], "").0, 409, "it cannot spin");
    assert_eq!(rig.ask("POST /api/jobs/9/cancel", &[], "").0, 404);
    assert_eq!(rig.ask("POST /api/streams/panel/stages", &json, &"x".repeat(5000)).0, 413);
}

#[test]
fn metrics_and_health_say_what_the_ledger_says() {
    let rig = Rig::start();
    let (status, text) = rig.ask("GET /metrics", &[], "");
    assert_eq!(status, 200);
    let value = |line: &str| -> f64 {
        let row =
            text.lines().find(|row| row.starts_with(line)).unwrap_or_else(|| panic!("{line} in {text}"));
        row.rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert!(value("isocenter_frames_received_total{stream=\"panel\"}") >= 1.0);
    assert!(value("isocenter_live_latency_seconds_count{stream=\"panel\"}") >= 1.0);
    assert!(value("isocenter_disk_free_bytes") > 0.0);
    assert!(text.ends_with("# EOF\n"));
    assert_eq!(rig.ask("GET /healthz", &[], ""), (200, "ok\n".into()));
    assert_eq!(rig.ask("GET /readyz", &[], "").0, 200);
}

#[test]
fn address_that_others_can_reach_is_refused_and_one_that_is_taken() {
    let rig = Rig::start();
    let start = |listen: SocketAddr| {
        rig.runtime.block_on(Server::start(rig.service.clone(), WebSettings { listen })).err()
    };
    assert!(matches!(start(([0, 0, 0, 0], 0).into()), Some(WebError::NotLoopback { .. })));
    assert!(matches!(start(rig.server.address()), Some(WebError::Listen { .. })));
}
