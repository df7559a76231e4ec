//! Resampling one row of a view whose detector is rolled by half a degree, reference beside it.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use isocenter_benches::{noise, panel, spine_scan};
use nalgebra::Vector3;
use reconstruct::Orbit;
use reconstruct::virtual_detector::{VirtualGrid, VirtualView, resample_row, resample_row_reference};

fn virtual_detector(criterion: &mut Criterion) {
    let scan = spine_scan(60, 0.5_f64.to_radians());
    let orbit = Orbit::fit(scan.views()).expect("an arc");
    let grid = VirtualGrid::covering(&scan, &orbit, &Vector3::z());
    let view = VirtualView::new(&scan.views()[20], &panel(), grid, &orbit, &Vector3::z());
    let image = noise(panel().pixel_count());
    let mut row = vec![0.0; grid.nu];
    let mut group = criterion.benchmark_group("virtual detector, one row");
    group.throughput(Throughput::Elements(grid.nu as u64));
    group.bench_function("cpu", |bencher| {
        bencher.iter(|| resample_row(&view, &panel(), &image, grid.nv / 2, &mut row));
    });
    group.bench_function("reference", |bencher| {
        bencher.iter(|| resample_row_reference(&view, &panel(), &image, grid.nv / 2, &mut row));
    });
    group.finish();
}

criterion_group!(benches, virtual_detector);
criterion_main!(benches);
