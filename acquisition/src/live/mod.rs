//! From raw counts to the image on the screen: correction, temporal noise reduction, subtraction, enhancement, window.
//!
//! Every stage can be switched at run time, and the frame says which ones made it ([`LiveNote`]). What comes out are
//! 16-bit counts: on the scale of the gain-corrected intensity, so that a client may choose a window of its own, or,
//! where a mask is subtracted, [`SUBTRACTED_COUNTS`] `exp(-D)` for a difference of logarithms `D`, so that a client that
//! shows logarithms shows vessels dark on even grey.

mod chain;
pub mod enhance;
mod logarithm;
pub mod recursive;
pub mod subtraction;
pub mod window;

use crate::ring::FrameNote;
pub use chain::{LiveChain, LiveSettings, SUBTRACTED_COUNTS, Shown};
pub use window::Window;

/// Stages of the live image that can be on or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveStages {
    /// Offset, gain, defects and, where the run knows it of its panel, lag. Off where the device brings no maps.
    pub correction: bool,
    /// The motion-adaptive recursive filter. Needs the noise model that the maps bring.
    pub noise_reduction: bool,
    /// The window follows the image; off, it stays as it is.
    pub automatic_window: bool,
    /// Contrast and edges of several sizes are brought out. Needs the correction.
    pub enhancement: bool,
    /// A mask is subtracted: the first frames after this is switched on, or after a remask. Needs the correction.
    pub subtraction: bool,
    /// As subtraction, showing the most contrast medium that each pixel has held since the mask.
    pub peak_opacification: bool,
    /// As subtraction, with the vessels as they were filled when this was switched on laid under what comes.
    pub roadmap: bool,
    /// When X-rays go off, the mean of the latest still frames replaces the last image.
    pub last_image_hold: bool,
}

impl LiveStages {
    /// What a stream begins with where nobody says otherwise.
    pub const USUAL: Self = Self {
        correction: true,
        noise_reduction: true,
        automatic_window: true,
        last_image_hold: true,
        ..Self::NONE
    };
    /// None: raw counts.
    pub const NONE: Self = Self {
        correction: false,
        noise_reduction: false,
        automatic_window: false,
        enhancement: false,
        subtraction: false,
        peak_opacification: false,
        roadmap: false,
        last_image_hold: false,
    };
    /// Their names, in the order of their bits.
    pub const NAMES: [&str; 8] = [
        "correction",
        "noise_reduction",
        "automatic_window",
        "enhancement",
        "subtraction",
        "peak_opacification",
        "roadmap",
        "last_image_hold",
    ];

    /// One bit each, lowest first in the order of the fields.
    pub fn bits(self) -> u8 {
        let flags = [
            self.correction,
            self.noise_reduction,
            self.automatic_window,
            self.enhancement,
            self.subtraction,
            self.peak_opacification,
            self.roadmap,
            self.last_image_hold,
        ];
        flags.into_iter().rev().fold(0, |bits, flag| bits << 1 | u8::from(flag))
    }

    /// From [`LiveStages::bits`].
    pub fn from_bits(bits: u8) -> Self {
        let flag = |place: u8| bits >> place & 1 != 0;
        Self {
            correction: flag(0),
            noise_reduction: flag(1),
            automatic_window: flag(2),
            enhancement: flag(3),
            subtraction: flag(4),
            peak_opacification: flag(5),
            roadmap: flag(6),
            last_image_hold: flag(7),
        }
    }

    /// With one stage switched by its name; none for a name that is none.
    pub fn with(self, name: &str, is_on: bool) -> Option<Self> {
        let place = Self::NAMES.iter().position(|known| *known == name)?;
        let bit = 1 << place;
        Some(Self::from_bits(if is_on { self.bits() | bit } else { self.bits() & !bit }))
    }

    /// Every stage by its name.
    pub fn named(self) -> [(&'static str, bool); 8] {
        std::array::from_fn(|place| (Self::NAMES[place], self.bits() >> place & 1 != 0))
    }

    /// Whether a mask is asked for.
    pub fn subtracts(self) -> bool {
        self.subtraction || self.peak_opacification || self.roadmap
    }
}

/// What travels with each live image, as the ring's note.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LiveNote {
    /// The window to show it with, stages that made it, and its mask.
    pub shown: Shown,
    /// Host's monotonic clock when it was finished, ns.
    pub finished_ns: u64,
    /// Frames passed over since the image before.
    pub skipped: u64,
}

/// Steps of a pixel in which a note tells how far a mask was shifted.
const SHIFT_STEPS: f32 = 256.0;

impl LiveNote {
    /// Word 0: window low (bits 0 to 15), high (16 to 31), stages (32 to 39), frames of the mask (40 to 47), its farthest
    /// shift in 1/256 px (48 to 63); word 1: finished, ns; word 2: skipped.
    pub fn to_words(&self) -> FrameNote {
        let Shown { window, stages, mask_frames, mask_shift_px } = self.shown;
        let halves = [window.low, window.high, u16::from(mask_frames) << 8 | u16::from(stages.bits())];
        let shift = (mask_shift_px * SHIFT_STEPS) as u16;
        let word = halves.into_iter().chain([shift]).rev().fold(0, |word, half| word << 16 | u64::from(half));
        [word, self.finished_ns, self.skipped, 0]
    }

    /// Back from [`LiveNote::to_words`].
    pub fn from_words(words: &FrameNote) -> Self {
        let half = |place: u32| (words[0] >> (16 * place)) as u16;
        let shown = Shown {
            window: Window { low: half(0), high: half(1) },
            stages: LiveStages::from_bits(half(2) as u8),
            mask_frames: (half(2) >> 8) as u8,
            mask_shift_px: f32::from(half(3)) / SHIFT_STEPS,
        };
        Self { shown, finished_ns: words[1], skipped: words[2] }
    }
}

#[cfg(test)]
mod tests;
