//! How long things took, frame by frame, and what that says at the middle and at the edge.

use std::time::Duration;

/// Durations by sequence number.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LagLog {
    entries: Vec<(u64, Duration)>,
}

impl LagLog {
    /// Adds one.
    pub fn add(&mut self, sequence: u64, lag: Duration) {
        self.entries.push((sequence, lag));
    }

    /// All, in the order added.
    pub fn entries(&self) -> &[(u64, Duration)] {
        &self.entries
    }

    /// The lag that `share` (0 to 1) of the entries do not exceed; none when there are none.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let mut lags: Vec<Duration> = self.entries.iter().map(|(_, lag)| *lag).collect();
        lags.sort_unstable();
        let rank = (share * lags.len() as f64).ceil() as usize;
        lags.get(rank.saturating_sub(1)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_quantiles_are_nearest_rank() {
        let mut log = LagLog::default();
        assert_eq!(log.quantile(0.5), None);
        for ms in (1..=100).rev() {
            log.add(ms, Duration::from_millis(ms));
        }
        assert_eq!(log.quantile(0.5), Some(Duration::from_millis(50)));
        assert_eq!(log.quantile(0.99), Some(Duration::from_millis(99)));
        assert_eq!(log.quantile(1.0), Some(Duration::from_millis(100)));
    }
}
