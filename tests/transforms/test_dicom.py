# SPDX-License-Identifier: Apache-2.0
"""DICOM series and multi-frame files: read exactly by their own tags, or refused by name."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import itk
import numpy as np
import pydicom
import pytest
from monai.data import DataLoader, Dataset, decollate_batch
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from monai_iscs.errors import InputError, InputWarning
from monai_iscs.transforms import CheckCTVolumed, LoadVolume, LoadVolumed, ct_preprocessing, mr_preprocessing

AXIAL, CORONAL = [1, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, -1]
OBLIQUE = [0.8, 0.6, 0, -0.48, 0.64, 0.6]


def image(values: np.ndarray, uid: str = "1.2.3.4.1") -> pydicom.Dataset:
    """An image without a position: (rows, columns) or (frames, rows, columns), int16 HU + 1024."""
    data = pydicom.Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, uid
    data.Modality, data.PatientID, data.SeriesInstanceUID = "CT", "phantom", "1.2.3.4"
    data.Rows, data.Columns = values.shape[-2:]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
    data.PixelData = (values.astype(np.int16) + np.int16(1024)).tobytes()
    return data


def series(
    hu: np.ndarray, directions: Sequence[float] = AXIAL, corner: Sequence[float] = (-40, -30, 5)
) -> list[pydicom.Dataset]:
    """Slices of (X, Y, Z): rows 2.5 mm and columns 2 mm apart, slices 3 mm."""
    axes = np.reshape(directions, (2, 3)).astype(float)
    slices = []
    for k in range(hu.shape[2]):
        data = image(hu[:, :, k].T, f"1.2.3.4.{k + 1}")
        data.InstanceNumber = k + 1
        data.ImagePositionPatient = [round(x, 6) for x in np.asarray(corner) + 3.0 * k * np.cross(*axes)]
        data.ImageOrientationPatient = list(directions)
        data.PixelSpacing = [2.5, 2]
        data.RescaleSlope, data.RescaleIntercept = 1, -1024
        slices.append(data)
    return slices


def enhanced(hu: np.ndarray, order: Sequence[int]) -> pydicom.Dataset:
    """The same slices as frames of one file, in any order."""
    data = image(hu.T[list(order)])
    data.SOPClassUID = EnhancedCTImageStorage
    data.NumberOfFrames = len(order)

    def group(**items: pydicom.Dataset) -> pydicom.Dataset:
        holder = pydicom.Dataset()
        for name, item in items.items():
            setattr(holder, name, Items([item]))
        return holder

    def item(**values: object) -> pydicom.Dataset:
        made = pydicom.Dataset()
        for name, value in values.items():
            setattr(made, name, value)
        return made

    shared = group(
        PlaneOrientationSequence=item(ImageOrientationPatient=AXIAL),
        PixelMeasuresSequence=item(PixelSpacing=[2.5, 2]),
        PixelValueTransformationSequence=item(RescaleSlope=1, RescaleIntercept=-1024),
    )
    data.SharedFunctionalGroupsSequence = Items([shared])
    places = [group(PlanePositionSequence=item(ImagePositionPatient=[-40, -30, 5 + 3 * k])) for k in order]
    data.PerFrameFunctionalGroupsSequence = Items(places)
    return data


Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes slices as a folder, with file names in no order."""

    def save(slices: Sequence[pydicom.Dataset], name: str = "dicom", *, ending: str = ".dcm") -> Path:
        (tmp_path / name).mkdir(exist_ok=True, parents=True)
        for k, data in enumerate(slices):
            data.save_as(tmp_path / name / f"IM{k * 7 % 100:03d}{ending}", enforce_file_format=True)
        return tmp_path / name

    return save


def expected_affine(directions: Sequence[float], corner: Sequence[float] = (-40, -30, 5)) -> np.ndarray:
    """RAS mm, from the tags by their definition in the standard."""
    along_row, down_column = np.reshape(directions, (2, 3))
    lps = np.eye(4)
    lps[:3] = np.stack([along_row * 2, down_column * 2.5, np.cross(along_row, down_column) * 3, corner], axis=1)
    return np.diag([-1, -1, 1, 1]) @ lps


def check(path: Path, hu: np.ndarray, directions: Sequence[float] = AXIAL) -> None:
    """The volume has exactly these values at this position."""
    volume = LoadVolume()(path)
    np.testing.assert_array_equal(volume[0].numpy(), hu)
    np.testing.assert_allclose(volume.affine, expected_affine(directions), atol=2e-6)
    assert volume.meta["filename_or_obj"] == str(path)


