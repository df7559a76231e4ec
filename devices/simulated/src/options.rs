//! What a simulation includes, and what it leaves out and says so.

use crate::motion::Motion;

/// Effects that can be switched off one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effects {
    /// Photon statistics.
    pub noise: bool,
    /// Scattered radiation.
    pub scatter: bool,
    /// Lag of the detector.
    pub lag: bool,
    /// Focal spot and scintillator.
    pub blur: bool,
    /// Light that spreads far in the scintillator.
    pub glare: bool,
    /// Gain, offset, electronic noise, defects, heel effect.
    pub detector_faults: bool,
    /// The part of the gantry's wobble that calibration knows.
    pub wobble: bool,
    /// What has changed since calibration: sag and vibration.
    pub calibration_drift: bool,
    /// Jitter of trigger and encoder.
    pub jitter: bool,
    /// Generator reports off by up to 1 %.
    pub exposure_error: bool,
    /// The gantry speeds up and brakes within the spin; otherwise every step is the same.
    pub speed_profile: bool,
}

impl Effects {
    /// Everything on.
    pub const ALL: Self = Self {
        noise: true,
        scatter: true,
        lag: true,
        blur: true,
        glare: true,
        detector_faults: true,
        wobble: true,
        calibration_drift: true,
        jitter: true,
        exposure_error: true,
        speed_profile: true,
    };
    /// Everything off.
    pub const NONE: Self = Self {
        noise: false,
        scatter: false,
        lag: false,
        blur: false,
        glare: false,
        detector_faults: false,
        wobble: false,
        calibration_drift: false,
        jitter: false,
        exposure_error: false,
        speed_profile: false,
    };

    /// Names of the effects that are off.
    pub(crate) fn left_out(&self) -> Vec<&'static str> {
        [
            (self.noise, "photon noise"),
            (self.scatter, "scatter"),
            (self.lag, "lag"),
            (self.blur, "focal-spot and scintillator blur"),
            (self.glare, "glare"),
            (self.detector_faults, "detector faults"),
            (self.wobble, "gantry wobble"),
            (self.calibration_drift, "drift since calibration"),
            (self.jitter, "timing and encoder jitter"),
            (self.exposure_error, "exposure reporting error"),
            (self.speed_profile, "speed profile"),
        ]
        .into_iter()
        .filter_map(|(on, name)| (!on).then_some(name))
        .collect()
    }
}

/// How a run is simulated.
///
/// ```
/// let quick = simulated::Options { ideal: true, views: Some(30), ..Default::default() };
/// assert_eq!(quick.rays_per_pixel_side, 1);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Of everything that differs from run to run; the same seed gives the same bits.
    pub seed: u64,
    /// Of the machine: its wobble, its detector's maps and defects.
    pub machine_seed: u64,
    /// No effects, the ideal circle with even steps, monoenergetic at the protocol's effective energy.
    pub ideal: bool,
    /// Keeps the whole spectrum when `ideal`.
    pub polychromatic_when_ideal: bool,
    /// Another number of views over the same arc.
    pub views: Option<usize>,
    /// Rays along each side of a pixel: 1 to 4.
    pub rays_per_pixel_side: usize,
    /// Gantry and patient poses within one X-ray pulse: 1 to 16.
    pub sub_frames: usize,
    /// Effects, when not `ideal`.
    pub effects: Effects,
    /// Share of frames lost between detector and host, when not `ideal`.
    pub drop_share: f64,
    /// How the patient moves.
    pub motion: Motion,
    /// Devices in the patient.
    pub inserts: Vec<crate::inserts::Insert>,
}

impl Default for Options {
    /// Seed 1, every effect, one ray and one sub-frame, nothing lost, patient still.
    fn default() -> Self {
        Self {
            seed: 1,
            machine_seed: 1,
            ideal: false,
            polychromatic_when_ideal: false,
            views: None,
            rays_per_pixel_side: 1,
            sub_frames: 1,
            effects: Effects::ALL,
            drop_share: 0.0,
            motion: Motion::Still,
            inserts: Vec::new(),
        }
    }
}

impl Options {
    /// The effects that are on.
    pub(crate) fn effective(&self) -> Effects {
        if self.ideal { Effects::NONE } else { self.effects }
    }

    /// One remark for each thing left out or set by hand.
    pub(crate) fn remarks(&self, is_monoenergetic: bool) -> Vec<String> {
        let mut remarks = vec![
            format!("simulated: {0} x {0} rays per pixel", self.rays_per_pixel_side),
            format!("simulated: {} sub-frames per pulse", self.sub_frames),
            "simulated: host and wall clocks are derived from the device clock".into(),
        ];
        if self.ideal {
            remarks.push("simulated: ideal run".into());
        }
        if is_monoenergetic {
            remarks.push("simulated: monoenergetic at the effective energy".into());
        }
        let left_out = self.effective().left_out();
        if !left_out.is_empty() {
            remarks.push(format!("simulated without: {}", left_out.join(", ")));
        }
        if self.motion != Motion::Still {
            remarks.push("simulated: the patient moves".into());
        }
        remarks.push(
            "not modelled: scintillator fluorescence escape, ghosting, HVL change by heel effect, breathing"
                .into(),
        );
        remarks
    }
}
