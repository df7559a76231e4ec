//! The configuration: one TOML file. What it does not know it refuses, with line and column.

use acquisition::{LiveSettings, LiveStages};
use anyhow::{Context, Result, ensure};
use carm::Exposure;
use dbus::Bus;
use serde::Deserialize;
use service::{DoseSettings, RecordPolicy, Retention, ServiceSettings};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Everything that the daemon can be told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub service: ServicePart,
    #[serde(default)]
    pub dbus: DbusPart,
    #[serde(default)]
    pub web: WebPart,
    #[serde(default)]
    pub jobs: JobsPart,
    #[serde(rename = "device")]
    pub devices: Vec<DevicePart>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ServicePart {
    /// Recordings go to `runs` in it, volumes to `volumes`.
    pub folder: PathBuf,
    /// An alarm is raised when less of the disk is free.
    #[serde(default = "low_disk_mib")]
    pub low_disk_mib: u64,
    /// Measure at the start what the recorder can hold.
    #[serde(default = "yes")]
    pub measure_recorder: bool,
    #[serde(default)]
    pub retention: RetentionPart,
    /// Angiograms (DICOM) that come into this folder become recordings.
    pub incoming: Option<PathBuf>,
}

fn low_disk_mib() -> u64 {
    4096
}

/// The oldest recordings go, but none that is marked to be kept.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RetentionPart {
    /// All recordings together take at most so much.
    pub most_mib: Option<u64>,
    /// So much of the disk stays free.
    pub free_mib: Option<u64>,
}

