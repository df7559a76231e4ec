//! Real data: CT series, a tilted head phantom, angiograms, broken DICOM. Run by `make test-data`, which sets
//! `ISOCENTER_DATA` to the folder that holds them; without it these tests fail.

mod data_dicom;
