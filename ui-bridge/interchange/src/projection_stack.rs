//! Stacks of projections that other programs made, each with its geometry.
//!
//! Two forms. A MetaImage (`.mha`, `.mhd`) of `nu x nv x views` with RTK's geometry XML, whose detector
//! millimetres become pixels by the stack's own spacing, origin and direction; or with a text file of matrices
//! that map to pixel index already. And a folder of `proj.raw` (float32 little endian, u fastest) with
//! `meta.json` (`nu`, `nv`, `n`, `su`, `sv`) and `matrices.txt`.

use crate::error::InterchangeError;
use crate::matrices::read_matrices;
use crate::rtk_geometry::{self, RtkGeometry};
use crate::samples::{ByteOrder, SampleLayout, SampleType, fill};
use crate::stored::{Packing, StoredVolume};
use crate::{affine, metaimage};
use carm::{DetectorGrid, Quantity, ScanGeometry, VolumeGrid};
use nalgebra::{Matrix3, Matrix3x4, Point3};
use ndarray::Array3;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Largest cosine between the stack's axis over views and its detector axes.
const STACKING_TOLERANCE: f64 = 1e-6;

/// Projections with the matrix of every view.
#[derive(Clone, Debug)]
pub struct ProjectionStack {
    /// Detector grid, and world millimetres to pixel index of every view.
    pub geometry: ScanGeometry,
    /// `[view, v, u]`, dimensionless, all finite.
    pub line_integrals: Array3<f32>,
    /// Where both came from.
    pub source: StackSource,
}

/// Where a projection stack came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackSource {
    /// The file with the samples.
    pub stack: PathBuf,
    /// The file with the geometry.
    pub geometry: PathBuf,
    /// How the geometry is written.
    pub geometry_format: GeometryFormat,
    /// What was assumed, in words.
    pub warnings: Vec<String>,
}

/// The two ways in which a stack's geometry is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GeometryFormat {
    /// RTK's XML: world to detector millimetres.
    RtkXml,
    /// Twelve numbers a view: world millimetres to pixel index.
    Matrices,
}

/// Reads a projection stack.
///
/// `path`: a `.mha` or `.mhd` stack, a `proj.raw`, its `meta.json`, or the folder of both. `geometry`: an RTK
/// `.xml` or a `.txt` of matrices; may be left out for a raw stack, which has its `matrices.txt` beside it.
///
/// # Errors
/// An unknown extension, sizes that disagree (stack against geometry, file against header), samples or
/// matrices that are not finite, a cylindrical detector, left- and right-handed matrices in one set.
pub fn read_projection_stack(
    path: &Path,
    geometry: Option<&Path>,
) -> Result<ProjectionStack, InterchangeError> {
    let (stored, default_geometry) = open_stack(path)?;
    let geometry_path = geometry.map(Path::to_path_buf).or(default_geometry).ok_or_else(|| {
        let expected = "a geometry file (RTK .xml, or .txt of matrices) with the stack";
        InterchangeError::content(path, "geometry", expected, "none")
    })?;
    let (matrices, geometry_format) = pixel_matrices(&geometry_path, &stored.grid)?;
    let [nu, nv, views] = stored.grid.shape;
    if matrices.len() != views {
        let matrices = matrices.len();
        return Err(InterchangeError::ViewCount {
            path: path.into(),
            geometry: geometry_path,
            views,
            matrices,
        });
    }
    let detector = DetectorGrid::new([nu, nv], [stored.grid.spacing_mm[0], stored.grid.spacing_mm[1]])
        .map_err(InterchangeError::geometry(path))?;
    let geometry = ScanGeometry::from_matrices(detector, matrices)
        .map_err(InterchangeError::geometry(&geometry_path))?;
    let (line_integrals, mut warnings) = stored.read_array()?;
    require_finite(path, &line_integrals)?;
    if stored.layout.sample_type.is_integer() {
        let name = stored.layout.sample_type.name();
        warnings.push(format!("{name} samples were taken as line integrals, not as detector counts"));
    }
    let source =
        StackSource { stack: stored.samples_path, geometry: geometry_path, geometry_format, warnings };
    Ok(ProjectionStack { geometry, line_integrals, source })
}

