//! Words on a model: side, level, scale, case. Readable from outside, never mirrored.

use crate::error::PrintingError;
use crate::field::{Field, filled};
use nalgebra::{Point3, Unit, Vector3};

/// Words on a plane.
#[derive(Clone, Debug, PartialEq)]
pub struct Text {
    /// Letters, digits and `- . : / + %`; lower case is written as capitals.
    pub words: String,
    /// Lower left corner of the first letter, on the surface, mm.
    pub origin_mm: Point3<f64>,
    /// Out of the model, towards the reader.
    pub outward: Unit<Vector3<f64>>,
    /// Upwards for the reader; what of it lies along `outward` is left out.
    pub up: Unit<Vector3<f64>>,
    /// Height of capitals, mm.
    pub height_mm: f64,
    /// How deep letters are cut in, or how high they stand out, mm.
    pub depth_mm: f64,
}

/// Whether letters are cut in or stand out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relief {
    /// Cut into the surface.
    Engraved,
    /// Standing out of it.
    Embossed,
}

/// Rows and columns of a letter's squares, and columns from one letter to the next.
const ROWS: usize = 7;
const COLUMNS: usize = 5;
const ADVANCE: f64 = 6.0;

impl Text {
    /// Width of the words, mm.
    pub fn width_mm(&self) -> f64 {
        let letters = self.words.chars().count() as f64;
        (letters * ADVANCE - 1.0).max(0.0) * self.square_mm()
    }

    fn square_mm(&self) -> f64 {
        self.height_mm / ROWS as f64
    }

    /// Squares that are set, as column and row from the origin.
    fn squares(&self) -> Result<Vec<[f64; 2]>, PrintingError> {
        let mut squares = Vec::new();
        for (place, letter) in self.words.chars().enumerate() {
            let rows = glyph(letter).ok_or(PrintingError::Parameter {
                what: "letter, as a code point",
                expected: "letters, digits, space or one of - . : / + %",
                found: f64::from(u32::from(letter)),
            })?;
            for (row, bits) in rows.iter().enumerate() {
                for column in (0..COLUMNS).filter(|column| bits >> (COLUMNS - 1 - column) & 1 == 1) {
                    squares.push([place as f64 * ADVANCE + column as f64, (ROWS - 1 - row) as f64]);
                }
            }
        }
        Ok(squares)
    }
}

impl Field {
    /// This shape with words cut in or standing out.
    ///
    /// Strokes are a seventh of the letters' height wide; they should be two voxels or more.
    ///
    /// # Errors
    /// `Parameter` for letters that the font has not, sizes that are not positive, strokes narrower than a voxel, or an
    /// upward direction along the outward one.
    pub fn with_text(&self, text: &Text, relief: Relief) -> Result<Self, PrintingError> {
        let coarsest = self.grid.spacing_mm.into_iter().fold(0.0, f64::max);
        if !(text.square_mm() >= coarsest && text.height_mm.is_finite()) {
            return Err(PrintingError::Parameter {
                what: "width of letters' strokes in mm",
                expected: "at least the voxel spacing",
                found: text.square_mm(),
            });
        }
        if !(text.depth_mm > 0.0 && text.depth_mm.is_finite()) {
            return Err(PrintingError::Parameter {
                what: "depth of letters in mm",
                expected: "more than zero",
                found: text.depth_mm,
            });
        }
        let upright = text.up.into_inner() - text.outward.into_inner() * text.up.dot(&text.outward);
        let Some(up) = upright.try_normalize(1e-6) else {
            return Err(PrintingError::Parameter {
                what: "cosine between upward and outward",
                expected: "less than one",
                found: text.up.dot(&text.outward).abs(),
            });
        };
        // The reader looks against `outward`: with y up and z towards them, x is to their right.
        let right = up.cross(&text.outward);
        let squares = text.squares()?;
        let stamp = Stamp { text, squares: &squares, right, up };
        let values = filled(&self.grid, |[x, y, z]| {
            let value = self.values[[z, y, x]];
            let letter = stamp.distance_mm(&self.grid.point(x as f64, y as f64, z as f64), coarsest) as f32;
            match relief {
                Relief::Engraved => value.min(-letter),
                Relief::Embossed => value.max(letter),
            }
        });
        Ok(Self { grid: self.grid, values })
    }
}

/// Letters as a body around the plane, twice their depth thick.
struct Stamp<'a> {
    text: &'a Text,
    squares: &'a [[f64; 2]],
    right: Vector3<f64>,
    up: Vector3<f64>,
}

