//! Arming, starting and aborting a spin.

use super::recorder::{ArmedSpin, Command};
use super::{Stream, lock};
use crate::clock::monotonic_now;
use crate::error::ServiceError;
use crate::spin::{SpinPhase, SpinStatus};
use crate::verdict::SpinWatch;
use acquisition::{Spin, SpinPlan};
use capture::{RunWriter, WriterOptions};
use carm::{FrameSource, RunDescription};
use std::sync::atomic::Ordering;

/// An encoder may jitter back by so much, rad.
const TURN_BACK_RAD: f64 = 0.02;
/// Without a frame for so long, a rotating spin is at fault, ns.
const FRAME_TIMEOUT_NS: u64 = 2_000_000_000;

impl Stream {
    /// Makes a spin ready: the device, its recording with room set aside, its plan.
    ///
    /// # Errors
    /// [`ServiceError::NotNow`] unless the device can spin and none is armed or rotating; the device's own; no room.
    pub fn arm_spin(&self) -> Result<SpinStatus, ServiceError> {
        let _one = lock(&self.arming);
        let rings = self.shared.rings.get();
        let live = rings.ok_or_else(|| ServiceError::NoFrames { stream: self.name().into() })?;
        let phase = lock(&self.shared.spin).phase;
        if matches!(phase, SpinPhase::Arming | SpinPhase::Armed | SpinPhase::Rotating) {
            return Err(self.refused("arm a spin", "none armed or rotating", phase.name()));
        }
        if !self.driver.can_spin() {
            return Err(self.refused("arm a spin", "a device that can spin", "one that cannot"));
        }
        *lock(&self.shared.spin) = SpinStatus { phase: SpinPhase::Arming, ..SpinStatus::default() };
        let armed = self.driver.open_spin().map_err(ServiceError::from).and_then(|source| {
            let (expected, found) = (live.description.detector, source.description().detector);
            if [expected.nu, expected.nv] != [found.nu, found.nv] {
                let found = format!("{} x {}", found.nu, found.nv);
                return Err(self.refused("arm a spin", "frames of the live images' size", &found));
            }
            self.hand_over(source)
        });
        if armed.is_err() {
            *lock(&self.shared.spin) = SpinStatus::default();
            self.shared.spin_source.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        }
        armed?;
        Ok(lock(&self.shared.spin).clone())
    }

    /// Starts the armed spin.
    ///
    /// # Errors
    /// [`ServiceError::NotNow`] unless armed.
    pub fn start_spin(&self) -> Result<(), ServiceError> {
        let _one = lock(&self.arming);
        let phase = lock(&self.shared.spin).phase;
        if phase != SpinPhase::Armed || lock(&self.shared.spin_source).is_none() {
            return Err(self.refused("start a spin", "an armed one", phase.name()));
        }
        self.shared.spin_starts.store(true, Ordering::Release);
        Ok(())
    }

    /// Disarms a spin, or stops a rotating one: what was covered is kept.
    ///
    /// # Errors
    /// [`ServiceError::NotNow`] unless armed or rotating.
    pub fn abort_spin(&self) -> Result<(), ServiceError> {
        let _one = lock(&self.arming);
        self.shared.spin_starts.store(false, Ordering::Release);
        let was_waiting = lock(&self.shared.spin_source).take().is_some();
        let phase = lock(&self.shared.spin).phase;
        // The device first: it may be turning, with the beam on.
        if !was_waiting && matches!(phase, SpinPhase::Armed | SpinPhase::Rotating) {
            self.shared.spin_aborts.store(true, Ordering::Release);
        }
        self.ask("abort a spin", Command::Abort)?
    }

    /// Opens the recording, arms the plan and leaves the source where the device's thread finds it.
    fn hand_over(&self, source: Box<dyn FrameSource>) -> Result<(), ServiceError> {
        let views = source.description().planned_views.len();
        let info = self.shared.runs.name_new(self.name(), true);
        let description = RunDescription { run_id: info.id.clone(), ..source.description().clone() };
        let reserved_bytes = RunWriter::bytes_needed(&description, views);
        let plan = plan(&description, reserved_bytes)
            .ok_or_else(|| self.refused("arm a spin", "a protocol with planned views", "one without"))?;
        let options = WriterOptions { reserve_bytes: Some(reserved_bytes), ..WriterOptions::default() };
        let writer = RunWriter::create(&info.path, &description, options)?;
        let mut spin = Spin::new();
        let armed = spin.arm(plan, monotonic_now())?;
        {
            let mut status = lock(&self.shared.spin);
            (status.planned_views, status.run) = (plan.views, info.id.clone());
            status.planned_arc_deg = plan.arc_rad.to_degrees();
        }
        *lock(&self.shared.spin_source) = Some(source);
        let makes_volume = description.volume_grid.is_some();
        let watch = SpinWatch::new(description);
        let armed = Box::new(ArmedSpin { spin, armed, writer, info, makes_volume, watch });
        self.ask("arm a spin", |reply| Command::Arm(armed, reply))?
    }

    fn refused(&self, action: &'static str, expected: &'static str, found: &str) -> ServiceError {
        ServiceError::NotNow { stream: self.name().into(), action, expected, found: found.into() }
    }
}

fn plan(description: &RunDescription, reserved_bytes: u64) -> Option<SpinPlan> {
    let views = &description.planned_views;
    let (first, last) = (views.first()?, views.last()?);
    Some(SpinPlan {
        arc_rad: (last.primary_angle_rad - first.primary_angle_rad).abs(),
        views: views.len() as u64,
        reserved_bytes,
        frame_timeout_ns: FRAME_TIMEOUT_NS,
        turn_back_rad: TURN_BACK_RAD,
    })
}
