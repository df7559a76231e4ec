//! Voxel-driven back-projection of filtered views: the contract, the layouts, the choice of backend.
//!
//! The volume is held as columns along one of its index axes, the one nearest to the rotation axis. Where the
//! virtual detector's columns are parallel to it, `u` and the depth are constant along a voxel column and `v`
//! is linear in it: two detector columns are blended once and read along. Each voxel adds its views in the
//! order they come, so the result has one hash for any number of threads, tile or block size.

mod columns;
mod columns_avx2;
mod columns_avx512;
mod columns_in_integers;
mod general;
mod integers;
mod reference;

use crate::error::ReconstructError;
use carm::VolumeGrid;
use nalgebra::{Matrix3x4, Point3, Vector3};
use ndarray::Array3;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

/// Rows of zeros above and below each detector column: whole vectors that only touch the edge stay inside.
pub(crate) const PADDING: usize = 80;

/// A filtered view ready to be smeared back: `columns[u][v]` with `v` fastest, padded by zeros and one copy
/// of each border.
#[derive(Clone, Debug, Default)]
pub struct FilteredView {
    /// Samples of all columns, one after the other.
    pub(crate) columns: Vec<f32>,
    /// Samples from one column to the next.
    pub(crate) stride: usize,
    /// Detector columns.
    pub(crate) nu: usize,
    /// Detector rows.
    pub(crate) nv: usize,
    /// Virtual projection matrix.
    pub(crate) p: Matrix3x4<f64>,
    /// Arc element times focal length: the view's factor before 1/depth².
    pub(crate) scale: f64,
}

impl FilteredView {
    /// An empty view of the given size.
    pub(crate) fn new(nu: usize, nv: usize) -> Self {
        let stride = (nv + 2 * PADDING).next_multiple_of(16);
        // One copied column on either side, so that blending at the border needs no test.
        Self { columns: vec![0.0; stride * (nu + 2)], stride, nu, nv, p: Matrix3x4::zeros(), scale: 0.0 }
    }

    /// A view filtered elsewhere: `rows`, `[v, u]`, seen by `p` whose detector columns are parallel to the volume's,
    /// with its factor before 1/depth².
    ///
    /// # Panics
    /// When `rows` does not hold `size[0]` columns of `size[1]` rows: a bug of the caller.
    pub fn from_rows(rows: &[f32], size: [usize; 2], p: Matrix3x4<f64>, scale: f64) -> Self {
        assert_eq!(rows.len(), size[0] * size[1], "rows of {size:?} samples");
        let mut view = Self { p, scale, ..Self::new(size[0], size[1]) };
        view.fill_from_rows(rows);
        view
    }

    /// An empty view whose memory is there already.
    pub(crate) fn touched(nu: usize, nv: usize) -> Self {
        let mut view = Self::new(nu, nv);
        // Zeros asked for are otherwise mapped at their first use.
        std::hint::black_box(&mut view.columns).fill(0.0);
        view
    }

    /// Fills the padded columns from row-major filtered samples, in parallel over columns.
    pub(crate) fn fill_from_rows(&mut self, rows: &[f32]) {
        use rayon::prelude::*;
        const COLUMNS_AT_ONCE: usize = 16;
        let (nu, nv, stride) = (self.nu, self.nv, self.stride);
        self.columns[stride..stride * (nu + 1)]
            .par_chunks_mut(stride * COLUMNS_AT_ONCE)
            .enumerate()
            .for_each(|(chunk, columns)| {
                let first = chunk * COLUMNS_AT_ONCE;
                let count = columns.len() / stride;
                for v in 0..nv {
                    let row = &rows[v * nu + first..][..count];
                    for (column, value) in row.iter().enumerate() {
                        columns[column * stride + PADDING + v] = *value;
                    }
                }
                for column in columns.chunks_exact_mut(stride) {
                    column[PADDING - 1] = column[PADDING];
                    column[PADDING + nv] = column[PADDING + nv - 1];
                }
            });
        let (head, tail) = self.columns.split_at_mut(stride);
        head.copy_from_slice(&tail[..stride]);
        let (body, last) = self.columns.split_at_mut(stride * (nu + 1));
        last.copy_from_slice(&body[stride * nu..]);
    }

    /// A padded column; `u` from -1 to `nu`.
    fn column(&self, u: i64) -> &[f32] {
        &self.columns[(u + 1) as usize * self.stride..][..self.stride]
    }
}

/// Zeros whose pages are touched now, not under the first views of a spin or after its last.
pub(crate) fn touched_zeros<T: Copy + Default + Send>(count: usize) -> Vec<T> {
    use rayon::prelude::*;
    let mut zeros = vec![T::default(); count];
    zeros.par_chunks_mut(1 << 16).for_each(|part| part.fill(T::default()));
    zeros
}

/// How voxels lie in the accumulator: `[slow][fast][along]`.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnLayout {
    /// The grid that is filled: the whole, or a slab of it.
    pub grid: VolumeGrid,
    /// The whole grid, from which places are computed, so that a slab's are the same to the last bit.
    whole: VolumeGrid,
    /// Where the slab begins along the slow axis.
    first_slow: usize,
    /// Index axis along which columns run.
    pub along: usize,
    slow: usize,
    fast: usize,
    stride: usize,
}

