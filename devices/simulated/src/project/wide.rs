//! The walk with eight lanes at once: two neighbours of four materials each (AVX2 and FMA).

use super::{Lanes, March, VoxelBody};
use std::arch::x86_64::{
    __m256, _mm_add_ps, _mm_load_ps, _mm_storeu_ps, _mm256_castps256_ps128, _mm256_extractf128_ps,
    _mm256_fmadd_ps, _mm256_set_m128, _mm256_set1_ps, _mm256_setr_ps, _mm256_setzero_ps, _mm256_sub_ps,
};

/// Whether this processor can run [`walk`].
#[inline(always)]
pub(super) fn is_supported() -> bool {
    // Both answers are cached by the standard library.
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
}

/// Two neighbouring voxels. Composed of aligned halves: with debug assertions on, the unaligned load goes through memory.
#[target_feature(enable = "avx2,fma")]
#[inline]
fn pair(voxels: &[Lanes]) -> __m256 {
    let [low, high] = voxels else { unreachable!("a pair has two voxels") };
    // SAFETY: `Lanes` is four `f32`, aligned to 16 bytes.
    unsafe { _mm256_set_m128(_mm_load_ps(high.0.as_ptr()), _mm_load_ps(low.0.as_ptr())) }
}

/// Same as `VoxelBody::walk_contiguous` up to rounding.
#[target_feature(enable = "avx2,fma")]
pub(super) fn walk(body: &VoxelBody, march: &March) -> Lanes {
    const SHARE: f32 = 1.0 / 16_777_216.0;
    let (mut a, mut b) = (march.a.place, march.b.place);
    let mut plane = march.first * march.stride;
    let mut sum = _mm256_setzero_ps();
    // Weights of the two neighbours along b: 1 - share and share.
    let constant = _mm256_setr_ps(1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0);
    let slope = _mm256_setr_ps(-SHARE, -SHARE, -SHARE, -SHARE, SHARE, SHARE, SHARE, SHARE);
    for _ in 0..march.planes {
        let at = plane + (a >> 32) as usize * march.a.stride + (b >> 32) as usize;
        let share_a = _mm256_set1_ps(((a as u32) >> 8) as i32 as f32 * SHARE);
        let share_b = _mm256_set1_ps(((b as u32) >> 8) as i32 as f32);
        let near = &body.values[at..at + 2];
        let next = at + march.a.stride;
        let far = &body.values[next..next + 2];
        let (near, far) = (pair(near), pair(far));
        let along_a = _mm256_fmadd_ps(share_a, _mm256_sub_ps(far, near), near);
        sum = _mm256_fmadd_ps(_mm256_fmadd_ps(slope, share_b, constant), along_a, sum);
        a += march.a.step;
        b += march.b.step;
        plane += march.stride;
    }
    let total = _mm_add_ps(_mm256_castps256_ps128(sum), _mm256_extractf128_ps::<1>(sum));
    let mut lanes = [0.0_f32; 4];
    // SAFETY: `lanes` holds four `f32`.
    unsafe { _mm_storeu_ps(lanes.as_mut_ptr(), total) };
    Lanes(lanes)
}
