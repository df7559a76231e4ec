//! The patient: a CT turned into materials, or shapes with formulas in its place, and how they lie on the table.
//!
//! # From HU to densities
//!
//! The CT's HU are read as attenuation at 70 keV (the effective energy of a 120 kV CT), `µ = µ_w (1 + HU/1000)`, and
//! every voxel gets densities of water, cortical bone and iodine that give exactly that attenuation back:
//!
//! | HU | becomes (after Schneider, Bortfeld and Schlegel, Phys. Med. Biol. 45(2), 2000, reduced to this basis) |
//! |---|---|
//! | below -1000 | air, density zero (padding such as -2048 too) |
//! | -1000 to -200 | lung: water of density 1 + HU/1000 |
//! | -200 to -20 | adipose share falling from the middle of the range to both ends, the rest water |
//! | -20 to 100 | soft tissue: water of density 1 + HU/1000 |
//! | above 100 | soft tissue of 100 HU and, for the excess, bone that displaces it or iodine dissolved in it |
//!
//! Whether an excess is bone or iodine is [`crate::bone`]'s rule, or the caller's labels.

use crate::bone;
use crate::error::SimulationError;
use crate::materials::{Material, water_bone_equivalent};
use crate::project::{Lanes, VoxelBody};
use crate::shapes::{Attenuation, Form, Shape, ShapeBody};
use crate::vessels::{OrganBody, Organs};
use carm::{PatientSetup, Quantity, Space, Volume};
use nalgebra::{Isometry3, Matrix3, Point3, Vector3};
use ndarray::Array3;
use rayon::prelude::*;

/// Effective energy of the CT that gave the HU, keV.
const CT_EFFECTIVE_ENERGY_KEV: f64 = 70.0;
/// Where bone or iodine begins.
const SOFT_TISSUE_MAX_HU: f64 = 100.0;

/// Values of a label volume that [`Patient::from_labelled_hu`] understands; others leave the excess to HU alone.
pub mod label {
    /// Excess attenuation is iodine.
    pub const CONTRAST_BLOOD: u8 = 3;
    /// Excess attenuation is bone.
    pub const BONE: u8 = 4;
}

/// Who lies on the table.
///
/// ```
/// let cylinder = simulated::Patient::water_cylinder(200.0, 300.0);
/// assert_eq!(cylinder.setup().position, carm::PatientPosition::Hfs);
/// ```
#[derive(Clone, Debug)]
pub struct Patient {
    setup: PatientSetup,
    body: Body,
    organs: Organs,
}

#[derive(Clone, Debug)]
enum Body {
    Voxels(VoxelBody),
    Shapes(Vec<Shape>),
}

/// The body with its densities worked out for one effective energy.
#[derive(Clone, Debug)]
pub(crate) enum ResolvedBody {
    Voxels(VoxelBody),
    Shapes(ShapeBody),
}

impl Patient {
    /// A CT in Hounsfield units, head first supine, isocenter at the volume's centre.
    ///
    /// Bone and iodine are told apart by the neighbourhood rule of this crate (`bone`); where labels exist,
    /// [`Patient::from_labelled_hu`] is better.
    ///
    /// # Errors
    /// [`SimulationError::NotHounsfield`] for other quantities or spaces, [`SimulationError::NotFinite`] for a voxel
    /// that is not a number.
    pub fn from_hu(volume: &Volume) -> Result<Self, SimulationError> {
        check_hu(volume)?;
        let iodine = bone::iodine_share(&volume.values, volume.grid.spacing_mm);
        Ok(Self::from_checked(volume, &iodine))
    }

    /// As [`Patient::from_hu`], with the caller's labels `[z, y, x]` deciding between bone and iodine ([`label`]).
    ///
    /// Voxels without one of these two labels take the kind of the labelled voxel nearest within three voxels along
    /// the axes, bone where there is none.
    ///
    /// # Errors
    /// As [`Patient::from_hu`], and [`SimulationError::LabelShape`].
    pub fn from_labelled_hu(volume: &Volume, labels: &Array3<u8>) -> Result<Self, SimulationError> {
        check_hu(volume)?;
        let shape = |shape: &[usize]| [shape[0], shape[1], shape[2]];
        let (expected, found) = (shape(volume.values.shape()), shape(labels.shape()));
        if expected != found {
            return Err(SimulationError::LabelShape { expected, found });
        }
        Ok(Self::from_checked(volume, &bone::iodine_share_from_labels(labels)))
    }

