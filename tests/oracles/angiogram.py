"""What pydicom says of an X-ray object, and objects that it writes.

angiogram.py read FILE      prints angles, distances, pitch and the sum of each frame
angiogram.py means FILE     prints the mean of each frame as SimpleITK decodes it
angiogram.py write FOLDER   writes enhanced.dcm, a rotation about a ball of water as Enhanced XA whose frames tell their
                            positions in groups of their own, and display.dcm, five frames for looking only
"""
import json
import os
import sys

import numpy
import pydicom
import SimpleITK
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

ENHANCED_XA = "1.2.840.10008.5.1.4.1.1.12.1.1"
XA = "1.2.840.10008.5.1.4.1.1.12.1"
ISOCENTER_MM, DETECTOR_MM, PITCH_MM = 785.0, 1200.0, 3.0
BALL_LPS, RADIUS_MM, WATER_PER_MM = numpy.array([30.0, -10.0, 20.0]), 40.0, 0.02


def read(path):
    data = pydicom.dcmread(path)
    frames = data.pixel_array.astype(numpy.uint64)
    increments = numpy.asarray(data.PositionerPrimaryAngleIncrement, float)
    return dict(primary_deg=(float(data.PositionerPrimaryAngle) + increments).tolist(),
                distances_mm=[float(data.DistanceSourceToPatient), float(data.DistanceSourceToDetector)],
                pitch_mm=[float(mm) for mm in data.ImagerPixelSpacing],
                sums=frames.sum(axis=(1, 2)).tolist())


def new(sop_class, columns, rows, frames):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = generate_uid()
    data = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    data.StudyInstanceUID, data.SeriesInstanceUID = generate_uid(), generate_uid()
    data.PatientName, data.PatientID, data.Modality = "", "", "XA"
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.Rows, data.Columns, data.NumberOfFrames = rows, columns, frames
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
    return data


def item(**values):
    data = Dataset()
    for name, value in values.items():
        setattr(data, name, value)
    return data


def chords(primary_deg, secondary_deg, columns, rows):
    """Length of each ray in the ball, mm, by the words of PS3.3 C.8.7.5.1.2: the detector in front of the patient at 0, at
    the left at +90 degrees, towards the head with a positive secondary angle; columns towards the left, rows to the feet."""
    a, b = numpy.radians([primary_deg, secondary_deg])
    towards = numpy.array([numpy.sin(a) * numpy.cos(b), -numpy.cos(a) * numpy.cos(b), numpy.sin(b)])
    across = numpy.array([numpy.cos(a), numpy.sin(a), 0.0])
    up = numpy.cross(across, -towards)
    if up[2] < 0:
        up = -up
    source = -ISOCENTER_MM * towards
    u = (numpy.arange(columns) - (columns - 1) / 2) * PITCH_MM
    v = (numpy.arange(rows) - (rows - 1) / 2) * PITCH_MM
    pixels = source + DETECTOR_MM * towards + u[None, :, None] * across - v[:, None, None] * up
    rays = pixels - source
    rays /= numpy.linalg.norm(rays, axis=2, keepdims=True)
    to_ball = BALL_LPS - source
    along = rays @ to_ball
    miss2 = to_ball @ to_ball - along**2
    return 2 * numpy.sqrt(numpy.clip(RADIUS_MM**2 - miss2, 0, None))


def write(folder):
    columns, rows, views = 110, 90, 80
    data = new(ENHANCED_XA, columns, rows, views)
    data.SharedFunctionalGroupsSequence = Sequence([item(
        FramePixelDataPropertiesSequence=Sequence([item(
            PixelIntensityRelationship="LIN", PixelIntensityRelationshipSign=1,
            ImagerPixelSpacing=[str(PITCH_MM), str(PITCH_MM)])]),
        XRayGeometrySequence=Sequence([item(DistanceSourceToDetector=DETECTOR_MM, DistanceSourceToIsocenter=ISOCENTER_MM)]),
        FrameAcquisitionSequence=Sequence([item(KVP="90", XRayTubeCurrentInmA=120.0)]))])
    groups, frames = [], []
    for view in range(views):
        primary, secondary = -110 + 220 * view / (views - 1), 2.0
        ms = 40 * view
        time = f"2026010100{ms // 60000:02d}{ms % 60000 / 1000:09.6f}"
        groups.append(item(
            FrameContentSequence=Sequence([item(FrameReferenceDateTime=time, FrameAcquisitionDuration=8.0)]),
            PositionerPositionSequence=Sequence([item(PositionerPrimaryAngle=f"{primary:.9f}",
                                                      PositionerSecondaryAngle=f"{secondary:.9f}")])))
        frames.append(60000 * numpy.exp(-WATER_PER_MM * chords(primary, secondary, columns, rows)))
    data.PerFrameFunctionalGroupsSequence = Sequence(groups)
    data.PixelData = numpy.round(numpy.stack(frames)).astype("<u2").tobytes()
    data.save_as(os.path.join(folder, "enhanced.dcm"), enforce_file_format=True)

    data = new(XA, 40, 30, 5)
    data.BitsAllocated, data.BitsStored, data.HighBit = 8, 8, 7
    data.PixelIntensityRelationship, data.FrameTime = "DISP", "66.7"
    data.PixelData = numpy.arange(5 * 40 * 30, dtype=numpy.uint32).astype(numpy.uint8).tobytes()
    data.save_as(os.path.join(folder, "display.dcm"), enforce_file_format=True)
    return dict(enhanced="enhanced.dcm", display="display.dcm")


def means(path):
    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(path)).mean(axis=(1, 2)).tolist()


if __name__ == "__main__":
    print(json.dumps(dict(read=read, means=means, write=write)[sys.argv[1]](sys.argv[2])))
