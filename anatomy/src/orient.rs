//! Volumes in the order that a search expects: x to the left, y backwards, z to the head, as nearly as axes allow.

use carm::{Volume, VolumeGrid};
use nalgebra::Matrix3;
use ndarray::{Array3, Axis};

/// How a volume's axes were reordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Orientation {
    /// Which old axis (x, y, z) each new one is.
    from: [usize; 3],
    /// Whether it runs the other way.
    is_flipped: [bool; 3],
    /// The old shape, `nx, ny, nz`.
    shape: [usize; 3],
}

impl Orientation {
    /// The reordering of a grid whose axes lie near those of its space in any order.
    pub(crate) fn of(grid: &VolumeGrid) -> Self {
        let mut from = [0; 3];
        let mut is_flipped = [false; 3];
        let mut is_taken = [false; 3];
        // The head's axis first: slices matter most.
        for axis in [2, 1, 0] {
            let along = |old: usize| grid.direction[(axis, old)];
            let old = (0..3)
                .filter(|old| !is_taken[*old])
                .max_by(|a, b| along(*a).abs().total_cmp(&along(*b).abs()))
                .expect("three axes for three");
            is_taken[old] = true;
            from[axis] = old;
            is_flipped[axis] = along(old) < 0.0;
        }
        Self { from, is_flipped, shape: grid.shape }
    }

    /// The volume with its axes reordered; every voxel stays where it is in space.
    pub(crate) fn applied(&self, volume: &Volume) -> Volume {
        let grid = &volume.grid;
        let corner: [f64; 3] = {
            let mut corner = [0.0; 3];
            for axis in 0..3 {
                if self.is_flipped[axis] {
                    corner[self.from[axis]] = (grid.shape[self.from[axis]] - 1) as f64;
                }
            }
            corner
        };
        let sign = |axis: usize| if self.is_flipped[axis] { -1.0 } else { 1.0 };
        let direction = Matrix3::from_fn(|row, axis| sign(axis) * grid.direction[(row, self.from[axis])]);
        let reordered = VolumeGrid {
            shape: self.from.map(|old| grid.shape[old]),
            spacing_mm: self.from.map(|old| grid.spacing_mm[old]),
            direction,
            origin: grid.point(corner[0], corner[1], corner[2]),
        };
        Volume {
            grid: reordered,
            space: volume.space,
            values: self.forward(&volume.values),
            quantity: volume.quantity,
            mask: volume.mask.as_ref().map(|mask| self.forward(mask)),
            frame_of_reference_uid: volume.frame_of_reference_uid.clone(),
            provenance: volume.provenance.clone(),
        }
    }

    fn forward<T: Copy>(&self, array: &Array3<T>) -> Array3<T> {
        // Arrays count their axes z first.
        let order = [2 - self.from[2], 2 - self.from[1], 2 - self.from[0]];
        let mut view = array.view().permuted_axes(order);
        for axis in (0..3).filter(|axis| self.is_flipped[*axis]) {
            view.invert_axis(Axis(2 - axis));
        }
        view.as_standard_layout().into_owned()
    }

    /// An array of the reordered volume on the original one.
    pub(crate) fn back<T: Copy>(&self, array: &Array3<T>) -> Array3<T> {
        let mut view = array.view();
        for axis in (0..3).filter(|axis| self.is_flipped[*axis]) {
            view.invert_axis(Axis(2 - axis));
        }
        let mut order = [0; 3];
        for axis in 0..3 {
            order[2 - self.from[axis]] = 2 - axis;
        }
        view.permuted_axes(order).as_standard_layout().into_owned()
    }

    /// First and last voxel (x, y, z) of the reordered volume on the original one.
    pub(crate) fn bounds_back(&self, bounds: [[usize; 2]; 3]) -> [[usize; 2]; 3] {
        let mut original = [[0; 2]; 3];
        for (axis, [low, high]) in bounds.into_iter().enumerate() {
            let old = self.from[axis];
            let last = self.shape[old] - 1;
            original[old] = if self.is_flipped[axis] { [last - high, last - low] } else { [low, high] };
        }
        original
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carm::Quantity;
    use nalgebra::Point3;

    #[test]
    fn reordering_keeps_every_voxel_in_its_place_and_turns_back() {
        let direction = Matrix3::new(0.0, 0.0, -1.0, 1.0, 0.0, 0.0, 0.0, -1.0, 0.0);
        let grid =
            VolumeGrid::new([3, 4, 5], [0.5, 0.75, 2.0], direction, Point3::new(7.0, -3.0, 11.0)).unwrap();
        let values = Array3::from_shape_fn([5, 4, 3], |(z, y, x)| (x + 10 * y + 100 * z) as f32);
        let volume = Volume::new(grid, values, Quantity::Hu { mu_water_per_mm: None });
        let orientation = Orientation::of(&volume.grid);
        let lps = orientation.applied(&volume);
        assert!((lps.grid.direction - Matrix3::identity()).abs().max() < 1e-12);
        for ((z, y, x), value) in lps.values.indexed_iter() {
            let place = lps.grid.point(x as f64, y as f64, z as f64);
            let [i, j, k] = volume.grid.voxel(&place).map(|index| index.round() as usize);
            assert_eq!(volume.values[[k, j, i]], *value);
        }
        assert_eq!(orientation.back(&lps.values), volume.values);
        // One voxel by two ways.
        let mut mask = Array3::from_elem(lps.values.dim(), 0_u16);
        mask[[1, 2, 0]] = 1;
        let at = orientation.back(&mask).indexed_iter().find(|(_, label)| **label == 1).unwrap().0;
        let bounds = orientation.bounds_back([[0, 0], [2, 2], [1, 1]]);
        assert_eq!(bounds, [[at.2; 2], [at.1; 2], [at.0; 2]]);
    }
}
