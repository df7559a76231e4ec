//! An abdomen drawn with formulas: trunk, spine, ribs and pelvis that stay, liver, kidneys and gas that breathe, and the
//! arteries from the aorta to the legs. Sizes are those of an adult, rounded; nobody's in particular.

use crate::materials::Material;
use crate::patient::Patient;
use crate::shapes::{Attenuation, Form, Shape};
use crate::vessels::{Breathing, Organs, Vessel};
use nalgebra::{Isometry3, Point3, Translation3, UnitQuaternion, Vector3};

impl Patient {
    /// An abdomen with its arteries, for angiography: the isocenter lies before the third lumbar vertebra. Its organs
    /// breathe where that is given.
    pub fn abdomen(breathing: Option<Breathing>) -> Self {
        let organs = Organs { shapes: organs(), vessels: arteries(), breathing };
        Self::from_shapes(trunk()).with_organs(organs)
    }
}

fn ellipsoid(centre: [f64; 3], semi_axes_mm: [f64; 3], material: Material, g_cm3: f64) -> Shape {
    Shape {
        form: Form::Ellipsoid { semi_axes_mm },
        lps_from_shape: Isometry3::translation(centre[0], centre[1], centre[2]),
        attenuation: Attenuation::Density(material, g_cm3),
    }
}

fn cylinder(
    centre: [f64; 3],
    semi_axes_mm: [f64; 2],
    half_length_mm: f64,
    g_cm3: f64,
    material: Material,
) -> Shape {
    Shape {
        form: Form::Cylinder { semi_axes_mm, half_length_mm },
        lps_from_shape: Isometry3::translation(centre[0], centre[1], centre[2]),
        attenuation: Attenuation::Density(material, g_cm3),
    }
}

/// Trunk of 320 by 220 mm under a layer of fat; vertebrae every 34 mm with their processes; ribs; iliac crests.
fn trunk() -> Vec<Shape> {
    let water = Material::Water;
    let mut shapes = vec![
        cylinder([0.0, 0.0, 0.0], [160.0, 110.0], 260.0, 0.95, water),
        cylinder([0.0, 0.0, 0.0], [145.0, 95.0], 260.0, 0.09, water),
    ];
    for n in -5..=5 {
        let z = 34.0 * f64::from(n);
        shapes.push(cylinder([0.0, 45.0, z], [24.0, 17.0], 12.5, 0.28, Material::CorticalBone));
        shapes.push(cylinder([0.0, 45.0, z + 13.5], [25.0, 18.0], 1.2, 0.8, Material::CorticalBone));
        shapes.push(ellipsoid([0.0, 78.0, z - 8.0], [4.0, 14.0, 10.0], Material::CorticalBone, 0.6));
        for side in [-1.0, 1.0] {
            shapes.push(ellipsoid(
                [side * 34.0, 58.0, z + 2.0],
                [16.0, 4.0, 5.0],
                Material::CorticalBone,
                0.5,
            ));
        }
    }
    for (n, z) in [(0, 60.0), (1, 88.0), (2, 116.0), (3, 144.0)] {
        for side in [-1.0, 1.0] {
            // A rib seen from the front: a bar that falls outwards.
            let turn =
                UnitQuaternion::from_axis_angle(&Vector3::y_axis(), side * (1.15 - 0.04 * f64::from(n)));
            let at = Translation3::new(side * 92.0, 60.0, z);
            shapes.push(Shape {
                form: Form::Cylinder { semi_axes_mm: [4.5, 6.0], half_length_mm: 62.0 },
                lps_from_shape: Isometry3::from_parts(at, turn),
                attenuation: Attenuation::Density(Material::CorticalBone, 0.7),
            });
        }
    }
    for side in [-1.0, 1.0] {
        shapes.push(ellipsoid([side * 85.0, 50.0, -150.0], [45.0, 12.0, 60.0], Material::CorticalBone, 0.35));
    }
    shapes
}

