//! Fewer triangles, within a stated distance, without breaking the surface.
//!
//! Edges are collapsed in the order of their quadric error. A collapse happens only where it keeps the surface
//! closed and manifold (link condition), turns no triangle over, leaves every original vertex within the allowed
//! distance of the triangles that now stand for it, and makes no triangle meet another, decided exactly. So a sound
//! surface stays sound whatever the order and wherever the work stops.

mod collapse;
mod neighbourhood;
mod quadric;
#[cfg(test)]
mod tests;

use crate::check::topology_of;
use crate::error::PrintingError;
use crate::progress::{Progress, advance};
use carm::TriangleMesh;
use collapse::Surface;

/// A surface with fewer triangles.
#[derive(Clone, Debug, PartialEq)]
pub struct Decimated {
    /// The surface.
    pub mesh: TriangleMesh,
    /// Triangles before.
    pub faces_before: usize,
    /// Largest distance of an original vertex from the surface that stands for it, mm. [`crate::hausdorff`] says
    /// what lies between the vertices.
    pub deviation_mm: f64,
}

/// Collapses between two reports of progress.
const REPORT_EVERY: usize = 4096;

/// Collapses edges until `target_faces` are left, or none can go without leaving `max_error_mm`.
///
/// `max_error_mm`: greatest distance of every original vertex from the new surface.
///
/// # Errors
/// `Unsound` for a mesh that is not closed and manifold; `Parameter`; `Cancelled`.
///
/// # Method
/// Garland and Heckbert, SIGGRAPH 1997; link condition after Dey and others, Publ. Inst. Math. 66, 1999. Vertices
/// on plane regions are held by a weak pull to the edge's middle.
pub fn decimate(
    mesh: &TriangleMesh,
    target_faces: usize,
    max_error_mm: f64,
    progress: &mut dyn Progress,
) -> Result<Decimated, PrintingError> {
    if max_error_mm.is_nan() || max_error_mm <= 0.0 {
        return Err(PrintingError::Parameter {
            what: "largest error in mm",
            expected: "more than zero",
            found: max_error_mm,
        });
    }
    topology_of(mesh)?;
    let faces_before = mesh.triangles.len();
    let to_remove = faces_before.saturating_sub(target_faces);
    if to_remove == 0 {
        return Ok(Decimated { mesh: mesh.clone(), faces_before, deviation_mm: 0.0 });
    }
    let mut surface = Surface::new(mesh, target_faces, max_error_mm);
    let mut looked_at = 0;
    while surface.face_count() > target_faces && surface.collapse_next() {
        if looked_at % REPORT_EVERY == 0 {
            advance(progress, "decimate", faces_before - surface.face_count(), to_remove)?;
        }
        looked_at += 1;
    }
    let deviation_mm = surface.deviation_mm();
    Ok(Decimated { mesh: surface.into_mesh(), faces_before, deviation_mm })
}