/// The stack's header as a grid `nu x nv x views`, and the geometry that lies beside it, if any.
pub(crate) fn open_stack(path: &Path) -> Result<(StoredVolume, Option<PathBuf>), InterchangeError> {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    if path.is_dir() || matches!(extension.as_str(), "raw" | "json") {
        let folder = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new("")) };
        let samples = if extension == "raw" { path.into() } else { folder.join("proj.raw") };
        let meta = if extension == "json" { path.into() } else { folder.join("meta.json") };
        return Ok((open_raw(&samples, &meta)?, Some(folder.join("matrices.txt"))));
    }
    match extension.as_str() {
        "mha" | "mhd" => Ok((metaimage::open(path)?, None)),
        other => Err(InterchangeError::UnknownFormat {
            path: path.into(),
            expected: "a projection stack (.mha, .mhd, or a folder with proj.raw and meta.json)",
            found: format!("extension {other:?}"),
        }),
    }
}

/// The fields of `meta.json` that tell how `proj.raw` is to be read; others are of no matter here.
#[derive(serde::Deserialize)]
struct RawMeta {
    nu: i64,
    nv: i64,
    n: i64,
    su: f64,
    sv: f64,
}

fn open_raw(samples: &Path, meta: &Path) -> Result<StoredVolume, InterchangeError> {
    /// Longest `meta.json` that is read.
    const META_BYTES_MAX: usize = 1 << 20;
    let mut file = File::open(meta).map_err(InterchangeError::io(meta, "open"))?;
    let mut text = vec![0; META_BYTES_MAX];
    let got = fill(&mut file, &mut text).map_err(InterchangeError::io(meta, "read"))?;
    let fields: RawMeta = serde_json::from_slice(&text[..got]).map_err(|error| {
        let expected = "JSON with nu, nv, n (whole numbers), su, sv (mm)";
        InterchangeError::content(meta, "projection stack", expected, error.to_string())
    })?;
    let (shape, count) = affine::checked_shape(meta, [fields.nu, fields.nv, fields.n])?;
    let half = |n: usize, s: f64| -(n as f64 - 1.0) / 2.0 * s;
    // The detector's millimetres are counted from the middle of the image.
    let origin = Point3::new(half(shape[0], fields.su), half(shape[1], fields.sv), 0.0);
    let grid = VolumeGrid::new(shape, [fields.su, fields.sv, 1.0], Matrix3::identity(), origin)
        .map_err(InterchangeError::geometry(meta))?;
    let layout = SampleLayout {
        sample_type: SampleType::F32,
        byte_order: ByteOrder::Little,
        count,
        slope: 1.0,
        intercept: 0.0,
    };
    let length = std::fs::metadata(samples).map_err(InterchangeError::io(samples, "open"))?.len();
    let stored = StoredVolume {
        samples_path: samples.into(),
        offset: 0,
        packing: Packing::Plain,
        layout,
        grid,
        quantity: Quantity::Unknown,
        frame_of_reference_uid: None,
        warnings: Vec::new(),
    };
    // A raw file has no header of its own: more bytes are as wrong as fewer.
    if layout.bytes() != Some(length) {
        return Err(InterchangeError::Size {
            path: samples.into(),
            sizes: stored.sizes(),
            expected_bytes: layout.bytes().unwrap_or(u64::MAX),
            found_bytes: length,
        });
    }
    Ok(stored)
}

/// World millimetres to pixel index of every view.
fn pixel_matrices(
    path: &Path,
    stack: &VolumeGrid,
) -> Result<(Vec<Matrix3x4<f64>>, GeometryFormat), InterchangeError> {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    match extension.as_str() {
        "txt" => Ok((read_matrices(path)?, GeometryFormat::Matrices)),
        "xml" => {
            let geometry = rtk_geometry::read(path)?;
            Ok((rtk_pixel_matrices(path, &geometry, stack)?, GeometryFormat::RtkXml))
        }
        other => Err(InterchangeError::UnknownFormat {
            path: path.into(),
            expected: "a scan geometry (RTK .xml, or .txt with 12 numbers a view)",
            found: format!("extension {other:?}"),
        }),
    }
}