    /// Shapes in LPS; the isocenter is the origin.
    pub fn from_shapes(shapes: Vec<Shape>) -> Self {
        Self { setup: PatientSetup::default(), body: Body::Shapes(shapes), organs: Organs::default() }
    }

    /// A cylinder of water along the rotation axis, centred on the isocenter.
    pub fn water_cylinder(diameter_mm: f64, length_mm: f64) -> Self {
        Self::from_shapes(vec![Shape {
            form: Form::Cylinder { semi_axes_mm: [0.5 * diameter_mm; 2], half_length_mm: 0.5 * length_mm },
            lps_from_shape: Isometry3::identity(),
            attenuation: Attenuation::Density(Material::Water, 1.0),
        }])
    }

    /// One ball: a point object for checks of geometry.
    pub fn ball(centre_lps: Point3<f64>, diameter_mm: f64, attenuation: Attenuation) -> Self {
        Self::from_shapes(vec![Shape::ball(centre_lps, diameter_mm, attenuation)])
    }

    /// Moves the isocenter to another point of the patient.
    pub fn with_isocenter(mut self, isocenter_lps: Point3<f64>) -> Self {
        self.setup.isocenter_lps = isocenter_lps;
        self
    }

    /// Lays the patient down differently: position, table and isocenter at once.
    pub fn with_setup(mut self, setup: PatientSetup) -> Self {
        self.setup = setup;
        self
    }

    /// Puts organs that breathe and vessels that fill into the body.
    pub fn with_organs(mut self, organs: Organs) -> Self {
        self.organs = organs;
        self
    }

    /// Organs and vessels worked out; none where there are none.
    pub(crate) fn organ_body(&self, effective_energy_kev: f64) -> Result<Option<OrganBody>, SimulationError> {
        let are_none = self.organs.shapes.is_empty() && self.organs.vessels.is_empty();
        (!are_none).then(|| OrganBody::new(&self.organs, effective_energy_kev)).transpose()
    }

    /// How the patient lies.
    pub fn setup(&self) -> &PatientSetup {
        &self.setup
    }

    pub(crate) fn resolve(self, effective_energy_kev: f64) -> Result<ResolvedBody, SimulationError> {
        Ok(match self.body {
            Body::Voxels(body) => ResolvedBody::Voxels(body),
            Body::Shapes(shapes) => ResolvedBody::Shapes(ShapeBody::new(&shapes, effective_energy_kev)?),
        })
    }

    fn from_checked(volume: &Volume, iodine_share: &Array3<f32>) -> Self {
        let body = voxel_body(volume, iodine_share);
        let setup = PatientSetup { isocenter_lps: volume.grid.centre(), ..PatientSetup::default() };
        Self { setup, body: Body::Voxels(body), organs: Organs::default() }
    }
}

impl ResolvedBody {
    /// Line integrals of water, bone and iodine along the line, mm g/cm³.
    pub fn line_integrals(&self, source_lps: &Point3<f64>, direction_lps: &Vector3<f64>) -> [f32; 4] {
        match self {
            Self::Voxels(body) => body.line_integrals(source_lps, direction_lps),
            Self::Shapes(body) => body.line_integrals(source_lps, direction_lps),
        }
    }

    /// The same for neighbouring rays from one source.
    pub fn bundle(&self, source_lps: &Point3<f64>, directions_lps: &[Vector3<f64>], out: &mut [[f32; 4]]) {
        match self {
            Self::Voxels(body) => body.bundle(source_lps, directions_lps, out),
            Self::Shapes(body) => {
                for (direction, out) in directions_lps.iter().zip(out) {
                    *out = body.line_integrals(source_lps, direction);
                }
            }
        }
    }

    /// Densities at a point, g/cm³.
    pub fn densities(&self, point_lps: &Point3<f64>) -> [f64; 4] {
        match self {
            Self::Voxels(body) => body.densities(point_lps),
            Self::Shapes(body) => body.densities(point_lps),
        }
    }
}

