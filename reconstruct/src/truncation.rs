//! Continues truncated rows as if the body ended in a cylinder of water.
//!
//! Hsieh, Chao, Thibault, Grekowicz, Horst, McOlash and Myers, Med. Phys. 31(9), 2004: the edge value and its
//! slope fix a circle of water, whose chord lengths continue the row. Rows are continued sideways only;
//! rows that a collimator darkened are not continued along the axis, since the ramp filter works along rows.
//!
//! A chest wall at the edge misleads the fit. The mass of a row, the sum of its line integrals in parallel measure,
//! hardly changes from view to view, so the view that showed most of a row tells the later ones how far to continue
//! (the consistency condition of the same paper).

use crate::virtual_detector::MeasuredSpan;

/// Columns that edge value and slope are fitted to.
const FIT_COLUMNS: usize = 25;
/// Rows on either side that edge parameters are averaged with.
pub const SMOOTHING_ROWS: usize = 6;
/// An edge is truncated when it saw more than this much water, mm.
const TRUNCATED_FROM_WATER_MM: f64 = 5.0;
/// Rows are continued by at most this share of their length on either side.
pub const MAX_EXTENSION: f64 = 0.6;

/// One end of one row as the circle of water that it would belong to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RowEdge {
    /// Square of half the chord at the edge, mm².
    pub half_chord_squared_mm2: f64,
    /// Distance of the edge from the circle's centre, outwards, mm at the isocenter.
    pub offset_mm: f64,
}

/// Both ends of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RowEdges {
    /// At the first measured column.
    pub low: RowEdge,
    /// At the last measured column.
    pub high: RowEdge,
}

/// Continuations are stretched by at most this factor, and shrunk by no more than its inverse.
const MAX_STRETCH: f64 = 4.0;

/// The mass of each row as the view tells that had to continue least of it so far.
#[derive(Clone, Debug)]
pub struct RowMasses {
    known: Vec<KnownMass>,
}

#[derive(Clone, Copy, Debug)]
struct KnownMass {
    mass_mm: f64,
    continued_share: f64,
}

impl RowMasses {
    /// Nothing known of any row.
    pub fn new(rows: usize) -> Self {
        Self { known: vec![KnownMass { mass_mm: 0.0, continued_share: f64::INFINITY }; rows] }
    }

    /// Takes note of a row and says by how much its continuation is to be stretched, or shrunk.
    ///
    /// `measured_mm`: sum of the measured line integrals, each times its column's width in parallel measure.
    pub fn stretch(
        &mut self,
        row: usize,
        measured_mm: f64,
        edges: RowEdges,
        sides: Sides,
        mu_water_per_mm: f64,
    ) -> f64 {
        let continued_mm = [(sides.low, edges.low), (sides.high, edges.high)]
            .into_iter()
            .filter(|(is_continued, edge)| *is_continued && is_truncated(*edge))
            .map(|(_, edge)| WaterCircle::through(edge, mu_water_per_mm).mass_beyond_mm())
            .sum::<f64>();
        let mass_mm = measured_mm + continued_mm;
        let continued_share = if mass_mm > 0.0 { continued_mm / mass_mm } else { f64::INFINITY };
        let known = &mut self.known[row];
        if continued_share <= known.continued_share {
            *known = KnownMass { mass_mm, continued_share };
            return 1.0;
        }
        ((known.mass_mm - measured_mm) / continued_mm).clamp(1.0 / MAX_STRETCH, MAX_STRETCH)
    }
}

/// Which sides of the detector are continued: an offset detector ends inside the body on its narrow side,
/// where weights fall to zero instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sides {
    /// The side of column 0.
    pub low: bool,
    /// The side of the last column.
    pub high: bool,
}

/// Fits both ends of a measured row; `pitch_mm` is a column's width at the isocenter.
pub fn fit_edges(row: &[f32], span: MeasuredSpan, pitch_mm: f64, mu_water_per_mm: f64) -> RowEdges {
    let count = FIT_COLUMNS.min(span.end - span.start);
    if count < 3 {
        return RowEdges::default();
    }
    let measured = &row[span.start..span.end];
    RowEdges {
        low: fit_edge(measured.iter().take(count), pitch_mm, mu_water_per_mm),
        high: fit_edge(measured.iter().rev().take(count), pitch_mm, mu_water_per_mm),
    }
}