def refused(path: Path, match: str) -> None:
    with pytest.raises(InputError, match=match) as caught:
        LoadVolume()(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("directions", [AXIAL, CORONAL, OBLIQUE])
@pytest.mark.parametrize("ending", [".dcm", "", ".IMA", ".001"])
def test_a_series_lies_where_its_tags_say(phantom, write, directions, ending):
    check(write(series(phantom, directions)[::-1], ending=ending), phantom, directions)


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("SliceThickness", 5),
        ("SeriesNumber", 7),
        ("SequenceName", "other"),
        ("AcquisitionNumber", 2),
        ("InstanceNumber", 1),
    ],
)
def test_what_differs_without_meaning_splits_no_series(phantom, write, keyword, value):
    slices = series(phantom)
    for data in slices[::2]:
        setattr(data, keyword, value)
    check(write(slices), phantom)


def test_projections_are_refused_by_name(write):
    """DICOM-CT-PD: files of the CT modality whose private elements describe a curved detector."""
    views = [image(np.zeros((4, 6)), f"1.2.3.4.{view + 1}") for view in range(3)]
    for view in views:
        view.private_block(0x7029, "DETECTOR GEOMETRY", create=True).add_new(0x0B, "CS", "CYLINDRICAL")
    folder = write(views)
    for path in (folder, next(folder.iterdir())):
        refused(path, r"IM0\d\d.dcm: found projections \(DICOM-CT-PD\), expected a volume: reconstruct")


def test_each_slice_has_its_own_rescale(phantom, write):
    hu = phantom.astype(np.float32)
    slices = series(phantom)
    for k, data in enumerate(slices):
        data.RescaleSlope, data.RescaleIntercept = 1 + k / 4, -1024 - k
        hu[:, :, k] = (hu[:, :, k] + 1024) * (1 + k / 4) - 1024 - k
    check(write(slices), hu)


def test_monochrome1_says_how_to_display_values(phantom, write):
    slices = series(phantom)
    for data in slices:
        data.PhotometricInterpretation = "MONOCHROME1"
    check(write(slices), phantom)


@pytest.mark.parametrize("signed", [0, 1])
def test_bits_above_those_stored_are_no_values(phantom, write, signed):
    """12 bits of 16, as from many scanners; the other bits may be anything."""
    slices = series(phantom)
    for k, data in enumerate(slices):
        stored = phantom[:, :, k].T + (0 if signed else 1024)
        data.PixelData = ((stored & 0x0FFF) | 0x3000).astype(np.uint16).tobytes()
        data.BitsStored, data.HighBit, data.PixelRepresentation = 12, 11, signed
        data.RescaleIntercept = 0 if signed else -1024
    check(write(slices), phantom)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_padding_is_neither_air_nor_tissue(phantom, write, syntax):
    hu = phantom.copy()
    hu[0] = -2000 - 1024
    slices = series(hu)
    for data in slices:
        data.file_meta.TransferSyntaxUID = syntax
        data.PixelPaddingValue = -2000
    hu[0] = phantom.min()
    check(write(slices), hu)
    body = np.where(hu < -500, 0, hu)  # a field of view inside the body
    body[0] = -3024
    slices = series(body)
    for data in slices:
        data.PixelPaddingValue = -2000
    with pytest.raises(InputError, match="not HU"):
        ct_preprocessing()({"image": write(slices)})


def test_files_without_the_prefix(phantom, write):
    folder = write(series(phantom))
    for path in folder.iterdir():
        data = pydicom.dcmread(path)
        with path.open("wb") as file:
            pydicom.dcmwrite(file, _without_meta(data), implicit_vr=True, little_endian=True)
    check(folder, phantom)


def _without_meta(data: pydicom.Dataset) -> pydicom.Dataset:
    bare = pydicom.Dataset()
    bare.update({element.tag: element for element in data})
    return bare


@pytest.mark.parametrize("slope", [1, 0.5])
def test_compressed_files(phantom, write, slope):
    slices = series(phantom)
    for data in slices:
        data.RescaleSlope, data.RescaleIntercept = slope, -1024 * slope
        data.compress(RLELossless)
    check(write(slices), phantom * slope)
    slices[0].PhotometricInterpretation = "MONOCHROME1"
    with pytest.raises(InputError, match=r"IM000.dcm: found compressed MONOCHROME1"):
        LoadVolume()(write(slices))


