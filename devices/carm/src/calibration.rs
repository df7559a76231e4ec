//! What calibration knows: detector maps, and the matrix of each gantry angle.

use crate::error::GeometryError;
use crate::grid::DetectorGrid;
use crate::projection::{DetectorPose, ProjectionMatrix};
use crate::run::PlannedView;
use crate::units::WallTime;
use nalgebra::{Rotation3, Vector3};
use ndarray::Array2;

/// A pixel whose counts must not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PixelDefect {
    /// Column.
    pub u: u32,
    /// Row.
    pub v: u32,
}

/// Maps of a detector in one mode: `intensity = (raw_counts - dark) / gain`.
#[derive(Clone, Debug, PartialEq)]
pub struct DetectorCalibration {
    /// Counts without X-rays, `[v, u]`.
    pub dark_counts: Array2<f32>,
    /// Relative response to an even field, mean 1 over good pixels, `[v, u]`.
    pub gain: Array2<f32>,
    /// Defect pixels.
    pub defects: Vec<PixelDefect>,
    /// Intensity of the unattenuated beam per mAs, in gain-corrected counts.
    pub air_intensity_per_mas: f64,
    /// Variance of an intensity: `variance = electronic + per_count * intensity`, in counts².
    pub electronic_variance: f64,
    /// Variance per gain-corrected count (photon noise), counts.
    pub variance_per_count: f64,
    /// Counts at and above which a pixel is saturated.
    pub saturation_counts: u16,
    /// Tube voltage of the flat field, kV.
    pub tube_voltage_kv: f64,
    /// Pixels binned along each side.
    pub binning: u8,
    /// When it was made.
    pub acquired: WallTime,
}

/// Calibrated matrices by gantry angle: a frame takes its matrix by its measured angle, never by its index.
#[derive(Clone, Debug)]
pub struct CalibratedTrajectory {
    detector: DetectorGrid,
    views: Vec<PlannedView>,
}

/// A frame's angle for which no calibrated matrix exists.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error(
    "gantry angle: expected between {first_deg:.3} and {last_deg:.3} degrees as calibrated, found {found_deg:.3}"
)]
pub struct AngleNotCalibrated {
    /// First calibrated angle.
    pub first_deg: f64,
    /// Last calibrated angle.
    pub last_deg: f64,
    /// The frame's angle.
    pub found_deg: f64,
}

impl CalibratedTrajectory {
    /// From matrices at increasing or decreasing angles.
    ///
    /// # Errors
    /// [`GeometryError::NoViews`] for an empty set; [`GeometryError::NotFinite`] for an angle that is not;
    /// [`GeometryError::NotPositive`] when angles repeat or turn back.
    pub fn new(detector: DetectorGrid, mut views: Vec<PlannedView>) -> Result<Self, GeometryError> {
        if views.is_empty() {
            return Err(GeometryError::NoViews);
        }
        if let Some(bad) = views.iter().find(|view| !view.primary_angle_rad.is_finite()) {
            return Err(GeometryError::NotFinite {
                what: "calibrated angle".into(),
                found: bad.primary_angle_rad.to_string(),
            });
        }
        if views[0].primary_angle_rad > views[views.len() - 1].primary_angle_rad {
            views.reverse();
        }
        for pair in views.windows(2) {
            let step = pair[1].primary_angle_rad - pair[0].primary_angle_rad;
            if step <= 0.0 {
                return Err(GeometryError::NotPositive {
                    what: "step between calibrated angles in radians".into(),
                    found: step,
                });
            }
        }
        Ok(Self { detector, views })
    }

