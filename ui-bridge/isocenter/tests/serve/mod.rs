//! The daemon as a program: configurations, devices, signals, and clients that nobody here wrote.

mod clients;
mod configurations;
mod drivers;
mod incoming;
mod lifecycle;
mod workers;

use crate::program::{Ran, command};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A daemon that runs.
struct Daemon {
    child: Child,
    lines: Receiver<String>,
}

impl Daemon {
    /// Starts it and waits for the address of its page.
    fn start(configuration: &Path, environment: &[(&str, &str)]) -> (Self, String) {
        let mut child = command(&[&"serve", &"--config", &configuration, &"--json"])
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (told, lines) = sync_channel(1000);
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| told.send(line)));
        let mut daemon = Self { child, lines };
        let url = daemon.wait_for_line("live page at ");
        (daemon, url)
    }

    /// What follows `words` on the line that holds them.
    fn wait_for_line(&mut self, words: &str) -> String {
        let deadline = Instant::now() + LONGEST_WAIT;
        let mut told = String::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else { panic!("no line with {words:?} in {told}") };
            if let Some((_, rest)) = line.split_once(words) {
                return rest.to_owned();
            }
            told += &(line + "\n");
        }
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }

    /// Waits for its end.
    fn end(mut self) -> Ran {
        let deadline = Instant::now() + LONGEST_WAIT;
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "the daemon does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
        let mut stdout = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        let stderr = self.lines.iter().collect::<Vec<_>>().join("\n");
        Ran { code: self.child.wait().unwrap().code(), stdout, stderr }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It has usually ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes a configuration: its folder, a page on a free port, then `rest`.
fn configuration(folder: &Path, rest: &str) -> PathBuf {
    let path = folder.join("isocenter.toml");
    let data = folder.join("data");
    let head = format!("[service]\nfolder = {data:?}\n[web]\nlisten = \"127.0.0.1:0\"\n");
    std::fs::write(&path, head + rest).unwrap();
    path
}

/// GET of a path below `url`: the body.
fn get(url: &str, path: &str) -> String {
    ask(url, "GET", path).1
}

/// POST to a path below `url`, which must be granted: the body.
fn post(url: &str, path: &str) -> String {
    let (head, body) = ask(url, "POST", path);
    assert!(head.starts_with("HTTP/1.1 200"), "{path}: {head} {body}");
    body
}

/// Head and body of the answer.
fn ask(url: &str, verb: &str, path: &str) -> (String, String) {
    use std::io::Write;
    let host = url.trim_start_matches("http://").trim_end_matches('/');
    let mut socket = std::net::TcpStream::connect(host).unwrap();
    write!(
        socket,
        "{verb} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut reply = String::new();
    socket.read_to_string(&mut reply).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

/// The status of the first stream, once it is as wished.
fn wait_for(url: &str, what: &str, is_so: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
    let deadline = Instant::now() + LONGEST_WAIT;
    loop {
        let status: serde_json::Value = serde_json::from_str(&get(url, "/api/status")).unwrap();
        if is_so(&status["streams"][0]) {
            return status["streams"][0].clone();
        }
        assert!(Instant::now() < deadline, "{what}: {status:#}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
