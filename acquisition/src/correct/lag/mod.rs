//! What earlier frames left in the panel, taken away: lag that depends on the exposure.
//!
//! Traps in the panel fill with every exposure and empty slowly. With signal x, reading y and stored charges S:
//!
//! ```text
//! y_k = x_k + g(x_k) Σ_n b_n e^(-a_n) S_n,k       S_n,k+1 = x_k + e^(-a_n) S_n,k
//! g(x) = 1 + growth (1 - x / knee) below the knee, 1 above
//! ```
//!
//! (Hsieh, Gurmen and King, IEEE Trans. Med. Imaging 19(9), 2000, for the recursion; Starman et al., Med. Phys. 39(10),
//! 2012, for keeping one stored charge for each term and making it consistent with a release that depends on the exposure).
//! Because g is a straight line on each side of the knee, x follows from y without iterating. The charges go on through
//! frames without X-rays and through pauses, which only empty the traps; a lost frame counts as exposed like the
//! one behind it, whose own signal is first told with the charges before the gap.
//!
//! The charges belong to a place in a run: whoever seeks restores them (a clone of the corrector is a checkpoint) or
//! shows the panel the frames before.

mod cpu;
mod reference;
#[cfg(test)]
mod tests;

use super::Backend;
use crate::error::AcquisitionError;
use carm::FrameHeader;

/// Terms that a model may have.
pub const MOST_TERMS: usize = 4;

/// One kind of trap.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LagTerm {
    /// Decay, 1/frame.
    pub rate_per_frame: f64,
    /// Share of the signal that is stored, before the first decay.
    pub strength: f64,
}

/// How a panel lags, in one mode.
#[derive(Clone, Debug, PartialEq)]
pub struct LagModel {
    /// Up to [`MOST_TERMS`].
    pub terms: Vec<LagTerm>,
    /// Growth of the release towards no exposure; 0 for a linear panel.
    pub low_exposure_growth: f64,
    /// Signal below which it grows, counts above the dark map.
    pub knee_counts: f64,
    /// Frame rate for which the rates hold, 1/s.
    pub frame_rate_hz: f64,
    /// What lag had added to the frames that the unattenuated intensity was measured on, as a factor.
    pub flat_gain: f64,
}

impl LagModel {
    /// Refuses numbers that cannot be.
    ///
    /// # Errors
    /// [`AcquisitionError::CalibrationNumber`].
    pub fn check(&self) -> Result<(), AcquisitionError> {
        let require = |what, expected, holds: bool, found| {
            if holds { Ok(()) } else { Err(AcquisitionError::CalibrationNumber { what, expected, found }) }
        };
        let terms = self.terms.len();
        require("terms of the lag model", "1 to 4", (1..=MOST_TERMS).contains(&terms), terms as f64)?;
        for LagTerm { rate_per_frame: rate, strength } in &self.terms {
            require(
                "decay of lag in 1/frame",
                "above 0 and up to 100",
                *rate > 0.0 && *rate <= 100.0,
                *rate,
            )?;
            require("strength of lag", "0 to 1", (0.0..=1.0).contains(strength), *strength)?;
        }
        let (growth, knee) = (self.low_exposure_growth, self.knee_counts);
        require("growth of lag at low exposure", "0 to 10", (0.0..=10.0).contains(&growth), growth)?;
        require("knee of lag in counts", "a positive number", knee > 0.0 && knee.is_finite(), knee)?;
        let rate = self.frame_rate_hz;
        require("frame rate of lag in 1/s", "a positive number", rate > 0.0 && rate.is_finite(), rate)?;
        require("lag in the flat field", "1 to 2", (1.0..=2.0).contains(&self.flat_gain), self.flat_gain)
    }

    /// Reading over signal after `frames` frames of an even exposure above the knee that began in a rested panel.
    pub fn gain_after(&self, frames: u32) -> f64 {
        let part = |term: &LagTerm| {
            let decay = (-term.rate_per_frame).exp();
            term.strength * decay * (1.0 - decay.powf(f64::from(frames))) / (1.0 - decay)
        };
        1.0 + self.terms.iter().map(part).sum::<f64>()
    }
}

