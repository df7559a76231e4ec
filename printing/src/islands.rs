//! Parts that float: joined by struts or dropped, by a stated rule, with a list.

use crate::distance::squared_distance;
use crate::error::PrintingError;
use crate::field::Field;
use crate::shapes::Solid;
use ndarray::Array3;

/// What becomes of parts that do not hang together with the largest one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IslandRule {
    /// Smaller ones are dropped, mm³.
    pub drop_below_mm3: f64,
    /// Others are joined by a strut when their gap to the largest part is no wider, mm; else they are dropped.
    pub join_within_mm: f64,
    /// Radius of struts, mm.
    pub strut_radius_mm: f64,
}

/// What became of an island.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IslandFate {
    /// Too small.
    DroppedSmall,
    /// Too far from the largest part.
    DroppedFar,
    /// Joined by a strut.
    Joined,
}

/// A part that did not hang together with the largest one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Island {
    /// A point of it, the one nearest to the largest part, mm.
    pub place_mm: [f64; 3],
    /// mm³.
    pub volume_mm3: f64,
    /// Gap to the largest part, mm.
    pub gap_mm: f64,
    /// What became of it.
    pub fate: IslandFate,
}

/// Voxels that lie outside, in the labels of parts.
const OUTSIDE: u32 = 0;

impl Field {
    /// One connected shape, and what was joined or dropped for it, largest first.
    ///
    /// # Errors
    /// `Empty` when nothing is inside; `Parameter` for numbers that are negative or not finite.
    pub fn joined(self, rule: &IslandRule) -> Result<(Self, Vec<Island>), PrintingError> {
        for (what, found) in [
            ("smallest island in mm³", rule.drop_below_mm3),
            ("gap to join in mm", rule.join_within_mm),
            ("radius of struts in mm", rule.strut_radius_mm),
        ] {
            if !(found >= 0.0 && found.is_finite()) {
                return Err(PrintingError::Parameter { what, expected: "zero or more", found });
            }
        }
        let (labels, sizes) = self.parts();
        if sizes.is_empty() {
            return Err(PrintingError::Empty { what: "shape", voxels: self.values.len() });
        }
        let largest = (1..=sizes.len())
            .max_by_key(|&part| (sizes[part - 1], std::cmp::Reverse(part)))
            .expect("a part") as u32;
        if sizes.len() == 1 {
            return Ok((self, Vec::new()));
        }
        let to_largest = squared_distance(&labels.mapv(|label| label == largest), self.grid.spacing_mm);
        let mut nearest = vec![(f32::INFINITY, [0; 3]); sizes.len()];
        for ((z, y, x), &label) in labels.indexed_iter().filter(|(_, label)| **label != OUTSIDE) {
            let found = &mut nearest[label as usize - 1];
            if to_largest[[z, y, x]] < found.0 {
                *found = (to_largest[[z, y, x]], [x, y, z]);
            }
        }
        self.settle_islands(rule, &labels, &sizes, largest, &nearest)
    }

    fn settle_islands(
        mut self,
        rule: &IslandRule,
        labels: &Array3<u32>,
        sizes: &[usize],
        largest: u32,
        nearest: &[(f32, [usize; 3])],
    ) -> Result<(Self, Vec<Island>), PrintingError> {
        let voxel_mm3: f64 = self.grid.spacing_mm.iter().product();
        let mut islands = Vec::new();
        let mut is_dropped = vec![false; sizes.len()];
        let mut struts = Vec::new();
        let mut order: Vec<u32> = (1..=sizes.len() as u32).filter(|&part| part != largest).collect();
        order.sort_by_key(|&part| (std::cmp::Reverse(sizes[part as usize - 1]), part));
        for part in order {
            let (squared, [x, y, z]) = nearest[part as usize - 1];
            let volume_mm3 = sizes[part as usize - 1] as f64 * voxel_mm3;
            let gap_mm = f64::from(squared).sqrt();
            let place = self.grid.point(x as f64, y as f64, z as f64);
            let fate = if volume_mm3 < rule.drop_below_mm3 {
                IslandFate::DroppedSmall
            } else if gap_mm > rule.join_within_mm {
                IslandFate::DroppedFar
            } else {
                IslandFate::Joined
            };
            if fate == IslandFate::Joined {
                struts.push(self.strut(labels, largest, [x, y, z], gap_mm, rule.strut_radius_mm));
            } else {
                is_dropped[part as usize - 1] = true;
            }
            islands.push(Island { place_mm: place.coords.into(), volume_mm3, gap_mm, fate });
        }
        let outside = -(self.grid.spacing_mm.into_iter().fold(f64::INFINITY, f64::min) as f32);
        ndarray::Zip::from(&mut self.values).and(labels).for_each(|value, &label| {
            if label != OUTSIDE && is_dropped[label as usize - 1] {
                *value = outside;
            }
        });
        Ok((struts.iter().fold(self, |shape, strut| shape.with(strut)), islands))
    }

