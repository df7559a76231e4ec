//! A device whose driver runs in a process of its own: one that blocks, crashes or lies about its rate costs its own
//! stream and no other.

use super::Driver;
use super::wire::{self, END, FAILED, FRAME, LINK, MOST_WORDS};
use crate::child::ChildProcess;
use carm::{DeviceError, FrameSource, LinkCounts, RunDescription, SourceEvent};
use std::ffi::OsString;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Frame times without a frame after which a source counts as stalled.
const STALL_PERIODS: f64 = 1.5;
/// A driver that says how its frames are later than this is given up for now.
const OPENS_WITHIN: Duration = Duration::from_secs(15);
/// A frame once begun comes to its end within this.
const FRAME_WITHIN: Duration = Duration::from_secs(2);
/// Frames are taken at most at so many times the rate that was announced; whoever sends more has to wait.
const MOST_TIMES_RATE: f64 = 2.0;

/// Starts a driver's process for each opening.
#[derive(Clone, Debug)]
pub struct ProcessDriver {
    /// The stream's name.
    pub name: String,
    /// The program and its arguments; it gets a socket as its standard input and speaks by [`super::drive`].
    pub command: Vec<OsString>,
    /// As [`Driver::returns_after_end`].
    pub returns_after_end: bool,
}

impl ProcessDriver {
    fn start(&self) -> io::Result<Remote> {
        let (child, socket) = ChildProcess::start(&self.command)?;
        let mut remote = Remote {
            name: self.name.clone(),
            child,
            socket,
            description: None,
            bytes: Vec::new(),
            last: None,
            last_sequence: 0,
            link: LinkCounts::default(),
        };
        remote.socket.set_read_timeout(Some(OPENS_WITHIN))?;
        let mut word = [0];
        remote.socket.read_exact(&mut word)?;
        if word[0] == FAILED {
            return Err(io::Error::other(remote.words()?));
        }
        remote.description = Some(wire::read_description(&mut remote.socket)?);
        Ok(remote)
    }
}

impl Driver for ProcessDriver {
    fn name(&self) -> &str {
        &self.name
    }

    fn open(&self) -> Result<Box<dyn FrameSource>, DeviceError> {
        match self.start() {
            Ok(remote) => Ok(Box::new(remote)),
            Err(error) => Err(DeviceError::Failed {
                device: self.name.clone(),
                reason: match error.kind() {
                    ErrorKind::WouldBlock => "its driver did not announce any frames".into(),
                    ErrorKind::UnexpectedEof => "its driver ended before it announced any frames".into(),
                    _ => error.to_string(),
                },
                source: None,
            }),
        }
    }

    fn returns_after_end(&self) -> bool {
        self.returns_after_end
    }
}

/// Frames from another process.
struct Remote {
    name: String,
    child: ChildProcess,
    socket: UnixStream,
    description: Option<RunDescription>,
    bytes: Vec<u8>,
    last: Option<Instant>,
    last_sequence: u64,
    link: LinkCounts,
}

impl Remote {
    fn run(&self) -> &RunDescription {
        self.description.as_ref().expect("handed out after its description came")
    }

    fn words(&mut self) -> io::Result<String> {
        let mut words = Vec::new();
        (&mut self.socket).take(MOST_WORDS as u64).read_to_end(&mut words)?;
        Ok(String::from_utf8_lossy(&words).into_owned())
    }

    fn failed(&mut self, error: &io::Error) -> DeviceError {
        let is_over = matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset);
        if !is_over {
            self.child.kill();
        }
        let reason = match self.child.end() {
            Some(ended) if is_over => format!("its driver was ended: {ended}"),
            _ => format!("its driver does not speak as expected and was ended: {error}"),
        };
        DeviceError::Failed { device: self.name.clone(), reason, source: None }
    }

    /// Holds back a driver that sends more than it said it would.
    fn hold_back(&self) {
        let least = Duration::from_secs_f64(1.0 / (MOST_TIMES_RATE * self.run().frame_rate_hz));
        if let Some(last) = self.last {
            std::thread::sleep((last + least).saturating_duration_since(Instant::now()));
        }
    }
}

