//! What the tests that span crates share: oracles that nobody here wrote, and real data.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Root of the repository.
pub fn repository_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the repository").to_path_buf()
}

/// Python with the pinned packages of `tests/oracles/requirements.txt`: `$ISOCENTER_PYTHON`, or the one that
/// `make test` sets up.
pub fn oracle_python() -> PathBuf {
    std::env::var_os("ISOCENTER_PYTHON")
        .map_or_else(|| repository_root().join("out/venv/bin/python"), PathBuf::from)
}

/// Runs `tests/oracles/<script>` and gives back the JSON that it printed.
///
/// # Panics
/// When Python is missing or the script fails: an oracle that did not run is a failed test, never a skipped one.
pub fn run_oracle(script: &str, arguments: &[&str]) -> serde_json::Value {
    let output = Command::new(oracle_python())
        .arg(repository_root().join("tests/oracles").join(script))
        .args(arguments)
        .output()
        .expect("the oracles' Python must be there: `make test` sets it up");
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("an oracle prints one JSON value")
}

/// A file or folder of the larger real data, which `ISOCENTER_DATA` names.
///
/// # Panics
/// Without that variable: a test on real data that saw none is a failed test.
pub fn real_data(name: &str) -> PathBuf {
    let folder =
        std::env::var_os("ISOCENTER_DATA").expect("ISOCENTER_DATA must name the folder of real data");
    let path = PathBuf::from(folder).join(name);
    // Tests run in their package's folder; a relative name is meant from the repository's root.
    if path.is_absolute() { path } else { repository_root().join(path) }
}

/// Unpacks a `.tar.gz` of the real data into a folder of its own.
///
/// # Panics
/// When it cannot.
pub fn unpacked(archive: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let status =
        Command::new("tar").arg("-xzf").arg(real_data(archive)).arg("-C").arg(folder.path()).status();
    assert!(status.is_ok_and(|status| status.success()), "{archive} must unpack");
    folder
}

/// Unpacks a `.gz` of the real data into a folder; gives the file.
///
/// # Panics
/// When it cannot.
pub fn gunzipped(name: &str, folder: &Path) -> PathBuf {
    let packed = real_data(name);
    let path = folder.join(packed.file_stem().expect("a file"));
    let output = Command::new("gzip").arg("-dc").arg(&packed).output().expect("gzip");
    assert!(output.status.success(), "{name} must unpack");
    fs::write(&path, output.stdout).expect("a folder to write to");
    path
}

/// Every file below a folder, sorted.
///
/// # Panics
/// When the folder cannot be listed.
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry of a folder").path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// Fails when `told` holds a patient's name, identifier or birth date of a DICOM file, taken from its bytes by tag.
///
/// # Panics
/// When it does.
pub fn assert_tells_no_name(path: &Path, told: &str) {
    let bytes = fs::read(path).expect("a readable file");
    for tag in [b"\x10\x00\x10\x00PN", b"\x10\x00\x20\x00LO", b"\x10\x00\x30\x00DA"] {
        for at in bytes.windows(6).enumerate().filter(|(_, window)| window == tag).map(|(at, _)| at) {
            let Some(length) = bytes.get(at + 6..at + 8) else { continue };
            let length = usize::from(u16::from_le_bytes([length[0], length[1]]));
            let Some(value) = bytes.get(at + 8..at + 8 + length) else { continue };
            let value = String::from_utf8_lossy(value);
            let value = value.trim_matches([' ', '\0']);
            // File names of the archive may be the same word; shorter values say nothing.
            let is_telling = value.len() > 3 && !path.to_string_lossy().contains(value);
            assert!(!is_telling || !told.contains(value), "{}: {value}", path.display());
        }
    }
}
