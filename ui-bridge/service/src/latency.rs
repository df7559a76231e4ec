//! How long frames took, in buckets that a thread can count into without a lock.

use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets, ms; one more bucket holds what is above.
pub const BOUNDS_MS: [f64; 16] =
    [0.5, 1.0, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0, 20.0, 25.0, 33.0, 50.0, 66.0, 100.0, 200.0, 500.0];

/// A histogram of durations.
#[derive(Debug, Default)]
pub struct Latency {
    buckets: [AtomicU64; BOUNDS_MS.len() + 1],
    sum_ns: AtomicU64,
    max_ns: AtomicU64,
}

/// What a histogram held at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct LatencySnapshot {
    /// Durations in each bucket of [`BOUNDS_MS`], and above.
    pub buckets: [u64; BOUNDS_MS.len() + 1],
    /// All of them.
    pub count: u64,
    /// Their sum, ms.
    pub sum_ms: f64,
    /// The longest, ms.
    pub max_ms: f64,
}

impl Latency {
    /// Takes note of one.
    pub fn add(&self, took: Duration) {
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let ms = took.as_secs_f64() * 1e3;
        let bucket = BOUNDS_MS.iter().position(|&bound| ms <= bound).unwrap_or(BOUNDS_MS.len());
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_ns.fetch_add(ns, Ordering::Relaxed);
        self.max_ns.fetch_max(ns, Ordering::Relaxed);
    }

    /// What it holds now.
    pub fn snapshot(&self) -> LatencySnapshot {
        let buckets = std::array::from_fn(|i| self.buckets[i].load(Ordering::Relaxed));
        LatencySnapshot {
            buckets,
            count: buckets.iter().sum(),
            sum_ms: self.sum_ns.load(Ordering::Relaxed) as f64 * 1e-6,
            max_ms: self.max_ns.load(Ordering::Relaxed) as f64 * 1e-6,
        }
    }
}

impl LatencySnapshot {
    /// A bound, ms, that `share` of the durations do not exceed: a bucket's, or the longest. None when there are none.
    pub fn quantile_ms(&self, share: f64) -> Option<f64> {
        let rank = (share * self.count as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Some(BOUNDS_MS.get(bucket).copied().unwrap_or(f64::INFINITY).min(self.max_ms));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_quantiles_are_bounds_of_buckets() {
        let latency = Latency::default();
        assert_eq!(latency.snapshot().quantile_ms(0.5), None);
        for ms in 1..=100 {
            latency.add(Duration::from_millis(ms));
        }
        let snapshot = latency.snapshot();
        assert_eq!((snapshot.count, snapshot.max_ms), (100, 100.0));
        assert_eq!([0.5, 0.99, 1.0].map(|share| snapshot.quantile_ms(share).unwrap()), [50.0, 100.0, 100.0]);
        latency.add(Duration::from_secs(7));
        assert_eq!(latency.snapshot().quantile_ms(1.0), Some(7000.0));
        assert!((latency.snapshot().sum_ms - 12_050.0).abs() < 1e-6);
    }
}
