//! A cube projected onto every view of a scan and its projections given back: what `benches/peers/compare.py` runs beside
//! RTK's projectors.
//!
//! Arguments: a folder as of `benches/peers/data_set.py` (`proj.raw`, `matrices.txt`), the raw cube, `n` and its voxels in
//! mm, `nu nv su sv` of the detector, `portable`, `avx2` or `avx512`, runs of which the fastest counts, and the raw stack to
//! write. Prints one JSON object. Threads: `RAYON_NUM_THREADS`.

use carm::{DetectorGrid, ScanGeometry, VolumeGrid};
use nalgebra::{Matrix3, Matrix3x4, Point3};
use ndarray::Array3;
use reconstruct::project::{DetectorRegion, Projector, ViewImage};
use reconstruct::{Isa, Orbit};
use std::error::Error;
use std::path::Path;
use std::time::Instant;

/// Views that the transpose takes together, as a subset of OS-SART.
const SUBSET: usize = 10;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, cube, n, voxel_mm, nu, nv, su, sv, isa, runs, out] = arguments.as_slice() else {
        return Err("usage: project_stack FOLDER CUBE n VOXEL_MM nu nv su sv INSTRUCTIONS RUNS OUT".into());
    };
    let isa = match isa.as_str() {
        "portable" => Isa::Portable,
        "avx2" => Isa::Avx2,
        "avx512" => Isa::Avx512,
        other => {
            return Err(format!("instructions: expected portable, avx2 or avx512, found {other}").into());
        }
    };
    if !isa.is_available() {
        return Err(format!("{isa:?}: this CPU does not have it").into());
    }
    let n: usize = n.parse()?;
    let grid = VolumeGrid::centred([n; 3], [voxel_mm.parse()?; 3], Matrix3::identity(), Point3::origin())?;
    let values = Array3::from_shape_vec([n; 3], floats(Path::new(cube))?)?;
    let detector = DetectorGrid::new([nu.parse()?, nv.parse()?], [su.parse()?, sv.parse()?])?;
    let scan = scan(&Path::new(folder).join("matrices.txt"), detector)?;
    let measured = floats(&Path::new(folder).join("proj.raw"))?;
    let pixels = detector.pixel_count();
    if measured.len() != scan.views().len() * pixels {
        return Err(format!(
            "proj.raw: expected {} views, found {} samples",
            scan.views().len(),
            measured.len()
        )
        .into());
    }

    let orbit = Orbit::fit(scan.views())?;
    let projector = Projector::new(grid, &orbit.axis, isa);
    let volume = projector.store(values.view())?;
    let region = DetectorRegion::whole(&detector);
    let views = scan.views().len() as f64;
    let mut projected = vec![0.0; measured.len()];
    let (mut forward_s, mut back_s) = (f64::INFINITY, f64::INFINITY);
    let mut given_back = projector.column_grid().zeros();
    for _ in 0..runs.parse()? {
        let start = Instant::now();
        for (view, image) in scan.views().iter().zip(projected.chunks_exact_mut(pixels)) {
            projector.project_into(&volume, view, region, image);
        }
        forward_s = forward_s.min(start.elapsed().as_secs_f64() / views);
        let start = Instant::now();
        given_back = projector.column_grid().zeros();
        let images: Vec<ViewImage<'_>> = scan
            .views()
            .iter()
            .zip(measured.chunks_exact(pixels))
            .map(|(view, values)| ViewImage { view, region, values })
            .collect();
        for images in images.chunks(SUBSET) {
            projector.add_back(images, &mut given_back);
        }
        back_s = back_s.min(start.elapsed().as_secs_f64() / views);
    }
    // <A x, y> against <x, A' y>, x the cube and y the measured views.
    let of_rays = dot(&projected, &measured);
    let given_back = projector.to_array(&given_back);
    let of_voxels = dot(values.as_slice().ok_or("a cube")?, given_back.as_slice().ok_or("a cube")?);
    let bytes: Vec<u8> = projected.iter().flat_map(|value| value.to_le_bytes()).collect();
    std::fs::write(out, bytes)?;
    println!(
        "{{\"instructions\": \"{isa:?}\", \"threads\": {}, \"views\": {views}, \"forward_s_per_view\": {forward_s:.6}, \
         \"back_s_per_view\": {back_s:.6}, \"adjoint_mismatch\": {:.3e}}}",
        rayon::current_num_threads(),
        (of_rays / of_voxels - 1.0).abs()
    );
    Ok(())
}

fn floats(path: &Path) -> Result<Vec<f32>, Box<dyn Error>> {
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(bytes.as_chunks().0.iter().map(|&four| f32::from_le_bytes(four)).collect())
}

fn scan(path: &Path, detector: DetectorGrid) -> Result<ScanGeometry, Box<dyn Error>> {
    let numbers =
        std::fs::read_to_string(path)?.split_whitespace().map(str::parse).collect::<Result<Vec<f64>, _>>()?;
    Ok(ScanGeometry::from_matrices(detector, numbers.chunks_exact(12).map(Matrix3x4::from_row_slice))?)
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}
