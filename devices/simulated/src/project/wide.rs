//! The walk of neighbouring rays together (AVX2 and FMA): eight planes of a ray at a time, eight lanes at once.
//!
//! Cells and weights of eight planes come from one set of vector instructions, in fixed point numbers relative to the
//! first of them. A sample then costs two loads (each two neighbours of four materials) and two multiplications. All
//! rays cross a block of planes before the next block, so that they find its voxels in the nearest cache.

use super::{BUNDLE, Lanes, March, Sideways, VoxelBody};
use std::arch::x86_64::{
    __m128, __m256, __m256i, _mm_add_ps, _mm_storeu_ps, _mm256_add_epi32, _mm256_add_ps, _mm256_and_ps,
    _mm256_and_si256, _mm256_broadcast_ps, _mm256_castps256_ps128, _mm256_castsi256_ps, _mm256_cmpeq_epi32,
    _mm256_cvtepi32_ps, _mm256_extractf128_ps, _mm256_fmadd_ps, _mm256_max_epi32, _mm256_min_epi32,
    _mm256_mul_ps, _mm256_mullo_epi32, _mm256_permutevar_ps, _mm256_set1_epi32, _mm256_set1_ps,
    _mm256_setr_epi32, _mm256_setzero_ps, _mm256_shuffle_ps, _mm256_srai_epi32, _mm256_sub_ps,
    _mm256_unpackhi_ps, _mm256_unpacklo_ps,
};

/// Planes of a block.
const BLOCK: usize = 8;
/// Bits after the point of a place within a block: four before it and the sign are enough for eight planes.
const LOCAL_BITS: u32 = 27;
/// How far a place must stay from the borders of its axis (2^-22 voxels) so that places within a block, short by at
/// most 2^-24, stay on the same side.
const MARGIN: i64 = 1 << 10;
/// Bytes of a voxel.
const VOXEL: usize = size_of::<Lanes>();

/// Whether this processor can run [`walk`] on this body: distances within a block must fit into 31 bits.
pub(super) fn is_supported(body: &VoxelBody) -> bool {
    let [_, nj, nk] = body.shape;
    // Both answers are cached by the standard library.
    let is_able = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    is_able && nj.saturating_mul(nk) < (1 << 31) / (2 * (BLOCK + 2) * VOXEL)
}

/// Same as `VoxelBody::walk_contiguous` for each ray, up to rounding.
#[target_feature(enable = "avx2,fma")]
pub(super) fn walk(body: &VoxelBody, marches: &[March], sums: &mut [Lanes]) {
    let mut totals = [_mm256_setzero_ps(); BUNDLE];
    let (mut first, mut last) = (usize::MAX, 0);
    for march in marches.iter().filter(|march| march.planes > 0) {
        assert!(stays_inside(body, march), "a clipped ray stays between the voxels of the body");
        first = first.min(march.first / BLOCK);
        last = last.max((march.first + march.planes - 1) / BLOCK);
    }
    let spreads = [_mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1), _mm256_setr_epi32(2, 2, 2, 2, 3, 3, 3, 3)];
    // Opaque, or the compiler replaces each of these shuffles by three others.
    let spreads = std::hint::black_box(spreads);
    for block in first..=last {
        for (march, total) in marches.iter().zip(&mut totals) {
            // SAFETY: the ray stays inside, as asserted above.
            *total = unsafe { add_block(body, march, block * BLOCK, &spreads, *total) };
        }
    }
    for (sum, total) in sums.iter_mut().zip(totals) {
        let total = _mm_add_ps(_mm256_castps256_ps128(total), _mm256_extractf128_ps::<1>(total));
        // SAFETY: `Lanes` holds four `f32`.
        unsafe { _mm_storeu_ps(sum.0.as_mut_ptr(), total) };
    }
}

/// Whether all four neighbours of every sample are voxels of the body. Places are linear in the plane, so the first and
/// the last plane tell.
fn stays_inside(body: &VoxelBody, march: &March) -> bool {
    let between = |axis: &Sideways| {
        let last = axis.place + (march.planes - 1) as i64 * axis.step;
        let border = ((axis.nodes - 1) as i64) << 32;
        axis.place.min(last) >= MARGIN && axis.place.max(last) <= border - MARGIN
    };
    let reach = (march.first + march.planes - 1) * march.stride
        + (march.a.nodes - 1) * march.a.stride
        + (march.b.nodes - 1) * march.b.stride;
    march.b.stride == 1 && between(&march.a) && between(&march.b) && reach < body.values.len()
}

