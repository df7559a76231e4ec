//! An image in parts that threads share.
//!
//! What is done to a part is compiled for wider vectors too (`multiversion`), without fused operations: the same bits.

use rayon::prelude::*;

/// Pixels of a part: enough to be worth a thread's way to it, few enough for its cache.
pub(crate) const BAND_PIXELS: usize = 1 << 16;

/// Does `work` on every part: on the threads of the rayon pool that this runs on, and outside of one on this thread alone.
///
/// Never on rayon's global pool, whose threads have another priority than a thread that makes live images.
pub(crate) fn share<T: Send>(parts: impl Iterator<Item = T>, work: impl Fn(T) + Sync + Send) {
    if rayon::current_thread_index().is_none() {
        return parts.for_each(work);
    }
    parts.collect::<Vec<T>>().into_par_iter().for_each(work);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_all_done_on_a_pool_and_outside_of_one() {
        let done = || {
            let mut values = vec![0_u32; 1000];
            share(values.chunks_mut(7).enumerate(), |(at, part)| part.fill(at as u32));
            values
        };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        assert_eq!(pool.install(done), done());
        assert_eq!(done()[999], 142);
    }
}
