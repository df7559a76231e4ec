//! Vessels to flow through: the lumen kept exactly, the wall grown outwards, ends cut flat.

use crate::error::PrintingError;
use crate::field::Field;
use crate::shapes::Solid;
use nalgebra::{Point3, Unit, Vector3};

/// Where a vessel is cut open.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Opening {
    /// A point of the lumen on the cut, mm.
    pub centre_mm: Point3<f64>,
    /// Out of the vessel, along it.
    pub outward: Unit<Vector3<f64>>,
    /// Radius around the vessel within which the cut holds, mm: wider than wall and lumen, narrower than to any other
    /// vessel.
    pub radius_mm: f64,
    /// How far beyond the cut everything within that radius is taken away, mm.
    pub length_mm: f64,
}

/// A tube to plug a hose onto.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Connector {
    /// Bore, mm.
    pub inner_radius_mm: f64,
    /// Outside, mm.
    pub outer_radius_mm: f64,
    /// Beyond the opening, mm.
    pub length_mm: f64,
}

impl Field {
    /// The wall around this lumen: from the lumen's own surface `wall_mm` outwards; cut flat at the openings, and with
    /// connectors there where given.
    ///
    /// The grid grows by what is added. Without openings the lumen stays a closed cavity.
    ///
    /// # Errors
    /// `Parameter`; those of [`crate::surface`].
    pub fn hollowed(
        &self,
        wall_mm: f64,
        openings: &[(Opening, Option<Connector>)],
    ) -> Result<Self, PrintingError> {
        let coarsest = self.grid.spacing_mm.into_iter().fold(0.0, f64::max);
        if !(wall_mm >= coarsest && wall_mm.is_finite()) {
            return Err(PrintingError::Parameter {
                what: "wall in mm",
                expected: "at least the voxel spacing",
                found: wall_mm,
            });
        }
        let longest = openings
            .iter()
            .filter_map(|(_, c)| c.map(|c| c.length_mm.max(c.outer_radius_mm)))
            .fold(0.0, f64::max);
        let lumen = self.padded(wall_mm + longest + 2.0 * coarsest);
        let distance = lumen.signed_distance(wall_mm + 2.0 * coarsest)?;
        let outer = Self { grid: lumen.grid, values: distance.values.mapv(|d| d + wall_mm as f32) };
        let mut body = outer;
        let mut bore = lumen;
        for (opening, connector) in openings {
            let beyond = opening.centre_mm + opening.outward.into_inner() * opening.length_mm;
            let end =
                Solid::Cylinder { from_mm: opening.centre_mm, to_mm: beyond, radius_mm: opening.radius_mm };
            body = body.without(&end);
            if let Some(connector) = connector {
                require_connector(connector, coarsest)?;
                let along = |mm: f64| opening.centre_mm + opening.outward.into_inner() * mm;
                let tube = |from: f64, to: f64, radius_mm: f64| Solid::Cylinder {
                    from_mm: along(from),
                    to_mm: along(to),
                    radius_mm,
                };
                body = body.with(&tube(-wall_mm, connector.length_mm, connector.outer_radius_mm));
                // The lumen's last stretch becomes a plate as thick as the wall, which holds a connector narrower than it.
                bore = bore.without(&tube(-wall_mm, opening.length_mm, opening.radius_mm));
                bore = bore.with(&tube(
                    -wall_mm - 2.0 * coarsest,
                    connector.length_mm + 2.0 * coarsest,
                    connector.inner_radius_mm,
                ));
            }
        }
        body.difference(&bore)
    }
}

fn require_connector(connector: &Connector, coarsest: f64) -> Result<(), PrintingError> {
    let wall = connector.outer_radius_mm - connector.inner_radius_mm;
    if connector.inner_radius_mm > 0.0 && wall >= coarsest && connector.length_mm > 0.0 {
        return Ok(());
    }
    Err(PrintingError::Parameter {
        what: "wall of a connector in mm",
        expected: "at least the voxel spacing",
        found: wall,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Silent, check, surface};
    use carm::VolumeGrid;
    use nalgebra::Matrix3;

    fn lumen(radius: f64) -> Field {
        let grid =
            VolumeGrid::centred([40, 40, 60], [0.5; 3], Matrix3::identity(), Point3::origin()).unwrap();
        Field::from_fn(grid, |p| radius - p.x.hypot(p.y)).unwrap()
    }

    fn ends(connector: Option<Connector>) -> [(Opening, Option<Connector>); 2] {
        [1.0, -1.0].map(|sign| {
            let outward = Unit::new_unchecked(Vector3::new(0.0, 0.0, sign));
            let centre_mm = Point3::new(0.0, 0.0, 12.0 * sign);
            (Opening { centre_mm, outward, radius_mm: 9.0, length_mm: 9.0 }, connector)
        })
    }

    #[test]
    fn hollow_tube_keeps_its_lumen_and_grows_its_wall_outwards() {
        let shell = lumen(3.0).hollowed(1.5, &ends(None)).unwrap();
        let mesh = surface(&shell, &mut Silent).unwrap();
        let report = check(&mesh);
        assert!(report.is_sound() && report.components == 1 && report.genus == Some(1), "{report}");
        let middle =
            mesh.vertices_mm.iter().filter(|p| p[2].abs() < 9.0).map(|p| f64::from(p[0].hypot(p[1])));
        let (inner, outer): (Vec<f64>, Vec<f64>) = middle.partition(|&r| r < 3.75);
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        assert!((2.0 * mean(&inner) - 6.0).abs() < 0.1, "lumen diameter {}", 2.0 * mean(&inner));
        assert!((mean(&outer) - 4.5).abs() < 0.05, "outer radius {}", mean(&outer));
        let [low, high] = report.bounds_mm.unwrap();
        assert!(
            (high[2] - 12.0).abs() < 0.06 && (low[2] + 12.0).abs() < 0.06,
            "cut flat at 12 mm: {low:?} {high:?}"
        );
    }

    #[test]
    fn hollow_vessel_closed_at_its_ends_keeps_a_cavity() {
        let grid = VolumeGrid::centred([40; 3], [0.5; 3], Matrix3::identity(), Point3::origin()).unwrap();
        let ball = Field::from_fn(grid, |p| 5.0 - p.coords.norm()).unwrap();
        let report = check(&surface(&ball.hollowed(2.0, &[]).unwrap(), &mut Silent).unwrap());
        assert!(report.is_sound() && report.components == 2 && report.genus == Some(0), "{report}");
        let expected = 4.0 / 3.0 * std::f64::consts::PI * (343.0 - 125.0);
        assert!((report.volume_mm3 / expected - 1.0).abs() < 0.02, "{} {expected}", report.volume_mm3);
    }

    #[test]
    fn hollow_vessel_takes_connectors_that_stay_open() {
        let connector = Connector { inner_radius_mm: 2.0, outer_radius_mm: 3.5, length_mm: 6.0 };
        let shell = lumen(3.0).hollowed(1.5, &ends(Some(connector))).unwrap();
        let report = check(&surface(&shell, &mut Silent).unwrap());
        assert!(report.is_sound() && report.components == 1 && report.genus == Some(1), "{report}");
        assert!((report.bounds_mm.unwrap()[1][2] - 18.0).abs() < 0.06);
        let bad = Connector { outer_radius_mm: 1.0, ..connector };
        assert!(matches!(lumen(3.0).hollowed(1.5, &ends(Some(bad))), Err(PrintingError::Parameter { .. })));
    }
}
