//! `org.isocenter.Dose1`: dose at the patient's entrance, where the tube is known.

use super::StreamHandle;
use service::Dose as Figures;

pub(crate) struct Dose(pub(crate) StreamHandle);

impl Dose {
    fn figures(&self) -> Option<Figures> {
        self.0.status().dose
    }
}

#[zbus::interface(name = "org.isocenter.Dose1")]
impl Dose {
    /// Somebody knows of the last five minutes of fluoroscopy.
    fn reset_signal(&self) {
        self.0.stream().reset_dose_signal();
    }

    /// Whether the tube is known; the figures are zero where it is not.
    #[zbus(property(emits_changed_signal = "const"))]
    fn is_known(&self) -> bool {
        self.figures().is_some()
    }

    /// At the reference point, 15 cm from the isocenter towards the tube, over the last second.
    #[zbus(property(emits_changed_signal = "false"))]
    fn air_kerma_rate_mgy_per_min(&self) -> f64 {
        self.figures().unwrap_or_default().air_kerma_rate_mgy_per_min
    }

    /// At the reference point since the daemon started.
    #[zbus(property(emits_changed_signal = "false"))]
    fn air_kerma_mgy(&self) -> f64 {
        self.figures().unwrap_or_default().air_kerma_mgy
    }

    /// Since the daemon started.
    #[zbus(property(emits_changed_signal = "false"))]
    fn dose_area_product_gy_cm2(&self) -> f64 {
        self.figures().unwrap_or_default().dose_area_product_gy_cm2
    }

    /// Time with the pedal on fluoroscopy.
    #[zbus(property(emits_changed_signal = "false"))]
    fn fluoroscopy_s(&self) -> f64 {
        self.figures().unwrap_or_default().fluoroscopy_s
    }

    /// Another five minutes of fluoroscopy are over.
    #[zbus(property(emits_changed_signal = "false"))]
    fn is_signal_on(&self) -> bool {
        self.figures().unwrap_or_default().is_signal_on
    }

    /// Frames with X-rays on whose exposure was not reported: their dose is missing in the figures.
    #[zbus(property(emits_changed_signal = "false"))]
    fn frames_without_exposure(&self) -> u64 {
        self.figures().unwrap_or_default().frames_without_exposure
    }
}