/// What one frame does to the charges, besides its own signal.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Step {
    /// Exposed frames that were lost before this one.
    lost: f64,
    /// Frame periods without exposure before this one.
    idle: f64,
    /// False for a frame that came again or too late: it is corrected and stores nothing.
    stores: bool,
}

/// The charges of one panel.
#[derive(Clone, Debug)]
pub(super) struct Lag {
    model: LagModel,
    backend: Backend,
    /// Charges by term, then pixel.
    stored: [Vec<f32>; MOST_TERMS],
    /// The same for the reference.
    stored_exact: [Vec<f64>; MOST_TERMS],
    last: Option<(u64, u64)>,
}

impl Lag {
    /// A panel that has rested.
    pub(super) fn new(model: LagModel, pixels: usize, backend: Backend) -> Result<Self, AcquisitionError> {
        model.check()?;
        let [fast, exact] = if backend == Backend::Reference { [0, pixels] } else { [pixels, 0] };
        Ok(Self {
            model,
            backend,
            stored: std::array::from_fn(|_| vec![0.0; fast]),
            stored_exact: std::array::from_fn(|_| vec![0.0; exact]),
            last: None,
        })
    }

    pub(super) fn flat_gain(&self) -> f64 {
        self.model.flat_gain
    }

    /// Takes the lag out of a frame: dark-corrected readings become signals. `around` is called with each stretch of pixels
    /// before and after, so that maps are applied while it is near; before the first call `counts` may hold anything.
    pub(super) fn correct(&mut self, header: &FrameHeader, counts: &mut [f32], around: &Around<'_>) {
        let step = self.step(header);
        match self.backend {
            Backend::Reference => reference::correct(self, step, counts, around),
            Backend::Cpu => cpu::correct(self, step, counts, around),
        }
    }

    /// What lies between the frame before and this one.
    fn step(&mut self, header: &FrameHeader) -> Step {
        let (sequence, device_ns) = (header.sequence, header.stamps.device.0);
        let Some((last_sequence, last_ns)) = self.last else {
            self.last = Some((sequence, device_ns));
            return Step { lost: 0.0, idle: 0.0, stores: true };
        };
        if sequence <= last_sequence {
            return Step { lost: 0.0, idle: 0.0, stores: false };
        }
        self.last = Some((sequence, device_ns));
        let numbers = (sequence - last_sequence) as f64;
        let periods = device_ns.saturating_sub(last_ns) as f64 * 1e-9 * self.model.frame_rate_hz;
        // A clock's jitter is no pause.
        let idle = if periods - numbers > 0.5 { (periods - numbers).round() } else { 0.0 };
        Step { lost: numbers - 1.0, idle, stores: true }
    }
}

/// Work on a stretch of pixels before and after its lag is taken out: first pixel, the pixels, whether after.
pub(super) type Around<'a> = dyn Fn(usize, &mut [f32], bool) + Sync + 'a;

/// Factors of one term.
#[derive(Clone, Copy, Debug, Default)]
struct Factors {
    /// Share of a charge that stays from one frame to the next.
    keep: f64,
    /// Share of a charge that is read.
    release: f64,
    /// Before this frame: share that stayed through the pause, share of that which stayed through the lost frames, and
    /// what these stored of their signal.
    rested: f64,
    kept_lost: f64,
    refilled: f64,
}

impl Factors {
    fn all(model: &LagModel, step: Step) -> [Self; MOST_TERMS] {
        std::array::from_fn(|n| {
            let Some(LagTerm { rate_per_frame, strength }) = model.terms.get(n).copied() else {
                return Self::default();
            };
            let keep = (-rate_per_frame).exp();
            let kept_lost = keep.powf(step.lost);
            // The pause lies before the lost frames or after them, nobody knows: before.
            let rested = keep.powf(step.idle);
            let refilled = (1.0 - kept_lost) / (1.0 - keep);
            Self { keep, release: strength * keep, rested, kept_lost, refilled }
        })
    }
}
