//! Other people's geometry, turned into projection matrices and back.
//!
//! A per-view 3x4 matrix is the one truth; everything here is a way in or out of it. Each form holds less
//! than a matrix does, so every way out can fail, and says what the form cannot hold:
//!
//! | form | holds | does not hold |
//! |---|---|---|
//! | [`CarmAngles`] with [`CarmDistances`] (DICOM) | an ideal C-arm | offsets, tilt, roll, wobble: what is left over is not in the angles |
//! | [`RtkParameters`] (nine numbers) | any flat detector | skew, unequal focal lengths |
//! | [`AstraConeVector`] (twelve numbers) | any matrix | nothing; the pitch fixes the scale that a matrix leaves open |

mod astra;
mod positioner;
mod rtk;

pub use astra::AstraConeVector;
pub use positioner::{
    CarmAngles, CarmDistances, carm_angles_from_projection, carm_distances_from_projection, carm_pose,
    projection_from_carm_angles,
};
pub use rtk::RtkParameters;