def test_jpeg_2000(phantom, write, tmp_path):
    before = write(series(phantom))
    (tmp_path / "after").mkdir()
    for path in before.iterdir():
        reader, writer = itk.GDCMImageIO.New(), itk.GDCMImageIO.New(KeepOriginalUID=True)
        image = itk.imread(str(path), itk.SS, imageio=reader)
        file = str(tmp_path / "after" / path.name)
        image.SetMetaDataDictionary(reader.GetMetaDataDictionary())
        itk.ImageFileWriter[type(image)].New(Input=image, FileName=file, ImageIO=writer, UseCompression=True).Update()
        assert "JPEG 2000" in pydicom.dcmread(file).file_meta.TransferSyntaxUID.name
    check(tmp_path / "after", phantom)


def test_frames_lie_where_each_says(phantom, tmp_path):
    order = [*range(0, 12, 2), *range(1, 12, 2)]
    path = tmp_path / "enhanced.dcm"
    enhanced(phantom, order).save_as(path, enforce_file_format=True)
    check(path, phantom)
    shutil.copy(path, tmp_path / "enhanced")  # recognised by its content
    check(tmp_path / "enhanced", phantom)


@pytest.mark.parametrize("compressed", [False, True])
def test_frames_have_their_own_rescale(phantom, tmp_path, compressed):
    data = enhanced(phantom, range(12))
    hu = phantom.astype(np.float32)
    del data.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence
    for k, frame in enumerate(data.PerFrameFunctionalGroupsSequence):
        rescale = pydicom.Dataset()
        rescale.RescaleSlope, rescale.RescaleIntercept = 1 + k / 4, -1024
        frame.PixelValueTransformationSequence = Items([rescale])
        hu[:, :, k] = (hu[:, :, k] + 1024) * (1 + k / 4) - 1024
    if compressed:
        data.compress(RLELossless)
    path = tmp_path / "enhanced.dcm"
    data.save_as(path, enforce_file_format=True)
    check(path, hu)


@pytest.mark.parametrize(
    ("order", "match"),
    [
        ([0, 1, 2, 5, 6, 7], "off an even spacing"),
        ([0, 0, 1, 1, 2, 2], "6 DICOM slices at 3 positions"),
        ([4], "found one DICOM slice"),
    ],
)
def test_frames_that_make_no_volume(phantom, tmp_path, order, match):
    path = tmp_path / "enhanced.dcm"
    enhanced(phantom, order).save_as(path, enforce_file_format=True)
    refused(path, match)


def test_frames_without_a_place(phantom, tmp_path):
    data = enhanced(phantom, range(12))
    del data.PerFrameFunctionalGroupsSequence, data.SharedFunctionalGroupsSequence
    path = tmp_path / "capture.dcm"
    data.save_as(path, enforce_file_format=True)
    refused(path, "found no ImagePositionPatient")


