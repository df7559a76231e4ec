//! The geometry file of RTK, the Reconstruction Toolkit: an XML list of nine parameters a view.
//!
//! Format: RTK's `ThreeDCircularProjectionGeometryXMLFileReader`/`Writer`, version 3. A parameter that stands
//! before the views, or in an earlier view, holds until it is set again. Each view also carries its `Matrix`
//! (world millimetres to detector millimetres, 3x4); RTK refuses a file whose matrix and parameters disagree,
//! and so does [`read`]. Angles are degrees in the file and radians here.
//!
//! ```
//! use carm::converters::RtkParameters;
//! use interchange::rtk_geometry::{self, RtkGeometry};
//!
//! let view = RtkParameters {
//!     source_to_isocenter_mm: 785.0,
//!     source_to_detector_mm: 1200.0,
//!     ..RtkParameters::default()
//! };
//! let folder = tempfile::tempdir().unwrap();
//! let path = folder.path().join("geometry.xml");
//! rtk_geometry::write(&RtkGeometry { views: vec![view], ..RtkGeometry::default() }, &path).unwrap();
//! assert_eq!(rtk_geometry::read(&path).unwrap().views, [view]);
//! ```

use crate::atomic::write_file;
use crate::error::InterchangeError;
use carm::converters::RtkParameters;
use nalgebra::Matrix3x4;
use quick_xml::Reader;
use quick_xml::events::Event;
use std::fmt::Write as _;
use std::path::Path;

/// Longest geometry file that is read: 10 000 views take about 5 MiB.
const FILE_BYTES_MAX: u64 = 1 << 28;
/// Largest entry-wise difference between a view's matrix and its parameters, relative to the row's norm. RTK
/// writes about 15 digits; other programs write six.
const MATRIX_TOLERANCE: f64 = 1e-5;

/// What an RTK geometry file tells.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RtkGeometry {
    /// The nine parameters of every view.
    pub views: Vec<RtkParameters>,
    /// World to detector millimetres of every view, as written in the file; empty when made from parameters.
    pub matrices: Vec<Matrix3x4<f64>>,
    /// Radius of a cylindrical detector, mm; 0 for a flat one.
    pub radius_cylindrical_detector_mm: f64,
}

impl RtkGeometry {
    /// World millimetres to detector millimetres, one a view: the file's matrices, else those of the parameters.
    pub fn detector_matrices_mm(&self) -> Vec<Matrix3x4<f64>> {
        if self.matrices.is_empty() {
            return self.views.iter().map(RtkParameters::detector_matrix_mm).collect();
        }
        self.matrices.clone()
    }
}

/// Reads a geometry file.
///
/// # Errors
/// What is no such XML, a number that is not finite, a view whose matrix disagrees with its parameters.
pub fn read(path: &Path) -> Result<RtkGeometry, InterchangeError> {
    let length = std::fs::metadata(path).map_err(InterchangeError::io(path, "open"))?.len();
    if length > FILE_BYTES_MAX {
        let found = format!("{length} bytes");
        return Err(InterchangeError::content(path, "RTK geometry", "at most 256 MiB", found));
    }
    let bytes = std::fs::read(path).map_err(InterchangeError::io(path, "read"))?;
    let mut parser = Parser::new(path);
    let mut reader = Reader::from_reader(&bytes[..]);
    let mut buffer = Vec::new();
    loop {
        let at = reader.buffer_position();
        let broken =
            |cause: String| InterchangeError::content(path, format!("byte {at}"), "well-formed XML", cause);
        match reader.read_event_into(&mut buffer).map_err(|error| broken(error.to_string()))? {
            Event::Start(tag) => parser.start(tag.name().as_ref())?,
            Event::Text(text) => parser.text.push_str(&text),
            Event::End(tag) => parser.end(tag.name().as_ref())?,
            Event::Eof => return parser.finish(),
            _ => {}
        }
        buffer.clear();
    }
}

