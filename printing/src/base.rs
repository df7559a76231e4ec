//! A plate to stand on, with a shelf in front that says which side is which and whose model it is.
//!
//! The plate lies under the lowest part of the shape (towards the feet). Its shelf stands out towards the patient's
//! front; who looks from there reads the words with the patient's right, marked R, on their left.

use crate::error::PrintingError;
use crate::field::Field;
use crate::shapes::Solid;
use crate::text::{Relief, Text};
use carm::VolumeGrid;
use nalgebra::{Point3, Vector3};

/// How a base is made.
#[derive(Clone, Debug, PartialEq)]
pub struct Base {
    /// Thickness of the plate, mm.
    pub thickness_mm: f64,
    /// How far it stands out beyond the shape, mm.
    pub margin_mm: f64,
    /// How far the shape's lowest part sinks into it, mm.
    pub sink_mm: f64,
    /// What stands on the shelf between R and L; may be empty.
    pub words: String,
    /// Height of letters, mm.
    pub letter_mm: f64,
    /// How deep letters are cut, mm.
    pub depth_mm: f64,
}

/// Room around letters, mm.
const AROUND_MM: f64 = 2.0;

/// Where a base lies.
#[derive(Clone, Debug, PartialEq)]
pub struct BasePlace {
    /// Least coordinates of the plate, mm.
    pub low_mm: [f64; 3],
    /// Greatest coordinates of the plate, mm.
    pub high_mm: [f64; 3],
    /// What is cut into it, and where.
    pub texts: Vec<Text>,
}

impl Field {
    /// The shape on a base; coordinates are the patient's (LPS), so the feet are down and the front is at the shelf.
    ///
    /// # Errors
    /// `Empty` when nothing is inside; `Parameter` as for [`Field::with_text`] and for sizes that are not positive.
    pub fn on_base(&self, base: &Base) -> Result<(Self, BasePlace), PrintingError> {
        for (what, found) in [
            ("thickness of the base in mm", base.thickness_mm),
            ("margin of the base in mm", base.margin_mm),
            ("height of letters in mm", base.letter_mm),
        ] {
            if !(found > 0.0 && found.is_finite()) {
                return Err(PrintingError::Parameter { what, expected: "more than zero", found });
            }
        }
        let place = self.place_base(base)?;
        let (low, high) = (Point3::from(place.low_mm), Point3::from(place.high_mm));
        let plate = Solid::Cuboid { low_mm: low, high_mm: high };
        let mut shape = self.with_room(&low, &high).with(&plate);
        for text in place.texts.iter().filter(|text| !text.words.trim().is_empty()) {
            shape = shape.with_text(text, Relief::Engraved)?;
        }
        Ok((shape, place))
    }

    fn place_base(&self, base: &Base) -> Result<BasePlace, PrintingError> {
        let (mut low, mut high) = self.inside_bounds()?;
        let text = |words: &str| Text {
            words: words.into(),
            origin_mm: Point3::origin(),
            outward: Vector3::z_axis(),
            up: Vector3::y_axis(),
            height_mm: base.letter_mm,
            depth_mm: base.depth_mm,
        };
        let [mut right, mut words, mut left] = [text("R"), text(&base.words), text("L")];
        let side = right.width_mm() + 2.0 * AROUND_MM;
        let wanted = words.width_mm() + 2.0 * side + 4.0 * AROUND_MM;
        let top = low.z + base.sink_mm;
        let more = base.margin_mm + 0.5 * (wanted - (high.x - low.x) - 2.0 * base.margin_mm).max(0.0);
        (low.x, high.x) = (low.x - more, high.x + more);
        low.y -= base.margin_mm + base.letter_mm + AROUND_MM;
        high.y += base.margin_mm;
        (low.z, high.z) = (top - base.thickness_mm, top);
        let row = low.y + AROUND_MM;
        right.origin_mm = Point3::new(low.x + AROUND_MM, row, top);
        left.origin_mm = Point3::new(high.x - AROUND_MM - left.width_mm(), row, top);
        words.origin_mm = Point3::new(0.5 * (low.x + high.x - words.width_mm()), row, top);
        Ok(BasePlace {
            low_mm: low.coords.into(),
            high_mm: high.coords.into(),
            texts: vec![right, words, left],
        })
    }

