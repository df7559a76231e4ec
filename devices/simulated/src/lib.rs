//! The virtual C-arm: a real CT or an analytic phantom, imaged with physics.