/// Least squares through samples that start at the edge.
///
/// In a circle of water the half chord `h = p / (2 mu)` at a distance `d` inwards obeys
/// `h² + d² = h_0² + 2 x d`, with `h_0` the half chord at the edge and `x` the edge's offset: a straight line
/// in `d`, so a cylinder is found exactly however wide the fit.
fn fit_edge<'a>(
    inwards: impl ExactSizeIterator<Item = &'a f32>,
    pitch_mm: f64,
    mu_water_per_mm: f64,
) -> RowEdge {
    let n = inwards.len() as f64;
    let middle_mm = (n - 1.0) / 2.0 * pitch_mm;
    let (mut sum, mut moment, mut spread) = (0.0, 0.0, 0.0);
    for (i, value) in inwards.enumerate() {
        let depth_mm = i as f64 * pitch_mm;
        let half_chord_mm = f64::from(value.max(0.0)) / (2.0 * mu_water_per_mm);
        let straight = half_chord_mm * half_chord_mm + depth_mm * depth_mm;
        sum += straight;
        moment += (depth_mm - middle_mm) * straight;
        spread += (depth_mm - middle_mm).powi(2);
    }
    let slope = moment / spread;
    RowEdge { half_chord_squared_mm2: (sum / n - slope * middle_mm).max(0.0), offset_mm: slope / 2.0 }
}

/// Averages edge parameters over neighbouring rows, so that noise does not turn into streaks.
pub fn smooth_edges(edges: &[RowEdges], smoothed: &mut [RowEdges]) {
    for (row, out) in smoothed.iter_mut().enumerate() {
        let near = &edges[row.saturating_sub(SMOOTHING_ROWS)..(row + SMOOTHING_ROWS + 1).min(edges.len())];
        let mean = |pick: fn(&RowEdges) -> RowEdge| RowEdge {
            half_chord_squared_mm2: near.iter().map(|e| pick(e).half_chord_squared_mm2).sum::<f64>()
                / near.len() as f64,
            offset_mm: near.iter().map(|e| pick(e).offset_mm).sum::<f64>() / near.len() as f64,
        };
        *out = RowEdges { low: mean(|e| e.low), high: mean(|e| e.high) };
    }
}

/// Whether an edge cuts through the body.
pub fn is_truncated(edge: RowEdge) -> bool {
    2.0 * edge.half_chord_squared_mm2.sqrt() > TRUNCATED_FROM_WATER_MM
}

/// Continues `extended`, whose measured part lies at `span` shifted by `margin`, on columns of `pitch_mm` (finer ones
/// stretch the continuation); gives back the number of columns written.
pub fn continue_row(
    extended: &mut [f32],
    margin: usize,
    span: MeasuredSpan,
    edges: RowEdges,
    sides: Sides,
    pitch_mm: f64,
    mu_water_per_mm: f64,
) -> usize {
    if span.end == span.start {
        return 0;
    }
    let (first, last) = (span.start + margin, span.end - 1 + margin);
    let mut written = 0;
    if sides.low && is_truncated(edges.low) {
        let chord = WaterCircle::through(edges.low, mu_water_per_mm);
        let anchor = f64::from(extended[first]) - chord.line_integral(0.0);
        written += fill(extended[..first].iter_mut().rev(), chord, anchor, pitch_mm);
    }
    if sides.high && is_truncated(edges.high) {
        let chord = WaterCircle::through(edges.high, mu_water_per_mm);
        let anchor = f64::from(extended[last]) - chord.line_integral(0.0);
        written += fill(extended[last + 1..].iter_mut(), chord, anchor, pitch_mm);
    }
    written
}

/// A circle of water whose chords continue a row.
#[derive(Clone, Copy)]
struct WaterCircle {
    offset_mm: f64,
    radius_squared_mm2: f64,
    mu_water_per_mm: f64,
}

impl WaterCircle {
    /// A row that falls inwards gets a half circle.
    fn through(edge: RowEdge, mu_water_per_mm: f64) -> Self {
        let offset_mm = edge.offset_mm.max(0.0);
        let radius_squared_mm2 = edge.half_chord_squared_mm2 + offset_mm * offset_mm;
        Self { offset_mm, radius_squared_mm2, mu_water_per_mm }
    }

    /// Integral of the chords beyond the edge, mm.
    fn mass_beyond_mm(&self) -> f64 {
        let radius = self.radius_squared_mm2.sqrt();
        if radius <= 0.0 {
            return 0.0;
        }
        let half_chord = (self.radius_squared_mm2 - self.offset_mm * self.offset_mm).max(0.0).sqrt();
        let segment = self.radius_squared_mm2 * (self.offset_mm / radius).clamp(-1.0, 1.0).acos();
        self.mu_water_per_mm * (segment - self.offset_mm * half_chord)
    }

    fn line_integral(&self, outward_mm: f64) -> f64 {
        let along = self.offset_mm + outward_mm;
        2.0 * self.mu_water_per_mm * (self.radius_squared_mm2 - along * along).max(0.0).sqrt()
    }
}