/// Adds the samples of up to eight planes from plane `start` on; those that the ray does not cross get no weight.
/// `spreads` lays the near and the far ones of four weights over the lanes.
///
/// # Safety
/// [`stays_inside`] holds for the body and the march.
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn add_block(
    body: &VoxelBody,
    march: &March,
    start: usize,
    spreads: &[__m256i; 2],
    total: __m256,
) -> __m256 {
    let low = march.first.saturating_sub(start);
    let end = (march.first + march.planes).saturating_sub(start).min(BLOCK);
    if low >= end {
        return total;
    }
    let planes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    let near_low = _mm256_max_epi32(planes, _mm256_set1_epi32(low as i32));
    let crossed = _mm256_min_epi32(near_low, _mm256_set1_epi32(end as i32 - 1));
    let is_crossed = _mm256_castsi256_ps(_mm256_cmpeq_epi32(planes, crossed));
    let before = start as i64 - march.first as i64;
    let (cell_a, cells_a, share_a) = local(&march.a, before, crossed);
    let (cell_b, cells_b, share_b) = local(&march.b, before, crossed);
    let offsets = _mm256_add_epi32(
        bytes(crossed, march.stride),
        _mm256_add_epi32(bytes(cells_a, march.a.stride), bytes(cells_b, 1)),
    );
    let (far_right, one) = (_mm256_mul_ps(share_a, share_b), _mm256_set1_ps(1.0));
    let far_left = _mm256_sub_ps(share_a, far_right);
    let near_right = _mm256_sub_ps(share_b, far_right);
    let near_left = _mm256_sub_ps(_mm256_sub_ps(one, share_a), near_right);
    let [near_left, near_right, far_left, far_right] =
        [near_left, near_right, far_left, far_right].map(|weight| _mm256_and_ps(weight, is_crossed));
    // SAFETY: eight `i32` either way.
    let offsets: [i32; BLOCK] = unsafe { std::mem::transmute(offsets) };
    let origin = start as i64 * march.stride as i64 + cell_a * march.a.stride as i64 + cell_b;
    let near = body.values.as_ptr().wrapping_offset(origin as isize).cast::<u8>();
    let far = near.wrapping_add(march.a.stride * VOXEL);
    let weights = by_plane(near_left, near_right, far_left, far_right);
    // Opaque, or the compiler replaces eight loads by three times as many shuffles.
    let (offsets, weights) = std::hint::black_box((&offsets, &weights));
    let mut sums = [_mm256_setzero_ps(); 4];
    for (plane, (offset, weights)) in offsets.iter().zip(&weights.0).enumerate() {
        let offset = *offset as isize;
        // SAFETY: the four neighbours of a crossed plane's sample are voxels of the body.
        let (near, far) = unsafe { (pair(near.wrapping_offset(offset)), pair(far.wrapping_offset(offset))) };
        let weights = _mm256_broadcast_ps(weights);
        let at = 2 * (plane % 2);
        sums[at] = _mm256_fmadd_ps(_mm256_permutevar_ps(weights, spreads[0]), near, sums[at]);
        sums[at + 1] = _mm256_fmadd_ps(_mm256_permutevar_ps(weights, spreads[1]), far, sums[at + 1]);
    }
    let sum = _mm256_add_ps(_mm256_add_ps(sums[0], sums[1]), _mm256_add_ps(sums[2], sums[3]));
    _mm256_add_ps(total, sum)
}

/// The four weights of each plane side by side.
#[repr(C, align(32))]
struct Weights([__m128; BLOCK]);

#[target_feature(enable = "avx2,fma")]
#[inline]
fn by_plane(near_left: __m256, near_right: __m256, far_left: __m256, far_right: __m256) -> Weights {
    let near = [_mm256_unpacklo_ps(near_left, near_right), _mm256_unpackhi_ps(near_left, near_right)];
    let far = [_mm256_unpacklo_ps(far_left, far_right), _mm256_unpackhi_ps(far_left, far_right)];
    // Each holds one plane of the lower four and one of the upper four.
    let halves = [
        _mm256_shuffle_ps::<0b01_00_01_00>(near[0], far[0]),
        _mm256_shuffle_ps::<0b11_10_11_10>(near[0], far[0]),
        _mm256_shuffle_ps::<0b01_00_01_00>(near[1], far[1]),
        _mm256_shuffle_ps::<0b11_10_11_10>(near[1], far[1]),
    ];
    Weights(std::array::from_fn(|plane| match plane {
        0..4 => _mm256_castps256_ps128(halves[plane]),
        _ => _mm256_extractf128_ps::<1>(halves[plane - 4]),
    }))
}

/// Cell at the block's first plane, and relative to it the cells at `planes` with the shares within them.
#[target_feature(enable = "avx2,fma")]
#[inline]
fn local(axis: &Sideways, before: i64, planes: __m256i) -> (i64, __m256i, __m256) {
    const ONE: i32 = 1 << LOCAL_BITS;
    let place = axis.place + before * axis.step;
    let start = (place as u32 >> (32 - LOCAL_BITS)) as i32;
    let step = (axis.step >> (32 - LOCAL_BITS)) as i32;
    let way = _mm256_mullo_epi32(planes, _mm256_set1_epi32(step));
    let places = _mm256_add_epi32(way, _mm256_set1_epi32(start));
    let share = _mm256_cvtepi32_ps(_mm256_and_si256(places, _mm256_set1_epi32(ONE - 1)));
    let cells = _mm256_srai_epi32::<{ LOCAL_BITS as i32 }>(places);
    (place >> 32, cells, _mm256_mul_ps(share, _mm256_set1_ps(1.0 / ONE as f32)))
}

#[target_feature(enable = "avx2,fma")]
#[inline]
fn bytes(count: __m256i, stride: usize) -> __m256i {
    _mm256_mullo_epi32(count, _mm256_set1_epi32((stride * VOXEL) as i32))
}

/// Two neighbouring voxels, wherever they begin.
#[repr(C, packed)]
struct Pair(__m256);

/// # Safety
/// Two voxels lie at `at`.
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn pair(at: *const u8) -> __m256 {
    // SAFETY: the caller's promise; a packed value needs no alignment.
    unsafe { (*at.cast::<Pair>()).0 }
}
