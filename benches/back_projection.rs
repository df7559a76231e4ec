//! Back-projection alone in giga-updates a second (Gelem/s), on one thread and on two, fine and coarse voxels, each
//! instruction set beside the `f64` reference (at a small size: it is slow). Every voxel is seen by every view, so all
//! counted updates are executed.

use carm::{DetectorPose, ProjectionMatrix};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use isocenter_benches::{cube, noise, panel};
use nalgebra::{Point3, Vector3};
use reconstruct::backproject::{ColumnLayout, FilteredView, backprojector};
use reconstruct::{Backend, Isa};

/// Views of one measurement: two blocks.
const VIEWS: usize = 16;
/// Source to isocenter and to detector, mm.
const DISTANCES: [f64; 2] = [785.0, 1200.0];

/// Views of a circle whose detector columns are parallel to z.
fn views() -> Vec<FilteredView> {
    let grid = panel();
    let samples = noise(grid.pixel_count());
    let view = |index: usize| {
        let (sin, cos) = (index as f64 * 200.0 / VIEWS as f64 - 100.0).to_radians().sin_cos();
        let (outwards, e_u) = (Vector3::new(cos, sin, 0.0), Vector3::new(-sin, cos, 0.0));
        let source = Point3::origin() + outwards * DISTANCES[0];
        let centre = source - outwards * DISTANCES[1];
        let pose = DetectorPose { source, centre, e_u, e_v: Vector3::z() };
        let matrix = ProjectionMatrix::from_pose(&pose, &grid).expect("an orthonormal pose");
        FilteredView::from_rows(&samples, [grid.nu, grid.nv], *matrix.matrix(), 1.0)
    };
    (0..VIEWS).map(view).collect()
}

fn back_projection(criterion: &mut Criterion) {
    let views = views();
    let mut group = criterion.benchmark_group(format!("back-projection, {VIEWS} views of 616x480"));
    group.sample_size(10);
    // Rows per voxel are 2.48 for 1 mm at the isocenter, a seventh more in front of it.
    let cases = [("1.2 rows a voxel", 256, 0.48), ("1.7", 256, 0.68), ("2.4", 128, 0.96)];
    let isas = [Isa::Portable, Isa::Avx2, Isa::Avx512].into_iter().filter(|isa| isa.is_available());
    let backends: Vec<_> = isas.map(Backend::CpuForced).collect();
    for (name, n, voxel_mm) in cases {
        let reference = [(Backend::Reference, 1, 32)];
        let cases = backends.iter().flat_map(|&backend| [(backend, 1, n), (backend, 2, n)]).chain(reference);
        for (backend, threads, n) in cases {
            let layout = ColumnLayout::nearest_to(cube(n, voxel_mm), &Vector3::z());
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            let mut volume = pool.install(|| backprojector(backend, layout, true));
            group.throughput(Throughput::Elements((n * n * n * VIEWS) as u64));
            let id = BenchmarkId::new(format!("{name}, {backend}, {threads} threads"), n);
            group.bench_function(id, |bencher| {
                bencher.iter(|| pool.install(|| volume.add(&views)));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, back_projection);
criterion_main!(benches);
