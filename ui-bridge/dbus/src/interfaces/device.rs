//! `org.isocenter.Device1`: who makes the frames, and how it is.

use super::StreamHandle;

pub(crate) struct Device(pub(crate) StreamHandle);

#[zbus::interface(name = "org.isocenter.Device1")]
impl Device {
    /// Name of the stream.
    #[zbus(property(emits_changed_signal = "const"))]
    fn name(&self) -> String {
        self.0.stream().name().to_owned()
    }

    /// Maker; this and all that the device itself tells is empty or zero before its first frame.
    #[zbus(property(emits_changed_signal = "false"))]
    fn manufacturer(&self) -> String {
        let [manufacturer, ..] = self.0.status().identity;
        manufacturer
    }

    /// Model.
    #[zbus(property(emits_changed_signal = "false"))]
    fn model(&self) -> String {
        let [_, model, _] = self.0.status().identity;
        model
    }

    /// Serial number.
    #[zbus(property(emits_changed_signal = "false"))]
    fn serial_number(&self) -> String {
        let [.., serial_number] = self.0.status().identity;
        serial_number
    }

    /// `connecting`, `streaming`, `stalled`, `gone` or `ended`.
    #[zbus(property)]
    fn state(&self) -> String {
        self.0.status().device.name().to_owned()
    }

    /// Why, where it is not streaming.
    #[zbus(property)]
    fn reason(&self) -> String {
        self.0.status().device_reason
    }

    /// Columns of a frame.
    #[zbus(property(emits_changed_signal = "false"))]
    fn columns(&self) -> u32 {
        self.0.status().shape.map_or(0, |shape| shape.nu as u32)
    }

    /// Rows of a frame.
    #[zbus(property(emits_changed_signal = "false"))]
    fn rows(&self) -> u32 {
        self.0.status().shape.map_or(0, |shape| shape.nv as u32)
    }

    /// Bits of a raw count that are used.
    #[zbus(property(emits_changed_signal = "false"))]
    fn bits_stored(&self) -> u8 {
        self.0.status().shape.map_or(0, |shape| shape.bits_stored)
    }

    /// Nominal frames per second.
    #[zbus(property(emits_changed_signal = "false"))]
    fn frame_rate_hz(&self) -> f64 {
        self.0.status().shape.map_or(0.0, |shape| shape.frame_rate_hz)
    }

    /// Whether it can turn round the patient.
    #[zbus(property(emits_changed_signal = "const"))]
    fn can_spin(&self) -> bool {
        self.0.status().can_spin
    }

    /// Whether its threads run at real-time priority, or why not.
    #[zbus(property(emits_changed_signal = "false"))]
    fn real_time(&self) -> String {
        self.0.status().real_time
    }
}
