//! How far the mask is shifted: at the centres of blocks, linearly in between, plus one offset of the logarithm.

/// Shifts of a mask against a fill: `mask(u + shift_u, v + shift_v)` lies on `fill(u, v)`.
#[derive(Clone, Debug, PartialEq)]
pub struct ShiftField {
    /// Blocks along u and v.
    pub blocks: [usize; 2],
    /// Side of a block, pixels.
    pub block_px: f32,
    /// `[u, v]` of each block, row by row, pixels.
    pub shifts_px: Vec<[f32; 2]>,
    /// Added to the mask's logarithm: how much brighter the fill is exposed.
    pub offset: f32,
}

impl ShiftField {
    /// No shift anywhere.
    pub fn still([nu, nv]: [usize; 2], block_px: usize) -> Self {
        let blocks = [nu.div_ceil(block_px), nv.div_ceil(block_px)];
        Self {
            blocks,
            block_px: block_px as f32,
            shifts_px: vec![[0.0; 2]; blocks[0] * blocks[1]],
            offset: 0.0,
        }
    }

    /// Length of the longest shift, pixels.
    pub fn farthest_px(&self) -> f32 {
        self.shifts_px.iter().map(|[u, v]| u.hypot(*v)).fold(0.0, f32::max)
    }

    /// Block on the near side of a coordinate, the next one, and how far towards it.
    pub(super) fn between(&self, at: usize, axis: usize) -> (usize, usize, f32) {
        let last = self.blocks[axis] - 1;
        let place = ((at as f32 + 0.5) / self.block_px - 0.5).clamp(0.0, last as f32);
        let near = place as usize;
        (near, (near + 1).min(last), place - near as f32)
    }

    /// The shift at a pixel.
    pub fn at(&self, u: usize, v: usize) -> [f32; 2] {
        let ((u0, u1, x), (v0, v1, y)) = (self.between(u, 0), self.between(v, 1));
        let block = |u: usize, v: usize| self.shifts_px[v * self.blocks[0] + u];
        std::array::from_fn(|axis| {
            let above = (1.0 - x) * block(u0, v0)[axis] + x * block(u1, v0)[axis];
            let below = (1.0 - x) * block(u0, v1)[axis] + x * block(u1, v1)[axis];
            (1.0 - y) * above + y * below
        })
    }
}

/// Weights of four neighbouring samples for a place `t` beyond the second (Keys, IEEE Trans. ASSP 29(6), 1981).
#[inline]
pub(super) fn cubic<T>(t: T) -> [T; 4]
where
    T: Copy + std::ops::Mul<Output = T> + std::ops::Add<Output = T> + std::ops::Sub<Output = T> + From<f32>,
{
    let n = |value: f32| T::from(value);
    let (t2, t3) = (t * t, t * t * t);
    [
        n(-0.5) * t + t2 - n(0.5) * t3,
        n(1.0) - n(2.5) * t2 + n(1.5) * t3,
        n(0.5) * t + n(2.0) * t2 - n(1.5) * t3,
        n(0.5) * t3 - n(0.5) * t2,
    ]
}
