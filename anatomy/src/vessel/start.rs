//! Where a vessel is entered: at a seed, or for the aorta where a wide tube runs in front of the spine.

use crate::body::Body;
use crate::bone::Bone;
use crate::error::AnatomyError;
use crate::filter::{shrink_factor, shrunk};
use crate::flux::{Flux, Tube};
use crate::lattice::Lattice;
use crate::sampled::place;
use nalgebra::Vector3;

/// Flux of wide vessels is taken on voxels of about this size, with this smoothing, mm.
const COARSE_MM: f64 = 3.0;
const SIGMA_MM: f64 = 1.5;
/// Radii of an aorta, and of any vessel at a seed, mm.
const AORTA_RADII_MM: [f64; 5] = [6.0, 8.0, 10.5, 13.5, 17.0];
/// Tubes nearer to each other than this are one, mm, and so many are tried.
const APART_MM: f64 = 20.0;
const TRIED: usize = 16;
const RADII_MM: [f64; 9] = [1.0, 1.5, 2.0, 3.0, 4.5, 6.0, 8.0, 11.0, 15.0];
/// The descending aorta runs within this box about the canal's centre: to either side, and in front, mm.
const BESIDE_MM: f64 = 55.0;
const IN_FRONT_MM: [f64; 2] = [15.0, 95.0];
/// It is this steep, as the cosine to the body's axis.
const STEEP: f64 = 0.8;
/// Margin around the region whose flux is taken, mm.
const MARGIN_MM: f64 = 20.0;
/// Region around a seed, mm.
const SEED_MM: f64 = 30.0;
/// The aorta's blood is at most this share of its height above soft tissue brighter than what the field holds most of.
const BRIGHTER_SHARE: f32 = 0.5;
/// Blood is within this share of its height above soft tissue.
const BLOOD_SHARE: f32 = 0.25;
/// A seed is at least this much brighter than soft tissue, HU.
const SEED_ABOVE_SOFT_HU: f32 = 60.0;

/// Where and how a walk starts.
pub(super) struct Start {
    /// Place in the body's lattice, mm along z, y and x.
    pub centre_mm: Vector3<f64>,
    /// Along the vessel.
    pub direction: Vector3<f64>,
    /// About how wide it is, mm.
    pub radius_mm: f64,
    /// What counts as its blood, HU.
    pub levels: Levels,
}

/// What counts as blood of one vessel, HU.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Levels {
    /// Half-way from blood to its surroundings.
    pub half: f32,
    /// Brighter is another vessel's less diluted contrast medium.
    pub bright: f32,
}

impl Levels {
    pub(super) fn hold(&self, hu: f32) -> bool {
        hu >= self.half && hu <= self.bright
    }
}

/// Steep tubes of blood in front of the spine, the strongest first: the aorta is one of them.
pub(super) fn of_aorta(body: &Body, bone: &Bone) -> Result<Vec<Start>, AnatomyError> {
    let absent = |reason: String| AnatomyError::TargetAbsent { target: "vessel", reason };
    let soft = bone.levels.soft_hu;
    let blood = bone.blood_hu.ok_or_else(|| {
        absent(format!(
            "expected a pool of contrast-filled blood well above soft tissue at {soft:.0} HU, found none"
        ))
    })?;
    let region = Region::before_the_spine(body, bone);
    let tubes = region.tubes(body, [soft - 100.0, blood], &AORTA_RADII_MM);
    let mut found: Vec<(usize, Tube)> = Vec::new();
    for (index, tube) in tubes.iter().enumerate() {
        let Some(tube) = tube else { continue };
        let at = region.body_index(index);
        let is_blood = (body.hu[body.lattice.index(at)] - blood).abs() < BLOOD_SHARE * (blood - soft);
        if is_blood && tube.direction[0].abs() > STEEP && is_before_the_spine(body, bone, at) {
            found.push((index, *tube));
        }
    }
    found.sort_by(|a, b| b.1.strength.total_cmp(&a.1.strength));
    let mut starts: Vec<Start> = Vec::new();
    for (index, tube) in found {
        let centre_mm = place(&body.lattice, region.body_index(index));
        if starts.len() < TRIED && starts.iter().all(|s| (s.centre_mm - centre_mm).norm() > APART_MM) {
            let levels =
                Levels { half: 0.5 * (blood + soft), bright: blood + BRIGHTER_SHARE * (blood - soft) };
            starts.push(Start { centre_mm, direction: tube.direction, radius_mm: tube.radius_mm, levels });
        }
    }
    if starts.is_empty() {
        let expected =
            "expected a steep tube of blood 6 to 17 mm in radius in front of the spine, found none";
        return Err(absent(expected.into()));
    }
    Ok(starts)
}

/// The vessel at a seed.
pub(super) fn at_seed(body: &Body, bone: &Bone, seed: usize) -> Result<Start, AnatomyError> {
    let at = body.lattice.position(seed);
    let soft = bone.levels.soft(at);
    let hu = mean_around(body, seed);
    let refused = |reason: String| AnatomyError::TargetAbsent { target: "vessel", reason };
    if hu < soft + SEED_ABOVE_SOFT_HU {
        return Err(refused(format!(
            "expected a seed at least {SEED_ABOVE_SOFT_HU} HU above soft tissue at {soft:.0} HU, found {hu:.0} HU"
        )));
    }
    let region = Region::around(body, at);
    let tubes = region.tubes(body, [soft - 100.0, hu], &RADII_MM);
    let centre = region.nearest(at);
    let tube = tubes[centre]
        .ok_or_else(|| refused("expected a tube of blood at the seed, found no flux inwards".into()))?;
    Ok(Start {
        centre_mm: place(&body.lattice, at),
        direction: tube.direction,
        radius_mm: tube.radius_mm,
        // A branch's own blood looks diluted where it is thin: the vessel that it comes from may be brighter.
        levels: Levels { half: 0.5 * (hu + soft), bright: f32::INFINITY },
    })
}

