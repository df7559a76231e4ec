//! A window that follows the image: between the darkest and brightest intensity that matter, whatever the shutters do.
//!
//! Shutters are rows and columns at the border that hardly any radiation reaches. They are left out, then the window
//! spans from a low to a high quantile of what is left. It follows slowly, so that the picture does not pump, and
//! jumps when the scene has changed.

/// Samples along each axis at most.
const SAMPLES: usize = 160;
/// Share of samples below and above the window.
const TAIL: f64 = 0.005;
/// A border row or column whose mean lies below this share of the bright end is a shutter.
const SHUTTER_SHARE: f32 = 0.04;
/// How far the window moves towards the image's own within one frame.
const FOLLOW: f32 = 0.15;
/// A window that is off by more than this factor jumps.
const JUMP: f32 = 2.0;

/// Counts shown as black and as white.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// Shown black.
    pub low: u16,
    /// Shown white; above `low`.
    pub high: u16,
}

/// Follows the images of one device.
#[derive(Clone, Debug)]
pub struct AutoWindow {
    nu: usize,
    /// Sampled columns and rows.
    columns: Vec<usize>,
    rows: Vec<usize>,
    samples: Vec<f32>,
    inside: Vec<f32>,
    low: f32,
    high: f32,
}

impl AutoWindow {
    /// For images of `nu` columns and `nv` rows.
    pub fn new(nu: usize, nv: usize) -> Self {
        let every = |count: usize| (0..count).step_by(count.div_ceil(SAMPLES).max(1)).collect::<Vec<_>>();
        let (columns, rows) = (every(nu), every(nv));
        let samples = columns.len() * rows.len();
        Self {
            nu,
            columns,
            rows,
            samples: vec![0.0; samples],
            inside: Vec::with_capacity(samples),
            low: 0.0,
            high: 0.0,
        }
    }

    /// The window so far; all counts before the first image.
    pub fn window(&self) -> Window {
        let low = self.low.clamp(0.0, 65_534.0) as u16;
        let high = (self.high.clamp(0.0, 65_535.0) as u16).max(low + 1);
        if self.high > self.low { Window { low, high } } else { Window { low: 0, high: u16::MAX } }
    }

    /// Takes note of an image `[v, u]`.
    pub fn follow(&mut self, intensity: &[f32]) {
        self.follow_within(intensity, intensity);
    }

    /// Takes note of what is shown of an image `[v, u]`, between the shutters that the image itself tells.
    pub fn follow_within(&mut self, intensity: &[f32], shown: &[f32]) {
        let (low, high) = self.of_image(intensity, shown);
        let width = (self.high - self.low).max(f32::MIN_POSITIVE);
        let is_new = (high - low) > JUMP * width
            || (high - low) * JUMP < width
            || (low - self.low).abs().max((high - self.high).abs()) > width;
        let share = if is_new { 1.0 } else { FOLLOW };
        self.low += share * (low - self.low);
        self.high += share * (high - self.high);
    }

    /// The window that suits one image.
    fn of_image(&mut self, intensity: &[f32], shown: &[f32]) -> (f32, f32) {
        self.sample(intensity);
        self.inside.clear();
        self.inside.extend_from_slice(&self.samples);
        let bright = quantile(&mut self.inside, 1.0 - TAIL);
        let [first_u, last_u, first_v, last_v] = self.open_field(SHUTTER_SHARE * bright);
        self.sample(shown);
        self.inside.clear();
        for row in self.samples.chunks_exact(self.columns.len()).take(last_v).skip(first_v) {
            self.inside.extend_from_slice(&row[first_u..last_u]);
        }
        let low = quantile(&mut self.inside, TAIL).max(0.0);
        (low, quantile(&mut self.inside, 1.0 - TAIL).max(low + 1.0))
    }

    fn sample(&mut self, image: &[f32]) {
        let (nu, columns) = (self.nu, &self.columns);
        let positions = self.rows.iter().flat_map(|v| columns.iter().map(move |u| v * nu + u));
        self.samples.iter_mut().zip(positions).for_each(|(sample, at)| *sample = image[at]);
    }

    /// Sampled columns and rows between the shutters, `[first_u, last_u, first_v, last_v]`, ends exclusive.
    fn open_field(&self, dark: f32) -> [usize; 4] {
        let (nu, nv) = (self.columns.len(), self.rows.len());
        let column = |u: usize| self.samples[u..].iter().step_by(nu).sum::<f32>() / nv as f32;
        let row = |v: usize| self.samples[v * nu..][..nu].iter().sum::<f32>() / nu as f32;
        let open = |count: usize, mean: &dyn Fn(usize) -> f32| {
            let first = (0..count).find(|&i| mean(i) > dark).unwrap_or(0);
            let last = (0..count).rfind(|&i| mean(i) > dark).map_or(count, |i| i + 1);
            [first, last]
        };
        let ([first_u, last_u], [first_v, last_v]) = (open(nu, &column), open(nv, &row));
        [first_u, last_u, first_v, last_v]
    }
}

/// The value below which `share` of the values lie; reorders them.
fn quantile(values: &mut [f32], share: f64) -> f32 {
    let Some(last) = values.len().checked_sub(1) else { return 0.0 };
    let rank = (share * last as f64).round() as usize;
    *values.select_nth_unstable_by(rank, f32::total_cmp).1
}

#[cfg(test)]
mod tests {
    use super::*;

    const NU: usize = 300;
    const NV: usize = 200;

    /// A ramp of 1000 to 3000 counts within shutters that leave `open` pixels at each side closed.
    fn image(closed: usize, scale: f32) -> Vec<f32> {
        (0..NU * NV)
            .map(|i| {
                let (u, v) = (i % NU, i / NU);
                let is_open = (closed..NU - closed).contains(&u) && (closed..NV - closed).contains(&v);
                scale * if is_open { 1000.0 + 2000.0 * u as f32 / NU as f32 } else { 12.0 }
            })
            .collect()
    }

    #[test]
    fn window_spans_the_image_and_ignores_shutters() {
        for closed in [0, 10, 40, 70] {
            let mut window = AutoWindow::new(NU, NV);
            window.follow(&image(closed, 1.0));
            let found = window.window();
            let expected = |u: usize| 1000.0 + 2000.0 * u as f32 / NU as f32;
            let (low, high) = (expected(closed), expected(NU - closed));
            assert!((f32::from(found.low) - low).abs() < 40.0, "{closed}: {found:?}");
            assert!((f32::from(found.high) - high).abs() < 40.0, "{closed}: {found:?}");
        }
    }

    #[test]
    fn window_follows_slowly_and_jumps_with_the_scene() {
        let mut window = AutoWindow::new(NU, NV);
        window.follow(&image(0, 1.0));
        let before = window.window();
        window.follow(&image(0, 1.2));
        let moved = f32::from(window.window().high) - f32::from(before.high);
        assert!((0.1..0.2).contains(&(moved / 600.0)), "moved by {moved}");
        window.follow(&image(0, 8.0));
        assert!((f32::from(window.window().high) - 24_000.0).abs() < 300.0);
    }

    #[test]
    fn window_of_an_even_or_dark_image_is_still_one() {
        for value in [0.0, -5.0, 700.0, 1e9] {
            let mut window = AutoWindow::new(NU, NV);
            window.follow(&vec![value; NU * NV]);
            let Window { low, high } = window.window();
            assert!(low < high, "{value}: {low} {high}");
        }
        assert_eq!(AutoWindow::new(NU, NV).window(), Window { low: 0, high: u16::MAX });
    }
}