    /// Least and greatest coordinates of the samples inside.
    fn inside_bounds(&self) -> Result<(Point3<f64>, Point3<f64>), PrintingError> {
        let mut bounds: Option<(Point3<f64>, Point3<f64>)> = None;
        for (row, samples) in self.values.rows().into_iter().enumerate() {
            let (y, z) = (row % self.grid.shape[1], row / self.grid.shape[1]);
            let first = samples.iter().position(|&value| value > 0.0);
            let last = samples.iter().rposition(|&value| value > 0.0);
            for x in first.into_iter().chain(last) {
                let point = self.grid.point(x as f64, y as f64, z as f64);
                let (low, high) = bounds.get_or_insert((point, point));
                (*low, *high) = (low.inf(&point), high.sup(&point));
            }
        }
        bounds.ok_or(PrintingError::Empty { what: "shape", voxels: self.values.len() })
    }

    /// The same shape on a grid that holds a box, and two voxels around it.
    fn with_room(&self, low: &Point3<f64>, high: &Point3<f64>) -> Self {
        let mut before = [0_usize; 3];
        let mut after = [0_usize; 3];
        for corner in 0..8 {
            let pick = |axis: usize| if corner >> axis & 1 == 0 { low[axis] } else { high[axis] };
            let voxel = self.grid.voxel(&Point3::new(pick(0), pick(1), pick(2)));
            for axis in 0..3 {
                let last = (self.grid.shape[axis] - 1) as f64;
                before[axis] = before[axis].max((2.0 - voxel[axis]).ceil().max(0.0) as usize);
                after[axis] = after[axis].max((voxel[axis] + 2.0 - last).ceil().max(0.0) as usize);
            }
        }
        let grid = VolumeGrid {
            shape: [0, 1, 2].map(|axis| before[axis] + self.grid.shape[axis] + after[axis]),
            origin: self.grid.point(-(before[0] as f64), -(before[1] as f64), -(before[2] as f64)),
            ..self.grid
        };
        self.moved_to(grid, before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Silent, check, surface};
    use nalgebra::Matrix3;

    fn base(words: &str) -> Base {
        Base {
            thickness_mm: 4.0,
            margin_mm: 3.0,
            sink_mm: 1.5,
            words: words.into(),
            letter_mm: 7.0,
            depth_mm: 0.8,
        }
    }

    #[test]
    fn base_lies_under_the_feet_with_its_words_in_front_and_left_on_the_left() {
        for mirror in [1.0, -1.0] {
            let direction = Matrix3::from_diagonal(&[mirror, 1.0, 1.0].into());
            let grid = VolumeGrid::centred([50, 40, 40], [0.6; 3], direction, Point3::origin()).unwrap();
            let shape = Field::from_fn(grid, |p| 6.0 - (p - Point3::new(2.0, 1.0, 0.0)).norm()).unwrap();
            let (standing, place) = shape.on_base(&base("T4")).unwrap();
            let report = check(&surface(&standing, &mut Silent).unwrap());
            assert!(report.is_sound() && report.components == 1, "{report}");
            let [low, high] = report.bounds_mm.unwrap();
            assert!((f64::from(low[2]) - place.low_mm[2]).abs() < 0.1, "the plate is lowest");
            assert!((f64::from(high[2]) - 6.0).abs() < 0.2, "the shape's top stays");
            assert!(place.low_mm[1] < -5.0 - 7.0, "the shelf is in front");
            // The corner of the L at the patient's left, the leg of the R at the right.
            let dug = |text: &Text, column: f64, row: f64| {
                let at = text.origin_mm + Vector3::new(column + 0.5, row + 0.5, -0.4);
                standing.at(&at) < 0.0
            };
            let [right, _, left] = &place.texts[..] else { panic!("three texts") };
            assert!(left.origin_mm.x > right.origin_mm.x);
            assert!(dug(left, 0.0, 6.0) && dug(left, 4.0, 0.0) && !dug(left, 4.0, 6.0));
            assert!(
                dug(right, 0.0, 0.0) && dug(right, 4.0, 0.0) && dug(right, 3.0, 6.0) && !dug(right, 2.0, 0.0)
            );
        }
    }

    #[test]
    fn base_refuses_letters_that_it_cannot_cut_and_empty_shapes() {
        let grid = VolumeGrid::centred([20; 3], [0.6; 3], Matrix3::identity(), Point3::origin()).unwrap();
        let shape = Field::from_fn(grid, |p| 4.0 - p.coords.norm()).unwrap();
        assert!(matches!(shape.on_base(&base("naïve")), Err(PrintingError::Parameter { .. })));
        let small = Base { letter_mm: 1.0, ..base("A") };
        assert!(matches!(shape.on_base(&small), Err(PrintingError::Parameter { .. })));
        let nothing = Field::from_fn(grid, |_| -1.0).unwrap();
        assert!(matches!(nothing.on_base(&base("A")), Err(PrintingError::Empty { .. })));
    }
}
