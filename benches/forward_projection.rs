//! Joseph projection and its transpose in rays a second (Melem/s), each instruction set beside the `f64` reference (at a
//! small size: it is slow).

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use isocenter_benches::{cube, noise, panel, spine_scan};
use nalgebra::Vector3;
use ndarray::Array3;
use reconstruct::Isa;
use reconstruct::project::{DetectorRegion, Projector, ViewImage, reference};

fn volume(n: usize) -> Array3<f32> {
    Array3::from_shape_vec((n, n, n), noise(n * n * n)).expect("a cube")
}

fn forward_projection(criterion: &mut Criterion) {
    let whole = DetectorRegion::whole(&panel());
    let every_eighth = DetectorRegion::every(&panel(), 8);
    let rays = noise(panel().pixel_count());
    let mut group = criterion.benchmark_group("Joseph, 616x480");
    group.sample_size(10);
    for (name, tilt_rad) in [("aligned", 0.0), ("rolled", 0.01)] {
        let view = spine_scan(9, tilt_rad).views()[3];
        for isa in [Isa::Portable, Isa::Avx2].into_iter().filter(|isa| isa.is_available()) {
            let projector = Projector::new(cube(256, 0.8), &Vector3::z(), isa);
            let mut stored = projector.store(volume(256).view()).expect("a volume");
            group.throughput(Throughput::Elements(whole.pixel_count() as u64));
            group.bench_function(BenchmarkId::new(format!("forward {name} {isa:?}"), 256), |bencher| {
                bencher.iter(|| projector.project(&stored, &view, whole));
            });
            let images = [ViewImage { view: &view, region: whole, values: &rays }];
            group.bench_function(BenchmarkId::new(format!("transpose {name} {isa:?}"), 256), |bencher| {
                bencher.iter(|| projector.add_back(&images, &mut stored));
            });
        }
        let (grid, values) = (cube(64, 3.2), volume(64).mapv(f64::from));
        group.throughput(Throughput::Elements(every_eighth.pixel_count() as u64));
        group.bench_function(BenchmarkId::new(format!("forward {name} reference"), 64), |bencher| {
            bencher.iter(|| reference::project(&grid, values.view(), &view, every_eighth));
        });
    }
    group.finish();
}

criterion_group!(benches, forward_projection);
criterion_main!(benches);