/// RTK's matrices end in detector millimetres; the stack's spacing, origin and direction lead on to pixels.
fn rtk_pixel_matrices(
    path: &Path,
    geometry: &RtkGeometry,
    stack: &VolumeGrid,
) -> Result<Vec<Matrix3x4<f64>>, InterchangeError> {
    let radius = geometry.radius_cylindrical_detector_mm;
    if radius != 0.0 {
        let found = format!("a cylinder of radius {radius} mm");
        return Err(InterchangeError::content(path, "RadiusCylindricalDetector", "a flat detector", found));
    }
    let d = &stack.direction;
    let off_axis = [d[(2, 0)], d[(2, 1)], d[(0, 2)], d[(1, 2)]].into_iter().map(f64::abs).fold(0.0, f64::max);
    if off_axis > STACKING_TOLERANCE {
        let found = format!("a direction matrix with {off_axis:.3e} off that axis");
        return Err(InterchangeError::content(path, "stack", "views along the stack's third axis", found));
    }
    let [su, sv, _] = stack.spacing_mm;
    let detector_from_pixel = Matrix3::new(
        d[(0, 0)] * su,
        d[(0, 1)] * sv,
        stack.origin.x,
        d[(1, 0)] * su,
        d[(1, 1)] * sv,
        stack.origin.y,
        0.0,
        0.0,
        1.0,
    );
    let pixel_from_detector = detector_from_pixel.try_inverse().ok_or_else(|| {
        InterchangeError::content(path, "stack", "an invertible detector direction", "a singular one")
    })?;
    Ok(geometry.detector_matrices_mm().iter().map(|matrix| pixel_from_detector * matrix).collect())
}

