//! The subtraction in `f32`: along a row the mask's whole pixels keep their distance over long stretches, and in each of
//! them every pixel's sixteen neighbours lie side by side with the next pixel's.

use super::field::{ShiftField, cubic};

/// Pixels that are worked on together.
const LANES: usize = 8;

pub(super) fn subtract(nu: usize, mask: &[f32], fill: &[f32], field: &ShiftField, difference: &mut [f32]) {
    let nv = fill.len() / nu;
    let columns: Vec<(usize, usize, f32)> = (0..nu).map(|u| field.between(u, 0)).collect();
    let mut shifts = vec![[0.0_f32; 2]; field.blocks[0]];
    let (mut places_u, mut places_v) = (vec![0.0_f32; nu], vec![0.0_f32; nu]);
    let rows = fill.chunks_exact(nu).zip(difference.chunks_exact_mut(nu));
    for (v, (fill, difference)) in rows.enumerate() {
        let (v0, v1, y) = field.between(v, 1);
        for (u, shift) in shifts.iter_mut().enumerate() {
            let (above, below) =
                (field.shifts_px[v0 * field.blocks[0] + u], field.shifts_px[v1 * field.blocks[0] + u]);
            *shift = [0, 1].map(|axis| (1.0 - y) * above[axis] + y * below[axis]);
        }
        for (u, ((place_u, place_v), (u0, u1, x))) in
            places_u.iter_mut().zip(&mut places_v).zip(&columns).enumerate()
        {
            let [shift_u, shift_v] = [0, 1].map(|axis| (1.0 - x) * shifts[*u0][axis] + x * shifts[*u1][axis]);
            (*place_u, *place_v) = (u as f32 + shift_u, v as f32 + shift_v);
        }
        let mut u = 0;
        while u < nu {
            let count = stretch(&places_u[u..], &places_v[u..], [nu, nv]);
            let range = u..u + count.max(1);
            let (out, fill) = (&mut difference[range.clone()], &fill[range.clone()]);
            if count < LANES {
                let places = places_u[range.clone()].iter().zip(&places_v[range]);
                for ((out, fill), (u, v)) in out.iter_mut().zip(fill).zip(places) {
                    *out = sample(mask, [nu, nv], *u, *v) + field.offset - fill;
                }
            } else {
                let places = [&places_u[range.clone()], &places_v[range]];
                along(mask, nu, places, field.offset, fill, out);
            }
            u += count.max(1);
        }
    }
}

/// How many pixels from the first on have whole pixels of the mask at one distance, with all neighbours inside.
fn stretch(places_u: &[f32], places_v: &[f32], [nu, nv]: [usize; 2]) -> usize {
    let (whole_u, whole_v) = (places_u[0].floor(), places_v[0].floor());
    if whole_u < 1.0 || whole_v < 1.0 || whole_v >= (nv - 2) as f32 {
        return 0;
    }
    let room = (nu as f32 - 2.0 - whole_u).max(0.0) as usize;
    let places = places_u.iter().zip(places_v).take(room).enumerate();
    let is_one = |(n, (u, v)): (usize, (&f32, &f32))| {
        let off = u - (whole_u + n as f32);
        (0.0..1.0).contains(&off) && (0.0..1.0).contains(&(v - whole_v))
    };
    places.take_while(|place| is_one(*place)).count()
}

/// A stretch: sixteen rows of products, each over neighbouring pixels.
fn along(mask: &[f32], nu: usize, places: [&[f32]; 2], offset: f32, fill: &[f32], out: &mut [f32]) {
    let (whole_u, whole_v) = (places[0][0].floor(), places[1][0].floor());
    let first = (whole_v as usize - 1) * nu + whole_u as usize - 1;
    let count = out.len();
    let rows: [&[f32]; 4] = std::array::from_fn(|row| &mask[first + row * nu..][..count + 3]);
    let one = |n: usize| {
        let wu = cubic(places[0][n] - (whole_u + n as f32));
        let wv = cubic(places[1][n] - whole_v);
        let mut sum = 0.0;
        for (row, weight) in rows.iter().zip(wv) {
            let four: [f32; 4] = std::array::from_fn(|by| row[n + by]);
            sum += weight * (wu[0] * four[0] + wu[1] * four[1] + (wu[2] * four[2] + wu[3] * four[3]));
        }
        sum + offset - fill[n]
    };
    let whole = count / LANES * LANES;
    for start in (0..whole).step_by(LANES) {
        let eight: [f32; LANES] = eight(&rows, places, [whole_u, whole_v], start);
        for n in 0..LANES {
            out[start + n] = eight[n] + offset - fill[start + n];
        }
    }
    (whole..count).for_each(|n| out[n] = one(n));
}

#[inline(always)]
fn eight(
    rows: &[&[f32]; 4],
    places: [&[f32]; 2],
    [whole_u, whole_v]: [f32; 2],
    start: usize,
) -> [f32; LANES] {
    let [u, v] = places.map(|places| lanes(places, start));
    let (mut wu, mut wv) = ([[0.0; LANES]; 4], [[0.0; LANES]; 4]);
    for n in 0..LANES {
        let (four_u, four_v) = (cubic(u[n] - (whole_u + (start + n) as f32)), cubic(v[n] - whole_v));
        for k in 0..4 {
            (wu[k][n], wv[k][n]) = (four_u[k], four_v[k]);
        }
    }
    let mut sum = [0.0; LANES];
    for (row, weight) in rows.iter().zip(wv) {
        let [a, b, c, d] = [0, 1, 2, 3].map(|by| lanes(row, start + by));
        for n in 0..LANES {
            let across = wu[0][n] * a[n] + wu[1][n] * b[n] + (wu[2][n] * c[n] + wu[3][n] * d[n]);
            sum[n] += weight[n] * across;
        }
    }
    sum
}

#[inline(always)]
fn lanes(values: &[f32], at: usize) -> [f32; LANES] {
    values[at..at + LANES].try_into().expect("so many values")
}

/// One pixel anywhere: beyond the border its pixels go on.
fn sample(image: &[f32], [nu, nv]: [usize; 2], u: f32, v: f32) -> f32 {
    let (whole_u, whole_v) = (u.floor(), v.floor());
    let (wu, wv) = (cubic(u - whole_u), cubic(v - whole_v));
    let near = |at: f32, count: usize| at.clamp(0.0, (count - 1) as f32) as usize;
    let mut sum = 0.0;
    for (row, weight_v) in (-1_i8..).zip(wv) {
        for (column, weight_u) in (-1_i8..).zip(wu) {
            let v = near(whole_v + f32::from(row), nv);
            let u = near(whole_u + f32::from(column), nu);
            sum += weight_u * weight_v * image[v * nu + u];
        }
    }
    sum
}
