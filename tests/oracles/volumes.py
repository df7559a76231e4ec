"""What independent programs say of volume files, and files that they write.

volumes.py read FILE...       prints, for each file and each reader that knows it, sizes, the affine from voxel
                              index to LPS millimetres, and the values [z, y, x]
volumes.py write FOLDER       writes volumes with SimpleITK, nibabel, pynrrd and pydicom; prints for each what
                              such a program itself reads back
"""
import json
import os
import sys

import nibabel
import nrrd
import numpy
import pydicom
import SimpleITK

RAS_TO_LPS = numpy.diag([-1.0, -1.0, 1.0, 1.0])


def entry(path, reader, affine, values):
    """values: [z, y, x]"""
    return dict(path=path, reader=reader, affine=numpy.asarray(affine, float).tolist(), shape=list(values.shape[::-1]),
                values=numpy.asarray(values, float).ravel().tolist())


def affine_of(origin, axes, spacing):
    """axes: columns are the directions"""
    affine = numpy.eye(4)
    affine[:3, :3] = numpy.asarray(axes, float).reshape(3, 3) * numpy.asarray(spacing, float)
    affine[:3, 3] = origin
    return affine


def by_simpleitk(path):
    if os.path.isdir(path):
        reader = SimpleITK.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(path))
        image = reader.Execute()
    else:
        image = SimpleITK.ReadImage(path)
    return entry(path, "SimpleITK", affine_of(image.GetOrigin(), image.GetDirection(), image.GetSpacing()),
                 SimpleITK.GetArrayFromImage(image))


def by_nibabel(path):
    image = nibabel.load(path)
    return entry(path, "nibabel", RAS_TO_LPS @ image.affine, numpy.transpose(image.get_fdata(), (2, 1, 0)))


def by_nrrd(path):
    values, header = nrrd.read(path, index_order="C")
    affine = numpy.eye(4)
    affine[:3, :3] = numpy.asarray(header["space directions"]).T
    affine[:3, 3] = header["space origin"]
    if header["space"] in ("right-anterior-superior", "RAS"):
        affine = RAS_TO_LPS @ affine
    return entry(path, "pynrrd", affine, values)


def by_pydicom(path):
    """Slices or frames by their own attributes, sorted along column x row."""
    slices = []
    names = sorted(os.listdir(path)) if os.path.isdir(path) else [""]
    for name in names:
        data = pydicom.dcmread(os.path.join(path, name) if name else path)
        if "PerFrameFunctionalGroupsSequence" in data:
            shared = data.SharedFunctionalGroupsSequence[0]
            rescale = shared.PixelValueTransformationSequence[0]
            pitch = shared.PixelMeasuresSequence[0].PixelSpacing
            axes = shared.PlaneOrientationSequence[0].ImageOrientationPatient
            places = [own.PlanePositionSequence[0].ImagePositionPatient
                      for own in data.PerFrameFunctionalGroupsSequence]
            frames = data.pixel_array
        else:
            rescale, pitch, axes = data, data.PixelSpacing, data.ImageOrientationPatient
            places, frames = [data.ImagePositionPatient], [data.pixel_array]
        axes = numpy.asarray(axes, float).reshape(2, 3)
        for place, pixels in zip(places, frames):
            values = float(rescale.RescaleSlope) * pixels.astype(float) + float(rescale.RescaleIntercept)
            slices.append((numpy.asarray(place, float), axes, [float(mm) for mm in pitch], values))
    normal = numpy.cross(*slices[0][1])
    slices.sort(key=lambda one: one[0] @ normal)
    place, axes, pitch, _ = slices[0]
    step = (slices[-1][0] - place) / (len(slices) - 1)
    affine = numpy.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2], affine[:3, 3] = axes[0] * pitch[1], axes[1] * pitch[0], step, place
    return entry(path, "pydicom", affine, numpy.stack([one[3] for one in slices]))


def read(paths):
    out = []
    for path in paths:
        if path.endswith((".nii", ".nii.gz")):
            out.append(by_nibabel(path))
        if path.endswith(".nrrd"):
            out.append(by_nrrd(path))
        if os.path.isdir(path) or path.endswith(".dcm"):
            out.append(by_pydicom(path))
        out.append(by_simpleitk(path))
    return out


