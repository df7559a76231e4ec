//! Cut anywhere, flipped anywhere, overwritten anywhere: never a panic, never a wrong frame, nothing lost that is whole.
//!
//! What is recoverable is worked out without the reader: a walk over the sound file's records by opcode and length
//! alone gives where every message begins and ends; whatever of them the damage does not touch must come back.

use super::sample::{NU, NV, SEQUENCES, description, frame, record};
use crate::{DamageKind, RunReader, inspect, recover};
use std::ops::Range;
use std::path::Path;

struct Message {
    /// The whole record, opcode and length included.
    bytes: Range<usize>,
    /// Of a frame.
    sequence: Option<u64>,
    is_gap: bool,
}

struct Pristine {
    bytes: Vec<u8>,
    messages: Vec<Message>,
    /// End of the last attachment of the first copy of the description.
    described_at: usize,
}

fn number(bytes: &[u8], at: usize) -> usize {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize
}

/// Where every message of a sound file lies.
fn pristine(folder: &Path) -> Pristine {
    let path = folder.join("pristine.mcap");
    record(&path);
    let bytes = std::fs::read(&path).unwrap();
    let mut messages = Vec::new();
    let mut described_at = 0;
    let mut at = 8;
    while at < bytes.len() - 8 {
        let (opcode, end) = (bytes[at], at + 9 + number(&bytes, at + 1));
        if opcode == 9 && messages.is_empty() {
            described_at = end;
        }
        if opcode != 6 {
            at = end;
            continue;
        }
        let mut inner = at + 9 + 40;
        while inner < end {
            let next = inner + 9 + number(&bytes, inner + 1);
            if bytes[inner] == 5 {
                let data = &bytes[inner + 31..next];
                let sequence = data.starts_with(b"ISFR").then(|| number(data, 16) as u64);
                let is_gap = data.starts_with(b"{\"kind\":\"gap\"");
                messages.push(Message { bytes: inner..next, sequence, is_gap });
            }
            inner = next;
        }
        at = end;
    }
    let frames: Vec<u64> = messages.iter().filter_map(|message| message.sequence).collect();
    assert_eq!(frames, SEQUENCES, "the walk of the sound file finds every frame");
    assert_eq!(messages.iter().filter(|message| message.is_gap).count(), 1);
    Pristine { bytes, messages, described_at }
}

/// Same numbers on every run (Steele et al., SplitMix64, 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }
}

/// Opens, inspects and, now and then, repairs a damaged file against what must still be there.
fn check(
    pristine: &Pristine,
    folder: &Path,
    bytes: &[u8],
    harmed: Range<usize>,
    with_recovery: bool,
    what: &str,
) {
    let path = folder.join("damaged.mcap");
    std::fs::write(&path, bytes).unwrap();
    let survives =
        |message: &&Message| message.bytes.end <= harmed.start || message.bytes.start >= harmed.end;
    let kept = || pristine.messages.iter().filter(survives);
    let expected: Vec<u64> = kept().filter_map(|message| message.sequence).collect();
    let gaps = kept().filter(|message| message.is_gap).count();

    let inspection = inspect(&path);
    assert!(!inspection.is_sound(), "{what}: damage went unnoticed");
    let mut reader = match RunReader::open(&path) {
        Ok(reader) => reader,
        Err(error) => {
            assert!(harmed.start < pristine.described_at, "{what}: {error}");
            assert!(expected.is_empty(), "{what}: {} whole frames were given up: {error}", expected.len());
            return;
        }
    };
    assert_eq!(reader.description(), &description(), "{what}");
    let mut read = Vec::new();
    let mut counts = vec![0; NU * NV];
    for index in 0..reader.frame_count() {
        // A frame that fails here is refused, not presented.
        if let Ok(header) = reader.read_frame(index, &mut counts) {
            assert_eq!((header, counts.clone()), frame(header.sequence), "{what}: a wrong frame");
            read.push(header.sequence);
        }
    }
    assert!(expected.iter().all(|sequence| read.contains(sequence)), "{what}: {read:?} of {expected:?}");
    assert!(reader.gaps().len() >= gaps, "{what}: a whole gap record was given up");
    assert_eq!(inspection.frames, read.len(), "{what}: inspection and reader disagree");
    if with_recovery {
        let out = folder.join("recovered.mcap");
        let recovery = recover(&path, &out).unwrap();
        assert_eq!(recovery.summary.frames, read.len() as u64, "{what}");
        let repaired = inspect(&out);
        assert!(repaired.is_sound() && repaired.unexplained_gaps.is_empty(), "{what}: {repaired:?}");
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "{what}: the original was touched");
        std::fs::remove_file(&out).unwrap();
    }
}