impl From<RetentionPart> for Retention {
    fn from(part: RetentionPart) -> Self {
        let bytes = |mib: Option<u64>| mib.map(|mib| mib.saturating_mul(1 << 20));
        Self { most_bytes: bytes(part.most_mib), free_bytes: bytes(part.free_mib) }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DbusPart {
    #[serde(default)]
    pub bus: BusChoice,
    /// A socket of the daemon's own for peers without a bus.
    pub peer_socket: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BusChoice {
    System,
    Session,
    #[default]
    None,
}

impl BusChoice {
    pub fn to_bus(self) -> Option<Bus> {
        match self {
            Self::System => Some(Bus::System),
            Self::Session => Some(Bus::Session),
            Self::None => None,
        }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebPart {
    /// A loopback address; without one there is no page.
    pub listen: Option<SocketAddr>,
}

/// What the worker process of a job may take.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct JobsPart {
    /// Threads; by default one a core.
    pub threads: Option<usize>,
    /// Memory of its own; by default not limited.
    pub memory_mib: Option<u64>,
    /// A worker that says nothing for so long is ended.
    pub silence_s: f64,
}

impl Default for JobsPart {
    fn default() -> Self {
        Self { threads: None, memory_mib: None, silence_s: 5.0 }
    }
}

/// One device: a name, how it is treated, and exactly one of the three kinds.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DevicePart {
    pub name: String,
    #[serde(default)]
    pub record: RecordChoice,
    /// A recording goes on in a new file after so long.
    #[serde(default = "file_lasts_s")]
    pub file_lasts_s: f64,
    /// Frames that the recorder may fall behind.
    #[serde(default = "ring_frames")]
    pub ring_frames: usize,
    /// Ask the system for real-time priority.
    #[serde(default = "yes")]
    pub real_time: bool,
    /// Give the driver a process of its own.
    #[serde(default)]
    pub process: bool,
    /// Detector maps instead of those that the device brings.
    pub maps: Option<PathBuf>,
    /// The tube, for dose figures.
    pub dose: Option<DosePart>,
    /// Stages of the live image.
    #[serde(default)]
    pub live: LivePart,
    pub camera: Option<CameraPart>,
    pub recording: Option<RecordingPart>,
    pub virtual_carm: Option<VirtualPart>,
}

fn file_lasts_s() -> f64 {
    3600.0
}

fn ring_frames() -> usize {
    64
}

fn yes() -> bool {
    true
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecordChoice {
    Always,
    #[default]
    OnRequest,
}

impl From<RecordChoice> for RecordPolicy {
    fn from(choice: RecordChoice) -> Self {
        match choice {
            RecordChoice::Always => Self::Always,
            RecordChoice::OnRequest => Self::OnRequest,
        }
    }
}

/// Stages of the live image as they are at first; clients switch them.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct LivePart {
    pub correction: bool,
    pub noise_reduction: bool,
    pub automatic_window: bool,
    pub enhancement: bool,
    pub subtraction: bool,
    pub peak_opacification: bool,
    pub roadmap: bool,
    pub last_image_hold: bool,
    /// Frames that a mask is the mean of.
    pub mask_frames: u8,
    /// The mask is laid onto each frame.
    pub pixel_shift: bool,
}

impl Default for LivePart {
    fn default() -> Self {
        let (stages, settings) = (LiveStages::USUAL, LiveSettings::default());
        Self {
            correction: stages.correction,
            noise_reduction: stages.noise_reduction,
            automatic_window: stages.automatic_window,
            enhancement: stages.enhancement,
            subtraction: stages.subtraction,
            peak_opacification: stages.peak_opacification,
            roadmap: stages.roadmap,
            last_image_hold: stages.last_image_hold,
            mask_frames: settings.mask_frames,
            pixel_shift: settings.shifts_mask,
        }
    }
}

impl LivePart {
    pub fn stages(self) -> LiveStages {
        LiveStages {
            correction: self.correction,
            noise_reduction: self.noise_reduction,
            automatic_window: self.automatic_window,
            enhancement: self.enhancement,
            subtraction: self.subtraction,
            peak_opacification: self.peak_opacification,
            roadmap: self.roadmap,
            last_image_hold: self.last_image_hold,
        }
    }

    pub fn settings(self) -> LiveSettings {
        LiveSettings { mask_frames: self.mask_frames, shifts_mask: self.pixel_shift }
    }
}

/// A tube and its place, as measured.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DosePart {
    pub yield_ugy_per_mas: f64,
    pub yield_at_kv: f64,
    pub source_to_isocenter_mm: f64,
    pub source_to_detector_mm: f64,
}

impl From<DosePart> for DoseSettings {
    fn from(part: DosePart) -> Self {
        let DosePart { yield_ugy_per_mas, yield_at_kv, source_to_isocenter_mm, source_to_detector_mm } = part;
        Self { yield_ugy_per_mas, yield_at_kv, source_to_isocenter_mm, source_to_detector_mm }
    }
}

impl DosePart {
    fn check(&self, device: &str) -> Result<()> {
        let [yields, kv] = [self.yield_ugy_per_mas, self.yield_at_kv];
        ensure!(
            yields.is_finite() && yields > 0.0 && (20.0..=200.0).contains(&kv),
            "device {device}: dose: expected a positive yield at 20 to 200 kV, found {yields} uGy/mAs at {kv} kV"
        );
        let [isocenter, detector] = [self.source_to_isocenter_mm, self.source_to_detector_mm];
        ensure!(
            isocenter > 200.0 && detector > isocenter && detector < 5000.0,
            "device {device}: dose: expected an isocenter beyond 200 mm and a detector behind it, found {isocenter} and {detector} mm"
        );
        Ok(())
    }
}

/// A GStreamer launch line that ends in an `appsink`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CameraPart {
    /// A GStreamer launch line; either this or `genicam`.
    pub launch: Option<String>,
    pub genicam: Option<GenICamPart>,
    pub frame_rate_hz: Option<f64>,
    #[serde(default)]
    pub frame_numbers: NumbersChoice,
    #[serde(default = "unit_pitch")]
    pub pixel_pitch_mm: [f64; 2],
    pub bits_stored: Option<u8>,
    /// What the generator is set to; a video source does not tell.
    pub exposure: Option<ExposurePart>,
    /// A run whose detector maps, beam and patient position are in force.
    pub calibration_run: Option<PathBuf>,
    #[serde(default)]
    pub manufacturer: String,
    #[serde(default)]
    pub model: String,
    #[serde(default)]
    pub serial_number: String,
}

/// A GigE Vision or USB3 Vision panel.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenICamPart {
    /// Address, serial number or name; empty is the first one found.
    #[serde(default)]
    pub camera: String,
    /// Features to set, `Name=value` apart by spaces.
    #[serde(default)]
    pub features: String,
}

fn unit_pitch() -> [f64; 2] {
    [1.0, 1.0]
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NumbersChoice {
    #[default]
    TimeStamps,
    Offset,
    Arrival,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ExposurePart {
    pub tube_voltage_kv: f64,
    pub tube_current_ma: f64,
    pub pulse_width_ms: f64,
}

impl From<ExposurePart> for Exposure {
    fn from(part: ExposurePart) -> Self {
        let ExposurePart { tube_voltage_kv, tube_current_ma, pulse_width_ms } = part;
        Self { tube_voltage_kv, tube_current_ma, pulse_width_ms }
    }
}

/// A recorded run as a device.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RecordingPart {
    pub file: PathBuf,
    /// Begin again at its end.
    #[serde(default)]
    pub again: bool,
    /// Times the recorded speed.
    #[serde(default = "unit_speed")]
    pub speed: f64,
    /// Read all frames into memory first, so that playing costs nothing but a copy.
    #[serde(default)]
    pub in_memory: bool,
}

fn unit_speed() -> f64 {
    1.0
}

/// The virtual C-arm; its frames are computed before the daemon starts.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct VirtualPart {
    /// `water-cylinder:MM`, `ball:X,Y,Z,MM`, `abdomen:MM`, or a CT.
    pub patient: String,
    /// Protocol of the live frames, such as `fluoro-ap`.
    pub protocol: String,
    /// Live frames computed; they are shown round and round.
    #[serde(default = "live_frames")]
    pub frames: usize,
    /// Protocol of the spin, such as `spine-spin`; without one it cannot spin.
    pub spin: Option<String>,
    /// Views of the spin; by default the protocol's.
    pub spin_views: Option<usize>,
    /// Without noise and detector faults.
    #[serde(default)]
    pub ideal: bool,
    #[serde(default = "seed")]
    pub seed: u64,
}