fn check_hu(volume: &Volume) -> Result<(), SimulationError> {
    let is_hu = matches!(volume.quantity, Quantity::Hu { .. });
    if !is_hu || volume.space != Space::Lps {
        let found = format!("{:?} in {:?}", volume.quantity, volume.space);
        return Err(SimulationError::NotHounsfield { found });
    }
    match volume.values.indexed_iter().find(|(_, hu)| !hu.is_finite()) {
        Some(((k, j, i), hu)) => Err(SimulationError::NotFinite { found: *hu, voxel: [i, j, k] }),
        None => Ok(()),
    }
}

/// The constants of the HU rule.
struct HuRule {
    water_cm2_g: f64,
    cortical_density: f64,
    cortical_mu_cm: f64,
    iodine_cm2_g: f64,
    adipose: [f64; 2],
    adipose_cm2_g: f64,
}

impl HuRule {
    fn new() -> Self {
        let at_ct = |material: Material| material.mass_attenuation_cm2_g(CT_EFFECTIVE_ENERGY_KEV);
        let cortical_density = Material::CorticalBone.density_g_cm3();
        let adipose = water_bone_equivalent(Material::Adipose);
        Self {
            water_cm2_g: at_ct(Material::Water),
            cortical_density,
            cortical_mu_cm: cortical_density * at_ct(Material::CorticalBone),
            iodine_cm2_g: at_ct(Material::Iodine),
            adipose,
            adipose_cm2_g: adipose[0] * at_ct(Material::Water) + adipose[1] * at_ct(Material::CorticalBone),
        }
    }

    /// Densities of water, bone, iodine, g/cm³.
    fn lanes(&self, hu: f32, iodine_share: f32) -> Lanes {
        let relative = (1.0 + f64::from(hu) / 1000.0).max(0.0);
        let hu = f64::from(hu);
        if hu <= SOFT_TISSUE_MAX_HU {
            let fat = (1.0 - (hu + 110.0).abs() / 90.0).clamp(0.0, 1.0);
            // The same attenuation at the CT's energy, carried by fat to a share and by water for the rest.
            let fat_g_cm3 = fat * relative * self.water_cm2_g / self.adipose_cm2_g;
            let water = (1.0 - fat) * relative + fat_g_cm3 * self.adipose[0];
            return Lanes([water as f32, (fat_g_cm3 * self.adipose[1]) as f32, 0.0, 0.0]);
        }
        let soft = 1.0 + SOFT_TISSUE_MAX_HU / 1000.0;
        let excess_cm = (relative - soft) * self.water_cm2_g;
        let iodine = excess_cm * f64::from(iodine_share) / self.iodine_cm2_g;
        // Bone takes the room of soft tissue: f (µ_cortical - µ_soft) = its part of the excess.
        let fraction =
            excess_cm * (1.0 - f64::from(iodine_share)) / (self.cortical_mu_cm - soft * self.water_cm2_g);
        let water = (soft * (1.0 - fraction)).max(0.0);
        // Beyond pure cortical bone (teeth, metal in the CT) no water is left and bone grows denser.
        let bone = if fraction <= 1.0 {
            fraction * self.cortical_density
        } else {
            let missing_cm = (excess_cm * (1.0 - f64::from(iodine_share)) + soft * self.water_cm2_g).max(0.0);
            missing_cm * self.cortical_density / self.cortical_mu_cm
        };
        Lanes([water as f32, bone as f32, iodine as f32, 0.0])
    }
}

/// Crops to what is not air, adds one layer of zeros, and reorders to k fastest.
fn voxel_body(volume: &Volume, iodine_share: &Array3<f32>) -> VoxelBody {
    let grid = &volume.grid;
    let (low, high) = box_above_air(&volume.values);
    let shape: [usize; 3] = std::array::from_fn(|axis| high[axis] - low[axis] + 2);
    let rule = HuRule::new();
    let mut values = vec![Lanes::default(); shape.iter().product()];
    values.par_chunks_mut(shape[1] * shape[2]).enumerate().for_each(|(pi, plane)| {
        if pi == 0 || pi == shape[0] - 1 {
            return;
        }
        for pj in 1..shape[1] - 1 {
            for pk in 1..shape[2] - 1 {
                let at = [pk - 1 + low[2], pj - 1 + low[1], pi - 1 + low[0]];
                plane[pj * shape[2] + pk] = rule.lanes(volume.values[at], iodine_share[at]);
            }
        }
    });
    let lps_from_voxel = grid.direction * Matrix3::from_diagonal(&Vector3::from(grid.spacing_mm));
    let first = |axis: usize| low[axis] as f64 - 1.0;
    VoxelBody {
        shape,
        values,
        voxel_from_lps: lps_from_voxel.try_inverse().expect("a volume grid's axes are orthonormal"),
        origin_lps: grid.point(first(0), first(1), first(2)),
    }
}

