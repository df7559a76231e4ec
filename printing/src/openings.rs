//! Where a vessel runs out of the volume: there a hollow model is cut open.

use crate::field::{Field, Side};
use crate::hollow::Opening;
use nalgebra::{Unit, Vector3};
use ndarray::{Array2, Axis};

/// Kept clear beyond the wall around an opening, mm.
const CLEAR_MM: f64 = 1.0;

impl Field {
    /// One opening for each place where the inside reaches the border of the grid.
    ///
    /// `wall_mm`: the wall that will be grown. Places of fewer than `voxels_least` samples are no openings.
    pub fn border_openings(&self, wall_mm: f64, voxels_least: usize) -> Vec<Opening> {
        let mut openings = Vec::new();
        for side in self.touched_sides() {
            let (axis, index, sign) = match side {
                Side::First(axis) => (axis, 0, -1.0),
                Side::Last(axis) => (axis, self.grid.shape[axis] - 1, 1.0),
            };
            let inside = self.values.index_axis(Axis(2 - axis), index).mapv(|value| value > 0.0);
            for patch in patches(&inside) {
                if patch.len() >= voxels_least {
                    openings.push(self.opening(axis, index, sign, &patch, wall_mm));
                }
            }
        }
        openings
    }

    fn opening(&self, axis: usize, index: usize, sign: f64, patch: &[[usize; 2]], wall_mm: f64) -> Opening {
        // Rows of the plane run along the slower of the other two axes.
        let [slow, fast] = match axis {
            0 => [2, 1],
            1 => [2, 0],
            _ => [1, 0],
        };
        let point = |&[row, column]: &[usize; 2]| {
            let mut voxel = [0.0; 3];
            (voxel[axis], voxel[slow], voxel[fast]) = (index as f64, row as f64, column as f64);
            self.grid.point(voxel[0], voxel[1], voxel[2])
        };
        let middle: Vector3<f64> =
            patch.iter().map(|at| point(at).coords).sum::<Vector3<f64>>() / patch.len() as f64;
        let farthest = patch.iter().map(|at| (point(at).coords - middle).norm()).fold(0.0, f64::max);
        let coarsest = self.grid.spacing_mm.into_iter().fold(0.0, f64::max);
        let outward = Unit::new_unchecked(self.grid.direction.column(axis) * sign);
        Opening {
            centre_mm: middle.into(),
            outward,
            radius_mm: farthest + wall_mm + coarsest + CLEAR_MM,
            length_mm: wall_mm + 4.0 * coarsest,
        }
    }
}

/// Connected places of a plane, as rows and columns.
fn patches(inside: &Array2<bool>) -> Vec<Vec<[usize; 2]>> {
    let mut is_open = inside.clone();
    let mut found = Vec::new();
    for (start, _) in inside.indexed_iter().filter(|(_, is_inside)| **is_inside) {
        if !std::mem::replace(&mut is_open[start], false) {
            continue;
        }
        let mut patch = vec![[start.0, start.1]];
        let mut next = 0;
        while let Some(&[row, column]) = patch.get(next) {
            next += 1;
            for (dr, dc) in [(-1, 0), (1, 0), (0, -1), (0, 1)] {
                let at = (row.wrapping_add_signed(dr), column.wrapping_add_signed(dc));
                if is_open.get(at).copied().unwrap_or(false) {
                    is_open[at] = false;
                    patch.push([at.0, at.1]);
                }
            }
        }
        found.push(patch);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Silent, check, surface};
    use carm::VolumeGrid;
    use nalgebra::{Matrix3, Point3};

    #[test]
    fn openings_lie_where_two_vessels_leave_the_volume_and_leave_a_pipe_with_its_bore() {
        let grid =
            VolumeGrid::centred([80, 40, 50], [0.5; 3], Matrix3::identity(), Point3::origin()).unwrap();
        // Two vessels that join half-way up, like legs.
        let lumen = Field::from_fn(grid, |p| {
            let leg = |x: f64| if p.z < 2.0 { 2.5 - (p.x - x).hypot(p.y) } else { -9.0 };
            let bridge = 2.5 - p.y.hypot(p.z) - (p.x.abs() - 9.0).max(0.0);
            leg(-9.0).max(leg(9.0)).max(bridge)
        })
        .unwrap();
        let openings = lumen.border_openings(1.5, 4);
        assert_eq!(openings.len(), 2, "{openings:?}");
        for opening in &openings {
            assert!(
                (opening.centre_mm.x.abs() - 9.0).abs() < 0.1 && opening.outward.z == -1.0,
                "{opening:?}"
            );
        }
        let open: Vec<_> = openings.into_iter().map(|opening| (opening, None)).collect();
        let pipe = lumen.hollowed(1.5, &open).unwrap();
        let report = check(&surface(&pipe, &mut Silent).unwrap());
        // One bore from end to end: a ring's one handle.
        assert!(report.is_sound() && report.components == 1 && report.genus == Some(1), "{report:?}");
        for x in [-9.0, 9.0] {
            assert!(
                pipe.at(&Point3::new(x, 0.0, -11.5)) < 0.0
                    && pipe.at(&Point3::new(x + 3.2, 0.0, -11.5)) > 0.0
            );
        }
    }
}
