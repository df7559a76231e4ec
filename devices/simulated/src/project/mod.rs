//! Line integrals of a voxel body along single rays: Joseph's method on the CT's own grid.
//!
//! Joseph, *An improved algorithm for reprojecting rays through pixel images*, IEEE Trans. Med. Imaging 1(3), 1982:
//! one sample for each grid plane across the axis that the ray follows most, interpolated linearly in that plane. Four
//! materials lie side by side, so one interpolation serves all of them. Rays are clipped to the body's box. This
//! projector shares no code with the reconstruction; `reference` samples the same interpolant finely in `f64`, `wide` is
//! the fast twin of the walk: neighbouring rays cross eight planes at a time together, while the voxels are at hand.

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod wide;

use nalgebra::{Matrix3, Point3, Vector3};

/// Densities of one voxel, g/cm³: water, bone, iodine, and one lane that stays zero for alignment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(align(16))]
pub(crate) struct Lanes(pub [f32; 4]);

impl Lanes {
    #[inline(always)]
    fn towards(self, other: Self, share: f32) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane] + share * (other.0[lane] - self.0[lane])))
    }

    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane] + other.0[lane]))
    }
}

/// Voxels `[i, j, k]` with k fastest, surrounded by one layer of zeros: a detector column meets neighbours along k.
#[derive(Clone, Debug)]
pub(crate) struct VoxelBody {
    /// Sizes along i, j, k with the layer of zeros.
    pub shape: [usize; 3],
    pub values: Vec<Lanes>,
    /// Turns a vector in LPS (mm) into voxel steps.
    pub voxel_from_lps: Matrix3<f64>,
    /// LPS of voxel (0, 0, 0) of the padded array.
    pub origin_lps: Point3<f64>,
}

/// Where a ray is while it crosses the planes of its main axis, in voxels as fixed point numbers with 32 bits after
/// the point: the integer part is the cell, the rest the weight, and no rounding accumulates. A ray beside the body
/// crosses no planes.
#[derive(Clone, Copy, Default)]
struct March {
    /// The first plane, and how many there are.
    first: usize,
    planes: usize,
    stride: usize,
    a: Sideways,
    b: Sideways,
    /// Way from one plane to the next.
    step_mm: f32,
}

/// Motion along one of the two other axes.
#[derive(Clone, Copy, Default)]
struct Sideways {
    place: i64,
    step: i64,
    stride: usize,
    nodes: usize,
}

const ONE: f64 = 4_294_967_296.0;
/// Rays that walk together at most.
pub(crate) const BUNDLE: usize = 24;
/// How far inside the last cell a clipped ray stays, so that fixed point rounding over a thousand planes cannot leave it.
const INSIDE: f64 = 1e-6;

impl VoxelBody {
    /// Voxel coordinates (padded array) of a point.
    pub fn voxel(&self, point_lps: &Point3<f64>) -> Vector3<f64> {
        self.voxel_from_lps * (point_lps - self.origin_lps)
    }

    /// Line integrals of the densities along the whole line from `source_lps` in `direction_lps` (any length),
    /// mm g/cm³.
    pub fn line_integrals(&self, source_lps: &Point3<f64>, direction_lps: &Vector3<f64>) -> [f32; 4] {
        let mut out = [[0.0; 4]];
        self.bundle(source_lps, std::slice::from_ref(direction_lps), &mut out);
        out[0]
    }

    /// The same for several rays from one source; neighbours should come one after the other.
    pub fn bundle(&self, source_lps: &Point3<f64>, directions_lps: &[Vector3<f64>], out: &mut [[f32; 4]]) {
        let start = self.voxel(source_lps);
        for (directions, out) in directions_lps.chunks(BUNDLE).zip(out.chunks_mut(BUNDLE)) {
            let mut marches = [March::default(); BUNDLE];
            let mut sums = [Lanes::default(); BUNDLE];
            let (marches, sums) = (&mut marches[..directions.len()], &mut sums[..directions.len()]);
            for (march, direction) in marches.iter_mut().zip(directions) {
                *march = self.march(start, direction);
            }
            self.walk(marches, sums);
            for ((out, sum), march) in out.iter_mut().zip(sums).zip(marches) {
                *out = sum.0.map(|value| value * march.step_mm);
            }
        }
    }

    /// Sums over the planes of each ray.
    fn walk(&self, marches: &[March], sums: &mut [Lanes]) {
        #[cfg(target_arch = "x86_64")]
        let is_wide = wide::is_supported(self);
        #[cfg(not(target_arch = "x86_64"))]
        let is_wide = false;
        if !is_wide || marches.iter().any(|march| march.planes > 0 && march.b.stride != 1) {
            for (march, sum) in marches.iter().zip(sums) {
                *sum =
                    if march.b.stride == 1 { self.walk_contiguous(march) } else { self.walk_strided(march) };
            }
            return;
        }
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the processor has the features that the function asks for.
        unsafe {
            wide::walk(self, marches, sums);
        }
    }

