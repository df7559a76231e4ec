//! Each fault does what it says, to the frames that it names, and nothing else.

use super::*;
use crate::tests::{PIXELS, frame, play, record};
use crate::{Pace, ReplayDevice, ReplayOptions};
use carm::FrameHeader;

fn played(text: &str, sequences: std::ops::Range<u64>) -> (Vec<(FrameHeader, Vec<u16>)>, u64) {
    let (_folder, path) = record(sequences);
    let faults = FaultSchedule::from_toml(text).unwrap();
    let options = ReplayOptions { pace: Pace::FlatOut, faults, ..ReplayOptions::default() };
    let mut device = ReplayDevice::open_with(&path, options).unwrap();
    let frames = play(&mut device);
    (frames, device.fault_log().counts().values().sum())
}

fn sequences(text: &str) -> Vec<u64> {
    played(text, 0..8).0.iter().map(|(header, _)| header.sequence).collect()
}

#[test]
fn faults_drop_duplicate_and_reorder_the_frames_named() {
    let fault = |kind: &str| format!("[[fault]]\nkind = \"{kind}\"\nframes = [2, 3]");
    assert_eq!(sequences(&fault("drop")), [0, 1, 4, 5, 6, 7]);
    assert_eq!(sequences(&fault("duplicate")), [0, 1, 2, 2, 3, 3, 4, 5, 6, 7]);
    assert_eq!(sequences(&fault("reorder")), [0, 1, 4, 2, 3, 5, 6, 7]);
    assert_eq!(sequences("[[fault]]\nkind = \"reorder\"\nframes = [7, 7]"), [0, 1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn faults_leave_every_other_frame_bit_for_bit() {
    for kind in ["corrupt", "saturate"] {
        let text = format!("[[fault]]\nkind = \"{kind}\"\nframes = [4, 4]\npixels = 9");
        let (frames, hit) = played(&text, 0..8);
        assert_eq!(hit, 1);
        for (sequence, found) in (0..).zip(&frames) {
            let as_recorded = frame(sequence);
            let changed = found.1.iter().zip(&as_recorded.1).filter(|(a, b)| a != b).count();
            assert_eq!(found.0, as_recorded.0);
            assert_eq!(changed > 0, sequence == 4, "{kind}: {changed} pixels of frame {sequence}");
            assert!(changed <= 9);
        }
        let full = frames[4].1.iter().filter(|&&count| count == u16::MAX).count();
        assert_eq!(full >= 9, kind == "saturate", "{full} pixels at full scale");
    }
}

#[test]
fn faults_shift_pose_and_clocks_by_what_they_say() {
    let (frames, _) = played("[[fault]]\nkind = \"wrong-pose\"\nframes = [3, 3]\ndegrees = 2.0", 0..5);
    let off = frames[3].0.gantry.primary_angle_rad - frame(3).0.gantry.primary_angle_rad;
    assert!((off - 2_f64.to_radians()).abs() < 1e-12);
    let jump = "[[fault]]\nkind = \"clock-jump\"\nframes = [3, 3]\nmilliseconds = 50";
    let (frames, _) = played(jump, 0..5);
    let clock = |at: usize| frames[at].0.stamps.device.0 - frame(at as u64).0.stamps.device.0;
    assert_eq!([clock(2), clock(3), clock(4)], [0, 50_000_000, 50_000_000]);
    let host = |frames: &[(FrameHeader, Vec<u16>)], at: usize| {
        frames[at].0.stamps.host.0 - frame(at as u64).0.stamps.host.0
    };
    for (kind, after) in [("delay", 0), ("stall", 40_000_000)] {
        let text = format!("[[fault]]\nkind = \"{kind}\"\nframes = [1, 1]\nmilliseconds = 40");
        let (frames, _) = played(&text, 0..3);
        assert_eq!([host(&frames, 0), host(&frames, 1), host(&frames, 2)], [0, 40_000_000, after], "{kind}");
    }
}

#[test]
fn faults_of_one_seed_are_the_same_from_any_start() {
    let text = |seed: u64| {
        format!(
            "seed = {seed}\n[[fault]]\nkind = \"drop\"\nshare = 0.3\n[[fault]]\nkind = \"clock-jump\"\nshare = 0.2\nmilliseconds = 5"
        )
    };
    let (whole, hit) = played(&text(7), 0..200);
    assert!((60..140).contains(&hit), "{hit}");
    assert_eq!(whole, played(&text(7), 0..200).0);
    assert_ne!(whole, played(&text(8), 0..200).0);
    let (_folder, path) = record(0..200);
    let faults = FaultSchedule::from_toml(&text(7)).unwrap();
    let options = ReplayOptions { pace: Pace::FlatOut, faults, ..ReplayOptions::default() };
    let mut device = ReplayDevice::open_with(&path, options).unwrap();
    device.seek(120).unwrap();
    let tail: Vec<_> = whole.into_iter().filter(|(header, _)| header.sequence >= 120).collect();
    assert_eq!(play(&mut device), tail);
}

#[test]
fn faults_that_cannot_be_are_refused_with_their_place() {
    let refused = |text: &str| FaultSchedule::from_toml(text).unwrap_err().to_string();
    assert!(refused("sead = 3").contains("sead"));
    assert!(refused("[[fault]]\nkind = \"melt\"").contains("melt"));
    for (line, told) in [
        ("kind = \"delay\"", "expected milliseconds, found none"),
        ("kind = \"drop\"\npixels = 3", "expected no pixels, found pixels"),
        ("kind = \"drop\"\nshare = 1.5", "found 1.5"),
        ("kind = \"drop\"\nshare = nan", "found NaN"),
        ("kind = \"drop\"\nframes = [9, 3]", "found [9, 3]"),
        ("kind = \"stall\"\nmilliseconds = -1", "found -1"),
        ("kind = \"wrong-pose\"\ndegrees = nan", "found NaN"),
    ] {
        let text = refused(&format!("[[fault]]\nkind = \"drop\"\n[[fault]]\n{line}"));
        assert!(text.contains("fault 2") && text.contains(told), "{text}");
    }
    assert_eq!(PIXELS, frame(0).1.len());
}
