//! Every view resampled once onto a detector that suits the algorithm, whatever the real one's tilt.
//!
//! The source stays where it is, so the map between any two flat detectors is an exact homography: line
//! integrals belong to rays, only the sampling grid moves (Riddell and Trousset, IEEE Trans. Med. Imaging
//! 25(7), 2006). The virtual detector's columns run along the volume's column axis and its rows along the
//! motion of the source, so that rows are filtered in the right direction and back-projection finds `u` and
//! the depth constant along a voxel column.

mod cpu;
mod reference;
#[cfg(test)]
mod tests;

use crate::orbit::Orbit;
use carm::{DetectorGrid, ProjectionMatrix, ScanGeometry};
use nalgebra::{Matrix3, Matrix3x4, Point3, Vector3};

pub use cpu::resample_row;
pub(crate) use reference::keys;
pub use reference::resample_row as resample_row_reference;

/// Deviation, in pixels, below which a resampled row is a copy of a measured one.
const ALIGNED_TOLERANCE_PX: f64 = 1e-6;
/// The virtual detector grows by at most this share per side to hold tilted views.
const MAX_GROWTH: f64 = 0.15;

/// Size of the virtual detector, in pixels; common to all views of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VirtualGrid {
    /// Columns.
    pub nu: usize,
    /// Rows.
    pub nv: usize,
    /// Columns before those that hold the real detector.
    pub before_u: usize,
    /// Columns after them.
    pub after_u: usize,
}

/// The virtual detector of one view.
#[derive(Clone, Debug, PartialEq)]
pub struct VirtualView {
    /// Virtual projection matrix, world to virtual pixel.
    pub p: Matrix3x4<f64>,
    /// Source, mm.
    pub source: Point3<f64>,
    /// Focal length in columns.
    pub focal_u_px: f64,
    /// Focal length in rows.
    pub focal_v_px: f64,
    /// Column of the foot of the perpendicular from the source.
    pub principal_u_px: f64,
    /// Row of the foot of the perpendicular.
    pub principal_v_px: f64,
    /// Direction of increasing column.
    pub e_u: Vector3<f64>,
    /// Homography from virtual to real pixel.
    pub real_from_virtual: Matrix3<f64>,
    /// Set when the homography only shifts by whole pixels, or flips: then rows are copies.
    pub alignment: Option<Alignment>,
}

/// A homography that moves whole pixels: `u_real = u_step * u + u_start`, the same for v.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alignment {
    /// +1 or -1.
    pub u_step: i64,
    /// Real column of virtual column 0.
    pub u_start: i64,
    /// +1 or -1.
    pub v_step: i64,
    /// Real row of virtual row 0.
    pub v_start: i64,
}

impl VirtualView {
    /// The detector through the same source whose columns run along `column` and whose normal points from
    /// the source to the rotation axis; the centre of the real image stays in the centre.
    pub fn new(
        real: &ProjectionMatrix,
        detector: &DetectorGrid,
        grid: VirtualGrid,
        orbit: &Orbit,
        column: &Vector3<f64>,
    ) -> Self {
        let source = real.source_position();
        let axes = real.detector_axes();
        let normal = orbit.inward(&source, column);
        let e_v = *column;
        let across = e_v.cross(&normal);
        let e_u = if across.dot(&axes.e_u) >= 0.0 { across } else { -across };

        let [real_centre_u, real_centre_v] = detector.centre();
        let centre_ray = real.ray(real_centre_u, real_centre_v);
        let depth = centre_ray.dot(&normal);
        let middle_u = grid.before_u as f64 + ((grid.nu - grid.before_u - grid.after_u) as f64 - 1.0) / 2.0;
        let principal_u_px = middle_u - axes.focal_u_px * centre_ray.dot(&e_u) / depth;
        let principal_v_px = (grid.nv as f64 - 1.0) / 2.0 - axes.focal_v_px * centre_ray.dot(&e_v) / depth;

        let m = Matrix3::from_rows(&[
            (e_u * axes.focal_u_px + normal * principal_u_px).transpose(),
            (e_v * axes.focal_v_px + normal * principal_v_px).transpose(),
            normal.transpose(),
        ]);
        let mut p = Matrix3x4::zeros();
        p.fixed_columns_mut::<3>(0).copy_from(&m);
        p.set_column(3, &(-m * source.coords));
        let inverse = m.try_inverse().expect("orthogonal axes and positive focal lengths");
        let real_from_virtual = real.m() * inverse;
        Self {
            p,
            source,
            focal_u_px: axes.focal_u_px,
            focal_v_px: axes.focal_v_px,
            principal_u_px,
            principal_v_px,
            e_u,
            real_from_virtual,
            alignment: Alignment::of(&real_from_virtual, grid),
        }
    }