    /// Trilinear densities at a point, g/cm³; zero outside.
    pub fn densities(&self, point_lps: &Point3<f64>) -> [f64; 4] {
        let place = self.voxel(point_lps);
        for axis in 0..3 {
            let inside = place[axis] >= 0.0 && place[axis] < (self.shape[axis] - 1) as f64;
            if !inside {
                return [0.0; 4];
            }
        }
        let cell = place.map(|x| x.floor());
        let share = place - cell;
        let [_, nj, nk] = self.shape;
        let at = ((cell.x as usize) * nj + cell.y as usize) * nk + cell.z as usize;
        let mut sum = [0.0; 4];
        for corner in 0..8 {
            let (di, dj, dk) = (corner & 1, corner >> 1 & 1, corner >> 2);
            let weight = [(di, share.x), (dj, share.y), (dk, share.z)]
                .iter()
                .map(|(d, s)| if *d == 1 { *s } else { 1.0 - s })
                .product::<f64>();
            let lanes = self.values[at + (di * nj + dj) * nk + dk].0;
            for (sum, value) in sum.iter_mut().zip(lanes) {
                *sum += weight * f64::from(value);
            }
        }
        sum
    }

    /// Clips the line from voxel `start` to the array and lays out the walk along the axis that it follows most.
    fn march(&self, start: Vector3<f64>, direction_lps: &Vector3<f64>) -> March {
        let direction = self.voxel_from_lps * direction_lps;
        let main = direction.iamax();
        // `t` counts planes of the main axis: position = start + (t - start[main]) * slope.
        let slope = direction / direction[main];
        let (mut low, mut high) = (0.0, (self.shape[main] - 1) as f64);
        for axis in (0..3).filter(|axis| *axis != main) {
            let last = (self.shape[axis] - 1) as f64 - INSIDE;
            if slope[axis].abs() < 1e-12 {
                if !(INSIDE..=last).contains(&start[axis]) {
                    return March::default();
                }
                continue;
            }
            let cross = |edge: f64| start[main] + (edge - start[axis]) / slope[axis];
            let (enter, leave) = (cross(INSIDE), cross(last));
            low = f64::max(low, enter.min(leave));
            high = f64::min(high, enter.max(leave));
        }
        let (first, last) = (low.ceil(), high.floor());
        if first.is_nan() || last.is_nan() || first > last {
            return March::default();
        }
        let strides = [self.shape[1] * self.shape[2], self.shape[2], 1];
        let sideways = |axis: usize| Sideways {
            place: ((start[axis] + (first - start[main]) * slope[axis]) * ONE) as i64,
            step: (slope[axis] * ONE) as i64,
            stride: strides[axis],
            nodes: self.shape[axis],
        };
        // The fastest axis comes second where it is not the main one.
        let (a, b) = match main {
            0 => (1, 2),
            1 => (0, 2),
            _ => (0, 1),
        };
        March {
            first: first as usize,
            planes: (last - first) as usize + 1,
            stride: strides[main],
            a: sideways(a),
            b: sideways(b),
            step_mm: (direction_lps.norm() / direction[main].abs()) as f32,
        }
    }

    /// The walk where the second axis is the fastest in memory: neighbours come in pairs.
    fn walk_contiguous(&self, march: &March) -> Lanes {
        let (mut a, mut b) = (march.a.place, march.b.place);
        let mut plane = march.first * march.stride;
        let mut sum = Lanes::default();
        for _ in 0..march.planes {
            let at = plane + (a >> 32) as usize * march.a.stride + (b >> 32) as usize;
            let (share_a, share_b) = (fraction(a), fraction(b));
            let near: &[Lanes; 2] = self.values[at..at + 2].try_into().expect("two neighbours");
            let next = at + march.a.stride;
            let far: &[Lanes; 2] = self.values[next..next + 2].try_into().expect("two neighbours");
            let near = near[0].towards(near[1], share_b);
            let far = far[0].towards(far[1], share_b);
            sum = sum.plus(near.towards(far, share_a));
            a += march.a.step;
            b += march.b.step;
            plane += march.stride;
        }
        sum
    }

    /// The walk along the fastest axis itself.
    fn walk_strided(&self, march: &March) -> Lanes {
        let (mut a, mut b) = (march.a.place, march.b.place);
        let mut plane = march.first * march.stride;
        let mut sum = Lanes::default();
        for _ in 0..march.planes {
            let at = plane + (a >> 32) as usize * march.a.stride + (b >> 32) as usize * march.b.stride;
            let next = at + march.a.stride;
            let (share_a, share_b) = (fraction(a), fraction(b));
            let near = self.values[at].towards(self.values[at + march.b.stride], share_b);
            let far = self.values[next].towards(self.values[next + march.b.stride], share_b);
            sum = sum.plus(near.towards(far, share_a));
            a += march.a.step;
            b += march.b.step;
            plane += march.stride;
        }
        sum
    }
}

/// The part after the point, to 24 bits (what an `f32` holds).
#[inline(always)]
fn fraction(place: i64) -> f32 {
    ((place as u32) >> 8) as i32 as f32 * (1.0 / 16_777_216.0)
}
