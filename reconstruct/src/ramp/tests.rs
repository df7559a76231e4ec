//! Closed forms, and one body for reference and fast filter.

use super::*;

/// `f32` transforms of a few thousand samples of order one.
const F32_FFT_TOLERANCE: f64 = 3e-6;

fn wavy(length: usize) -> Vec<f32> {
    (0..length).map(|n| ((n * n) as f32 * 0.013).sin() + 0.3 * (n as f32 * 0.7).cos()).collect()
}

#[test]
fn ramp_filter_cpu_equals_reference_for_odd_even_and_single_rows() {
    for (length, apodisation) in
        [(31, Apodisation::None), (64, Apodisation::Hann { cut: 0.5 }), (77, Apodisation::Hann { cut: 1.0 })]
    {
        let filter = RampFilter::new(length, length, apodisation);
        let mut scratch = filter.scratch();
        // Dirty scratch: a previous, longer use must not show.
        scratch.rows.fill(Complex::new(7.0, -3.0));
        let (first, second) = (wavy(length), wavy(2 * length)[length..].to_vec());
        let (mut a, mut b) = (first.clone(), second.clone());
        filter.filter_pair(&mut scratch, &mut a, Some(&mut b));
        let mut alone = first.clone();
        filter.filter_pair(&mut scratch, &mut alone, None);
        for (found, input) in [(&a, &first), (&b, &second), (&alone, &first)] {
            let expected = filter_row_reference(input, filter.padded_length(), apodisation);
            for (x, y) in found.iter().zip(&expected) {
                assert!((f64::from(*x) - y).abs() < F32_FFT_TOLERANCE, "{length} {apodisation}: {x} {y}");
            }
        }
    }
}

#[test]
fn ramp_filter_impulse_gives_the_kernel() {
    let length = 101;
    let filter = RampFilter::new(length, length, Apodisation::None);
    let mut row = vec![0.0_f32; length];
    row[50] = 1.0;
    filter.filter_pair(&mut filter.scratch(), &mut row, None);
    for (n, value) in row.iter().enumerate() {
        assert!((f64::from(*value) - ramp_kernel(n as i64 - 50)).abs() < 1e-7, "{n}");
    }
}

#[test]
fn ramp_filter_dc_is_that_of_the_band_limited_kernel() {
    // The infinite kernel sums to zero; on a finite row the centre keeps the missing tail, 2/(pi² n).
    let length = 2001;
    let filter = RampFilter::new(length, length, Apodisation::None);
    let mut row = vec![1.0_f32; length];
    filter.filter_pair(&mut filter.scratch(), &mut row, None);
    let tail: f64 = (1..=1000).filter(|n| n % 2 == 1).map(|n| 2.0 / (PI * f64::from(n)).powi(2)).sum();
    assert!((f64::from(row[1000]) - (0.25 - tail)).abs() < 1e-6);
}

#[test]
fn apodisation_reads_its_own_name_and_refuses_others() {
    for text in ["ramp", "hann:0.5", "hann:1"] {
        assert_eq!(text.parse::<Apodisation>().unwrap().to_string(), text);
    }
    for text in ["hann", "hann:0", "hann:-1", "hann:nan", "cosine:1"] {
        assert!(text.parse::<Apodisation>().is_err(), "{text}");
    }
}

use rustfft::num_complex::Complex;