/// Where the parser stands: parameters set so far, the text since the last tag, the views so far.
struct Parser<'a> {
    path: &'a Path,
    is_rtk: bool,
    depth: usize,
    text: String,
    current: RtkParameters,
    matrix: Option<Matrix3x4<f64>>,
    geometry: RtkGeometry,
}

impl<'a> Parser<'a> {
    fn new(path: &'a Path) -> Self {
        Self {
            path,
            is_rtk: false,
            depth: 0,
            text: String::new(),
            current: RtkParameters::default(),
            matrix: None,
            geometry: RtkGeometry::default(),
        }
    }

    fn start(&mut self, name: &str) -> Result<(), InterchangeError> {
        if self.depth == 0 {
            if name != "RTKThreeDCircularGeometry" {
                let expected = "RTKThreeDCircularGeometry";
                return Err(InterchangeError::content(self.path, "root element", expected, name));
            }
            self.is_rtk = true;
        }
        self.depth += 1;
        self.text.clear();
        Ok(())
    }

    fn end(&mut self, name: &str) -> Result<(), InterchangeError> {
        self.depth = self.depth.saturating_sub(1);
        match name {
            "SourceToIsocenterDistance" => self.current.source_to_isocenter_mm = self.number(name)?,
            "SourceToDetectorDistance" => self.current.source_to_detector_mm = self.number(name)?,
            "GantryAngle" => self.current.gantry_angle_rad = self.number(name)?.to_radians(),
            "OutOfPlaneAngle" => self.current.out_of_plane_angle_rad = self.number(name)?.to_radians(),
            "InPlaneAngle" => self.current.in_plane_angle_rad = self.number(name)?.to_radians(),
            "ProjectionOffsetX" => self.current.projection_offset_u_mm = self.number(name)?,
            "ProjectionOffsetY" => self.current.projection_offset_v_mm = self.number(name)?,
            "SourceOffsetX" => self.current.source_offset_x_mm = self.number(name)?,
            "SourceOffsetY" => self.current.source_offset_y_mm = self.number(name)?,
            "RadiusCylindricalDetector" => {
                self.geometry.radius_cylindrical_detector_mm = self.number(name)?;
            }
            "Matrix" => self.matrix = Some(Matrix3x4::from_row_slice(&self.numbers(name, 12)?)),
            "Projection" => self.end_of_view()?,
            // Collimation and what later versions add: no part of the geometry of rays.
            _ => {}
        }
        self.text.clear();
        Ok(())
    }

    fn end_of_view(&mut self) -> Result<(), InterchangeError> {
        let view = self.geometry.views.len();
        let computed = self.current.detector_matrix_mm();
        let matrix = self.matrix.take().unwrap_or(computed);
        for row in 0..3 {
            let scale = computed.row(row).norm();
            let difference = (matrix.row(row) - computed.row(row)).abs().max();
            if difference.is_nan() || difference > MATRIX_TOLERANCE * scale {
                return Err(InterchangeError::content(
                    self.path,
                    format!("Matrix of view {view}"),
                    "the matrix of the view's parameters",
                    format!("a difference of {difference:.3e} in row {row} of norm {scale:.3e}"),
                ));
            }
        }
        self.geometry.views.push(self.current);
        self.geometry.matrices.push(matrix);
        Ok(())
    }

    fn number(&self, name: &str) -> Result<f64, InterchangeError> {
        Ok(self.numbers(name, 1)?[0])
    }

    fn numbers(&self, name: &str, count: usize) -> Result<Vec<f64>, InterchangeError> {
        let numbers: Option<Vec<f64>> = self.text.split_whitespace().map(|word| word.parse().ok()).collect();
        numbers
            .filter(|numbers| numbers.len() == count && numbers.iter().all(|number| number.is_finite()))
            .ok_or_else(|| {
                let view = self.geometry.views.len();
                let found = self.text.trim().chars().take(200).collect::<String>();
                let what = format!("{name} of view {view}");
                InterchangeError::content(self.path, what, format!("{count} finite numbers"), found)
            })
    }