impl Stamp<'_> {
    /// Signed distance, positive inside; far away only a bound.
    fn distance_mm(&self, point: &Point3<f64>, coarsest: f64) -> f64 {
        let from = point - self.text.origin_mm;
        let across = from.dot(&self.text.outward).abs() - self.text.depth_mm;
        let far = -4.0 * coarsest;
        let square = self.text.square_mm();
        let (u, v) = (from.dot(&self.right), from.dot(&self.up));
        let is_beside = u < far || v < far || u > self.text.width_mm() - far || v > self.text.height_mm - far;
        if across > -far || is_beside {
            return far;
        }
        let flat = self.squares.iter().map(|[column, row]| {
            let beyond = |at: f64, start: f64| (start * square - at).max(at - (start + 1.0) * square);
            // Squares that touch are one: half a hundredth of overlap leaves no seam.
            0.005 * square - beyond(u, *column).max(beyond(v, *row))
        });
        flat.fold(far, f64::max).min(-across)
    }
}

/// Rows of a letter from above, five bits each, the highest to the left.
fn glyph(letter: char) -> Option<[u8; ROWS]> {
    let rows = match letter.to_ascii_uppercase() {
        ' ' => ["     ", "     ", "     ", "     ", "     ", "     ", "     "],
        'A' => [" ### ", "#   #", "#   #", "#####", "#   #", "#   #", "#   #"],
        'B' => ["#### ", "#   #", "#   #", "#### ", "#   #", "#   #", "#### "],
        'C' => [" ####", "#    ", "#    ", "#    ", "#    ", "#    ", " ####"],
        'D' => ["#### ", "#   #", "#   #", "#   #", "#   #", "#   #", "#### "],
        'E' => ["#####", "#    ", "#    ", "#### ", "#    ", "#    ", "#####"],
        'F' => ["#####", "#    ", "#    ", "#### ", "#    ", "#    ", "#    "],
        'G' => [" ####", "#    ", "#    ", "#  ##", "#   #", "#   #", " ### "],
        'H' => ["#   #", "#   #", "#   #", "#####", "#   #", "#   #", "#   #"],
        'I' => [" ### ", "  #  ", "  #  ", "  #  ", "  #  ", "  #  ", " ### "],
        'J' => ["  ###", "    #", "    #", "    #", "    #", "#   #", " ### "],
        'K' => ["#   #", "#  ##", "# ## ", "##   ", "# ## ", "#  ##", "#   #"],
        'L' => ["#    ", "#    ", "#    ", "#    ", "#    ", "#    ", "#####"],
        'M' => ["#   #", "## ##", "#####", "# # #", "#   #", "#   #", "#   #"],
        'N' => ["#   #", "##  #", "### #", "# ###", "#  ##", "#   #", "#   #"],
        'O' => [" ### ", "#   #", "#   #", "#   #", "#   #", "#   #", " ### "],
        'P' => ["#### ", "#   #", "#   #", "#### ", "#    ", "#    ", "#    "],
        'Q' => [" ### ", "#   #", "#   #", "#   #", "# # #", "#  ##", " ####"],
        'R' => ["#### ", "#   #", "#   #", "#### ", "# ## ", "#  ##", "#   #"],
        'S' => [" ####", "#    ", "#    ", " ### ", "    #", "    #", "#### "],
        'T' => ["#####", "  #  ", "  #  ", "  #  ", "  #  ", "  #  ", "  #  "],
        'U' => ["#   #", "#   #", "#   #", "#   #", "#   #", "#   #", " ### "],
        'V' => ["#   #", "#   #", "#   #", "#   #", "## ##", " ### ", "  #  "],
        'W' => ["#   #", "#   #", "#   #", "# # #", "#####", "## ##", "#   #"],
        'X' => ["#   #", "## ##", " ### ", "  #  ", " ### ", "## ##", "#   #"],
        'Y' => ["#   #", "## ##", " ### ", "  #  ", "  #  ", "  #  ", "  #  "],
        'Z' => ["#####", "    #", "   ##", "  ## ", " ##  ", "##   ", "#####"],
        '0' => [" ### ", "#   #", "#  ##", "# # #", "##  #", "#   #", " ### "],
        '1' => ["  #  ", " ##  ", "  #  ", "  #  ", "  #  ", "  #  ", " ### "],
        '2' => [" ### ", "#   #", "    #", "   ##", " ### ", "##   ", "#####"],
        '3' => ["#### ", "    #", "    #", " ### ", "    #", "    #", "#### "],
        '4' => ["#   #", "#   #", "#   #", "#####", "    #", "    #", "    #"],
        '5' => ["#####", "#    ", "#    ", "#### ", "    #", "    #", "#### "],
        '6' => [" ### ", "#    ", "#    ", "#### ", "#   #", "#   #", " ### "],
        '7' => ["#####", "    #", "   ##", "  ## ", "  #  ", "  #  ", "  #  "],
        '8' => [" ### ", "#   #", "#   #", " ### ", "#   #", "#   #", " ### "],
        '9' => [" ### ", "#   #", "#   #", " ####", "    #", "    #", " ### "],
        '-' => ["     ", "     ", "     ", "#####", "     ", "     ", "     "],
        '+' => ["     ", "  #  ", "  #  ", "#####", "  #  ", "  #  ", "     "],
        '.' => ["     ", "     ", "     ", "     ", "     ", " ##  ", " ##  "],
        ':' => ["     ", " ##  ", " ##  ", "     ", " ##  ", " ##  ", "     "],
        '/' => ["    #", "   ##", "  ## ", "  #  ", " ##  ", "##   ", "#    "],
        '%' => ["##  #", "## ##", "  ## ", "  #  ", " ##  ", "## ##", "#  ##"],
        _ => return None,
    };
    Some(rows.map(|row| row.bytes().fold(0, |bits, square| bits << 1 | u8::from(square == b'#'))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Silent, Solid, check, surface};
    use carm::VolumeGrid;
    use nalgebra::Matrix3;

    /// A plate whose upper face, at z = 0, carries words; left-handed grids change nothing for the reader.
    fn plate(words: &str, relief: Relief, mirror: f64) -> (Field, Text) {
        let direction = Matrix3::from_diagonal(&[mirror, 1.0, 1.0].into());
        let grid = VolumeGrid::centred([140, 50, 20], [0.3; 3], direction, Point3::origin()).unwrap();
        let slab =
            Solid::Cuboid { low_mm: Point3::new(-19.0, -6.0, -2.0), high_mm: Point3::new(19.0, 6.0, 0.0) };
        let text = Text {
            words: words.into(),
            origin_mm: Point3::new(-17.0, -3.5, 0.0),
            outward: Vector3::z_axis(),
            up: Vector3::y_axis(),
            height_mm: 7.0,
            depth_mm: 0.8,
        };
        let field = Field::from_fn(grid, |p| slab.distance_mm(p)).unwrap();
        (field.with_text(&text, relief).unwrap(), text)
    }

    /// What a reader at +z sees of the level 0.4 mm below the face: rows from above, columns from left to right.
    fn read(field: &Field, text: &Text, columns: usize) -> Vec<String> {
        let square = text.height_mm / 7.0;
        (0..7)
            .map(|row| {
                (0..columns)
                    .map(|column| {
                        let x = text.origin_mm.x + (column as f64 + 0.5) * square;
                        let y = text.origin_mm.y + (6.5 - row as f64) * square;
                        if field.at(&Point3::new(x, y, -0.4)) > 0.0 { ' ' } else { '#' }
                    })
                    .collect()
            })
            .collect()
    }

    #[test]
    fn engraved_letters_read_from_outside_and_are_not_mirrored() {
        for mirror in [1.0, -1.0] {
            let (field, text) = plate("L4 R", Relief::Engraved, mirror);
            assert_eq!(
                read(&field, &text, 23),
                [
                    "#     #   #       #### ",
                    "#     #   #       #   #",
                    "#     #   #       #   #",
                    "#     #####       #### ",
                    "#         #       # ## ",
                    "#         #       #  ##",
                    "#####     #       #   #"
                ]
            );
            let report = check(&surface(&field, &mut Silent).unwrap());
            assert!(report.is_sound(), "{report}");
        }
    }

    #[test]
    fn embossed_letters_add_their_volume() {
        let (plain, _) = plate("", Relief::Embossed, 1.0);
        let (field, text) = plate("TH12", Relief::Embossed, 1.0);
        let volume = |field: &Field| check(&surface(field, &mut Silent).unwrap()).volume_mm3;
        let expected = text.squares().unwrap().len() as f64 * 0.8;
        let added = volume(&field) - volume(&plain);
        assert!((added / expected - 1.0).abs() < 0.12, "{added} of {expected}");
    }

    #[test]
    fn text_refuses_what_it_cannot_write() {
        let (field, text) = plate("", Relief::Engraved, 1.0);
        for bad in [
            Text { words: "L4 ü".into(), ..text.clone() },
            Text { height_mm: 1.0, ..text.clone() },
            Text { depth_mm: f64::NAN, ..text.clone() },
            Text { up: text.outward, ..text.clone() },
        ] {
            let refused = field.with_text(&bad, Relief::Engraved);
            assert!(matches!(refused, Err(PrintingError::Parameter { .. })), "{bad:?}");
        }
    }
}
