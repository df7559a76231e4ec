//! The run file against readers that nobody here wrote: the Python `mcap` package, NumPy, zstandard.

use capture::{RunOutcome, RunReader, RunWriter, WriterOptions};
use carm::{
    BeamModel, ClockStamps, DetectorGrid, DeviceIdentity, DeviceTime, FrameHeader, HostTime, PatientSetup,
    RunDescription,
};
use isocenter_tests::{oracle_python, repository_root, run_oracle};
use std::path::{Path, PathBuf};
use std::process::Command;

const NU: usize = 64;
const NV: usize = 48;
const FRAMES: u64 = 30;

/// Smooth, noisy and extreme counts, so that both codecs and every carry of the predictor come up.
fn counts(sequence: u64) -> Vec<u16> {
    let count = |i: u64| {
        let noise = (i ^ (sequence << 20)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        match sequence % 3 {
            0 => (12_000 + 30 * (i % NU as u64) + (noise >> 59)) as u16,
            1 => (noise >> 48) as u16,
            _ => [0, u16::MAX, 0x8000, 0x7FFF][(noise >> 62) as usize],
        }
    };
    (0..(NU * NV) as u64).map(count).collect()
}

fn record(folder: &Path) -> PathBuf {
    let path = folder.join("run.mcap");
    let description = RunDescription {
        run_id: "oracle".into(),
        protocol: "fluoro-ap".into(),
        device: DeviceIdentity::default(),
        seed: None,
        detector: DetectorGrid::new([NU, NV], [0.6, 0.6]).unwrap(),
        bits_stored: 16,
        frame_rate_hz: 30.0,
        planned_views: Vec::new(),
        detector_calibration: None,
        beam: BeamModel {
            tube_voltage_kv: 70.0,
            effective_energy_kev: 45.0,
            mu_water_per_mm: 0.025,
            water_precorrection: vec![1.0],
        },
        patient: PatientSetup::default(),
        volume_grid: None,
        remarks: Vec::new(),
    };
    let mut writer = RunWriter::create(&path, &description, WriterOptions::default()).unwrap();
    writer.write_event("xray_on", "", HostTime(1)).unwrap();
    for sequence in 0..FRAMES {
        let stamps = ClockStamps {
            device: DeviceTime(sequence * 33_333_333),
            host: HostTime(1_000_000 + sequence * 33_333_333),
            ..ClockStamps::default()
        };
        let header = FrameHeader { sequence, stamps, ..FrameHeader::default() };
        writer.write_frame(&header, &counts(sequence)).unwrap();
    }
    writer.write_gap(FRAMES, 3, "lost in transit").unwrap();
    writer.finish(RunOutcome::Complete).unwrap();
    path
}

#[test]
fn capture_is_read_message_by_message_by_the_python_mcap_package() {
    let folder = tempfile::tempdir().unwrap();
    let path = record(folder.path());
    let found = run_oracle("read_capture.py", &[path.to_str().unwrap()]);
    assert_eq!(found["profile"], "isocenter");
    for (topic, count) in [("/frames", 30), ("/gantry", 30), ("/exposure", 30), ("/events", 2), ("/gaps", 1)]
    {
        assert_eq!(found["topics"][topic], count, "{topic}: {found}");
    }
    assert_eq!(found["kinds"]["outcome"], 1);
    assert_eq!(found["message_count"], 93);
    assert_eq!(found["messages_in_stream"], 93);
    assert_eq!(found["sequences"], serde_json::json!((0..FRAMES).collect::<Vec<_>>()));
    let metadata = &found["frame_metadata"];
    assert_eq!(metadata["codec"], "delta-zigzag-planes-zstd");
    assert_eq!([&metadata["width"], &metadata["height"], &metadata["bits_stored"]], ["64", "48", "16"]);
    assert!(found["schema_text"].as_str().unwrap().contains("CRC-32"));
    // The description at the front and, byte for byte the same, at the end.
    assert_eq!(found["attachments"].as_array().unwrap().len(), 2);
    assert_eq!(found["attachments"][0], found["attachments"][1]);
}

/// Counts of a NumPy file: a 10-byte preamble with the header's length, the header, then the numbers.
fn npy_counts(bytes: &[u8]) -> Vec<u16> {
    let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = std::str::from_utf8(&bytes[10..start]).unwrap();
    assert!(header.contains("'<u2'") && header.contains("(30, 48, 64)"), "{header}");
    bytes[start..].chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect()
}

#[test]
fn capture_is_decoded_bit_for_bit_by_the_shipped_script() {
    let folder = tempfile::tempdir().unwrap();
    let (path, stack) = (record(folder.path()), folder.path().join("stack.npy"));
    let script = repository_root().join("acquisition/capture/read_run.py");
    let output = Command::new(oracle_python()).arg(script).args([&path, &stack]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found = npy_counts(&std::fs::read(&stack).unwrap());
    let expected: Vec<u16> = (0..FRAMES).flat_map(counts).collect();
    assert!(found == expected, "the script's counts differ from what was recorded");

    let mut reader = RunReader::open(&path).unwrap();
    let mut slot = vec![0; NU * NV];
    for index in 0..FRAMES as usize {
        reader.read_frame(index, &mut slot).unwrap();
        assert!(slot == expected[index * NU * NV..][..NU * NV], "frame {index}");
    }
}
