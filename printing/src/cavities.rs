//! Hollows that nothing leads to: filled below a stated size, for no printer can empty them and no eye see them.

use crate::error::PrintingError;
use crate::field::Field;
use nalgebra::{Point3, Vector3};
use rayon::prelude::*;

/// A closed hollow inside a shape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cavity {
    /// Its middle, mm.
    pub place_mm: [f64; 3],
    /// mm³.
    pub volume_mm3: f64,
    /// Whether it was filled.
    pub is_filled: bool,
}

/// A row of neighbouring voxels outside.
struct Run {
    start: usize,
    end: usize,
}

/// The open air around the grid, among the runs' numbers.
const AIR: usize = 0;

impl Field {
    /// The shape without closed cavities smaller than `fill_below_mm3`, and all of its closed cavities, largest first.
    ///
    /// Hollows hang together through sides of voxels, as their surface does. What reaches the border is no cavity.
    ///
    /// # Errors
    /// `Parameter` for a size that is negative or no number.
    pub fn without_cavities(mut self, fill_below_mm3: f64) -> Result<(Self, Vec<Cavity>), PrintingError> {
        if fill_below_mm3.is_nan() || fill_below_mm3 < 0.0 {
            return Err(PrintingError::Parameter {
                what: "largest cavity to fill in mm³",
                expected: "zero or more",
                found: fill_below_mm3,
            });
        }
        let rows = self.outside_rows();
        let mut parts = self.joined_runs(&rows);
        let mut gathered: Vec<(Vector3<f64>, usize)> = vec![(Vector3::zeros(), 0); parts.len()];
        let ny = self.grid.shape[1];
        for_each_run(&rows, ny, |number, run, y, z| {
            let part = root(&mut parts, number);
            let voxels = run.end - run.start;
            let middle_x = (run.start + run.end - 1) as f64 / 2.0;
            gathered[part].0 += Vector3::new(middle_x, y as f64, z as f64) * voxels as f64;
            gathered[part].1 += voxels;
        });
        let voxel_mm3: f64 = self.grid.spacing_mm.iter().product();
        let is_filled = |voxels: usize| (voxels as f64 * voxel_mm3) < fill_below_mm3;
        let inside = 0.5 * self.grid.spacing_mm.into_iter().fold(f64::INFINITY, f64::min) as f32;
        for_each_run(&rows, ny, |number, run, y, z| {
            let part = root(&mut parts, number);
            if part != AIR && is_filled(gathered[part].1) {
                let mut row = self.values.slice_mut(ndarray::s![z, y, run.start..run.end]);
                row.mapv_inplace(|value| value.abs().max(inside));
            }
        });
        let mut cavities: Vec<Cavity> = gathered[1..]
            .iter()
            .filter(|(_, voxels)| *voxels > 0)
            .map(|&(sum, voxels)| {
                let middle: Point3<f64> = Point3::from(sum / voxels as f64);
                let place = self.grid.point(middle.x, middle.y, middle.z);
                Cavity {
                    place_mm: place.coords.into(),
                    volume_mm3: voxels as f64 * voxel_mm3,
                    is_filled: is_filled(voxels),
                }
            })
            .collect();
        cavities.sort_by(|a, b| b.volume_mm3.total_cmp(&a.volume_mm3));
        Ok((self, cavities))
    }

    /// Runs outside, row by row.
    fn outside_rows(&self) -> Vec<Vec<Run>> {
        let values = self.values.as_slice().expect("standard layout");
        values
            .par_chunks_exact(self.grid.shape[0])
            .map(|row| {
                let mut runs: Vec<Run> = Vec::new();
                for (x, _) in row.iter().enumerate().filter(|(_, value)| **value <= 0.0) {
                    match runs.last_mut() {
                        Some(run) if run.end == x => run.end = x + 1,
                        _ => runs.push(Run { start: x, end: x + 1 }),
                    }
                }
                runs
            })
            .collect()
    }