/// `anchor`: what the measured edge sample exceeds the smooth fit by; it fades over the fit's width.
fn fill<'a>(
    outwards: impl Iterator<Item = &'a mut f32>,
    circle: WaterCircle,
    anchor: f64,
    pitch_mm: f64,
) -> usize {
    let mut written = 0;
    for (i, sample) in outwards.enumerate() {
        let columns = (i + 1) as f64;
        let chord = circle.line_integral(columns * pitch_mm);
        if chord <= 0.0 {
            break;
        }
        let fade = (1.0 - columns / FIT_COLUMNS as f64).max(0.0);
        *sample = (chord + anchor * fade).max(0.0) as f32;
        written += 1;
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    const MU_WATER_PER_MM: f64 = 0.02;

    /// A centred water cylinder, cut on both sides, must be continued as itself.
    #[test]
    fn truncation_continues_a_water_cylinder_as_itself() {
        let (pitch, radius, count, margin) = (0.4, 120.0, 400_usize, 240_usize);
        let chord = |column: f64| {
            let x: f64 = (column - (count as f64 - 1.0) / 2.0) * pitch;
            2.0 * MU_WATER_PER_MM * (radius * radius - x * x).max(0.0).sqrt()
        };
        let row: Vec<f32> = (0..count).map(|c| chord(c as f64) as f32).collect();
        let span = MeasuredSpan { start: 0, end: count };
        let edges = fit_edges(&row, span, pitch, MU_WATER_PER_MM);
        let mut extended = vec![0.0_f32; count + 2 * margin];
        extended[margin..margin + count].copy_from_slice(&row);
        let sides = Sides { low: true, high: true };
        let written = continue_row(&mut extended, margin, span, edges, sides, pitch, MU_WATER_PER_MM);
        assert!(written > 150, "{written}");
        let worst = extended
            .iter()
            .enumerate()
            .map(|(i, value)| (f64::from(*value) - chord(i as f64 - margin as f64)).abs())
            .fold(0.0, f64::max);
        assert!(worst < 1e-3, "{worst}");
        let mass: f64 = extended.iter().map(|v| f64::from(*v)).sum::<f64>();
        let true_mass: f64 = (0..extended.len()).map(|i| chord(i as f64 - margin as f64)).sum();
        assert!((mass / true_mass - 1.0).abs() < 1e-5, "{mass} {true_mass}");
    }

    #[test]
    fn truncation_leaves_air_edges_and_unasked_sides_alone() {
        let span = MeasuredSpan { start: 2, end: 62 };
        let row = vec![1.0_f32; 64];
        let edges = fit_edges(&row, span, 0.5, MU_WATER_PER_MM);
        let mut extended = vec![0.0_f32; 64 + 80];
        extended[42..102].copy_from_slice(&row[2..62]);
        let sides = Sides { low: false, high: true };
        continue_row(&mut extended, 40, span, edges, sides, 0.5, MU_WATER_PER_MM);
        assert!(extended[..42].iter().all(|v| *v == 0.0));
        assert!(extended[102] > 0.9);
        let mut air = vec![0.01_f32; 144];
        let air_edges = fit_edges(&air[..64], span, 0.5, MU_WATER_PER_MM);
        assert_eq!(continue_row(&mut air, 40, span, air_edges, sides, 0.5, MU_WATER_PER_MM), 0);
    }

    #[test]
    fn truncation_smooths_edges_over_rows() {
        let noisy: Vec<RowEdges> = (0..40)
            .map(|row| {
                let offset_mm = 20.0 + if row % 2 == 0 { 3.0 } else { -3.0 };
                RowEdges { low: RowEdge { offset_mm, half_chord_squared_mm2: 900.0 }, ..RowEdges::default() }
            })
            .collect();
        let mut smoothed = vec![RowEdges::default(); 40];
        smooth_edges(&noisy, &mut smoothed);
        assert!(smoothed.iter().all(|e| (e.low.offset_mm - 20.0).abs() < 0.5));
    }

    #[test]
    fn truncation_learns_from_whole_views_how_much_to_continue() {
        let sides = Sides { low: true, high: true };
        let edge = RowEdge { half_chord_squared_mm2: 900.0, offset_mm: 0.0 };
        let cut = RowEdges { low: edge, high: edge };
        // Two half circles of radius 30 mm: mu pi r² in all.
        let continued = MU_WATER_PER_MM * std::f64::consts::PI * 900.0;
        let mut masses = RowMasses::new(1);
        assert_eq!(masses.stretch(0, 200.0, cut, sides, MU_WATER_PER_MM), 1.0, "nothing known yet");
        assert_eq!(
            masses.stretch(0, 220.0, RowEdges::default(), sides, MU_WATER_PER_MM),
            1.0,
            "a whole view"
        );
        let stretch = masses.stretch(0, 200.0, cut, sides, MU_WATER_PER_MM);
        assert!((stretch - 20.0 / continued).abs() < 1e-12, "{stretch} {continued}");
        assert_eq!(masses.stretch(0, 219.0, cut, sides, MU_WATER_PER_MM), 1.0 / MAX_STRETCH);
        assert_eq!(masses.stretch(0, -900.0, cut, sides, MU_WATER_PER_MM), MAX_STRETCH);
    }
}
