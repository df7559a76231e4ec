//! Running the program and holding what it says against the contract of its exit codes and of `--json`.

use serde_json::Value;
use std::ffi::OsStr;
use std::process::{Command, Output};

/// One argument: text or a path.
pub type Argument<'a> = &'a dyn AsRef<OsStr>;

/// What a run of the program left.
#[derive(Debug)]
pub struct Ran {
    /// Exit status; none for a program ended by a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("text on standard output"),
            stderr: String::from_utf8(output.stderr).expect("text on standard error"),
        }
    }
}

impl Ran {
    /// The one JSON object on standard output; fails when there is anything else.
    pub fn json(&self) -> Value {
        let value: Value =
            serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"));
        assert!(value.is_object(), "{self:?}");
        value
    }
}

/// The program with arguments, not yet started.
pub fn command(arguments: &[Argument<'_>]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_isocenter"));
    command.args(arguments.iter().map(AsRef::as_ref)).env_remove("RUST_LOG");
    command
}

/// Runs the program to its end.
pub fn isocenter(arguments: &[Argument<'_>]) -> Ran {
    command(arguments).output().expect("the program was built").into()
}

/// Runs with `--json` what must succeed: exit 0 and one object.
pub fn done(arguments: &[Argument<'_>]) -> Value {
    let ran = isocenter(&[arguments, &[&"--json"]].concat());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    ran.json()
}

/// Runs with `--json` what must be refused: exit 1, one object with the error, the same on one line of standard
/// error. Gives the message, which must hold each of `parts`.
pub fn refused(arguments: &[Argument<'_>], parts: &[&str]) -> String {
    let ran = isocenter(&[arguments, &[&"--json"]].concat());
    check_refusal(&ran, parts)
}

/// As [`refused`], for a program that ran elsewhere.
pub fn check_refusal(ran: &Ran, parts: &[&str]) -> String {
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let json = ran.json();
    let message = json["error"].as_str().unwrap_or_else(|| panic!("no error in {json}")).to_string();
    assert_eq!(ran.stderr.trim_end(), format!("isocenter: {message}").trim_end());
    for part in parts {
        assert!(message.contains(part), "expected {part:?} in {message:?}");
    }
    message
}