fn require_finite(path: &Path, line_integrals: &Array3<f32>) -> Result<(), InterchangeError> {
    let is_bad = |value: &&f32| !value.is_finite();
    let bad = line_integrals.iter().filter(is_bad).count();
    if bad == 0 {
        return Ok(());
    }
    let first = line_integrals.indexed_iter().find(|(_, value)| !value.is_finite()).map(|(index, _)| index);
    let (view, v, u) = first.unwrap_or_default();
    let found =
        format!("{bad} of {} not finite, the first in view {view} at u {u}, v {v}", line_integrals.len());
    Err(InterchangeError::content(path, "line integrals", "finite numbers", found))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrices::write_matrices;
    use carm::converters::RtkParameters;
    use std::fs;

    fn views() -> Vec<RtkParameters> {
        let view = |degrees: f64| RtkParameters {
            source_to_isocenter_mm: 700.0,
            source_to_detector_mm: 1100.0,
            gantry_angle_rad: degrees.to_radians(),
            projection_offset_u_mm: 1.5,
            source_offset_y_mm: -2.0,
            ..RtkParameters::default()
        };
        [10.0, 55.0].map(view).to_vec()
    }

    /// A stack of 2 views, 3 x 5 pixels, off centre and with its columns running backwards.
    fn write_stack(folder: &Path, samples: usize) -> PathBuf {
        let path = folder.join("stack.mha");
        let mut bytes = b"NDims = 3\nDimSize = 3 5 2\nElementSpacing = 0.5 0.75 1\nOffset = 4 -2 0\n\
            TransformMatrix = -1 0 0 0 1 0 0 0 1\nElementType = MET_FLOAT\nElementDataFile = LOCAL\n"
            .to_vec();
        bytes.extend((0..samples).flat_map(|i| (i as f32).to_le_bytes()));
        fs::write(&path, bytes).unwrap();
        path
    }

    #[test]
    fn projection_stack_pixels_follow_the_stacks_own_spacing_origin_and_direction() {
        let folder = tempfile::tempdir().unwrap();
        let stack_path = write_stack(folder.path(), 30);
        let xml = folder.path().join("g.xml");
        rtk_geometry::write(&RtkGeometry { views: views(), ..RtkGeometry::default() }, &xml).unwrap();
        let stack = read_projection_stack(&stack_path, Some(&xml)).unwrap();
        assert_eq!(stack.line_integrals[[1, 2, 1]], 22.0);
        let point = Point3::new(3.0, -7.0, 11.0);
        for (view, parameters) in stack.geometry.views().iter().zip(views()) {
            let detector = parameters.detector_matrix_mm() * point.to_homogeneous();
            let (u_mm, v_mm) = (detector.x / detector.z, detector.y / detector.z);
            let image = view.project(&point);
            assert!((image.u - (4.0 - u_mm) / 0.5).abs() < 1e-9);
            assert!((image.v - (v_mm + 2.0) / 0.75).abs() < 1e-9);
            assert!(image.depth_mm > 0.0);
        }
    }

    #[test]
    fn projection_stack_and_raw_folder_refuse_sizes_that_disagree() {
        let folder = tempfile::tempdir().unwrap();
        let stack_path = write_stack(folder.path(), 30);
        let matrices: Vec<_> = views().iter().map(RtkParameters::detector_matrix_mm).collect();
        let three = folder.path().join("three.txt");
        write_matrices(&[&matrices[..], &matrices[..1]].concat(), &three).unwrap();
        let text = read_projection_stack(&stack_path, Some(&three)).unwrap_err().to_string();
        assert!(text.contains("2 views") && text.contains("3 matrices"), "{text}");
        let text =
            read_projection_stack(&write_stack(folder.path(), 29), Some(&three)).unwrap_err().to_string();
        assert!(text.contains("2 views"), "{text}");

        write_matrices(&matrices, &folder.path().join("matrices.txt")).unwrap();
        fs::write(
            folder.path().join("meta.json"),
            r#"{"nu":3,"nv":5,"n":2,"su":0.5,"sv":0.75,"arc_deg":200}"#,
        )
        .unwrap();
        let samples: Vec<u8> = (0..30).flat_map(|i| (i as f32).to_le_bytes()).collect();
        fs::write(folder.path().join("proj.raw"), &samples).unwrap();
        let stack = read_projection_stack(folder.path(), None).unwrap();
        assert_eq!(stack.line_integrals[[1, 4, 2]], 29.0);
        assert_eq!(stack.geometry.detector().pixel_pitch_v_mm, 0.75);
        fs::write(folder.path().join("proj.raw"), &samples[..100]).unwrap();
        let text = read_projection_stack(folder.path(), None).unwrap_err().to_string();
        assert!(text.contains("120 bytes") && text.contains("found 100"), "{text}");
    }

    #[test]
    fn projection_stack_refuses_nan_and_absent_geometry() {
        let folder = tempfile::tempdir().unwrap();
        let stack_path = write_stack(folder.path(), 30);
        let text = read_projection_stack(&stack_path, None).unwrap_err().to_string();
        assert!(text.contains("expected a geometry file"), "{text}");
        let mut bytes = fs::read(&stack_path).unwrap();
        let end = bytes.len();
        bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
        fs::write(&stack_path, bytes).unwrap();
        let txt = folder.path().join("m.txt");
        let matrices: Vec<_> = views().iter().map(RtkParameters::detector_matrix_mm).collect();
        write_matrices(&matrices, &txt).unwrap();
        let text = read_projection_stack(&stack_path, Some(&txt)).unwrap_err().to_string();
        assert!(text.contains("1 of 30") && text.contains("view 1 at u 2, v 4"), "{text}");
        let mut matrices = matrices;
        matrices[1][(0, 0)] = f64::NAN;
        write_matrices(&matrices, &txt).unwrap();
        let text = read_projection_stack(&stack_path, Some(&txt)).unwrap_err().to_string();
        assert!(text.contains("view 1") && text.contains("m.txt"), "{text}");
    }
}
