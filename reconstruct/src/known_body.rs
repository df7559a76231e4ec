//! Continues truncated rows with a CT of the same body that was registered to the scan.
//!
//! The CT is projected onto each virtual detector and beyond its ends. What the measured row and the CT's differ by at the
//! row's end fades over [`FADE_MM`]: an error of the registration or of the CT's gain leaves no step. A row of which the CT
//! does not know the end is continued with water.

use crate::backproject::{Backend, Isa};
use crate::error::ReconstructError;
use crate::project::{ColumnVolume, DetectorRegion, Projector};
use crate::truncation::{RowEdges, SMOOTHING_ROWS, Sides, is_truncated};
use crate::virtual_detector::{MeasuredSpan, VirtualView};
use carm::{DetectorGrid, ProjectionMatrix, VolumeGrid};
use nalgebra::{Matrix3, Vector3};
use ndarray::Array3;

/// Virtual pixels from one ray to the next, along rows and columns: what lies outside is needed smooth.
const STEP: usize = 4;
/// Measured columns at a row's end that are held against the CT's.
const END_COLUMNS: usize = 8;
/// Way over which the difference at the end falls to 1/e, mm at the isocenter.
const FADE_MM: f64 = 30.0;
/// A CT that shows less than this share of what was measured at a row's end does not know it.
const KNOWN_SHARE: f64 = 0.5;

/// A body in the space of the scan.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownBody {
    /// Where its voxels lie.
    pub grid: VolumeGrid,
    /// `[z, y, x]`, 1/mm.
    pub attenuation_per_mm: Array3<f32>,
}

/// A known body, ready to be projected.
#[derive(Clone, Debug)]
pub(crate) struct Projected {
    projector: Projector,
    volume: ColumnVolume,
}

impl Projected {
    /// # Errors
    /// Voxels that are not the grid's, or not numbers.
    pub(crate) fn new(
        body: &KnownBody,
        axis: &Vector3<f64>,
        backend: Backend,
    ) -> Result<Self, ReconstructError> {
        let isa = match backend {
            Backend::CpuForced(isa) => isa,
            Backend::Reference => Isa::Portable,
            Backend::Cpu => Isa::detect(),
        };
        let projector = Projector::new(body.grid, axis, isa);
        let volume = projector.store(body.attenuation_per_mm.view())?;
        Ok(Self { projector, volume })
    }
}

/// What a known body makes of the rows of one view.
#[derive(Default)]
pub(crate) struct KnownRows {
    /// Every [`STEP`]-th pixel of the virtual detector with its margins, `[v][u]`.
    image: Vec<f32>,
    columns: usize,
    /// Measured less projected at both ends of each row; none where the body does not know the end.
    ends: Vec<[Option<f64>; 2]>,
    smoothed: Vec<[Option<f64>; 2]>,
}

impl KnownRows {
    /// Projects the body onto a view, whose measured `rows` are `nu` long and continued by at most `margin` on either side.
    pub(crate) fn project(
        &mut self,
        body: &Projected,
        view: &VirtualView,
        [nu, margin]: [usize; 2],
        rows: &[f32],
        spans: &[MeasuredSpan],
        edges: &[RowEdges],
    ) {
        let with_margins = Matrix3::new(1.0, 0.0, margin as f64, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0) * view.p;
        let matrix = ProjectionMatrix::new(with_margins).expect("a shifted detector is one");
        // One ray more in each direction: values between rays are always between two.
        let detector = DetectorGrid::new([nu + 2 * margin + STEP, spans.len() + STEP], [1.0; 2])
            .expect("a detector with pixels");
        let region = DetectorRegion::every(&detector, STEP);
        self.columns = region.nu;
        self.image.resize(region.pixel_count(), 0.0);
        body.projector.project_into(&body.volume, &matrix, region, &mut self.image);
        self.ends.clear();
        for (v, ((row, span), edges)) in rows.chunks_exact(nu).zip(spans).zip(edges).enumerate() {
            let count = END_COLUMNS.min(span.end - span.start);
            let low = span.start..span.start + count;
            let high = span.end - count..span.end;
            let cut = [is_truncated(edges.low), is_truncated(edges.high)];
            self.ends.push([low, high].map(|columns| self.difference(row, columns, margin, v)));
            for (end, is_cut) in self.ends[v].iter_mut().zip(cut) {
                *end = end.filter(|_| is_cut);
            }
        }
        self.smooth();
    }

    fn difference(
        &self,
        row: &[f32],
        columns: std::ops::Range<usize>,
        margin: usize,
        v: usize,
    ) -> Option<f64> {
        let count = columns.len() as f64;
        let measured = columns.clone().map(|u| f64::from(row[u])).sum::<f64>() / count;
        let known = columns.map(|u| self.at(u + margin, v)).sum::<f64>() / count;
        (known > KNOWN_SHARE * measured).then_some(measured - known)
    }

    /// Averages differences over neighbouring rows, so that noise does not turn into streaks.
    fn smooth(&mut self) {
        self.smoothed.clear();
        for (v, ends) in self.ends.iter().enumerate() {
            let near =
                &self.ends[v.saturating_sub(SMOOTHING_ROWS)..(v + SMOOTHING_ROWS + 1).min(self.ends.len())];
            let mean = |end: usize| {
                let (sum, count) = near
                    .iter()
                    .filter_map(|ends| ends[end])
                    .fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
                ends[end].map(|_| sum / count)
            };
            self.smoothed.push([mean(0), mean(1)]);
        }
    }

    /// Between rays; `u` counts the margin's columns.
    fn at(&self, u: usize, v: usize) -> f64 {
        let ray = |row: usize, column: usize| f64::from(self.image[row * self.columns + column]);
        let (column, row) = (u / STEP, v / STEP);
        let share = |place: usize| (place % STEP) as f64 / STEP as f64;
        let along = |row: usize| ray(row, column) * (1.0 - share(u)) + ray(row, column + 1) * share(u);
        along(row) * (1.0 - share(v)) + along(row + 1) * share(v)
    }

    /// Continues the ends that the body knows of row `v`, and gives back the sides that are left to water.
    pub(crate) fn continue_row(
        &self,
        extended: &mut [f32],
        margin: usize,
        span: MeasuredSpan,
        v: usize,
        sides: Sides,
        pitch_mm: f64,
    ) -> Sides {
        let [low, high] = self.smoothed[v];
        let value = |difference: f64, u: usize, columns: usize| {
            (self.at(u, v) + difference * (-(columns as f64) * pitch_mm / FADE_MM).exp()).max(0.0) as f32
        };
        let (first, end) = (span.start + margin, span.end + margin);
        if let (true, Some(difference)) = (sides.low, low) {
            for (u, sample) in extended[..first].iter_mut().enumerate() {
                *sample = value(difference, u, first - u);
            }
        }
        if let (true, Some(difference)) = (sides.high, high) {
            for (i, sample) in extended[end..].iter_mut().enumerate() {
                *sample = value(difference, end + i, i + 1);
            }
        }
        Sides { low: sides.low && low.is_none(), high: sides.high && high.is_none() }
    }
}