fn live_frames() -> usize {
    8
}

fn seed() -> u64 {
    1
}

impl ServicePart {
    /// What the service is told.
    pub fn settings(&self) -> ServiceSettings {
        ServiceSettings {
            folder: self.folder.join("runs"),
            incoming: self.incoming.clone(),
            retention: self.retention.into(),
            low_disk_bytes: self.low_disk_mib.saturating_mul(1 << 20),
            measures_recorder: self.measure_recorder,
            ..ServiceSettings::default()
        }
    }
}

impl Config {
    /// Reads a configuration and checks what can be checked without its devices.
    pub fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("{}: cannot be read", path.display()))?;
        let config: Self = toml::from_str(&text).with_context(|| path.display().to_string())?;
        config.check().with_context(|| path.display().to_string())?;
        Ok(config)
    }

    fn check(&self) -> Result<()> {
        ensure!(!self.devices.is_empty(), "[[device]]: expected at least one, found none");
        let names: BTreeSet<&str> = self.devices.iter().map(|device| device.name.as_str()).collect();
        ensure!(names.len() == self.devices.len(), "[[device]]: expected names that differ, found one twice");
        if let Some(listen) = self.web.listen {
            ensure!(
                listen.ip().is_loopback(),
                "web.listen: expected a loopback address such as 127.0.0.1:8477, found {listen}"
            );
        }
        let threads = self.jobs.threads.unwrap_or(1);
        ensure!((1..=1024).contains(&threads), "jobs.threads: expected 1 to 1024, found {threads}");
        let memory = self.jobs.memory_mib.unwrap_or(64);
        ensure!((64..=1 << 24).contains(&memory), "jobs.memory-mib: expected 64 to 16777216, found {memory}");
        let silence = self.jobs.silence_s;
        ensure!((1.0..=600.0).contains(&silence), "jobs.silence-s: expected 1 to 600, found {silence}");
        self.devices.iter().try_for_each(DevicePart::check)
    }
}

impl DevicePart {
    fn check(&self) -> Result<()> {
        let name = &self.name;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        ensure!(
            (1..=40).contains(&name.len()) && name.chars().all(is_plain),
            "device.name: expected 1 to 40 letters, digits, - or _, found {name:?}"
        );
        ensure!(
            (4..=4096).contains(&self.ring_frames),
            "device {name}: ring-frames: expected 4 to 4096, found {}",
            self.ring_frames
        );
        let lasts = self.file_lasts_s;
        ensure!(
            (1.0..=1e6).contains(&lasts),
            "device {name}: file-lasts-s: expected 1 to 1000000, found {lasts}"
        );
        ensure!(
            !self.process || self.virtual_carm.is_none(),
            "device {name}: process: expected a camera or a recording, found the virtual C-arm, whose frames lie in memory"
        );
        let mask = self.live.mask_frames;
        ensure!((1..=64).contains(&mask), "device {name}: live.mask-frames: expected 1 to 64, found {mask}");
        if let Some(dose) = &self.dose {
            dose.check(name)?;
        }
        let kinds = [self.camera.is_some(), self.recording.is_some(), self.virtual_carm.is_some()];
        let found = kinds.into_iter().filter(|is_there| *is_there).count();
        ensure!(
            found == 1,
            "device {name}: expected exactly one of camera, recording and virtual-carm, found {found}"
        );
        if let Some(recording) = &self.recording {
            let speed = recording.speed;
            ensure!(
                speed.is_finite() && speed > 0.0,
                "device {name}: recording.speed: expected a positive number, found {speed}"
            );
        }
        if let Some(part) = &self.virtual_carm {
            ensure!(
                (1..=1000).contains(&part.frames),
                "device {name}: virtual-carm.frames: expected 1 to 1000, found {}",
                part.frames
            );
        }
        Ok(())
    }
}
