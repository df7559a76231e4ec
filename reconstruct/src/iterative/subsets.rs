//! Which views are taken together, and in what order.

/// `count` subsets of `views` views, each evenly spread over the sweep, in an order in which each lies far from those
/// before it.
///
/// The order steps by the golden section of the number of subsets (Köhler, IEEE Nucl. Sci. Symp. 2004, for single
/// projections).
pub(super) fn ordered(views: usize, count: usize) -> Vec<Vec<usize>> {
    let count = count.clamp(1, views);
    let golden = (count as f64 * 0.618_033_988_749_895).round() as usize;
    let step = (golden.max(1)..=count).find(|step| gcd(*step, count) == 1).unwrap_or(1);
    (0..count).map(|index| (index * step % count..views).step_by(count).collect()).collect()
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subsets_take_every_view_once() {
        for (views, count) in [(180, 18), (7, 3), (5, 5), (4, 9), (1, 1), (248, 12), (6, 2)] {
            let mut all: Vec<usize> = ordered(views, count).concat();
            all.sort_unstable();
            assert_eq!(all, (0..views).collect::<Vec<_>>(), "{views} {count}");
        }
    }
}
