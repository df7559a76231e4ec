//! Defines back-projection: every voxel, every view, bilinear, in `f64`.

use super::{Backprojector, ColumnLayout, FilteredView, PADDING};

/// The slow backend.
pub struct Reference {
    layout: ColumnLayout,
    sum: Vec<f64>,
}

impl Reference {
    /// An empty volume.
    pub fn new(layout: ColumnLayout) -> Self {
        Self { sum: vec![0.0; layout.len()], layout }
    }
}

impl Backprojector for Reference {
    fn name(&self) -> String {
        "reference".into()
    }

    /// `f(X) += scale / w² · q(u, v)` (Feldkamp et al., J. Opt. Soc. Am. A 1(6), 1984, for any matrix).
    fn add(&mut self, views: &[FilteredView]) {
        let [slow_count, fast_count] = self.layout.column_counts();
        let step = self.layout.column_step();
        for view in views {
            for slow in 0..slow_count {
                for fast in 0..fast_count {
                    let start = self.layout.column_start(slow, fast);
                    for along in 0..self.layout.column_length() {
                        let point = start + step * along as f64;
                        let h = view.p * point.to_homogeneous();
                        let q = sample(view, h.x / h.z, h.y / h.z);
                        let voxel = (slow * fast_count + fast) * self.layout.stride + along;
                        self.sum[voxel] += view.scale / (h.z * h.z) * q;
                    }
                }
            }
        }
    }

    fn write_sum(&self, values: &mut [f32]) {
        let sum = self.layout.volume_from_columns(&self.sum);
        values.iter_mut().zip(&sum).for_each(|(value, sum)| *value = *sum as f32);
    }
}

/// Bilinear; zero for `u` beyond half a pixel outside and for `v` beyond the padded border.
fn sample(view: &FilteredView, u: f64, v: f64) -> f64 {
    if !(u >= -0.5 && u <= view.nu as f64 - 0.5 && v > -2.0 && v < view.nv as f64 + 1.0) {
        return 0.0;
    }
    let (first_u, first_v) = (u.floor(), v.floor());
    let (share_u, share_v) = (u - first_u, v - first_v);
    let at = |du: i64, dv: i64| {
        f64::from(view.column(first_u as i64 + du)[(first_v as i64 + dv + PADDING as i64) as usize])
    };
    (1.0 - share_u) * ((1.0 - share_v) * at(0, 0) + share_v * at(0, 1))
        + share_u * ((1.0 - share_v) * at(1, 0) + share_v * at(1, 1))
}