fn mean_around(body: &Body, index: usize) -> f32 {
    let (mut sum, mut count) = (body.hu[index], 1.0);
    body.lattice.for_neighbours(index, |near, _| {
        sum += body.hu[near];
        count += 1.0;
    });
    sum / count
}

/// Whether a voxel lies in front of the canal, where the canal is known.
fn is_before_the_spine(body: &Body, bone: &Bone, at: [usize; 3]) -> bool {
    let Some(canal) = bone.canal.iter().min_by_key(|slice| slice.z.abs_diff(at[0])) else { return true };
    let [_, sy, sx] = body.lattice.spacing_mm;
    let front = (canal.centre[0] - at[1] as f64) * sy;
    let beside = (canal.centre[1] - at[2] as f64).abs() * sx;
    (IN_FRONT_MM[0]..IN_FRONT_MM[1]).contains(&front) && beside < BESIDE_MM
}

/// A box of the body on coarse voxels.
struct Region {
    start: [usize; 3],
    shape: [usize; 3],
    factor: [usize; 3],
    coarse: Lattice,
}

impl Region {
    fn new(body: &Body, low_mm: [f64; 3], high_mm: [f64; 3], coarse_mm: f64) -> Self {
        let lattice = &body.lattice;
        let start = std::array::from_fn(|a| {
            ((low_mm[a] / lattice.spacing_mm[a]).max(0.0) as usize).min(lattice.shape[a] - 2)
        });
        let shape: [usize; 3] = std::array::from_fn(|a| {
            let end = ((high_mm[a] / lattice.spacing_mm[a]).max(0.0) as usize + 1).min(lattice.shape[a]);
            end.saturating_sub(start[a]).max(2)
        });
        let factor = shrink_factor(lattice, coarse_mm);
        let coarse = Lattice {
            shape: std::array::from_fn(|a| shape[a].div_ceil(factor[a])),
            spacing_mm: std::array::from_fn(|a| lattice.spacing_mm[a] * factor[a] as f64),
        };
        Self { start, shape, factor, coarse }
    }

    fn before_the_spine(body: &Body, bone: &Bone) -> Self {
        let end = place(&body.lattice, body.lattice.shape.map(|n| n - 1));
        if bone.canal.is_empty() {
            return Self::new(body, [0.0; 3], end.into(), COARSE_MM);
        }
        let [_, sy, sx] = body.lattice.spacing_mm;
        let bound = |of: &dyn Fn(&crate::canal::CanalSlice) -> f64| {
            let values = bone.canal.iter().map(of);
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)))
        };
        let (y_low, y_high) = bound(&|slice| slice.centre[0] * sy);
        let (x_low, x_high) = bound(&|slice| slice.centre[1] * sx);
        let (front, back) = (IN_FRONT_MM[1] + MARGIN_MM, MARGIN_MM);
        let side = BESIDE_MM + MARGIN_MM;
        Self::new(body, [0.0, y_low - front, x_low - side], [end[0], y_high + back, x_high + side], COARSE_MM)
    }

    fn around(body: &Body, at: [usize; 3]) -> Self {
        let centre = place(&body.lattice, at);
        let finest = body.lattice.spacing_mm.iter().copied().fold(f64::INFINITY, f64::min);
        Self::new(
            body,
            centre.map(|c| c - SEED_MM).into(),
            centre.map(|c| c + SEED_MM).into(),
            finest.max(0.7),
        )
    }

    /// The voxel of the body's lattice in the middle of a coarse one.
    fn body_index(&self, index: usize) -> [usize; 3] {
        let at = self.coarse.position(index);
        std::array::from_fn(|a| {
            self.start[a] + (at[a] * self.factor[a] + self.factor[a] / 2).min(self.shape[a] - 1)
        })
    }

    /// The coarse voxel of a voxel of the body's lattice.
    fn nearest(&self, at: [usize; 3]) -> usize {
        self.coarse.index(std::array::from_fn(|a| {
            ((at[a] - self.start[a]) / self.factor[a]).min(self.coarse.shape[a] - 1)
        }))
    }

    /// The tubes of grey values held between two levels: what is brighter than blood must not count more.
    fn tubes(&self, body: &Body, [low, high]: [f32; 2], radii_mm: &[f64]) -> Vec<Option<Tube>> {
        let lattice = Lattice { shape: self.shape, spacing_mm: body.lattice.spacing_mm };
        let mut hu = Vec::with_capacity(lattice.len());
        for z in 0..self.shape[0] {
            for y in 0..self.shape[1] {
                let row = body.lattice.index([z + self.start[0], y + self.start[1], self.start[2]]);
                hu.extend(body.hu[row..row + self.shape[2]].iter().map(|hu| hu.clamp(low, high)));
            }
        }
        let (coarse, _) = shrunk(&hu, &lattice, self.factor);
        Flux::new(&coarse, self.coarse, SIGMA_MM.min(self.coarse.spacing_mm[2].max(0.7))).tubes(radii_mm)
    }
}
