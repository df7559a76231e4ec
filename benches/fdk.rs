//! The whole chain per view and its back-projection in giga-updates a second (Gelem/s), each instruction set beside
//! the `f64` reference (at a small size: it is slow).

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use isocenter_benches::{cube, noise, panel, spine_scan};
use reconstruct::{Backend, Fdk, FdkOptions, FdkPlan, Isa, Samples, Silent, ViewInput};
use std::sync::Arc;

/// Views of one measurement: one block.
const VIEWS: usize = 8;

fn fdk(criterion: &mut Criterion) {
    let samples = noise(panel().pixel_count());
    let mut group = criterion.benchmark_group("fdk, 8 views of 616x480");
    group.sample_size(10);
    let isas = [Isa::Portable, Isa::Avx2, Isa::Avx512].into_iter().filter(|isa| isa.is_available());
    let cases = isas.map(|isa| (Backend::CpuForced(isa), 256)).chain([(Backend::Reference, 32)]);
    for (backend, n) in cases {
        group.throughput(Throughput::Elements((n * n * n * VIEWS) as u64));
        group.bench_function(BenchmarkId::new(backend.to_string(), n), |bencher| {
            let options =
                FdkOptions { backend, limited_angle: true, block_views: VIEWS, ..FdkOptions::default() };
            let scan = spine_scan(248, 0.0);
            let views = scan.views().to_vec();
            let plan = Arc::new(FdkPlan::new(scan, cube(n, 245.0 / n as f64), options).expect("a plan"));
            bencher.iter(|| {
                let mut fdk = Fdk::new(Arc::clone(&plan));
                // One more than a block: a view waits for the next one's position.
                for projection_matrix in &views[..=VIEWS] {
                    let input = ViewInput {
                        projection_matrix: *projection_matrix,
                        samples: Samples::LineIntegrals(&samples),
                    };
                    fdk.push(input, &mut Silent).expect("a view of the plan");
                }
                fdk.view_count()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, fdk);
criterion_main!(benches);
