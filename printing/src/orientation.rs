//! How a model stands on the printer's bed: what hangs over, and which way up is best.

use crate::geometry::{doubled_normal, vector};
use carm::TriangleMesh;
use nalgebra::{Unit, Vector3};
use std::collections::BTreeMap;

/// One way to stand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Orientation {
    /// The model's direction that points up.
    pub up: Unit<Vector3<f64>>,
    /// Area that needs support from below, mm².
    pub overhang_mm2: f64,
    /// Area that lies on the bed, mm².
    pub on_bed_mm2: f64,
    /// mm.
    pub height_mm: f64,
}

/// A place that hangs over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Overhang {
    /// Middle of the place, mm.
    pub place_mm: [f64; 3],
    /// mm².
    pub area_mm2: f64,
    /// Height above the bed, mm.
    pub height_mm: f64,
}

/// Faces this near to the lowest point lie on the bed, mm.
const BED_MM: f64 = 0.3;
/// Overhangs nearer to each other than this are one, mm.
const PLACE_MM: f64 = 10.0;

/// Area-weighted facts of each triangle: doubled normal and middle.
fn faces(mesh: &TriangleMesh) -> impl Iterator<Item = (Vector3<f64>, Vector3<f64>)> + '_ {
    mesh.triangles.iter().map(|t| {
        let corners = t.map(|v| vector(mesh.vertices_mm[v as usize]));
        (doubled_normal(&corners), (corners[0] + corners[1] + corners[2]) / 3.0)
    })
}

fn extent(mesh: &TriangleMesh, up: &Vector3<f64>) -> (f64, f64) {
    mesh.vertices_mm
        .iter()
        .map(|&p| vector(p).dot(up))
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), h| (low.min(h), high.max(h)))
}

/// Places whose underside leans more than `limit_rad` from the vertical, largest first.
///
/// `limit_rad`: what the printer bridges without support, from the vertical; π/4 for most.
pub fn overhangs(mesh: &TriangleMesh, up: &Unit<Vector3<f64>>, limit_rad: f64) -> Vec<Overhang> {
    let (bed, _) = extent(mesh, up);
    let mut cells: BTreeMap<[i64; 3], (Vector3<f64>, f64)> = BTreeMap::new();
    for (normal, middle) in faces(mesh) {
        if hangs(&normal, &middle, up, limit_rad, bed) {
            let cell = cells.entry([0, 1, 2].map(|i| (middle[i] / PLACE_MM).floor() as i64)).or_default();
            let area = normal.norm() / 2.0;
            cell.0 += middle * area;
            cell.1 += area;
        }
    }
    let mut found: Vec<Overhang> = cells
        .into_values()
        .map(|(sum, area_mm2)| {
            let place = sum / area_mm2;
            Overhang { place_mm: place.into(), area_mm2, height_mm: place.dot(up) - bed }
        })
        .collect();
    found.sort_by(|a, b| b.area_mm2.total_cmp(&a.area_mm2));
    found
}

fn hangs(normal: &Vector3<f64>, middle: &Vector3<f64>, up: &Vector3<f64>, limit_rad: f64, bed: f64) -> bool {
    normal.dot(up) < -limit_rad.sin() * normal.norm() && middle.dot(up) > bed + BED_MM
}

/// What standing one way means.
pub fn orientation(mesh: &TriangleMesh, up: &Unit<Vector3<f64>>, limit_rad: f64) -> Orientation {
    let (bed, top) = extent(mesh, up);
    let mut found =
        Orientation { up: *up, overhang_mm2: 0.0, on_bed_mm2: 0.0, height_mm: (top - bed).max(0.0) };
    for (normal, middle) in faces(mesh) {
        let area = normal.norm() / 2.0;
        if hangs(&normal, &middle, up, limit_rad, bed) {
            found.overhang_mm2 += area;
        } else if normal.dot(up) < 0.0 && middle.dot(up) <= bed + BED_MM {
            found.on_bed_mm2 += area;
        }
    }
    found
}

/// All 26 ways to stand along the axes and their diagonals, least overhang first; of ways that are as good within a
/// hundredth of the surface, the lower one.
pub fn orientations(mesh: &TriangleMesh, limit_rad: f64) -> Vec<Orientation> {
    let whole: f64 = faces(mesh).map(|(normal, _)| normal.norm() / 2.0).sum();
    let grain = (0.01 * whole).max(f64::MIN_POSITIVE);
    let ways = (0..27)
        .filter(|&i| i != 13)
        .map(|i| Vector3::new(f64::from(i % 3) - 1.0, f64::from(i / 3 % 3) - 1.0, f64::from(i / 9) - 1.0));
    let mut found: Vec<Orientation> =
        ways.map(|way| orientation(mesh, &Unit::new_normalize(way), limit_rad)).collect();
    found.sort_by(|a, b| {
        let steps = |o: &Orientation| (o.overhang_mm2 / grain).round();
        steps(a).total_cmp(&steps(b)).then(a.height_mm.total_cmp(&b.height_mm))
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Field, Silent, Solid, surface};
    use carm::VolumeGrid;
    use nalgebra::{Matrix3, Point3};
    use std::f64::consts::FRAC_PI_4;

    /// A mushroom: a wide cap of 14 x 14 x 2 mm on a stem.
    fn mushroom() -> TriangleMesh {
        let grid = VolumeGrid::centred([40; 3], [0.5; 3], Matrix3::identity(), Point3::origin()).unwrap();
        let cap = Solid::Cuboid { low_mm: Point3::new(-7.0, -7.0, 4.0), high_mm: Point3::new(7.0, 7.0, 6.0) };
        let stem = Solid::Cylinder {
            from_mm: Point3::new(0.0, 0.0, -6.0),
            to_mm: Point3::new(0.0, 0.0, 5.0),
            radius_mm: 2.0,
        };
        let field = Field::from_fn(grid, |p| cap.distance_mm(p)).unwrap().with(&stem);
        surface(&field, &mut Silent).unwrap()
    }

    #[test]
    fn overhang_of_a_mushroom_is_its_caps_underside() {
        let mesh = mushroom();
        let under = 14.0 * 14.0 - std::f64::consts::PI * 4.0;
        let found = orientation(&mesh, &Vector3::z_axis(), FRAC_PI_4);
        assert!((found.overhang_mm2 / under - 1.0).abs() < 0.1, "{found:?}");
        let listed: f64 = overhangs(&mesh, &Vector3::z_axis(), FRAC_PI_4).iter().map(|o| o.area_mm2).sum();
        assert!((listed - found.overhang_mm2).abs() < 1e-6);
    }

    #[test]
    fn orientation_advice_turns_a_mushroom_upside_down() {
        let best = orientations(&mushroom(), FRAC_PI_4)[0];
        assert!(best.up.z < -0.99 && best.overhang_mm2 < 5.0 && best.on_bed_mm2 > 150.0, "{best:?}");
    }
}