/// First and one-past-last index (i, j, k) of voxels above air; one voxel where there is none.
fn box_above_air(values: &Array3<f32>) -> ([usize; 3], [usize; 3]) {
    let (mut low, mut high) = ([usize::MAX; 3], [0; 3]);
    for ((k, j, i), hu) in values.indexed_iter() {
        if *hu > -1000.0 {
            for (axis, index) in [i, j, k].into_iter().enumerate() {
                low[axis] = low[axis].min(index);
                high[axis] = high[axis].max(index + 1);
            }
        }
    }
    if low[0] == usize::MAX { ([0; 3], [1; 3]) } else { (low, high) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carm::VolumeGrid;

    #[test]
    fn hu_rule_gives_the_attenuation_back_at_the_ct_energy() {
        let rule = HuRule::new();
        let bone_cm2_g = Material::CorticalBone.mass_attenuation_cm2_g(CT_EFFECTIVE_ENERGY_KEV);
        for hu in [
            -2048.0_f32,
            -1000.0,
            -700.0,
            -180.0,
            -110.0,
            -60.0,
            -20.0,
            0.0,
            40.0,
            100.0,
            250.0,
            900.0,
            3071.0,
        ] {
            for share in [0.0_f32, 0.4, 1.0] {
                let [water, bone, iodine, _] = rule.lanes(hu, share).0.map(f64::from);
                let mu = water * rule.water_cm2_g + bone * bone_cm2_g + iodine * rule.iodine_cm2_g;
                let wanted = rule.water_cm2_g * (1.0 + f64::from(hu) / 1000.0).max(0.0);
                assert!((mu - wanted).abs() < 2e-4 * (1.0 + wanted), "{hu} {share}: {mu} {wanted}");
                assert!(water >= 0.0 && iodine >= 0.0 && bone > -0.1, "{hu} {share}");
            }
        }
    }

    fn volume(hu: f32) -> Volume {
        let grid =
            VolumeGrid::centred([4, 5, 6], [1.0, 2.0, 3.0], Matrix3::identity(), Point3::new(1.0, 2.0, 3.0))
                .unwrap();
        Volume::new(grid, Array3::from_elem((6, 5, 4), hu), Quantity::Hu { mu_water_per_mm: None })
    }

    #[test]
    fn patient_isocenter_is_the_volume_centre_until_told_otherwise() {
        let patient = Patient::from_hu(&volume(0.0)).unwrap();
        assert!((patient.setup().isocenter_lps - Point3::new(1.0, 2.0, 3.0)).norm() < 1e-12);
        let moved = patient.with_isocenter(Point3::new(0.0, 0.0, 9.0));
        assert_eq!(moved.setup().isocenter_lps.z, 9.0);
    }

    #[test]
    fn patient_refuses_what_is_not_hounsfield_or_not_a_number() {
        let mut attenuation = volume(0.0);
        attenuation.quantity = Quantity::MuPerMm;
        assert!(matches!(Patient::from_hu(&attenuation), Err(SimulationError::NotHounsfield { .. })));
        let mut nan = volume(0.0);
        nan.values[[2, 1, 3]] = f32::NAN;
        let error = Patient::from_hu(&nan).unwrap_err();
        assert!(matches!(error, SimulationError::NotFinite { voxel: [3, 1, 2], .. }), "{error}");
        let labels = Array3::zeros((6, 5, 3));
        let error = Patient::from_labelled_hu(&volume(0.0), &labels).unwrap_err();
        assert!(matches!(error, SimulationError::LabelShape { .. }), "{error}");
    }

    #[test]
    fn patient_padding_is_air_and_water_is_water() {
        let mut hu = volume(-2048.0);
        hu.values[[3, 2, 1]] = 0.0;
        let Body::Voxels(body) = Patient::from_hu(&hu).unwrap().body else { panic!("voxels expected") };
        assert_eq!(body.shape, [3, 3, 3]);
        let at = hu.grid.point(1.0, 2.0, 3.0);
        let densities = body.densities(&at);
        assert!((densities[0] - 1.0).abs() < 1e-6 && densities[1] == 0.0, "{densities:?}");
    }
}
