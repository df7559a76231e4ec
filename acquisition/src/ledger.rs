//! Every sequence number accounted for: received, lost, twice, late.

use std::collections::BTreeMap;

/// What a frame's arrival meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The next number, or the first.
    InOrder,
    /// Numbers are missing in front of this one: this is what a gap record tells.
    AfterGap {
        /// First missing number.
        first_sequence: u64,
        /// How many.
        count: u64,
    },
    /// One that had been missing came after all.
    Late,
    /// One that had come before, or that precedes the first of all.
    Duplicate,
}

/// Accounts for the sequence numbers of one run.
#[derive(Clone, Debug, Default)]
pub struct SequenceLedger {
    first: Option<u64>,
    /// Highest number seen.
    last: u64,
    received: u64,
    duplicates: u64,
    late: u64,
    /// First missing number and how many, apart from each other.
    missing: BTreeMap<u64, u64>,
}

impl SequenceLedger {
    /// An empty account.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes note of a frame.
    pub fn observe(&mut self, sequence: u64) -> Arrival {
        if self.first.is_none() {
            self.first = Some(sequence);
            self.last = sequence;
            self.received = 1;
            return Arrival::InOrder;
        }
        if sequence > self.last {
            let (first_sequence, count) = (self.last + 1, sequence - self.last - 1);
            self.last = sequence;
            self.received += 1;
            if count == 0 {
                return Arrival::InOrder;
            }
            self.missing.insert(first_sequence, count);
            return Arrival::AfterGap { first_sequence, count };
        }
        let hole = self.missing.range(..=sequence).next_back().map(|(&first, &count)| (first, count));
        match hole.filter(|(first, count)| sequence - first < *count) {
            Some((first, count)) => {
                self.missing.remove(&first);
                if sequence > first {
                    self.missing.insert(first, sequence - first);
                }
                if sequence < first + (count - 1) {
                    self.missing.insert(sequence + 1, first + (count - 1) - sequence);
                }
                self.received += 1;
                self.late += 1;
                Arrival::Late
            }
            None => {
                self.duplicates += 1;
                Arrival::Duplicate
            }
        }
    }

    /// Different numbers received.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Numbers between the first and the highest that never came.
    pub fn lost(&self) -> u64 {
        self.missing.values().sum()
    }

    /// Frames that came again, or before the first.
    pub fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// Frames that came out of order.
    pub fn out_of_order(&self) -> u64 {
        self.late
    }

    /// What is missing, in order: first number and count.
    pub fn missing(&self) -> Vec<(u64, u64)> {
        self.missing.iter().map(|(&first, &count)| (first, count)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn sequence_ledger_tells_gaps_late_frames_and_duplicates_apart() {
        let mut ledger = SequenceLedger::new();
        assert_eq!(ledger.observe(10), Arrival::InOrder);
        assert_eq!(ledger.observe(11), Arrival::InOrder);
        assert_eq!(ledger.observe(17), Arrival::AfterGap { first_sequence: 12, count: 5 });
        assert_eq!(ledger.observe(14), Arrival::Late);
        assert_eq!(ledger.missing(), [(12, 2), (15, 2)]);
        assert_eq!(ledger.observe(14), Arrival::Duplicate);
        assert_eq!(ledger.observe(9), Arrival::Duplicate);
        assert_eq!(ledger.observe(u64::MAX), Arrival::AfterGap { first_sequence: 18, count: u64::MAX - 18 });
        assert_eq!((ledger.received(), ledger.duplicates(), ledger.out_of_order()), (5, 2, 1));
    }

    proptest! {
        /// Against a plain set of numbers.
        #[test]
        fn sequence_ledger_accounts_for_every_number(sequences in prop::collection::vec(0_u64..60, 1..120)) {
            let mut ledger = SequenceLedger::new();
            let mut seen = BTreeSet::new();
            for &sequence in &sequences {
                ledger.observe(sequence);
                if sequence >= sequences[0] {
                    seen.insert(sequence);
                }
            }
            let last = *seen.last().unwrap();
            let missing: Vec<u64> = (sequences[0]..=last).filter(|n| !seen.contains(n)).collect();
            let listed: Vec<u64> = ledger.missing().iter().flat_map(|&(first, n)| first..first + n).collect();
            prop_assert_eq!(&listed, &missing);
            prop_assert_eq!(ledger.lost(), missing.len() as u64);
            prop_assert_eq!(ledger.received(), seen.len() as u64);
            prop_assert_eq!(ledger.received() + ledger.duplicates(), sequences.len() as u64);
        }
    }
}
