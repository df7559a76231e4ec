//! The ramp filter: one pair of rows, reference beside it.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use isocenter_benches::noise;
use reconstruct::Apodisation;
use reconstruct::ramp::{RampFilter, filter_row_reference};

fn ramp(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ramp, two rows");
    for columns in [512, 616, 1232] {
        let filter = RampFilter::new(columns, columns, Apodisation::Hann { cut: 1.0 });
        let mut scratch = filter.scratch();
        let (mut first, mut second) = (noise(columns), noise(columns));
        group.throughput(Throughput::Elements(2 * columns as u64));
        group.bench_function(BenchmarkId::new("cpu", columns), |bencher| {
            bencher.iter(|| filter.filter_pair(&mut scratch, &mut first, Some(&mut second)));
        });
    }
    let row = noise(64);
    group.sample_size(10);
    group.throughput(Throughput::Elements(64));
    group.bench_function(BenchmarkId::new("reference", 64), |bencher| {
        bencher.iter(|| filter_row_reference(&row, 128, Apodisation::Hann { cut: 1.0 }));
    });
    group.finish();
}

criterion_group!(benches, ramp);
criterion_main!(benches);
