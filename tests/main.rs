//! One test binary for what spans crates; each module is a topic.

mod capture_oracle;
mod interchange_exports;
mod interchange_volumes;
mod missing_views;
mod printing_meshes;
