//! What a schedule has done so far, to be asked by whoever has given the device away.

use super::FaultKind;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Hits that are kept one by one; beyond it they are only counted, so that a replay without end needs no more memory.
const MOST_HITS: usize = 1000;

/// The account of injected faults. Copies look at the same account.
#[derive(Clone, Debug, Default)]
pub struct FaultLog(Arc<Mutex<Account>>);

#[derive(Debug, Default)]
struct Account {
    counts: BTreeMap<FaultKind, u64>,
    hits: Vec<(u64, FaultKind)>,
}

impl FaultLog {
    pub(crate) fn note(&self, sequence: u64, kind: FaultKind) {
        let mut account = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *account.counts.entry(kind).or_default() += 1;
        if account.hits.len() < MOST_HITS {
            account.hits.push((sequence, kind));
        }
    }

    /// How often each kind has hit.
    pub fn counts(&self) -> BTreeMap<FaultKind, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).counts.clone()
    }

    /// Sequence number and kind of the first thousand hits, in the order in which they were made.
    pub fn hits(&self) -> Vec<(u64, FaultKind)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).hits.clone()
    }
}