impl ColumnLayout {
    /// Columns along the index axis nearest to `axis`.
    pub fn nearest_to(grid: VolumeGrid, axis: &Vector3<f64>) -> Self {
        let cosine = |index: usize| grid.direction.column(index).dot(axis).abs();
        let along = (0..3).max_by(|&a, &b| cosine(a).total_cmp(&cosine(b))).expect("three axes");
        let (slow, fast) = match along {
            0 => (2, 1),
            1 => (2, 0),
            _ => (1, 0),
        };
        let stride = grid.shape[along].next_multiple_of(16);
        Self { grid, whole: grid, first_slow: 0, along, slow, fast, stride }
    }

    /// The same columns, only those in `range` along the slow axis of the whole grid.
    ///
    /// # Panics
    /// When the range is empty or leaves the grid: a bug of the caller.
    pub(crate) fn slab(&self, range: Range<usize>) -> Self {
        assert!(
            !range.is_empty() && range.end <= self.whole.shape[self.slow],
            "a slab {range:?} in the grid"
        );
        let mut grid = self.whole;
        grid.shape[self.slow] = range.len();
        let mut first = [0.0; 3];
        first[self.slow] = range.start as f64;
        grid.origin = self.whole.point(first[0], first[1], first[2]);
        Self { grid, first_slow: range.start, ..self.clone() }
    }

    /// Index axis along which slabs are cut.
    pub(crate) fn slow_axis(&self) -> usize {
        self.slow
    }

    /// Unit vector along the columns.
    pub fn column_direction(&self) -> Vector3<f64> {
        self.grid.direction.column(self.along).into_owned()
    }

    /// Angle between the columns and `axis`, radians.
    pub fn tilt_rad(&self, axis: &Vector3<f64>) -> f64 {
        self.column_direction().cross(axis).norm().atan2(self.column_direction().dot(axis).abs())
    }

    /// Voxels of a column.
    pub fn column_length(&self) -> usize {
        self.grid.shape[self.along]
    }

    fn slow_count(&self) -> usize {
        self.grid.shape[self.slow]
    }

    fn fast_count(&self) -> usize {
        self.grid.shape[self.fast]
    }

    /// Floats of the accumulator.
    fn len(&self) -> usize {
        self.slow_count() * self.fast_count() * self.stride
    }

    /// Centre of the first voxel of a column.
    pub fn column_start(&self, slow: usize, fast: usize) -> Point3<f64> {
        let mut index = [0.0; 3];
        index[self.slow] = (self.first_slow + slow) as f64;
        index[self.fast] = fast as f64;
        self.whole.point(index[0], index[1], index[2])
    }

    /// From one voxel of a column to the next, mm.
    pub fn column_step(&self) -> Vector3<f64> {
        self.column_direction() * self.grid.spacing_mm[self.along]
    }

    /// Number of columns as `[slow, fast]`.
    pub fn column_counts(&self) -> [usize; 2] {
        [self.slow_count(), self.fast_count()]
    }

    /// Voxels from one column of the accumulator to the next.
    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    /// All columns, padded as the accumulator's are.
    pub(crate) fn empty_columns<T: Clone + Default>(&self) -> Vec<T> {
        vec![T::default(); self.len()]
    }

    /// Puts an accumulator into the order of a volume, `[z, y, x]`.
    pub(crate) fn volume_from_columns<T: Copy + Default + Send + Sync>(&self, columns: &[T]) -> Array3<T> {
        let [nx, ny, nz] = self.grid.shape;
        let mut values = Array3::default((nz, ny, nx));
        self.write_volume(columns, values.as_slice_mut().expect("standard layout"));
        values
    }

    /// As [`Self::volume_from_columns`], into memory that is there.
    pub(crate) fn write_volume<T: Copy + Default + Send + Sync>(&self, columns: &[T], values: &mut [T]) {
        use rayon::prelude::*;
        let [nx, ny, nz] = self.grid.shape;
        assert_eq!(values.len(), nx * ny * nz, "a value for each voxel of the grid");
        let (stride, fast) = (self.stride, self.fast_count());
        match self.along {
            0 => values.par_chunks_mut(nx).enumerate().for_each(|(column, out)| {
                out.copy_from_slice(&columns[column * stride..][..nx]);
            }),
            1 => values.par_chunks_mut(nx * ny).enumerate().for_each(|(z, slice)| {
                transpose_into(&columns[z * fast * stride..][..fast * stride], stride, nx, slice, ny);
            }),
            _ => {
                // A few blocks of slices for each task, so that it reads a few lines of the cache from each column.
                let share = nz.div_ceil(rayon::current_num_threads());
                let slices_at_once = share.next_multiple_of(BLOCK).min(BLOCKS_AT_ONCE * BLOCK);
                let parts = values.par_chunks_mut(nx * ny * slices_at_once);
                parts.enumerate().for_each(|(part, slices)| {
                    let count = slices.len() / (nx * ny);
                    transpose_into(&columns[part * slices_at_once..], stride, nx * ny, slices, count);
                });
            }
        }
    }
}

