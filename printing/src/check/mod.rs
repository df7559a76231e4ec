//! What is wrong with a mesh, counted exactly.
//!
//! Vertices with the same coordinates are one vertex, as in an STL file, which has nothing but coordinates; so the
//! counts hold for any order and any file. All decisions are exact: indices and orientation determinants.

pub(crate) mod intersect;
mod selfmeet;
#[cfg(test)]
mod tests;
mod topology;

use crate::bvh::Bounds;
use crate::error::PrintingError;
use carm::TriangleMesh;
use selfmeet::SelfMeetings;
pub(crate) use selfmeet::triangles_meet;
use std::fmt;
use topology::Topology;

/// A kind of defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum DefectKind {
    /// A triangle that names a missing vertex or a coordinate that is not finite.
    InvalidFace,
    /// A side of one triangle only: a hole's rim.
    OpenEdge,
    /// A side of more than two triangles.
    NonManifoldEdge,
    /// A vertex where several fans of triangles touch.
    NonManifoldVertex,
    /// Two triangles that run along their common side in the same direction.
    InconsistentEdge,
    /// A triangle with the same corners as an earlier one.
    DuplicateFace,
    /// A triangle without an area.
    DegenerateFace,
    /// Two triangles that meet elsewhere than in what they share.
    SelfIntersection,
}

impl fmt::Display for DefectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InvalidFace => "invalid faces",
            Self::OpenEdge => "open edges",
            Self::NonManifoldEdge => "non-manifold edges",
            Self::NonManifoldVertex => "non-manifold vertices",
            Self::InconsistentEdge => "inconsistently oriented edges",
            Self::DuplicateFace => "duplicate faces",
            Self::DegenerateFace => "degenerate faces",
            Self::SelfIntersection => "self-intersections",
        })
    }
}

/// All defects of one kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Defects {
    /// Which kind.
    pub kind: DefectKind,
    /// How many.
    pub count: usize,
    /// Where the first ones are, mm; empty for coordinates that are not finite.
    pub places_mm: Vec<[f32; 3]>,
}

/// What a mesh is and what is wrong with it.
#[derive(Clone, Debug, PartialEq)]
pub struct MeshReport {
    /// Triangles.
    pub faces: usize,
    /// Different places among the vertices that valid triangles name.
    pub vertices: usize,
    /// Vertices named by triangles beyond the first at their place.
    pub coincident_vertices: usize,
    /// Every kind of which there is at least one.
    pub defects: Vec<Defects>,
    /// Triangles that take part in a self-intersection.
    pub self_intersecting_faces: usize,
    /// False when the search for self-intersections ended early, at a million: there are more.
    pub is_search_complete: bool,
    /// Parts whose triangles hang together by sides.
    pub components: usize,
    /// Handles of all parts; known for closed manifold surfaces.
    pub genus: Option<usize>,
    /// Volume within, mm³; positive when the surface faces outward. Meaningful for closed surfaces.
    pub volume_mm3: f64,
    /// Area, mm².
    pub area_mm2: f64,
    /// Least and greatest coordinates of the valid triangles, mm.
    pub bounds_mm: Option<[[f32; 3]; 2]>,
}

impl MeshReport {
    /// How many defects of a kind there are.
    pub fn count(&self, kind: DefectKind) -> usize {
        self.defects.iter().find(|defects| defects.kind == kind).map_or(0, |defects| defects.count)
    }

    /// A closed manifold surface, consistently oriented outward, without degenerate or duplicate triangles or
    /// self-intersections.
    pub fn is_sound(&self) -> bool {
        self.faces > 0 && self.defects.is_empty() && self.volume_mm3 > 0.0
    }

    /// Sound, or an error that names and counts every defect.
    ///
    /// # Errors
    /// `Unsound`.
    pub fn require_sound(&self) -> Result<(), PrintingError> {
        if self.is_sound() { Ok(()) } else { Err(PrintingError::Unsound { found: self.to_string() }) }
    }
}

impl fmt::Display for MeshReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} faces", self.faces)?;
        for defects in &self.defects {
            let more = if self.is_search_complete || defects.kind != DefectKind::SelfIntersection {
                ""
            } else {
                "more than "
            };
            write!(f, ", {more}{} {}", defects.count, defects.kind)?;
        }
        if self.defects.is_empty() && self.faces > 0 && self.volume_mm3 <= 0.0 {
            write!(f, ", facing inward (volume {:.3} mm³)", self.volume_mm3)?;
        }
        Ok(())
    }
}

/// Examines a mesh, however broken.
pub fn check(mesh: &TriangleMesh) -> MeshReport {
    let topology = Topology::new(mesh);
    let meetings = SelfMeetings::find(&topology);
    let mut defects = topology.defects();
    if !meetings.places.is_empty() {
        defects.push(Defects {
            kind: DefectKind::SelfIntersection,
            count: meetings.pairs,
            places_mm: meetings.places,
        });
    }
    let bounds =
        topology.triangles.iter().fold(Bounds::EMPTY, |all, t| all.union(&Bounds::of(&topology.corners(t))));
    let (volume_mm3, area_mm2) = volume_and_area(&topology, &bounds);
    MeshReport {
        faces: mesh.triangles.len(),
        vertices: topology.places_mm.len(),
        coincident_vertices: topology.coincident_vertices,
        defects,
        self_intersecting_faces: meetings.faces,
        is_search_complete: meetings.is_complete,
        components: topology.components,
        genus: topology.genus(),
        volume_mm3,
        area_mm2,
        bounds_mm: (!topology.triangles.is_empty()).then_some([bounds.low, bounds.high]),
    }
}

/// Whether a triangle has an area, exactly.
pub(crate) fn has_area(corners: [[f32; 3]; 3]) -> bool {
    intersect::projection(corners).is_some()
}

/// Refuses a mesh that is not closed and manifold with proper triangles; self-intersections are not looked for.
pub(crate) fn topology_of(mesh: &TriangleMesh) -> Result<(), PrintingError> {
    let topology = Topology::new(mesh);
    let mut found: Vec<String> =
        topology.defects().iter().map(|defects| format!("{} {}", defects.count, defects.kind)).collect();
    if topology.coincident_vertices > 0 {
        found.push(format!("{} vertices at the place of another", topology.coincident_vertices));
    }
    if mesh.triangles.is_empty() {
        found.push("no triangles".into());
    }
    if found.is_empty() { Ok(()) } else { Err(PrintingError::Unsound { found: found.join(", ") }) }
}

/// Signed volume and area, mm³ and mm².
fn volume_and_area(topology: &Topology, bounds: &Bounds) -> (f64, f64) {
    // About the middle, where the signed parts are smallest.
    let middle = [0, 1, 2].map(|i| 0.5 * (f64::from(bounds.low[i]) + f64::from(bounds.high[i])));
    let (mut volume, mut area) = (0.0, 0.0);
    for triangle in &topology.triangles {
        let [a, b, c] = topology
            .corners(triangle)
            .map(|p| nalgebra::Vector3::from_fn(|i, _| f64::from(p[i]) - middle[i]));
        volume += a.dot(&b.cross(&c)) / 6.0;
        area += (b - a).cross(&(c - a)).norm() / 2.0;
    }
    (volume, area)
}