    /// Fan angle of a virtual column, signed by the column's direction.
    pub fn fan_rad(&self, u: f64) -> f64 {
        ((u - self.principal_u_px) / self.focal_u_px).atan()
    }

    /// Real pixel under a virtual pixel.
    pub fn real_pixel(&self, u: f64, v: f64) -> [f64; 2] {
        let h = self.real_from_virtual * Vector3::new(u, v, 1.0);
        [h.x / h.z, h.y / h.z]
    }
}

impl Alignment {
    fn of(real_from_virtual: &Matrix3<f64>, grid: VirtualGrid) -> Option<Self> {
        let at = |u: usize, v: usize| {
            let h = real_from_virtual * Vector3::new(u as f64, v as f64, 1.0);
            [h.x / h.z, h.y / h.z]
        };
        let (last_u, last_v) = (grid.nu - 1, grid.nv - 1);
        let origin = at(0, 0);
        let [far_u, far_v] = at(last_u, last_v);
        let alignment = Self {
            u_step: if far_u >= origin[0] { 1 } else { -1 },
            u_start: origin[0].round() as i64,
            v_step: if far_v >= origin[1] { 1 } else { -1 },
            v_start: origin[1].round() as i64,
        };
        let is_whole = [(0, 0), (last_u, 0), (0, last_v), (last_u, last_v)].into_iter().all(|(u, v)| {
            let [found_u, found_v] = at(u, v);
            let expected_u = (alignment.u_step * u as i64 + alignment.u_start) as f64;
            let expected_v = (alignment.v_step * v as i64 + alignment.v_start) as f64;
            (found_u - expected_u).abs() < ALIGNED_TOLERANCE_PX
                && (found_v - expected_v).abs() < ALIGNED_TOLERANCE_PX
        });
        is_whole.then_some(alignment)
    }
}

impl VirtualGrid {
    /// The smallest grid, not smaller than the real one, that holds every view's footprint (up to 15 % more
    /// per side).
    pub fn covering(scan: &ScanGeometry, orbit: &Orbit, column: &Vector3<f64>) -> Self {
        let detector = scan.detector();
        let same = Self { nu: detector.nu, nv: detector.nv, before_u: 0, after_u: 0 };
        let (mut grow_u, mut grow_v) = (0.0_f64, 0.0_f64);
        let (last_u, last_v) = (detector.nu as f64 - 0.5, detector.nv as f64 - 0.5);
        for real in scan.views() {
            let view = VirtualView::new(real, detector, same, orbit, column);
            let inverse = view.real_from_virtual.try_inverse().expect("a homography");
            for (u, v) in [(-0.5, -0.5), (last_u, -0.5), (-0.5, last_v), (last_u, last_v)] {
                let h = inverse * Vector3::new(u, v, 1.0);
                let [virtual_u, virtual_v] = [h.x / h.z, h.y / h.z];
                grow_u = grow_u.max(-0.5 - virtual_u).max(virtual_u - last_u);
                grow_v = grow_v.max(-0.5 - virtual_v).max(virtual_v - last_v);
            }
        }
        let grown = |size: usize, excess: f64| {
            let margin = (excess - 1e-3).max(0.0).min(size as f64 * MAX_GROWTH).ceil() as usize;
            size + 2 * margin
        };
        Self { nu: grown(detector.nu, grow_u), nv: grown(detector.nv, grow_v), ..same }
    }

    /// This grid with columns on either side until every view's reaches fan angles of `half_fan_rad` both ways: rows
    /// that end at weight zero on the narrow side of an offset detector do not end there once they are filtered.
    pub fn reaching(self, half_fan_rad: f64, views: impl Iterator<Item = VirtualView>) -> Self {
        let last = self.nu as f64 - 1.0;
        let (mut before, mut after) = (0.0_f64, 0.0_f64);
        for view in views {
            let reach = view.focal_u_px * half_fan_rad.tan();
            before = before.max(reach - view.principal_u_px);
            after = after.max(view.principal_u_px + reach - last);
        }
        let (before_u, after_u) = (before.ceil() as usize, after.ceil() as usize);
        Self { nu: self.nu + before_u + after_u, nv: self.nv, before_u, after_u }
    }
}

/// The part of a resampled row that was measured: columns `start..end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeasuredSpan {
    /// First measured column.
    pub start: usize,
    /// One past the last measured column.
    pub end: usize,
}

impl MeasuredSpan {
    /// Nothing measured.
    pub const EMPTY: Self = Self { start: 0, end: 0 };
}