# Changes of one or all of the twelve slices after which they form no volume.
WRONG = {
    "no positions": (slice(None), {"ImagePositionPatient": None}, "found no ImagePositionPatient"),
    "one without a position": (slice(3, 4), {"ImagePositionPatient": None}, "found no ImagePositionPatient"),
    "no pixel spacing": (slice(None), {"PixelSpacing": None}, "found no PixelSpacing"),
    "pixels of no size": (slice(None), {"PixelSpacing": [0, 0]}, r"found PixelSpacing \[0.0, 0.0\]"),
    "no orientation": (slice(None), {"ImageOrientationPatient": None}, "found no ImageOrientationPatient"),
    "a direction of no length": (slice(None), {"ImageOrientationPatient": [0] * 6}, "expected two unit vectors"),
    "one mirrored": (
        slice(5, 6),
        {"ImageOrientationPatient": [-1, 0, 0, 0, 1, 0]},
        "found DICOM slices with ImageOrientationPatient",
    ),
    "a scout": (slice(0, 1), {"ImageOrientationPatient": CORONAL}, "found DICOM slices with ImageOrientationPatient"),
    "another pixel size": (slice(6, 12), {"PixelSpacing": [3, 3]}, r"found DICOM slices with PixelSpacing .*\(6 x\)"),
    "all at one position": (slice(None), {"ImagePositionPatient": [0, 0, 0]}, "12 DICOM slices at 1 position,"),
    "two at one position": (slice(7, 8), {"ImagePositionPatient": [-40, -30, 23]}, "12 DICOM slices at 11 positions"),
    "one shifted": (slice(7, 8), {"ImagePositionPatient": [-39, -30, 26]}, "up to 1 mm off an even spacing"),
    "two phases": (
        slice(0, 12, 2),
        {"TemporalPositionIdentifier": 2},
        "found DICOM slices with TemporalPositionIdentifier",
    ),
    "two kernels": (slice(0, 12, 2), {"ConvolutionKernel": "B70"}, "found DICOM slices with ConvolutionKernel"),
    "two frames of reference": (
        slice(0, 3),
        {"FrameOfReferenceUID": "1.2"},
        "found DICOM slices with FrameOfReferenceUID",
    ),
    "two patients": (slice(0, 3), {"PatientID": "other"}, "found DICOM slices with PatientID"),
    "no rescale in some": (
        slice(0, 3),
        {"RescaleSlope": None, "RescaleIntercept": None},
        "found DICOM slices with RescaleSlope",
    ),
    "half a rescale": (slice(None), {"RescaleIntercept": None}, "found no RescaleIntercept"),
    "electron densities": (slice(None), {"RescaleType": "ED"}, "found CT values of RescaleType ED, expected HU"),
    "a slope of 0": (slice(None), {"RescaleSlope": 0}, "found RescaleSlope 0"),
    "two series": (
        slice(0, 5),
        {"SeriesInstanceUID": "1.2.3.5"},
        r"found 2 DICOM series in the folder \(5 and 7 files\)",
    ),
    "colours": (slice(None), {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "found RGB pixels"),
    "only localizers": (
        slice(None),
        {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
        "found 12 x localizer and no DICOM series",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_slices_that_make_no_volume(phantom, write, case):
    which, changes, match = WRONG[case]
    slices = series(phantom)
    for data in slices[which]:
        for keyword, value in changes.items():
            if value is None:
                delattr(data, keyword)
            else:
                setattr(data, keyword, value)
    refused(write(slices), match)


def test_other_rows(phantom, write):
    slices = series(phantom)
    slices[3].Rows, slices[3].PixelData = 20, slices[3].PixelData[: 20 * 40 * 2]
    refused(write(slices), r"found DICOM slices with Rows 30 \(11 x\) and 20 \(1 x\)")


def test_a_lone_slice(phantom, write):
    folder = write(series(phantom)[:1])
    refused(folder, "found one DICOM slice, expected at least 2")
    refused(folder / "IM000.dcm", "found one DICOM slice, expected at least 2")


def test_a_lone_slice_that_says_how_far_the_next_one_is(phantom, write):
    slices = series(phantom, OBLIQUE)[:1]
    slices[0].SpacingBetweenSlices = 3
    folder = write(slices)
    check(folder, phantom[:, :, :1], OBLIQUE)
    refused(folder / "IM000.dcm", "found one DICOM slice")  # one file of a series, more likely
    for wrong in (0, -3):
        slices[0].SpacingBetweenSlices = wrong
        refused(write(slices), "found one DICOM slice")
    slices[0].SpacingBetweenSlices = 3
    with pytest.raises(InputError, match="expected at least 2 voxels along every axis"):
        ct_preprocessing()({"image": write(slices)})


def test_unequal_distances(phantom, write):
    refused(write([*series(phantom)[:6], *series(phantom)[6::2]]), "off an even spacing")


@pytest.mark.parametrize("ending", [".dcm", ""])
@pytest.mark.parametrize("kept", [0.0, 0.05, 0.2, 0.9])
@pytest.mark.parametrize("which", [0, 5])
def test_a_truncated_file_is_never_dropped(phantom, write, ending, kept, which):
    folder = write(series(phantom), ending=ending)
    path = sorted(folder.iterdir())[which]
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(InputError, match=f"^{path}: ") as caught:
        LoadVolume()(folder)
    assert "\n" not in str(caught.value)


def test_localizers_and_other_objects_are_left_out_aloud(phantom, write):
    scout = image(phantom[:, 3].T, "1.2.3.4.99")
    scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    scout.SeriesInstanceUID = "1.2.3.5"
    report = copy.deepcopy(scout)
    report.SOPClassUID, report.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.88.67", "1.2.3.4.100"
    del report.Rows, report.PixelData, report.ImageType
    folder = write([*series(phantom), scout, report])
    with pytest.warns(InputWarning, match=rf"{folder}: left out .*1 x localizer.*; 12 of 14 DICOM files are read"):
        check(folder, phantom)


# A localizer is another view of the patient, of any size; what ImageType says of it is the scanner's choice.
LOCALIZER = {"ImagePositionPatient": [-40, 3, 50], "ImageOrientationPatient": CORONAL, "PixelSpacing": [2.5, 2]}
LOCALIZERS = {
    "of the series": ({}, "found DICOM slices with ImageOrientationPatient"),
    "called a scout": (
        {"ImageType": ["ORIGINAL", "PRIMARY", "SCOUT"]},
        "found DICOM slices with ImageOrientationPatient",
    ),
    "of its own series": ({"SeriesInstanceUID": "1.2.3.5"}, r"found 2 DICOM series in the folder \(12 and 1 files\)"),
    "without a place": ({"ImagePositionPatient": None}, "found no ImagePositionPatient"),
    "between two slices": (
        {"ImageOrientationPatient": AXIAL, "ImagePositionPatient": [-40, -30, 6]},
        "off an even spacing",
    ),
    "above": ({"ImageOrientationPatient": AXIAL, "ImagePositionPatient": [-40, -30, 300]}, "off an even spacing"),
}


@pytest.mark.parametrize("case", LOCALIZERS)
def test_a_localizer_is_never_taken_as_a_slice(phantom, write, case):
    changes, match = LOCALIZERS[case]
    scout = image(phantom[:, :, 3].T, "1.2.3.4.99")
    scout.RescaleSlope, scout.RescaleIntercept = 1, -1024
    for keyword, value in {**LOCALIZER, **changes}.items():
        setattr(scout, keyword, value)
    refused(write([*series(phantom), scout]), match)
    scout.ImageType, scout.SeriesInstanceUID = ["ORIGINAL", "PRIMARY", "LOCALIZER"], "1.2.3.4"
    with pytest.warns(InputWarning, match="left out 1 x localizer; 12 of 13"):
        check(write([*series(phantom), scout]), phantom)


def test_a_localizer_beside_frames(phantom, write):
    scout = image(phantom[:, 3].T, "1.2.3.4.99")
    scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    with pytest.warns(InputWarning, match="left out 1 x localizer; 1 of 2"):
        check(write([enhanced(phantom, range(12)), scout]), phantom)


def test_padding_of_frames(phantom, tmp_path):
    data = enhanced(phantom, [*range(0, 12, 2), *range(1, 12, 2)])
    data.PixelPaddingValue = 0
    path = tmp_path / "enhanced.dcm"
    data.save_as(path, enforce_file_format=True)
    check(path, np.where(phantom == -1024, -800, phantom))  # the lowest of the rest


def test_frames_of_several_files(phantom, write):
    parts = [enhanced(phantom, order) for order in (range(5), range(5, 12))]
    parts[1].SOPInstanceUID = "1.2.3.4.2"
    check(write(parts), phantom)


def test_what_else_lies_beside_a_series(phantom, write):
    folder = write(series(phantom), ending="")
    for name in ("README", "notes.txt", ".DS_Store", "DICOMDIR", "viewer.exe"):
        (folder / name).write_bytes(b"hello\n" if name in ("README", "notes.txt") else b"\0\1\2" * 99)
    check(folder, phantom)


def test_nested_folders_are_named(phantom, write, tmp_path):
    write(series(phantom)[:6], "patient/first")
    write(series(phantom)[6:], "patient/second")
    refused(
        tmp_path / "patient", r"found no DICOM series in the folder itself but 12 DICOM files in 2 of its subfolders"
    )
    write(series(phantom)[:6], "patient")
    refused(tmp_path / "patient", "found 6 DICOM files in the folder itself but 12")


@pytest.mark.parametrize("modality", ["CT", ""])
def test_a_batch_of_series(phantom, write, modality):
    """Through MONAI's loader and back, which accepts no meta data that are None."""
    slices = series(phantom)
    for data in slices:
        data.Modality = modality
    items = [{"image": str(write(slices, name))} for name in ("1.2.1", "1.2.2")]
    loader = DataLoader(Dataset(items, LoadVolumed("image")), batch_size=2)
    for one, item in zip(decollate_batch(next(iter(loader))), items, strict=True):
        np.testing.assert_array_equal(one["image"][0].numpy(), phantom)
        np.testing.assert_allclose(one["image"].affine, expected_affine(AXIAL), atol=2e-6)
        assert one["image"].meta["filename_or_obj"] == item["image"]
        CheckCTVolumed("image")(one)


def test_a_modality_that_a_bundle_is_not_for(phantom, write):
    folder = write(series(phantom))
    with pytest.raises(InputError, match=rf"{folder}: found DICOM images of modality CT, expected MR"):
        mr_preprocessing("image")({"image": folder})
    slices = series(phantom)
    for data in slices:
        data.Modality = "PT"
    with pytest.raises(InputError, match="found DICOM images of modality PT, expected CT"):
        ct_preprocessing()({"image": write(slices)})
