//! What clients do on a bus.

use super::device::{NU, NV, VIEWS, counts};
use super::{Rig, private_bus, words};
use crate::{BUS_NAME, Bus, DAEMON_PATH, DbusError, DbusSettings, Server, stream_path};
use acquisition::{Delivery, FrameRing, LiveNote};
use futures_util::StreamExt;
use service::RunState;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};
use zbus::message::Type;
use zbus::{MatchRule, MessageStream, Proxy};

#[test]
fn gdbus_and_busctl_take_a_spin_from_arming_to_its_recording() {
    let rig = Rig::start();
    let path = stream_path("flat-panel");
    let spin = |method: &str| {
        let method = format!("org.isocenter.Spin1.{method}");
        rig.gdbus("call", &["--object-path", &path, "--method", &method])
    };
    let early = spin("Start");
    let told = String::from_utf8_lossy(&early.stderr);
    assert!(!early.status.success() && told.contains("org.isocenter.Error.NotNow"), "{told}");
    let run = words(&spin("Arm"));
    assert!(run.contains("flat-panel-") && run.contains("-spin"), "{run}");
    assert_eq!(words(&spin("Start")), "()");
    let state = || rig.busctl(&["get-property", BUS_NAME, &path, "org.isocenter.Spin1", "State"]);
    rig.wait_until("a complete spin", || state() == "s \"complete\"");
    let views = rig.busctl(&["get-property", BUS_NAME, &path, "org.isocenter.Spin1", "Views"]);
    assert_eq!(views, format!("(tt) {VIEWS} {VIEWS}"));
    rig.wait_until("a closed recording", || rig.service.runs()[0].state == RunState::Complete);
    let runs = rig.busctl(&["call", BUS_NAME, DAEMON_PATH, "org.isocenter.Runs1", "List"]);
    assert!(runs.starts_with("a(ssbsttt") && runs.contains("\"complete\""), "{runs}");
    assert!(!words(&spin("Arm")).is_empty());
    assert_eq!(words(&spin("Abort")), "()");
    assert_eq!(state(), "s \"idle\"");
}

#[test]
fn busctl_reads_properties_and_lists_the_tree() {
    let rig = Rig::start();
    let tree = rig.busctl(&["tree", "--list", BUS_NAME]);
    assert!(tree.lines().any(|line| line == stream_path("flat-panel")), "{tree}");
    let path = stream_path("flat-panel");
    let property = |interface: &str, name: &str| {
        rig.busctl(&["get-property", BUS_NAME, &path, &format!("org.isocenter.{interface}"), name])
    };
    assert_eq!(property("Device1", "Model"), "s \"Test panel\"");
    assert_eq!(property("Device1", "Columns"), format!("u {NU}"));
    assert_eq!(property("LiveStream1", "State"), "s \"live\"");
    assert!(property("LiveStream1", "Ledger").contains("\"received\""));
    assert_eq!(property("Recording1", "State"), "s \"off\"");
    let start = rig.gdbus("call", &["--object-path", &path, "--method", "org.isocenter.Recording1.Start"]);
    assert!(words(&start).contains("flat-panel-"));
    assert_eq!(property("Recording1", "State"), "s \"on\"");
    let unknown = ["--object-path", DAEMON_PATH, "--method", "org.isocenter.Runs1.Reconstruct", "nothing"];
    let told = rig.gdbus("call", &unknown);
    assert!(String::from_utf8_lossy(&told.stderr).contains("org.isocenter.Error.Unknown"));
}

#[test]
fn gdbus_switches_stages_by_name_and_takes_a_new_mask() {
    let rig = Rig::start();
    let path = stream_path("flat-panel");
    let call = |method: &str, arguments: &[&str]| {
        let method = format!("org.isocenter.LiveStream1.{method}");
        rig.gdbus("call", &[&["--object-path", &path, "--method", &method], arguments].concat())
    };
    let stages = || rig.busctl(&["get-property", BUS_NAME, &path, "org.isocenter.LiveStream1", "Stages"]);
    assert!(stages().contains("\"subtraction\" false") && stages().contains("\"noise_reduction\" true"));
    words(&call("SwitchStages", &["{'subtraction': true, 'noise_reduction': false}"]));
    assert!(stages().contains("\"subtraction\" true"), "{}", stages());
    assert!(stages().contains("\"noise_reduction\" false") && stages().contains("\"correction\" true"));
    let refused = call("SwitchStages", &["{'colour': true}"]);
    let told = String::from_utf8_lossy(&refused.stderr);
    assert!(told.contains("org.isocenter.Error.Unknown") && told.contains("peak_opacification"), "{told}");
    words(&call("Remask", &[]));
    words(&call("SetStages", &["true", "true", "true"]));
    assert!(stages().contains("\"subtraction\" true") && stages().contains("\"noise_reduction\" true"));
}

