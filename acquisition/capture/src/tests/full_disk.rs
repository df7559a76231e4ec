//! A disk that fills while recording: one clear error, and everything written before it readable.

use super::sample::{NU, NV, description, frame};
use crate::description::to_parts;
use crate::storage::Storage;
use crate::{CaptureError, RunOutcome, RunReader, RunWriter, WriterOptions, inspect};
use carm::{HostTime, RunDescription};
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;

/// Takes so many bytes and then has no space left, in the middle of a write like a real disk.
struct Limited<W> {
    inner: W,
    left_bytes: usize,
}

impl<W: Write> Write for Limited<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.left_bytes == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let count = self.inner.write(&bytes[..bytes.len().min(self.left_bytes)])?;
        self.left_bytes -= count;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn limited(path: &Path, run: &RunDescription, left_bytes: usize) -> Result<RunWriter, CaptureError> {
    let storage = Storage::create(path, true, 0)?;
    let output = Box::new(Limited { inner: storage.writer()?, left_bytes });
    let options = WriterOptions { chunk_bytes: 1500, ..WriterOptions::default() };
    RunWriter::on(storage, output, run, to_parts(run)?, options)
}

/// Records until the disk is full; gives the error and how many frames had been taken.
fn record_until_full(mut writer: RunWriter) -> (CaptureError, u64) {
    for sequence in 0..1_000_000 {
        let (header, counts) = frame(sequence);
        if let Err(error) = writer.write_frame(&header, &counts) {
            let again = writer.write_event("after", "", HostTime(0)).unwrap_err();
            assert!(matches!(again, CaptureError::Stopped { .. }), "{again}");
            let end = writer.finish(RunOutcome::Complete).unwrap_err();
            assert!(matches!(end, CaptureError::Stopped { .. }), "{end}");
            return (error, sequence);
        }
    }
    panic!("the disk never filled");
}

/// What was written reads back right and the run is incomplete; gives the number of frames.
fn check_readable(path: &Path) -> usize {
    let mut reader = RunReader::open(path).unwrap();
    assert_eq!(reader.outcome(), None);
    assert!(!inspect(path).is_sound());
    let mut counts = vec![0; NU * NV];
    for index in 0..reader.frame_count() {
        let header = reader.read_frame(index, &mut counts).unwrap();
        assert_eq!((header, counts.clone()), frame(index as u64));
    }
    reader.frame_count()
}

#[test]
fn full_disk_at_any_byte_is_one_error_and_leaves_a_readable_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.mcap");
    for left_bytes in (0..30_000).step_by(701) {
        let writer = match limited(&path, &description(), left_bytes) {
            Ok(writer) => writer,
            Err(error) => {
                assert!(matches!(error, CaptureError::DiskFull { .. }), "{left_bytes}: {error}");
                continue;
            }
        };
        let (error, taken) = record_until_full(writer);
        let CaptureError::DiskFull { written_bytes, .. } = error else { panic!("{left_bytes}: {error}") };
        assert_eq!(written_bytes, left_bytes as u64);
        let readable = check_readable(&path) as u64;
        // At most the chunk that was being gathered is lost.
        assert!(readable <= taken + 1 && readable + 6 >= taken, "{readable} of {taken} frames");
    }
}

const FOLDER: &str = "CAPTURE_FULL_DISK_FOLDER";
const CAN_RESERVE: &str = "CAPTURE_FULL_DISK_CAN_RESERVE";

/// Runs itself again where the disk is really small: on a tmpfs of 1 MiB in a mount namespace of its own, or,
/// where such a namespace is not allowed, under a file size limit of 1 MiB.
#[test]
fn full_disk_that_is_really_full_leaves_a_readable_run() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return record_on_small_disk(Path::new(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    let program = std::env::current_exe().unwrap();
    let again = |script: &str, wrapper: &[&str]| {
        let mut command = Command::new(wrapper[0]);
        command.args(&wrapper[1..]).args(["sh", "-c", script]).arg(&program);
        command.args(["--exact", "tests::full_disk::full_disk_that_is_really_full_leaves_a_readable_run"]);
        let output = command.env(FOLDER, folder.path()).output().expect("sh and env are there");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!output.status.success() || text.contains("1 passed"), "the child ran no test: {text}");
        let both = format!("{text}{}", String::from_utf8_lossy(&output.stderr));
        (output.status.code(), both)
    };
    let tmpfs = "mount -t tmpfs -o size=1m tmpfs \"$CAPTURE_FULL_DISK_FOLDER\" || exit 77; \
                 CAPTURE_FULL_DISK_CAN_RESERVE=1 exec \"$0\" \"$@\"";
    let unshare: &[&str] = &["unshare", "--map-root-user", "--mount"];
    let has_unshare = Command::new("unshare").args(["--map-root-user", "--mount", "true"]).status();
    if has_unshare.is_ok_and(|status| status.success()) {
        let (code, text) = again(tmpfs, unshare);
        if code != Some(77) {
            assert_eq!(code, Some(0), "{text}");
            return;
        }
    }
    println!("no mount namespace here: a file size limit stands in for the small disk");
    let (code, text) = again("trap '' XFSZ; ulimit -f 2048; exec \"$0\" \"$@\"", &["env"]);
    assert_eq!(code, Some(0), "{text}");
}

fn record_on_small_disk(folder: &Path) {
    let path = folder.join("run.mcap");
    if std::env::var_os(CAN_RESERVE).is_some() {
        let options = WriterOptions { reserve_bytes: Some(4 << 20), ..WriterOptions::default() };
        let error = RunWriter::create(&path, &description(), options).err().unwrap();
        assert!(matches!(error, CaptureError::NoRoomToReserve { expected_bytes: 4_194_304, .. }), "{error}");
        assert!(!path.exists());
    }
    let writer = RunWriter::create(&path, &description(), WriterOptions::default()).unwrap();
    let (error, taken) = record_until_full(writer);
    assert!(matches!(error, CaptureError::DiskFull { .. }), "{error}");
    let readable = check_readable(&path);
    assert!(readable > 1000 && readable as u64 <= taken + 1, "{readable} of {taken} frames");
}
