//! Fewer triangles, within a stated distance, without breaking the surface.
//!
//! Edges are collapsed in the order of their quadric error. A collapse happens only where it keeps the surface
//! closed and manifold (link condition), turns no triangle over, leaves every original vertex within the allowed
//! distance of the triangles that now stand for it, and every new vertex and triangle's middle within it of the original
//! surface, and makes no triangle meet another, decided exactly. So a sound
//! surface stays sound whatever the order and wherever the work stops.

mod collapse;
mod neighbourhood;
mod piece;
mod quadric;
#[cfg(test)]
mod tests;
mod whole;

use crate::check::topology_of;
use crate::error::PrintingError;
use crate::hausdorff::NearestSurface;
use crate::progress::{Progress, advance};
use carm::TriangleMesh;
use collapse::Surface;
use rayon::prelude::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use whole::{Cuts, Share, Taken, Whole};

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

/// Collapses looked at between two reports of progress.
const REPORT_EVERY: usize = 4096;
/// Triangles of a block, about: so many that little of it is border, so few that caches hold it.
const BLOCK_FACES: usize = 40_000;
/// Share of what is to go that blocks leave to the whole, which knows best where to take it: a tenth costs little time, and
/// with nothing left a surface that loses most of its triangles ends a third farther from what it was.
const LEFT_TO_WHOLE: f64 = 0.1;

/// Collapses edges until `target_faces` are left, or none can go without leaving `max_error_mm`.
///
/// `max_error_mm`: greatest distance of every original vertex from the new surface, and of every new vertex and
/// triangle's middle from the original one.
///
/// # Errors
/// `Unsound` for a mesh that is not closed and manifold; `Parameter`; `Cancelled`.
///
/// # Method
/// Garland and Heckbert, SIGGRAPH 1997; link condition after Dey and others, Publ. Inst. Math. 66, 1999. Vertices
/// on plane regions are held by a weak pull to the edge's middle. Large surfaces are worked on in blocks at the same
/// time, first in one set of blocks, then in one whose borders lie in the middle of the first, at last as a whole
/// for what the blocks left over; the result does not depend on the number of threads.
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
    decimate_in_blocks(mesh, target_faces, max_error_mm, mesh.triangles.len() / BLOCK_FACES, progress)
}

fn decimate_in_blocks(
    mesh: &TriangleMesh,
    target_faces: usize,
    max_error_mm: f64,
    blocks: usize,
    progress: &mut dyn Progress,
) -> Result<Decimated, PrintingError> {
    let faces_before = mesh.triangles.len();
    if faces_before <= target_faces {
        return Ok(Decimated { mesh: mesh.clone(), faces_before, deviation_mm: 0.0 });
    }
    let mut whole = Whole::new(mesh);
    let original = NearestSurface::new(mesh)?;
    let work = Work {
        original: &original,
        max_error_mm,
        faces_left: 1.0 - (1.0 - LEFT_TO_WHOLE) * (1.0 - target_faces as f64 / faces_before as f64),
        to_remove: faces_before - target_faces,
        removed: AtomicUsize::new(0),
        progress: Mutex::new(progress),
    };
    if blocks > 1 {
        let [first, second] = whole.cuts(blocks);
        let shares: Vec<usize> = whole.blocks(&second).iter().map(|block| work.share(block.begun)).collect();
        work.round(&mut whole, &first, |_, block| block.own() - work.share(block.own()))?;
        work.round(&mut whole, &second, |i, block| block.begun.saturating_sub(shares[i]))?;
    }
    let rest = whole.face_count().saturating_sub(target_faces);
    if rest > 0 {
        work.round(&mut whole, &Cuts::NONE, |_, _| rest)?;
    }
    let deviation_mm = whole.deviation_mm();
    Ok(Decimated { mesh: whole.into_mesh(), faces_before, deviation_mm })
}

/// What all blocks of all rounds share.
struct Work<'a> {
    original: &'a NearestSurface<'a>,
    max_error_mm: f64,
    /// Part of the triangles that is to be left.
    faces_left: f64,
    to_remove: usize,
    removed: AtomicUsize,
    progress: Mutex<&'a mut dyn Progress>,
}

impl Work<'_> {
    /// Triangles that blocks leave to the whole, which then takes the cheapest wherever they are.
    fn share(&self, faces: usize) -> usize {
        (faces as f64 * self.faces_left) as usize
    }

    /// Works on all blocks at the same time, and puts them back in order.
    fn round(
        &self,
        whole: &mut Whole,
        cuts: &Cuts,
        to_remove: impl Fn(usize, &Share) -> usize + Sync,
    ) -> Result<(), PrintingError> {
        let from = &*whole;
        let done: Vec<Taken> = from
            .blocks(cuts)
            .into_par_iter()
            .enumerate()
            .with_max_len(1)
            .map(|(i, share)| {
                let most = to_remove(i, &share);
                let limits = from.limits(self.original, self.max_error_mm, cuts.block(i));
                let mut ended = Ok(());
                let taken = from.piece(share).worked(limits, |surface| ended = self.remove(surface, most));
                ended.map(|()| taken)
            })
            .collect::<Result<_, _>>()?;
        done.into_iter().for_each(|taken| whole.take_back(taken));
        Ok(())
    }

    fn remove(&self, surface: &mut Surface<'_>, most: usize) -> Result<(), PrintingError> {
        let (mut looked_at, mut told) = (0_usize, 0);
        while surface.removed() < most && surface.collapse_next() {
            if looked_at.is_multiple_of(REPORT_EVERY) {
                let since = surface.removed() - std::mem::replace(&mut told, surface.removed());
                let done = self.removed.fetch_add(since, Ordering::Relaxed) + since;
                let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
                advance(*progress, "decimate", done, self.to_remove)?;
            }
            looked_at += 1;
        }
        Ok(())
    }
}