#[test]
fn client_maps_the_live_ring_reads_images_and_learns_when_it_was_overrun() {
    let rig = Rig::start();
    let (ring, layout) = rig.runtime.block_on(async {
        let connection =
            zbus::connection::Builder::address(rig.address.as_str()).unwrap().build().await.unwrap();
        let path = stream_path("flat-panel");
        let live = Proxy::new(&connection, BUS_NAME, path, "org.isocenter.LiveStream1").await.unwrap();
        let reply: (zbus::zvariant::OwnedFd, HashMap<String, u64>) =
            live.call("OpenRing", &()).await.unwrap();
        reply
    });
    assert_eq!((layout["columns"], layout["rows"]), (NU as u64, NV as u64));
    let file = OwnedFd::from(ring);
    assert!(rustix::io::pwrite(&file, b"x", 0).is_err(), "no client can change what others see");
    assert!(rustix::fs::ftruncate(&file, 0).is_err(), "or take it away");
    let ring = FrameRing::attach(file, layout["slots"] as usize, NU * NV).unwrap();
    let mut reader = ring.lossless_reader();
    let mut image = vec![0; NU * NV];
    let mut seen = 0;
    while seen < 8 {
        match reader.next(&mut image).unwrap() {
            Delivery::Frame(header) => {
                assert_eq!(image, counts(header.sequence % 4));
                let note = LiveNote::from_words(&reader.note());
                assert!(
                    note.shown.window.low < note.shown.window.high
                        && note.finished_ns >= header.stamps.host.0
                );
                seen += 1;
            }
            _ => reader.wait(Duration::from_secs(2)),
        }
    }
    let slots = layout["slots"];
    let until = ring.published() + 2 * slots;
    rig.wait_until("an overrun", || ring.published() > until);
    assert!(matches!(reader.next(&mut image).unwrap(), Delivery::Overrun { count } if count > slots));
}

#[test]
fn changes_are_told_at_most_five_times_a_second() {
    let rig = Rig::start();
    let told = rig.runtime.block_on(async {
        let connection =
            zbus::connection::Builder::address(rig.address.as_str()).unwrap().build().await.unwrap();
        let rule = MatchRule::builder()
            .msg_type(Type::Signal)
            .interface("org.freedesktop.DBus.Properties")
            .unwrap()
            .path(stream_path("flat-panel"))
            .unwrap()
            .build();
        let mut signals = MessageStream::for_match_rule(rule, &connection, None).await.unwrap();
        let mut told = Vec::new();
        let until = Instant::now() + Duration::from_secs(2);
        while let Ok(Some(Ok(message))) =
            tokio::time::timeout(until.saturating_duration_since(Instant::now()), signals.next()).await
        {
            let body = message.body();
            let (interface, changed, _): (String, HashMap<String, zbus::zvariant::Value<'_>>, Vec<String>) =
                body.deserialize().unwrap();
            told.extend(changed.into_keys().map(|name| format!("{interface}.{name}")));
        }
        told
    });
    let ledgers = told.iter().filter(|name| name.as_str() == "org.isocenter.LiveStream1.Ledger").count();
    // Images come 50 times a second.
    assert!((3..=11).contains(&ledgers), "{ledgers} in 2 s: {told:?}");
}

#[test]
fn second_daemon_on_a_bus_is_refused_and_a_bus_that_is_not_there() {
    let rig = Rig::start();
    let settings = DbusSettings { bus: Some(Bus::Address(rig.address.clone())), peer_socket: None };
    let second = rig.runtime.block_on(Server::start(rig.service.clone(), &settings)).err();
    assert!(matches!(second, Some(DbusError::Name { .. })), "{second:?}");
    let (bus, address) = private_bus();
    drop(bus);
    let settings = DbusSettings { bus: Some(Bus::Address(address)), peer_socket: None };
    let gone = rig.runtime.block_on(Server::start(rig.service.clone(), &settings)).err();
    assert!(matches!(gone, Some(DbusError::Connect { .. })), "{gone:?}");
}