#[test]
fn run_cut_at_1000_places_gives_every_whole_record() {
    let folder = tempfile::tempdir().unwrap();
    let pristine = pristine(folder.path());
    let mut random = Random(20_260_101);
    let length = pristine.bytes.len();
    for trial in 0..1000 {
        let cut = random.below(length);
        let what = format!("cut at byte {cut} of {length}");
        check(&pristine, folder.path(), &pristine.bytes[..cut], cut..length, trial % 20 == 0, &what);
    }
}

#[test]
fn run_cut_around_every_record_border_gives_every_whole_record() {
    let folder = tempfile::tempdir().unwrap();
    let pristine = pristine(folder.path());
    let length = pristine.bytes.len();
    for message in &pristine.messages {
        for cut in [message.bytes.start, message.bytes.start + 1, message.bytes.end - 1, message.bytes.end] {
            let what = format!("cut at byte {cut} of {length}");
            check(&pristine, folder.path(), &pristine.bytes[..cut], cut..length, false, &what);
        }
    }
}

#[test]
fn run_with_a_byte_flipped_at_200_places_gives_every_other_record() {
    let folder = tempfile::tempdir().unwrap();
    let pristine = pristine(folder.path());
    let mut random = Random(20_260_102);
    for trial in 0..200 {
        let at = random.below(pristine.bytes.len());
        let change = 1 + random.below(255) as u8;
        let mut bytes = pristine.bytes.clone();
        bytes[at] ^= change;
        let what = format!("byte {at} changed by {change:#04x}");
        check(&pristine, folder.path(), &bytes, at..at + 1, trial % 10 == 0, &what);
    }
}

#[test]
fn run_with_a_stretch_overwritten_gives_every_other_record() {
    let folder = tempfile::tempdir().unwrap();
    let pristine = pristine(folder.path());
    let mut random = Random(20_260_103);
    let from = pristine.described_at;
    for trial in 0..100 {
        let start = from + random.below(pristine.bytes.len() - from);
        let end = (start + 1 + random.below(600)).min(pristine.bytes.len());
        let mut bytes = pristine.bytes.clone();
        match trial % 3 {
            0 => bytes[start..end].fill(0),
            1 => bytes[start..end].iter_mut().for_each(|byte| *byte = random.below(256) as u8),
            // A stretch from elsewhere in the file: records that are sound but not in their place.
            _ => bytes.copy_within(from..from + (end - start), start),
        }
        if bytes == pristine.bytes {
            continue;
        }
        let what = format!("bytes {start} to {end} overwritten");
        check(&pristine, folder.path(), &bytes, start..end, trial % 10 == 0, &what);
    }
}

#[test]
fn run_with_its_first_description_damaged_opens_by_the_second() {
    let folder = tempfile::tempdir().unwrap();
    let pristine = pristine(folder.path());
    let mut bytes = pristine.bytes.clone();
    bytes[40..pristine.described_at - 40].fill(0xFF);
    let path = folder.path().join("damaged.mcap");
    std::fs::write(&path, bytes).unwrap();
    let reader = RunReader::open(&path).unwrap();
    assert_eq!((reader.description(), reader.frame_count()), (&description(), SEQUENCES.len()));
}

#[test]
fn inspection_says_where_a_frame_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let pristine = pristine(folder.path());
    let message = pristine.messages.iter().find(|message| message.sequence == Some(7)).unwrap();
    let mut bytes = pristine.bytes.clone();
    bytes[message.bytes.start + 200] ^= 1;
    let path = folder.path().join("damaged.mcap");
    std::fs::write(&path, bytes).unwrap();
    let found = inspect(&path);
    assert_eq!(found.damage.len(), 1, "{:?}", found.damage);
    let damage = found.damage[0];
    assert_eq!(damage.kind, DamageKind::Record);
    assert_eq!(damage.start_byte..damage.end_byte, message.bytes.start as u64..message.bytes.end as u64);
    assert_eq!((found.frames, found.unexplained_gaps), (9, vec![(7, 1)]));
    assert_eq!(found.recorded_frames, Some(10));
}

#[test]
fn inspection_takes_any_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let pristine = pristine(folder.path());
    let path = folder.path().join("noise.mcap");
    let mut random = Random(20_260_104);
    for trial in 0..60 {
        let length = random.below(4000);
        let mut bytes: Vec<u8> = (0..length).map(|_| random.below(256) as u8).collect();
        if trial % 2 == 0 {
            // Half of them begin as a run does, and go on with opcodes and short lengths.
            let front = random.below(3000);
            bytes = [&pristine.bytes[..front], &bytes].concat();
            for _ in 0..40 {
                let at = random.below(bytes.len());
                bytes[at] = random.below(16) as u8;
            }
        }
        std::fs::write(&path, &bytes).unwrap();
        assert!(!inspect(&path).is_sound());
        assert!(RunReader::open(&path).is_err() || trial % 2 == 0);
    }
}