impl FrameSource for Remote {
    fn description(&self) -> &RunDescription {
        self.run()
    }

    fn next_frame(&mut self, slot: &mut [u16]) -> Result<SourceEvent, DeviceError> {
        DeviceError::check_slot(slot, self.run().detector.pixel_count())?;
        self.hold_back();
        let period = Duration::from_secs_f64(1.0 / self.run().frame_rate_hz);
        let waits = |socket: &UnixStream, long: Duration| socket.set_read_timeout(Some(long));
        waits(&self.socket, period.mul_f64(STALL_PERIODS)).map_err(|error| self.failed(&error))?;
        let mut word = [0];
        match self.socket.read_exact(&mut word) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let silent = self.last.map_or(period, |last| last.elapsed());
                return Err(DeviceError::Stalled {
                    device: self.name.clone(),
                    period_ms: period.as_secs_f64() * 1e3,
                    silent_ms: silent.as_secs_f64() * 1e3,
                });
            }
            Err(error) => return Err(self.failed(&error)),
        }
        waits(&self.socket, FRAME_WITHIN).map_err(|error| self.failed(&error))?;
        if word[0] == LINK {
            let read = wire::read_link(&mut self.socket).and_then(|link| {
                self.link = link;
                self.socket.read_exact(&mut word)
            });
            read.map_err(|error| self.failed(&error))?;
        }
        match word[0] {
            FRAME => {
                let read = wire::read_frame(&mut self.socket, slot, &mut self.bytes);
                let header = read.map_err(|error| self.failed(&error))?;
                (self.last, self.last_sequence) = (Some(Instant::now()), header.sequence);
                Ok(SourceEvent::Frame(header))
            }
            END => Ok(SourceEvent::End),
            FAILED => {
                let reason = self.words().unwrap_or_else(|error| error.to_string());
                Err(DeviceError::Failed { device: self.name.clone(), reason, source: None })
            }
            found => Err(self.failed(&io::Error::other(format!("expected a frame, found the word {found}")))),
        }
    }

    fn link_counts(&self) -> LinkCounts {
        self.link
    }
}

/// The driver's side: opens a device and sends what comes from it until either end is gone.
///
/// # Errors
/// A socket that nobody listens on any more.
pub fn drive(mut socket: UnixStream, driver: &dyn Driver) -> io::Result<()> {
    // It goes with the daemon, even one that was killed.
    let with_daemon = rustix::process::Signal::KILL;
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(with_daemon)) {
        eprintln!("driver: it may outlive the daemon: {error}");
    }
    let fail = |socket: &mut UnixStream, error: &DeviceError| {
        let mut words = vec![FAILED];
        words.extend(error.to_string().bytes().take(MOST_WORDS));
        socket.write_all(&words)
    };
    let mut source = match driver.open() {
        Ok(source) => source,
        Err(error) => return fail(&mut socket, &error),
    };
    socket.write_all(&[FRAME])?;
    wire::write_description(&mut socket, source.description())?;
    let mut counts = vec![0; source.description().detector.pixel_count()];
    let mut bytes = Vec::new();
    let mut link = LinkCounts::default();
    loop {
        let event = source.next_frame(&mut counts);
        let now = source.link_counts();
        if matches!(event, Ok(SourceEvent::Frame(_))) && now != link {
            link = now;
            wire::write_link(&mut socket, link)?;
        }
        match event {
            Ok(SourceEvent::Frame(header)) => wire::write_frame(&mut socket, &header, &counts, &mut bytes)?,
            Ok(SourceEvent::End) => return socket.write_all(&[END]),
            // The other side has a clock of its own.
            Err(DeviceError::Stalled { .. }) => {}
            Err(error) => return fail(&mut socket, &error),
        }
    }
}