/// A transposed block's side: one line of the cache holds a row of it.
const BLOCK: usize = 16;
/// Blocks of slices that one task transposes at most.
const BLOCKS_AT_ONCE: usize = 4;
/// Rows that are transposed together: so many lines of the cache each page is visited for.
const ROWS_AT_ONCE: usize = 16 * BLOCK;

/// `rows[i][k]`, `i < width` and with the given stride, into `transposed[k][i]`, `k < height`.
///
/// Block by block: rows whose distance is a power of two share the same few cache sets, so that each line of the cache
/// must be written whole before the next one is begun.
fn transpose_into<T: Copy + Default>(
    rows: &[T],
    stride: usize,
    width: usize,
    transposed: &mut [T],
    height: usize,
) {
    for first in (0..width).step_by(ROWS_AT_ONCE) {
        let end = (first + ROWS_AT_ONCE).min(width);
        for k in (0..height).step_by(BLOCK) {
            let high = BLOCK.min(height - k);
            for i in (first..end).step_by(BLOCK) {
                let wide = BLOCK.min(end - i);
                let mut block = [[T::default(); BLOCK]; BLOCK];
                for (across, row) in rows[i * stride + k..].chunks(stride).take(wide).enumerate() {
                    for (line, value) in block.iter_mut().zip(&row[..high]) {
                        line[across] = *value;
                    }
                }
                for (line, block) in transposed[k * width + i..].chunks_mut(width).zip(&block[..high]) {
                    line[..wide].copy_from_slice(&block[..wide]);
                }
            }
        }
    }
}

/// Which instructions the CPU backend uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// Plain Rust for any CPU.
    Portable,
    /// 256-bit permutes and dot products of 16-bit integers.
    Avx2,
    /// The same with 512 bits (AVX512F and BW), to the last bit.
    Avx512,
}

impl Isa {
    /// The best that this CPU has.
    pub fn detect() -> Self {
        [Self::Avx512, Self::Avx2].into_iter().find(|isa| isa.is_available()).unwrap_or(Self::Portable)
    }

    /// Whether this CPU has it.
    pub fn is_available(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        match self {
            Self::Portable => true,
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            Self::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && Self::Avx2.is_available()
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        matches!(self, Self::Portable)
    }
}

/// Who back-projects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// The equation in `f64`: slow, defines correct.
    Reference,
    /// The CPU with its best instructions.
    #[default]
    Cpu,
    /// The CPU with instructions of the caller's choice.
    CpuForced(Isa),
}

impl Backend {
    const NAMES: [(&'static str, Self); 5] = [
        ("reference", Self::Reference),
        ("cpu", Self::Cpu),
        ("cpu-portable", Self::CpuForced(Isa::Portable)),
        ("cpu-avx2", Self::CpuForced(Isa::Avx2)),
        ("cpu-avx512", Self::CpuForced(Isa::Avx512)),
    ];
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::NAMES.iter().find(|(_, backend)| backend == self).map_or("cpu", |(name, _)| name);
        f.write_str(name)
    }
}

impl FromStr for Backend {
    type Err = ReconstructError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::NAMES.iter().find(|(name, _)| *name == text).map(|(_, backend)| *backend);
        match found {
            Some(Self::CpuForced(isa)) if !isa.is_available() => Err(ReconstructError::BadOption {
                option: "backend",
                expected: "instructions that this CPU has".into(),
                found: text.into(),
            }),
            Some(backend) => Ok(backend),
            None => Err(ReconstructError::BadOption {
                option: "backend",
                expected: Self::NAMES.map(|(name, _)| name).join(", "),
                found: text.into(),
            }),
        }
    }
}

/// The backend contract: takes filtered views in order, gives the volume at the end.
///
/// An implementation may keep the volume wherever it likes (a GPU's memory); it must add views to each voxel
/// in the order given, whatever its tiles, and treat two calls like one call with all views.
pub trait Backprojector: Send {
    /// Name for provenance, such as `cpu-avx512`.
    fn name(&self) -> String;
    /// Adds views.
    fn add(&mut self, views: &[FilteredView]);
    /// Writes the sum of everything added so far, `[z, y, x]`.
    fn write_sum(&self, values: &mut [f32]);
}

/// Makes the chosen backend for a layout. `has_parallel_columns`: the views' detector columns are parallel to
/// the volume's.
pub fn backprojector(
    backend: Backend,
    layout: ColumnLayout,
    has_parallel_columns: bool,
) -> Box<dyn Backprojector> {
    let isa = match backend {
        Backend::Reference => return Box::new(reference::Reference::new(layout)),
        Backend::Cpu => Isa::detect(),
        Backend::CpuForced(isa) => isa,
    };
    if has_parallel_columns {
        Box::new(columns::Columns::new(layout, isa))
    } else {
        Box::new(general::General::new(layout, isa))
    }
}
