//! All outside file formats: DICOM, NIfTI, MetaImage, NRRD, RTK geometry, projection stacks.