    /// A bar from a voxel of an island to the nearest voxel of the largest part, a little into both.
    fn strut(
        &self,
        labels: &Array3<u32>,
        largest: u32,
        from: [usize; 3],
        gap_mm: f64,
        radius_mm: f64,
    ) -> Solid {
        let grid = &self.grid;
        let range = |axis: usize| {
            let reach = (gap_mm / grid.spacing_mm[axis]).ceil() as usize + 1;
            from[axis].saturating_sub(reach)..(from[axis] + reach + 1).min(grid.shape[axis])
        };
        let start = grid.point(from[0] as f64, from[1] as f64, from[2] as f64);
        let mut best = (f64::INFINITY, start);
        for z in range(2) {
            for y in range(1) {
                for x in range(0) {
                    if labels[[z, y, x]] == largest {
                        let point = grid.point(x as f64, y as f64, z as f64);
                        let distance = (point - start).norm();
                        if distance < best.0 {
                            best = (distance, point);
                        }
                    }
                }
            }
        }
        let end = best.1;
        let along = (end - start).try_normalize(0.0).unwrap_or_else(nalgebra::Vector3::x);
        Solid::Cylinder { from_mm: start - along * radius_mm, to_mm: end + along * radius_mm, radius_mm }
    }

    /// Number of the part that each voxel inside belongs to, from 1, and the parts' voxels. Parts hang together as
    /// their surface does: through sides of voxels, and through edges.
    fn parts(&self) -> (Array3<u32>, Vec<usize>) {
        let (nz, ny, nx) = self.values.dim();
        let mut labels = Array3::from_elem((nz, ny, nx), OUTSIDE);
        let mut sizes = Vec::new();
        let mut open = Vec::new();
        for (start, _) in self.values.indexed_iter().filter(|(_, value)| **value > 0.0) {
            if labels[start] != OUTSIDE {
                continue;
            }
            sizes.push(0);
            let part = sizes.len() as u32;
            labels[start] = part;
            open.push(start);
            while let Some((z, y, x)) = open.pop() {
                sizes[part as usize - 1] += 1;
                for [dz, dy, dx] in NEIGHBOURS {
                    let at =
                        (z.wrapping_add_signed(dz), y.wrapping_add_signed(dy), x.wrapping_add_signed(dx));
                    let is_inside = self.values.get(at).is_some_and(|&value| value > 0.0);
                    if is_inside && labels[at] == OUTSIDE {
                        labels[at] = part;
                        open.push(at);
                    }
                }
            }
        }
        (labels, sizes)
    }
}

/// The 18 neighbours through sides and edges.
const NEIGHBOURS: [[isize; 3]; 18] = [
    [-1, 0, 0],
    [1, 0, 0],
    [0, -1, 0],
    [0, 1, 0],
    [0, 0, -1],
    [0, 0, 1],
    [-1, -1, 0],
    [-1, 1, 0],
    [1, -1, 0],
    [1, 1, 0],
    [-1, 0, -1],
    [-1, 0, 1],
    [1, 0, -1],
    [1, 0, 1],
    [0, -1, -1],
    [0, -1, 1],
    [0, 1, -1],
    [0, 1, 1],
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Silent, check, surface};
    use carm::VolumeGrid;
    use nalgebra::{Matrix3, Point3, Vector3};

    #[test]
    fn islands_are_joined_or_dropped_by_the_rule() {
        let grid =
            VolumeGrid::centred([80, 40, 40], [0.5; 3], Matrix3::identity(), Point3::origin()).unwrap();
        let field = Field::from_fn(grid, |p| {
            let ball = |x: f64, r: f64| r - (p.coords - Vector3::new(x, 0.0, 0.0)).norm();
            [ball(-6.0, 6.0), ball(4.0, 2.0), ball(9.0, 0.6), ball(16.0, 2.5)]
                .into_iter()
                .fold(f64::MIN, f64::max)
        })
        .unwrap();
        let rule = IslandRule { drop_below_mm3: 5.0, join_within_mm: 6.0, strut_radius_mm: 1.0 };
        let (joined, islands) = field.clone().joined(&rule).unwrap();
        let fates: Vec<IslandFate> = islands.iter().map(|island| island.fate).collect();
        assert_eq!(fates, [IslandFate::DroppedFar, IslandFate::Joined, IslandFate::DroppedSmall]);
        assert!((islands[1].gap_mm - 2.0).abs() < 1.2, "{islands:?}");
        let report = check(&surface(&joined, &mut Silent).unwrap());
        assert!(report.is_sound() && report.components == 1, "{report}");
        assert!(matches!(
            field.joined(&IslandRule { strut_radius_mm: f64::NAN, ..rule }),
            Err(PrintingError::Parameter { .. })
        ));
    }
}