    /// The matrix at a measured angle. Up to half a step beyond the ends the end pose is turned on.
    ///
    /// Between two calibrated angles both poses are turned about the world z axis to the asked angle and
    /// blended, so that the error of the blend is that of the wobble's change over one step, not of the arc.
    ///
    /// # Errors
    /// [`AngleNotCalibrated`] further out.
    pub fn matrix_at(&self, primary_angle_rad: f64) -> Result<ProjectionMatrix, AngleNotCalibrated> {
        let angle = |view: usize| self.views[view].primary_angle_rad;
        let last = self.views.len() - 1;
        let mean_step = if last == 0 { 0.0 } else { (angle(last) - angle(0)) / last as f64 };
        let margin = 0.5 * mean_step + 1e-9;
        if !(angle(0) - margin..=angle(last) + margin).contains(&primary_angle_rad) {
            return Err(AngleNotCalibrated {
                first_deg: angle(0).to_degrees(),
                last_deg: angle(last).to_degrees(),
                found_deg: primary_angle_rad.to_degrees(),
            });
        }
        let after = self.views.partition_point(|view| view.primary_angle_rad < primary_angle_rad);
        if after <= last && angle(after) == primary_angle_rad {
            return Ok(self.views[after].projection_matrix);
        }
        let (low, high) = (after.saturating_sub(1), after.min(last));
        let share =
            if low == high { 0.0 } else { (primary_angle_rad - angle(low)) / (angle(high) - angle(low)) };
        let turned = |view: usize| {
            let turn = Rotation3::from_axis_angle(&Vector3::z_axis(), primary_angle_rad - angle(view));
            let pose = self.views[view].projection_matrix.detector_pose(&self.detector);
            DetectorPose {
                source: turn * pose.source,
                centre: turn * pose.centre,
                e_u: turn * pose.e_u,
                e_v: turn * pose.e_v,
            }
        };
        let pose = blend(&turned(low), &turned(high), share);
        Ok(ProjectionMatrix::from_pose(&pose, &self.detector)
            .expect("a blend of two neighbouring calibrated poses is a pose"))
    }
}

fn blend(a: &DetectorPose, b: &DetectorPose, share: f64) -> DetectorPose {
    let mix = |x: Vector3<f64>, y: Vector3<f64>| x * (1.0 - share) + y * share;
    let e_u = mix(a.e_u, b.e_u);
    let e_u = e_u / e_u.norm();
    let e_v = mix(a.e_v, b.e_v);
    let e_v = e_v - e_u * e_u.dot(&e_v);
    DetectorPose {
        source: mix(a.source.coords, b.source.coords).into(),
        centre: mix(a.centre.coords, b.centre.coords).into(),
        e_u,
        e_v: e_v / e_v.norm(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::converters::{CarmAngles, CarmDistances, projection_from_carm_angles};

    fn circle(step_deg: f64, count: usize) -> CalibratedTrajectory {
        let detector = DetectorGrid::new([616, 480], [0.616, 0.616]).unwrap();
        let views = (0..count)
            .map(|i| {
                let primary_rad = (step_deg * i as f64 - 110.0).to_radians();
                PlannedView { primary_angle_rad: primary_rad, projection_matrix: at(primary_rad, &detector) }
            })
            .collect();
        CalibratedTrajectory::new(detector, views).unwrap()
    }

    fn at(primary_rad: f64, detector: &DetectorGrid) -> ProjectionMatrix {
        let distances = CarmDistances { source_to_isocenter_mm: 785.0, source_to_detector_mm: 1200.0 };
        projection_from_carm_angles(CarmAngles { primary_rad, secondary_rad: 0.0 }, distances, detector)
            .unwrap()
    }

    #[test]
    fn calibrated_trajectory_on_a_circle_is_exact_between_its_angles() {
        let trajectory = circle(5.0, 10);
        let angle = (-110.0_f64 + 12.3).to_radians();
        let found = trajectory.matrix_at(angle).unwrap();
        let expected = at(angle, &trajectory.detector);
        assert!((found.matrix() - expected.matrix()).abs().max() < 1e-8);
    }

    #[test]
    fn calibrated_trajectory_gives_stored_matrix_bit_for_bit_at_its_own_angle() {
        let trajectory = circle(0.89, 248);
        for view in &trajectory.views {
            let found = trajectory.matrix_at(view.primary_angle_rad).unwrap();
            assert_eq!(found.matrix(), view.projection_matrix.matrix());
        }
    }

    #[test]
    fn calibrated_trajectory_refuses_angles_beyond_half_a_step() {
        let trajectory = circle(1.0, 5);
        assert!(trajectory.matrix_at((-110.4_f64).to_radians()).is_ok());
        assert!(trajectory.matrix_at((-110.6_f64).to_radians()).is_err());
        assert!(trajectory.matrix_at(f64::NAN).is_err());
    }
}
