//! A recording made by the first version of the format: every later version must read it.
//!
//! Made once by `CAPTURE_MAKE_GOLDEN=1 cargo test --profile ci -p capture golden`; a new format gets a new file beside it.

use super::sample::{NU, NV, SEQUENCES, description, frame, record};
use crate::{RunOutcome, RunReader, inspect};
use std::path::Path;

#[test]
fn golden_recording_of_version_1_still_reads() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/sample-v1.mcap");
    if std::env::var_os("CAPTURE_MAKE_GOLDEN").is_some() {
        record(&path);
    }
    assert!(inspect(&path).is_sound());
    let mut reader = RunReader::open(&path).unwrap();
    assert!(reader.is_indexed());
    assert_eq!(reader.description(), &description());
    assert_eq!(reader.outcome(), Some(&RunOutcome::Complete));
    assert_eq!((reader.gaps().len(), reader.events().len()), (1, 2));
    let mut counts = vec![0; NU * NV];
    for (index, sequence) in SEQUENCES.into_iter().enumerate() {
        assert_eq!((reader.read_frame(index, &mut counts).unwrap(), counts.clone()), frame(sequence));
    }
    assert_eq!(reader.content_hash(), "2f1351a6bf55cda5bc29691d1baf2e22d496ae4c5a8965c297697e46442ed14c");
}