/// Liver, kidneys, and gas in the bowel.
fn organs() -> Vec<Shape> {
    let water = Material::Water;
    let mut shapes = vec![
        ellipsoid([-65.0, -5.0, 105.0], [70.0, 65.0, 60.0], water, 0.06),
        ellipsoid([-58.0, 45.0, 20.0], [26.0, 20.0, 52.0], water, 0.05),
        ellipsoid([58.0, 45.0, 28.0], [26.0, 20.0, 52.0], water, 0.05),
    ];
    for (x, z, r) in [
        (75.0, 110.0, 22.0),
        (95.0, 60.0, 13.0),
        (-95.0, -40.0, 15.0),
        (-80.0, -75.0, 11.0),
        (60.0, -30.0, 9.0),
        (35.0, -85.0, 12.0),
        (-30.0, -60.0, 8.0),
        (88.0, -10.0, 10.0),
    ] {
        shapes.push(ellipsoid([x, -40.0, z], [r, 1.2 * r, r], water, -1.0));
    }
    shapes
}

/// The aorta, its branches, and the iliac arteries: diameters 0.8 to 18 mm.
fn arteries() -> Vec<Vessel> {
    let points = |all: &[[f64; 3]]| all.iter().map(|p| Point3::from(*p)).collect::<Vec<_>>();
    let vessel = |all: &[[f64; 3]], diameters_mm: [f64; 2], from_inlet_mm: f64| Vessel {
        centreline_lps: points(all),
        diameters_mm,
        from_inlet_mm,
    };
    let mut tree = vec![vessel(
        &[[8.0, 20.0, 180.0], [6.0, 16.0, 100.0], [5.0, 14.0, 40.0], [3.0, 14.0, -30.0], [0.0, 16.0, -70.0]],
        [18.0, 15.0],
        0.0,
    )];
    for side in [-1.0, 1.0] {
        // Renal artery, from 130 mm below the inlet, with four branches in the kidney.
        tree.push(vessel(
            &[[5.0, 14.0, 48.0], [side * 22.0, 22.0, 42.0], [side * 42.0, 38.0, 34.0]],
            [5.5, 4.5],
            130.0,
        ));
        for (n, z) in [(0.0, 58.0), (1.0, 42.0), (2.0, 22.0), (3.0, 4.0)] {
            let knee = [side * (50.0 + 2.0 * n), 42.0, 0.5 * (z + 34.0)];
            let tip = [side * (64.0 - 2.0 * n), 46.0, z];
            tree.push(vessel(&[[side * 42.0, 38.0, 34.0], knee, tip], [3.0, 0.8], 178.0));
        }
        // Iliac arteries: common, then external and internal.
        tree.push(vessel(
            &[[0.0, 16.0, -70.0], [side * 18.0, 22.0, -100.0], [side * 34.0, 30.0, -125.0]],
            [10.0, 9.0],
            250.0,
        ));
        tree.push(vessel(
            &[[side * 34.0, 30.0, -125.0], [side * 52.0, 8.0, -165.0], [side * 62.0, -20.0, -205.0]],
            [7.5, 7.0],
            318.0,
        ));
        tree.push(vessel(&[[side * 34.0, 30.0, -125.0], [side * 36.0, 52.0, -160.0]], [6.0, 3.0], 318.0));
    }
    // Coeliac trunk with hepatic and splenic artery; superior and inferior mesenteric with branches.
    tree.push(vessel(&[[6.0, 15.0, 85.0], [6.0, -8.0, 88.0]], [7.0, 6.5], 96.0));
    tree.push(vessel(
        &[[6.0, -8.0, 88.0], [-22.0, -14.0, 96.0], [-48.0, -8.0, 112.0], [-70.0, 0.0, 124.0]],
        [5.0, 2.0],
        120.0,
    ));
    tree.push(vessel(
        &[[6.0, -8.0, 88.0], [36.0, 5.0, 98.0], [62.0, 25.0, 96.0], [88.0, 38.0, 108.0]],
        [5.5, 3.0],
        120.0,
    ));
    tree.push(vessel(
        &[[6.0, 14.0, 68.0], [4.0, -22.0, 40.0], [-4.0, -30.0, -10.0], [-18.0, -32.0, -60.0]],
        [6.5, 3.0],
        114.0,
    ));
    for (z, x) in [(20.0, 45.0), (0.0, 52.0), (-25.0, 40.0)] {
        tree.push(vessel(
            &[[0.0, -28.0, z + 12.0], [0.5 * x, -34.0, z], [x, -36.0, z - 14.0]],
            [2.2, 0.8],
            180.0 - z,
        ));
    }
    tree.push(vessel(&[[3.0, 14.0, -20.0], [12.0, -8.0, -50.0], [26.0, -14.0, -95.0]], [4.0, 1.6], 202.0));
    tree
}
