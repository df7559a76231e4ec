//! Defines a filtered row: the kernel's spectrum on the padded length, apodised, by direct sums in `f64`.

use super::{Apodisation, ramp_kernel};
use std::f64::consts::TAU;

/// Filters `row`, padded with zeros to `padded_length` samples (at least twice the row).
pub fn filter_row(row: &[f32], padded_length: usize, apodisation: Apodisation) -> Vec<f64> {
    let kernel = apodised_kernel(padded_length, apodisation);
    (0..row.len())
        .map(|n| {
            row.iter()
                .enumerate()
                .map(|(m, value)| f64::from(*value) * kernel[(n + padded_length - m) % padded_length])
                .sum()
        })
        .collect()
}

fn apodised_kernel(length: usize, apodisation: Apodisation) -> Vec<f64> {
    let signed = |n: usize| if n <= length / 2 { n as i64 } else { n as i64 - length as i64 };
    let gain: Vec<f64> = (0..length)
        .map(|k| {
            let frequency = signed(k) as f64 / length as f64;
            let spectrum: f64 =
                (0..length).map(|n| ramp_kernel(signed(n)) * (TAU * frequency * n as f64).cos()).sum();
            spectrum * apodisation.gain(frequency)
        })
        .collect();
    (0..length)
        .map(|n| {
            let sum: f64 = gain
                .iter()
                .enumerate()
                .map(|(k, g)| g * (TAU * (k * n % length) as f64 / length as f64).cos())
                .sum();
            sum / length as f64
        })
        .collect()
}