# ---------------------------------------------------------------------------------------------- writing

SHAPE = (9, 7, 5)  # z, y, x
SPACING = (0.5, 0.75, 2.25)  # x, y, z
ORIGIN = (-31.5, 12.25, 107.0)
STUDY_UID = "2.25.1001"
FRAME_OF_REFERENCE_UID = "2.25.1002"


def oblique():
    """A rotation matrix without any zero entry."""
    def turn(axis, angle):
        c, s = numpy.cos(angle), numpy.sin(angle)
        m = numpy.eye(3)
        a, b = [i for i in range(3) if i != axis]
        m[a, a], m[b, b], m[a, b], m[b, a] = c, c, -s, s
        return m
    return turn(2, 0.4) @ turn(1, -0.3) @ turn(0, 0.9)


def numbers(kind):
    z, y, x = numpy.meshgrid(*(numpy.arange(n) for n in SHAPE), indexing="ij")
    if kind == "uint8":
        return ((3 * x + 11 * y + 25 * z) % 251).astype("uint8")
    whole = -900 + 13 * x + 57 * y + 190 * z + x * y * z
    return whole.astype(kind) + (0.125 * x if kind.startswith("float") else 0)


def left_handed():
    axes = oblique()
    axes[:, 0] *= -1
    return axes


def image_of(values, axes):
    image = SimpleITK.GetImageFromArray(values)
    image.SetSpacing(SPACING)
    image.SetOrigin(ORIGIN)
    image.SetDirection(axes.ravel().tolist())
    return image


def write_by_simpleitk(folder):
    made = []
    for name, kind, axes, packed in [
        ("itk_float.mha", "float32", oblique(), False), ("itk_double.mha", "float64", oblique(), False),
        ("itk_left.mhd", "int16", left_handed(), True), ("itk_int16.nii.gz", "int16", oblique(), True),
        ("itk_left.nii", "float32", left_handed(), False), ("itk_uint8.nrrd", "uint8", oblique(), True),
        ("itk_left.nrrd", "uint16", left_handed(), False),
    ]:
        path = os.path.join(folder, name)
        values = numpy.abs(numbers("int32")).astype(kind) if kind == "uint16" else numbers(kind)
        SimpleITK.WriteImage(image_of(values, axes), path, packed)
        made.append(by_simpleitk(path))
    return made


def write_big_endian_metaimage(folder):
    path = os.path.join(folder, "big_endian.mha")
    header = ("ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = True\n"
              "CompressedData = False\nTransformMatrix = {}\nOffset = {} {} {}\nCenterOfRotation = 0 0 0\n"
              "ElementSpacing = {} {} {}\nDimSize = {} {} {}\nElementType = MET_SHORT\nElementDataFile = LOCAL\n")
    rows = " ".join(repr(float(value)) for value in oblique().T.ravel())
    with open(path, "wb") as file:
        file.write(header.format(rows, *ORIGIN, *SPACING, *SHAPE[::-1]).encode())
        file.write(numbers("int16").astype(">i2").tobytes())
    return [by_simpleitk(path)]


def write_by_nibabel(folder):
    made = []
    values = numpy.transpose(numbers("float64"), (2, 1, 0))
    for name, axes in [("scaled.nii.gz", oblique()), ("left_big_endian.nii", left_handed()),
                       ("version2.nii", oblique()), ("qform_only.nii", left_handed())]:
        affine = RAS_TO_LPS @ affine_of(ORIGIN, axes, SPACING)
        if name == "version2.nii":
            image = nibabel.Nifti2Image(values, affine)
        elif name == "left_big_endian.nii":
            header = nibabel.Nifti1Header(endianness=">")
            header.set_data_dtype(numpy.float32)
            image = nibabel.Nifti1Image(values, affine, header)
        else:
            image = nibabel.Nifti1Image(values, affine)
        if name == "scaled.nii.gz":
            image.header.set_data_dtype(numpy.int16)
            image.header.set_slope_inter(0.125, -40.0)
        if name == "qform_only.nii":
            image.set_qform(affine, code=1)
            image.set_sform(None, code=0)
        path = os.path.join(folder, name)
        nibabel.save(image, path)
        made.append(by_nibabel(path))
    return made