    fn finish(self) -> Result<RtkGeometry, InterchangeError> {
        let wrong =
            |what, expected, found: &str| Err(InterchangeError::content(self.path, what, expected, found));
        if !self.is_rtk {
            return wrong("RTK geometry", "an element RTKThreeDCircularGeometry", "none");
        }
        if self.depth > 0 {
            return wrong("RTK geometry", "closed elements", "the end of the file inside one");
        }
        if self.geometry.views.is_empty() {
            return wrong("RTK geometry", "at least one Projection", "none");
        }
        Ok(self.geometry)
    }
}

/// Writes a geometry file that RTK reads: every parameter in every view, each with its matrix.
///
/// # Errors
/// What the file system refuses.
pub fn write(geometry: &RtkGeometry, path: &Path) -> Result<(), InterchangeError> {
    let text = to_xml(geometry);
    write_file(path, |writer| writer.write_all(text.as_bytes()))
}

fn to_xml(geometry: &RtkGeometry) -> String {
    let mut text = String::from(
        "<?xml version=\"1.0\"?>\n<!DOCTYPE RTKGEOMETRY>\n<RTKThreeDCircularGeometry version=\"3\">\n",
    );
    let radius = geometry.radius_cylindrical_detector_mm;
    if radius != 0.0 {
        let _ = writeln!(text, "  <RadiusCylindricalDetector>{radius}</RadiusCylindricalDetector>");
    }
    for (view, matrix) in geometry.views.iter().zip(geometry.detector_matrices_mm()) {
        text.push_str("  <Projection>\n");
        for (name, value) in [
            ("SourceToIsocenterDistance", view.source_to_isocenter_mm),
            ("SourceToDetectorDistance", view.source_to_detector_mm),
            ("SourceOffsetX", view.source_offset_x_mm),
            ("SourceOffsetY", view.source_offset_y_mm),
            ("ProjectionOffsetX", view.projection_offset_u_mm),
            ("ProjectionOffsetY", view.projection_offset_v_mm),
            ("InPlaneAngle", view.in_plane_angle_rad.to_degrees()),
            ("OutOfPlaneAngle", view.out_of_plane_angle_rad.to_degrees()),
            ("GantryAngle", view.gantry_angle_rad.to_degrees()),
        ] {
            let _ = writeln!(text, "    <{name}>{value}</{name}>");
        }
        text.push_str("    <Matrix>\n");
        for row in matrix.row_iter() {
            let _ = writeln!(text, "      {} {} {} {}", row[0], row[1], row[2], row[3]);
        }
        text.push_str("    </Matrix>\n  </Projection>\n");
    }
    text.push_str("</RTKThreeDCircularGeometry>\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn awkward(gantry_deg: f64) -> RtkParameters {
        RtkParameters {
            source_to_isocenter_mm: 1000.0,
            source_to_detector_mm: 1500.0,
            gantry_angle_rad: gantry_deg.to_radians(),
            projection_offset_u_mm: 1.0,
            projection_offset_v_mm: 2.0,
            out_of_plane_angle_rad: 3.0_f64.to_radians(),
            in_plane_angle_rad: 4.0_f64.to_radians(),
            source_offset_x_mm: 5.0,
            source_offset_y_mm: 6.0,
        }
    }

    #[test]
    fn rtk_geometry_comes_back_with_matrices() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("g.xml");
        let geometry = RtkGeometry { views: vec![awkward(10.0), awkward(350.0)], ..RtkGeometry::default() };
        write(&geometry, &path).unwrap();
        let read = read(&path).unwrap();
        for (found, expected) in read.detector_matrices_mm().iter().zip(geometry.detector_matrices_mm()) {
            assert!((found - expected).abs().max() < 1e-9);
        }
        assert!((read.views[1].gantry_angle_rad - 350_f64.to_radians()).abs() < 1e-14);
    }

    /// Written by RTK 2.7.0 (`AddProjection(1000, 1500, gantry, offset_x, 2, out_of_plane, 4, 5, 6)`).
    const BY_RTK: &str = "<?xml version=\"1.0\"?>
