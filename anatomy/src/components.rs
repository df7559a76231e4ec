//! Connected components, bounding boxes, and holes.

use crate::lattice::Lattice;

/// One connected piece.
#[derive(Clone, Debug, PartialEq)]
pub struct Component {
    /// Its voxels, in the order in which they were found; the first is the lowest index.
    pub voxels: Vec<usize>,
}

/// Pieces of a mask that hang together by faces, in the order of their first voxel.
pub fn components(mask: &[bool], lattice: &Lattice) -> Vec<Component> {
    let mut seen = vec![false; mask.len()];
    let mut found = Vec::new();
    for start in 0..mask.len() {
        if mask[start] && !seen[start] {
            found.push(Component { voxels: gathered(mask, lattice, start, &mut seen) });
        }
    }
    found
}

/// The voxels of the piece of a mask that a voxel of it belongs to.
pub fn piece_at(mask: &[bool], lattice: &Lattice, start: usize) -> Vec<usize> {
    gathered(mask, lattice, start, &mut vec![false; mask.len()])
}

fn gathered(mask: &[bool], lattice: &Lattice, start: usize, seen: &mut [bool]) -> Vec<usize> {
    let mut voxels = vec![start];
    seen[start] = true;
    let mut next = 0;
    while next < voxels.len() {
        lattice.for_neighbours(voxels[next], |neighbour, _| {
            if mask[neighbour] && !seen[neighbour] {
                seen[neighbour] = true;
                voxels.push(neighbour);
            }
        });
        next += 1;
    }
    voxels
}

/// The mask of some components.
pub fn mask_of<'a>(components: impl IntoIterator<Item = &'a Component>, lattice: &Lattice) -> Vec<bool> {
    let mut mask = vec![false; lattice.len()];
    for component in components {
        for voxel in &component.voxels {
            mask[*voxel] = true;
        }
    }
    mask
}

/// First and last index along z, y and x of the voxels that a mask has; none for an empty one.
pub fn bounding_box(mask: &[bool], lattice: &Lattice) -> Option<[[usize; 2]; 3]> {
    let mut bounds: Option<[[usize; 2]; 3]> = None;
    for (row, line) in mask.chunks(lattice.shape[2]).enumerate() {
        let Some(first) = line.iter().position(|voxel| *voxel) else { continue };
        let last = line.iter().rposition(|voxel| *voxel).unwrap_or(first);
        let (z, y) = (row / lattice.shape[1], row % lattice.shape[1]);
        let bounds = bounds.get_or_insert([[z, z], [y, y], [first, last]]);
        for (bound, at) in bounds.iter_mut().zip([[z, z], [y, y], [first, last]]) {
            *bound = [bound[0].min(at[0]), bound[1].max(at[1])];
        }
    }
    bounds
}

/// Holes of one slice: pieces of the background that do not reach the slice's border.
///
/// `is_solid(row, column)` tells the mask; each hole lists `(row, column)`.
pub fn holes_of_slice(
    rows: usize,
    columns: usize,
    is_solid: impl Fn(usize, usize) -> bool,
) -> Vec<Vec<(usize, usize)>> {
    let mut seen: Vec<bool> = (0..rows * columns).map(|i| is_solid(i / columns, i % columns)).collect();
    let border = (0..columns)
        .flat_map(|column| [(0, column), (rows - 1, column)])
        .chain((0..rows).flat_map(|row| [(row, 0), (row, columns - 1)]));
    for start in border {
        if !seen[start.0 * columns + start.1] {
            region_of_slice(rows, columns, start, &mut seen);
        }
    }
    let mut holes = Vec::new();
    for index in 0..rows * columns {
        if !seen[index] {
            holes.push(region_of_slice(rows, columns, (index / columns, index % columns), &mut seen));
        }
    }
    holes
}

fn region_of_slice(
    rows: usize,
    columns: usize,
    start: (usize, usize),
    seen: &mut [bool],
) -> Vec<(usize, usize)> {
    let mut region = vec![start];
    seen[start.0 * columns + start.1] = true;
    let mut next = 0;
    while next < region.len() {
        let (row, column) = region[next];
        next += 1;
        let mut visit = |row: usize, column: usize| {
            if !seen[row * columns + column] {
                seen[row * columns + column] = true;
                region.push((row, column));
            }
        };
        if row > 0 {
            visit(row - 1, column);
        }
        if row + 1 < rows {
            visit(row + 1, column);
        }
        if column > 0 {
            visit(row, column - 1);
        }
        if column + 1 < columns {
            visit(row, column + 1);
        }
    }
    region
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_hang_together_by_faces_only() {
        let lattice = Lattice { shape: [2, 2, 3], spacing_mm: [1.0; 3] };
        let mut mask = vec![false; 12];
        for at in [[0, 0, 0], [0, 0, 1], [1, 1, 2]] {
            mask[lattice.index(at)] = true;
        }
        let found = components(&mask, &lattice);
        assert_eq!(found.iter().map(|c| c.voxels.len()).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(mask_of(&found, &lattice), mask);
        assert_eq!(bounding_box(&mask, &lattice), Some([[0, 1], [0, 1], [0, 2]]));
        assert_eq!(bounding_box(&[false; 12], &lattice), None);
    }

    #[test]
    fn holes_of_a_ring_are_its_inside() {
        let ring = |row: usize, column: usize| (row.abs_diff(3)).max(column.abs_diff(4)) == 2;
        let holes = holes_of_slice(7, 9, ring);
        assert_eq!(holes.len(), 1);
        assert_eq!(holes[0].len(), 9);
        let broken = |row: usize, column: usize| ring(row, column) && (row, column) != (1, 4);
        assert!(holes_of_slice(7, 9, broken).is_empty());
    }
}
