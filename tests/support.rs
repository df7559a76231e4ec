//! What the tests that span crates share: running oracles that nobody here wrote.

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
