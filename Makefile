# Isocenter. `make demo` and `make test` are all that a newcomer needs; they set up what is missing themselves.
# Results, the Python environments and downloads of packages go to out/, which is ignored.

DATA ?= ../shared/data
CARGO_FLAGS := --profile ci --locked
# Colours and progress bars only where somebody looks.
export CARGO_TERM_PROGRESS_WHEN ?= auto

ORACLES := out/venv/.oracles
PEERS   := out/peers-venv/.peers

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-data segmentation compare endurance bench oracles fmt lint docs licences clean

help:
	@echo 'make demo       image a real CT with the virtual C-arm, reconstruct it while it spins, write out/demo/report.html'
	@echo 'make test       every test that needs no large data, doctests included'
	@echo 'make test-data  the tests on larger real data: DATA=folder (now: $(DATA))'
	@echo 'make segmentation  bone, aorta and their confidence against label maps: out/accuracy/segmentation.json'
	@echo 'make compare    other programs beside ours on the same data, report in out/compare/report.md'
	@echo 'make bench      the benches'
	@echo 'make endurance  latency of the live image, how soon volumes follow, half an hour of chaos, an hour of soak: reports in out/endurance'
	@echo 'make setup      system packages, nothing else (the others call it)'
	@echo 'make oracles    the Python environment of the tests in out/venv'
	@echo 'make fmt lint docs licences clean'

setup:
	@.ci/setup

demo: setup
	cargo run $(CARGO_FLAGS) -p isocenter -- demo

test: setup oracles
	cargo test --workspace $(CARGO_FLAGS)

# One test target of its own, left out of a plain `cargo test`, that fails when the data is not there.
test-data: setup oracles
	ISOCENTER_DATA='$(abspath $(DATA))' cargo test --workspace $(CARGO_FLAGS) --test data

# Ten minutes: bone and aorta against label maps, on CT and on cone-beam volumes made of it, and the fit of the confidence.
segmentation: setup oracles
	cargo build --release --locked -p isocenter
	out/venv/bin/python tests/accuracy/segmentation.py target/release/isocenter '$(DATA)' out/accuracy --simulate
	ISOCENTER_DATA='$(abspath $(DATA))' ISOCENTER_CONE='$(abspath out/accuracy)' cargo test -p anatomy $(CARGO_FLAGS) \
		--test data -- --ignored --nocapture

compare: setup oracles $(PEERS)
	@.ci/setup plastimatch
	cargo build --release --locked -p isocenter
	out/peers-venv/bin/python benches/peers/compare.py --binary target/release/isocenter $(COMPARE_FLAGS)
	cargo build --release --locked -p reconstruct --example project_stack
	out/peers-venv/bin/python benches/peers/iterative_compare.py --binary target/release/isocenter \
		--projector target/release/examples/project_stack --data '$(DATA)' $(ITERATIVE_FLAGS)
	cargo build --release --locked -p printing --example mesh_from_field
	out/peers-venv/bin/python benches/peers/mesh_compare.py --ours target/release/examples/mesh_from_field
	@.ci/setup prusa-slicer
	out/venv/bin/python tests/accuracy/models.py --binary target/release/isocenter --slice \
		--ct '$(DATA)/ct/thorax_contrast_lidc0001_ct.nii.gz' '$(DATA)/ct/abdomen_pelvis_3mm_ct.nii.gz'

# Two hours; latencies want an idle machine, chaos wants root for a disk of its own to fill.
endurance: setup oracles
	cargo build --release --locked -p isocenter
	out/venv/bin/python tests/endurance/latency.py target/release/isocenter out/endurance/latency
	out/venv/bin/python tests/endurance/volume.py target/release/isocenter out/endurance/volume
	out/venv/bin/python tests/endurance/chaos.py target/release/isocenter out/endurance/chaos
	out/venv/bin/python tests/endurance/soak.py target/release/isocenter out/endurance/soak

bench: setup
	cargo bench --locked -p isocenter-benches

oracles: $(ORACLES)

$(ORACLES): tests/oracles/requirements.txt | setup
	.ci/venv out/venv $< $@

$(PEERS): benches/peers/requirements.txt | setup
	.ci/venv out/peers-venv $< $@

fmt:
	cargo fmt --all

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets $(CARGO_FLAGS) -- -D warnings
	cargo clippy --workspace --test data $(CARGO_FLAGS) -- -D warnings

docs:
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps $(CARGO_FLAGS)

licences:
	.ci/licences

clean:
	cargo clean
	rm -rf out
