//! One field to a mesh, timed step by step: what `benches/peers/mesh_compare.py` runs beside other programs.
//!
//! Arguments: a file of 32-bit little-endian values (x fastest, inside above zero), `nx ny nz`, `sx sy sz` in mm, faces
//! to keep, largest error in mm, the binary STL to write. Prints one JSON object.

use carm::{TriangleMesh, VolumeGrid};
use nalgebra::{Matrix3, Point3};
use ndarray::Array3;
use printing::{Field, Silent, check, decimate, hausdorff, surface};
use std::error::Error;
use std::io::Write;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, nx, ny, nz, sx, sy, sz, faces, error, stl] = arguments.as_slice() else {
        return Err("usage: mesh_from_field FIELD nx ny nz sx sy sz FACES ERROR_MM STL".into());
    };
    let shape = [nx.parse()?, ny.parse()?, nz.parse()?];
    let spacing = [sx.parse()?, sy.parse()?, sz.parse()?];
    let grid = VolumeGrid::new(shape, spacing, Matrix3::identity(), Point3::origin())?;
    let bytes = std::fs::read(file)?;
    let values: Vec<f32> = bytes.as_chunks().0.iter().map(|&four| f32::from_le_bytes(four)).collect();
    let values = Array3::from_shape_vec([shape[2], shape[1], shape[0]], values)?;

    let start = Instant::now();
    let mesh = surface(&Field::new(grid, values)?, &mut Silent)?;
    let surface_s = start.elapsed().as_secs_f64();
    eprintln!("{} faces after {surface_s:.1} s", mesh.triangles.len());
    let less = decimate(&mesh, faces.parse()?, error.parse()?, &mut Silent)?;
    let decimate_s = start.elapsed().as_secs_f64() - surface_s;
    eprintln!("decimated after {decimate_s:.1} s more");
    let report = check(&less.mesh);
    let check_s = start.elapsed().as_secs_f64() - surface_s - decimate_s;
    eprintln!("{report}: checked after {check_s:.1} s more");
    let distance = hausdorff(&mesh, &less.mesh)?;
    let hausdorff_s = start.elapsed().as_secs_f64() - surface_s - decimate_s - check_s;
    write_stl(&less.mesh, stl)?;
    println!(
        "{{\"faces_before\": {}, \"faces\": {}, \"is_sound\": {}, \"report\": \"{report}\", \"components\": {}, \
         \"surface_s\": {surface_s:.3}, \"decimate_s\": {decimate_s:.3}, \"check_s\": {check_s:.3}, \
         \"hausdorff_s\": {hausdorff_s:.3}, \"mean_mm\": {:.5}, \"max_mm\": {:.5}, \"bound_mm\": {:.5}, \
         \"deviation_mm\": {:.5}}}",
        less.faces_before,
        report.faces,
        report.is_sound(),
        report.components,
        distance.mean_mm(),
        distance.max_mm(),
        distance.bound_mm(),
        less.deviation_mm
    );
    Ok(())
}

/// Binary STL: a header of 80 bytes, a count, then normal, corners and two bytes a triangle.
fn write_stl(mesh: &TriangleMesh, path: &str) -> std::io::Result<()> {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    file.write_all(&[0; 80])?;
    file.write_all(&(mesh.triangles.len() as u32).to_le_bytes())?;
    for triangle in &mesh.triangles {
        file.write_all(&[0; 12])?;
        for coordinate in triangle.iter().flat_map(|&vertex| mesh.vertices_mm[vertex as usize]) {
            file.write_all(&coordinate.to_le_bytes())?;
        }
        file.write_all(&[0; 2])?;
    }
    file.flush()
}