def write_by_nrrd(folder):
    made = []
    for name, space, encoding, endian in [("ras.nrrd", "right-anterior-superior", "gzip", "<"),
                                          ("lps_big.nrrd", "left-posterior-superior", "raw", ">")]:
        affine = affine_of(ORIGIN, left_handed(), SPACING)
        if space.startswith("right"):
            affine = RAS_TO_LPS @ affine
        path = os.path.join(folder, name)
        nrrd.write(path, numbers("int16").astype(endian + "i2"),
                   {"space": space, "space directions": affine[:3, :3].T, "space origin": affine[:3, 3],
                    "encoding": encoding, "kinds": ["domain"] * 3}, index_order="C")
        made.append(by_nrrd(path))
    return made


def dicom_slice(uid, place, axes, stored, rescale):
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = pydicom.uid.CTImageStorage
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    data.SeriesInstanceUID, data.StudyInstanceUID, data.Modality = uid, STUDY_UID, "CT"
    data.PatientName = "Oracle^Test"
    data.FrameOfReferenceUID = FRAME_OF_REFERENCE_UID
    data.Rows, data.Columns = stored.shape
    data.PixelSpacing = [SPACING[1], SPACING[0]]
    data.SliceThickness = SPACING[2]
    data.ImageOrientationPatient = [f"{cosine:.9f}" for cosine in axes[:, :2].T.ravel()]
    data.ImagePositionPatient = [f"{mm:.6f}" for mm in place]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 8 * stored.dtype.itemsize
    data.HighBit = data.BitsStored - 1
    data.PixelRepresentation = 1 if stored.dtype.kind == "i" else 0
    data.RescaleSlope, data.RescaleIntercept = rescale
    data.PixelData = stored.tobytes()
    return data


def write_series(folder, name, kind, tilt=0.0, packed=None):
    """File names run against the slices' order in space. tilt: slices shift along their rows, mm a slice."""
    path = os.path.join(folder, name)
    os.mkdir(path)
    axes, uid = oblique(), pydicom.uid.generate_uid()
    stored, rescale = numbers("int16"), (1.5, -1024)
    if kind == "uint16":
        stored = (stored + 1000).astype("uint16")
    for k in range(SHAPE[0]):
        place = numpy.asarray(ORIGIN) + axes[:, 2] * k * SPACING[2] + axes[:, 1] * k * tilt
        pixels = stored[k]
        if tilt:  # a field linear in space, so that any right interpolation gives it exactly
            j, i = numpy.meshgrid(numpy.arange(SHAPE[1]), numpy.arange(SHAPE[2]), indexing="ij")
            row = j * SPACING[1] + k * tilt
            pixels = numpy.round(8 * i * SPACING[0] + 40 * row + 16 * k * SPACING[2]).astype("int16")
            rescale = (0.25, 7)
        data = dicom_slice(uid, place, axes, pixels, rescale)
        if packed == "rle":
            data.compress(pydicom.uid.RLELossless)
        file = os.path.join(path, f"{SHAPE[0] - k:03d}")
        if packed == "deflated":
            data.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
        if packed == "implicit":
            data.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
        data.save_as(file, enforce_file_format=True)
    return path


def write(folder):
    made = write_by_simpleitk(folder) + write_big_endian_metaimage(folder)
    made += write_by_nibabel(folder) + write_by_nrrd(folder)
    made.append(by_simpleitk(write_series(folder, "series_int16", "int16")))
    for name, kind, packed in [("series_uint16", "uint16", None), ("series_rle", "int16", "rle"),
                               ("series_deflated", "uint16", "deflated"), ("series_implicit", "int16", "implicit")]:
        made.append(by_pydicom(write_series(folder, name, kind, packed=packed)))
    # The affine of a sheared series is sheared itself: its reader must bring the values to their places.
    tilted = by_pydicom(write_series(folder, "series_tilted", "int16", tilt=-0.6))
    tilted["tilted"] = True
    return made + [tilted]


if __name__ == "__main__":
    json.dump(read(sys.argv[2:]) if sys.argv[1] == "read" else write(sys.argv[2]), sys.stdout)