    /// Which runs are one, as a forest over their numbers whose roots are the least.
    fn joined_runs(&self, rows: &[Vec<Run>]) -> Vec<usize> {
        let [nx, ny, nz] = self.grid.shape;
        let mut first = Vec::with_capacity(rows.len() + 1);
        first.push(AIR + 1);
        rows.iter().for_each(|runs| first.push(first[first.len() - 1] + runs.len()));
        let mut parts: Vec<usize> = (0..first[rows.len()]).collect();
        for_each_run(rows, ny, |number, run, y, z| {
            let is_at_border = y == 0 || y + 1 == ny || z == 0 || z + 1 == nz;
            if is_at_border || run.start == 0 || run.end == nx {
                unite(&mut parts, number, AIR);
            }
            let row = z * ny + y;
            let before = [(y > 0).then(|| row - 1), (z > 0).then(|| row - ny)];
            for other in before.into_iter().flatten() {
                let begin = rows[other].partition_point(|found| found.end <= run.start);
                for (i, found) in rows[other].iter().enumerate().skip(begin) {
                    if found.start >= run.end {
                        break;
                    }
                    unite(&mut parts, number, first[other] + i);
                }
            }
        });
        parts
    }
}

/// Calls `visit` with each run's number, from one, its row and its plane.
fn for_each_run(rows: &[Vec<Run>], ny: usize, mut visit: impl FnMut(usize, &Run, usize, usize)) {
    let mut number = AIR;
    for (row, runs) in rows.iter().enumerate() {
        for run in runs {
            number += 1;
            visit(number, run, row % ny, row / ny);
        }
    }
}

fn root(parts: &mut [usize], mut number: usize) -> usize {
    while parts[number] != number {
        parts[number] = parts[parts[number]];
        number = parts[number];
    }
    number
}

fn unite(parts: &mut [usize], a: usize, b: usize) {
    let (a, b) = (root(parts, a), root(parts, b));
    parts[a.max(b)] = a.min(b);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Silent, check, surface};
    use carm::VolumeGrid;
    use nalgebra::Matrix3;

    /// A ball with a large and a small closed hollow, and one that a channel leads to.
    fn hollowed_ball() -> Field {
        let grid = VolumeGrid::centred([60; 3], [0.5; 3], Matrix3::identity(), Point3::origin()).unwrap();
        Field::from_fn(grid, |p| {
            let hollow = |x: f64, radius: f64| (p.coords - Vector3::new(x, 0.0, 0.0)).norm() - radius;
            let channel = if p.y > 0.0 { (p.x + 6.0).hypot(p.z) - 1.0 } else { 1.0 };
            (13.0 - p.coords.norm())
                .min(hollow(0.0, 3.0))
                .min(hollow(7.0, 1.5))
                .min(hollow(-6.0, 1.6))
                .min(channel)
        })
        .unwrap()
    }

    #[test]
    fn cavities_below_the_size_are_filled_and_all_are_counted() {
        let field = hollowed_ball();
        let before = check(&surface(&field, &mut Silent).unwrap());
        assert_eq!(before.components, 3);
        let ball = |radius: f64| 4.0 / 3.0 * std::f64::consts::PI * radius * radius * radius;
        for (fill_below, left, filled) in
            [(0.0, 2, 0.0), (50.0, 1, ball(1.5)), (1e9, 0, ball(1.5) + ball(3.0))]
        {
            let (solid, cavities) = field.clone().without_cavities(fill_below).unwrap();
            assert_eq!(cavities.len(), 2);
            assert!((cavities[0].volume_mm3 / ball(3.0) - 1.0).abs() < 0.1, "{cavities:?}");
            assert!(Vector3::from(cavities[0].place_mm).norm() < 0.3);
            assert_eq!(cavities.iter().filter(|cavity| !cavity.is_filled).count(), left);
            let report = check(&surface(&solid, &mut Silent).unwrap());
            assert!(report.is_sound(), "{report}");
            assert_eq!(report.components, 1 + left);
            assert!((report.volume_mm3 - before.volume_mm3 - filled).abs() < 4.0, "{report:?}");
        }
        assert!(matches!(field.without_cavities(f64::NAN), Err(PrintingError::Parameter { .. })));
    }

    #[test]
    fn cavities_that_reach_the_border_are_none() {
        let grid = VolumeGrid::centred([20; 3], [1.0; 3], Matrix3::identity(), Point3::origin()).unwrap();
        let open = Field::from_fn(grid, |p| p.x.hypot(p.y) - 4.0).unwrap();
        assert_eq!(open.clone().without_cavities(1e9).unwrap(), (open, Vec::new()));
    }
}