<!DOCTYPE RTKGEOMETRY>
<RTKThreeDCircularGeometry version=\"3\">
    <SourceToIsocenterDistance>1000</SourceToIsocenterDistance>
    <SourceToDetectorDistance>1500</SourceToDetectorDistance>
    <SourceOffsetX>5</SourceOffsetX>
    <SourceOffsetY>6</SourceOffsetY>
    <ProjectionOffsetY>2</ProjectionOffsetY>
    <InPlaneAngle>4</InPlaneAngle>
  <Projection>
    <GantryAngle>10</GantryAngle>
    <ProjectionOffsetX>1</ProjectionOffsetX>
    <OutOfPlaneAngle>3</OutOfPlaneAngle>
    <Matrix>
        -1473.87050023186   -104.700656206795    258.378639086397                3500
         90.1398569279845   -1494.50472892326   -91.3587511901591                5000
        0.173410198874506 -0.0523359562429438   0.983458108213279               -1000
    </Matrix>
  </Projection>
  <Projection>
    <GantryAngle>20</GantryAngle>
    <ProjectionOffsetX>1.5</ProjectionOffsetX>
    <OutOfPlaneAngle>0</OutOfPlaneAngle>
    <Matrix>
        -1404.90829468405   -104.634710616188     515.06942334235                4000
         99.6925460174035   -1496.34607538974   -32.0284082386448                5000
        0.342020143325669                   0   0.939692620785908               -1000
    </Matrix>
  </Projection>
</RTKThreeDCircularGeometry>
";

    #[test]
    fn rtk_geometry_reads_rtks_own_file_and_agrees_with_its_matrices() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("g.xml");
        fs::write(&path, BY_RTK).unwrap();
        let geometry = read(&path).unwrap();
        assert_eq!(geometry.views[0], awkward(10.0));
        assert_eq!(geometry.matrices[1][(0, 3)], 4000.0);
        for (view, matrix) in geometry.views.iter().zip(&geometry.matrices) {
            assert!((view.detector_matrix_mm() - matrix).abs().max() < 1e-9);
        }
    }

    #[test]
    fn rtk_geometry_holds_values_until_they_are_set_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("g.xml");
        fs::write(
            &path,
            "<RTKThreeDCircularGeometry version=\"3\"><SourceToIsocenterDistance>700</SourceToIsocenterDistance>\
             <SourceToDetectorDistance>1100</SourceToDetectorDistance>\
             <Projection><GantryAngle>10</GantryAngle><SourceOffsetX>3</SourceOffsetX></Projection>\
             <Projection><GantryAngle>20</GantryAngle></Projection></RTKThreeDCircularGeometry>",
        )
        .unwrap();
        let geometry = read(&path).unwrap();
        assert_eq!(geometry.views.len(), 2);
        assert_eq!(geometry.views[1].source_offset_x_mm, 3.0);
        assert_eq!(geometry.views[1].source_to_isocenter_mm, 700.0);
    }

    #[test]
    fn rtk_geometry_refuses_what_contradicts_itself_and_garbage() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("g.xml");
        let good = to_xml(&RtkGeometry { views: vec![awkward(10.0)], ..RtkGeometry::default() });
        let error_of = |text: &str| {
            fs::write(&path, text).unwrap();
            read(&path).unwrap_err().to_string()
        };
        let contradicting = good.replace("<SourceOffsetX>5<", "<SourceOffsetX>6<");
        assert!(error_of(&contradicting).contains("Matrix of view 0"));
        let nan = good.replace("<GantryAngle>", "<GantryAngle>NaN ");
        assert!(error_of(&nan).contains("GantryAngle of view 0"));
        assert!(error_of("").contains("none"));
        assert!(error_of("<html></html>").contains("html"));
        assert!(!error_of(&good[..good.len() / 2]).is_empty());
    }
}
