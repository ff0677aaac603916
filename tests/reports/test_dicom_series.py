# SPDX-License-Identifier: Apache-2.0
"""DICOM series of reconstructions: read back as they were, complete by the standard, and nobody's where they should."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from monai.data import MetaTensor
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage

from monai_iscs import __version__
from monai_iscs.errors import InputError
from monai_iscs.reports import RunFolder, check_dicom_output, write_dicom_series
from monai_iscs.transforms import LoadVolume

SHAPE = (7, 6, 5)
PATIENT = {
    "PatientName": "Müßig^Jördis",
    "PatientID": "MRN-4711-0815",
    "PatientBirthDate": "19530417",
    "PatientSex": "F",
    "PatientAge": "066Y",
    "PatientPosition": "HFS",
    "StudyInstanceUID": "1.2.840.99999.1",
    "StudyDate": "20190203",
    "StudyTime": "040506",
    "StudyID": "STUDY-77",
    "StudyDescription": "Thorax mit Kontrastmittel",
    "AccessionNumber": "ACC-123456",
    "ReferringPhysicianName": "Quacksalber^Q",
    "FrameOfReferenceUID": "1.2.840.99999.3",
}
ELSEWHERE = {  # of the source's scanner and its series
    "Manufacturer": "Scanners & Sons",
    "InstitutionName": "Klinik am Rand",
    "StationName": "CT-KELLER",
    "SeriesInstanceUID": "1.2.840.99999.2",
    "SeriesDescription": "Thorax 1.5 B30f",
    "SeriesNumber": 4,
}


def turned(*angles: float) -> np.ndarray:
    """A rotation by degrees about x, y and z."""
    result = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(angles)):
        one, (i, j) = np.eye(3), [other for other in range(3) if other != axis]
        one[i, i] = one[j, j] = np.cos(angle)
        one[i, j], one[j, i] = -np.sin(angle), np.sin(angle)
        result = one @ result
    return result


def grid(axes: np.ndarray, spacing: object = (0.7, 0.9, 2.5), corner: object = (-183.1, -77.7, 1250.3)) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = axes * np.asarray(spacing), corner
    return affine


def volume(affine: np.ndarray, shape: tuple[int, ...] = SHAPE, low: float = -1000, high: float = 1600) -> MetaTensor:
    values = np.random.default_rng(0).uniform(low, high, (1, *shape)).astype(np.float32)
    return MetaTensor(torch.from_numpy(values), affine=torch.from_numpy(affine))


def headers(folder: Path) -> list[Dataset]:
    return [pydicom.dcmread(file) for file in sorted(folder.iterdir())]


def differences(written: MetaTensor, folder: Path) -> tuple[float, float]:
    """The largest ones in HU and in mm, voxel by voxel, after the axes are brought to the written volume's."""
    read = LoadVolume()(folder)
    expected, found = (image.affine.double().numpy() for image in (written, read))
    indices = np.stack(np.meshgrid(*map(np.arange, read.shape[1:]), indexing="ij"), -1).reshape(-1, 3)
    indices = np.c_[indices, np.ones(len(indices))]
    of_written = np.rint(indices @ (np.linalg.inv(expected) @ found).T)
    voxels = of_written[:, :3].astype(int)
    assert len(np.unique(voxels, axis=0)) == written.numel()
    mm = np.abs(indices @ found.T - of_written @ expected.T).max()
    hu = np.abs(read[0].numpy().ravel() - np.rint(written[0].numpy())[tuple(voxels.T)]).max()
    return float(hu), float(mm)


AXES = {
    "left, posterior": np.diag([-1.0, -1, 1]),
    "RAS": np.eye(3),
    "mirrored": np.diag([-1.0, 1, 1]),
    "coronal": np.array([[-1.0, 0, 0], [0, 0, 1], [0, -1, 0]]),
    "sagittal": np.array([[0, 0, 1.0], [1, 0, 0], [0, 1, 0]]),
    "transposed": np.array([[0, 1.0, 0], [1, 0, 0], [0, 0, -1]]),
    "oblique": turned(11.3, -27.1, 4.7),
    "oblique, mirrored": turned(-33.3, 5.2, 130.9) * [1, -1, 1],
    "half way": turned(45, 45, 45),
}


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("shape", [SHAPE, (4, 3, 1), (1, 1, 2)])
@pytest.mark.parametrize("spacing", [(0.7, 0.9, 2.5), (1 / 3, 1 / 7, 11 / 13), (0.02, 50.0, 0.02)])
def test_it_reads_back_as_it_was(tmp_path, axes, shape, spacing):
    written = volume(grid(AXES[axes], spacing), shape)
    write_dicom_series(written, tmp_path / "series")
    hu, mm = differences(written, tmp_path / "series")
    assert hu == 0
    assert mm < 1e-9


def test_a_series_is_written_as_it_was_read(tmp_path):
    """Slices from below, rows to the left and columns to the back stay as they are."""
    write_dicom_series(volume(grid(np.diag([-1.0, -1, 1]))), tmp_path / "first")
    first = LoadVolume()(tmp_path / "first")
    write_dicom_series(first, tmp_path / "second", source=tmp_path / "first")
    second = LoadVolume()(tmp_path / "second")
    assert torch.equal(first.as_tensor(), second.as_tensor())
    np.testing.assert_allclose(first.affine, second.affine, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("axes", "row", "column"),
    [
        ("RAS", [1, 0, 0], [0, 1, 0]),
        ("transposed", [1, 0, 0], [0, 1, 0]),
        ("coronal", [1, 0, 0], [0, 0, -1]),
        ("sagittal", [0, 1, 0], [0, 0, -1]),
    ],
)
def test_viewers_show_it_upright(tmp_path, axes, row, column):
    write_dicom_series(volume(grid(AXES[axes])), tmp_path / "series")
    for number, header in enumerate(headers(tmp_path / "series"), start=1):
        assert header.ImageOrientationPatient == [*row, *column]
        assert header.InstanceNumber == number


@pytest.mark.parametrize(
    ("low", "high", "intercept"), [(-1000, 1600, -1024), (-33792, 31743, -1024), (-32768, 32767, 0), (0, 31744, 0)]
)
def test_values_are_whole_hu_of_16_bit(tmp_path, low, high, intercept):
    written = volume(grid(np.eye(3)), low=low, high=high)
    written[0, 0, 0, :2] = torch.tensor([low, high])
    write_dicom_series(written[0], tmp_path / "series")  # a channel is not needed
    assert differences(written, tmp_path / "series")[0] == 0
    for header in headers(tmp_path / "series"):
        assert (header.RescaleIntercept, header.RescaleSlope, header.RescaleType) == (intercept, 1, "HU")
        assert (header.BitsStored, header.PixelRepresentation) == (16, 1)


# PS3.3 A.3: attributes of types 1 and 2 of the CT image's mandatory modules; the first ones must have a value.
TYPE_1 = (
    *("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SOPClassUID", "SOPInstanceUID", "Modality"),
    *("ImageType", "SpecificCharacterSet", "PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient"),
    *("SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit"),
    *("PixelRepresentation", "PixelData", "RescaleIntercept", "RescaleSlope", "RescaleType"),
)
TYPE_2 = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"),
    *("ReferringPhysicianName", "AccessionNumber", "SeriesNumber", "PatientPosition", "PositionReferenceIndicator"),
    *("Manufacturer", "InstanceNumber", "ContentDate", "ContentTime", "SliceThickness", "KVP", "AcquisitionNumber"),
)


def test_what_the_standard_wants_is_there(tmp_path):
    write_dicom_series(volume(grid(np.eye(3))), tmp_path / "series", description="FDK", series_description="FDK")
    files = headers(tmp_path / "series")
    for header in files:
        assert [keyword for keyword in TYPE_1 if header.get(keyword) in (None, "")] == []
        assert [keyword for keyword in TYPE_2 if keyword not in header] == []
        assert header.SOPClassUID == header.file_meta.MediaStorageSOPClassUID == CTImageStorage
        assert header.SOPInstanceUID == header.file_meta.MediaStorageSOPInstanceUID
        assert header.ImageType == ["DERIVED", "SECONDARY", "AXIAL"]
        assert header.DerivationDescription == f"monai_iscs {__version__}, FDK, whole HU, not for diagnosis"
        assert header.SeriesDescription == "FDK, not for diagnosis"
        assert (header.Manufacturer, header.SoftwareVersions) == ("monai_iscs", __version__)
        assert (header.BurnedInAnnotation, header.LossyImageCompression) == ("NO", "00")
        assert (header.PatientName, header.PatientID, header.SliceThickness) == ("", "", 2.5)
        assert "PatientIdentityRemoved" not in header
        decimals = ("PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient", "SliceThickness")
        assert all(len(part) <= 16 for name in decimals for part in str(header[name].value).strip("[]").split(", "))
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        assert len({header[keyword].value for header in files}) == 1
    assert len({header.SOPInstanceUID for header in files}) == len(files) == SHAPE[2]


def test_no_description_is_too_long_or_of_several_parts(tmp_path):
    long = dict.fromkeys(("description", "series_description"), "a\\b\n" * 999)
    write_dicom_series(volume(grid(np.eye(3))), tmp_path / "series", **long)
    header = headers(tmp_path / "series")[0]
    for text, most in ((header.DerivationDescription, 1024), (header.SeriesDescription, 64)):
        assert isinstance(text, str)
        assert len(text) == most
        assert text.endswith("not for diagnosis")


@pytest.fixture
def source(tmp_path) -> Path:
    """A CT series of a patient, as a scanner would write it."""
    write_dicom_series(volume(grid(np.diag([-1.0, -1, 1]))), tmp_path / "source")
    for index, file in enumerate(sorted((tmp_path / "source").iterdir())):
        header = pydicom.dcmread(file)
        header.SpecificCharacterSet = "ISO_IR 100"
        for keyword, value in {**PATIENT, **ELSEWHERE}.items():
            setattr(header, keyword, value)
        header.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        header.SOPInstanceUID = f"1.2.840.99999.2.{index + 1}"
        header.add_new(0x00091001, "LO", "PRIVATE-SECRET")
        header.save_as(file, enforce_file_format=True)
    return tmp_path / "source"


def edit(folder: Path, **values: object) -> None:
    for file in folder.iterdir():
        header = pydicom.dcmread(file)
        for keyword, value in values.items():
            setattr(header, keyword, value)
        header.save_as(file, enforce_file_format=True)


def test_patient_and_study_are_the_source_s(tmp_path, source):
    write_dicom_series(LoadVolume()(source), tmp_path / "series", source=source)
    new, old = headers(tmp_path / "series"), headers(source)
    for header in new:
        assert {keyword: header[keyword].value for keyword in PATIENT} == PATIENT
        assert [keyword for keyword, value in ELSEWHERE.items() if header.get(keyword) == value] == []
        assert (header.Manufacturer, header.SeriesNumber) == ("monai_iscs", 1004)
        references = [
            (item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID) for item in header.SourceImageSequence
        ]
        assert references == [(CTImageStorage, one.SOPInstanceUID) for one in old]
    assert not {header.SOPInstanceUID for header in new} & {header.SOPInstanceUID for header in old}
    assert b"PRIVATE-SECRET" not in b"".join(file.read_bytes() for file in (tmp_path / "series").iterdir())


def test_the_frame_of_reference_is_the_source_s_where_the_volume_lies_in_it(tmp_path, source):
    inside, outside = (volume(grid(np.eye(3), corner=corner), (3, 3, 3)) for corner in ((-186, -81, 1252), (0, 0, 0)))
    for name, image, same in (("inside", inside, True), ("outside", outside, False)):
        write_dicom_series(image, tmp_path / name, source=source)
        for header in headers(tmp_path / name):
            assert (header.FrameOfReferenceUID == PATIENT["FrameOfReferenceUID"]) is same
            assert header.StudyInstanceUID == PATIENT["StudyInstanceUID"]


def test_what_the_source_does_not_say_is_not_made_up(tmp_path, source):
    edit(
        source,
        StudyDate=None,
        PatientName=None,
        SeriesNumber=None,
        BodyPartExamined="CHEST",
        LossyImageCompression="01",
    )
    write_dicom_series(LoadVolume()(source), tmp_path / "series", source=source)
    for header in headers(tmp_path / "series"):
        assert (header.StudyDate, header.PatientName, header.SeriesNumber) == ("", "", 1)
        assert (header.BodyPartExamined, header.LossyImageCompression) == ("CHEST", "01")
        assert "Laterality" not in header


@pytest.mark.parametrize(
    ("keyword", "right", "wrong"),
    [("PatientWeight", "87.5", "87,5"), ("SeriesNumber", "7654", "four"), ("PatientBirthDate", "19530417", "the 17th")],
)
def test_what_no_reader_understands_costs_no_reconstruction(tmp_path, source, keyword, right, wrong):
    edit(source, **{keyword: right})
    for file in source.iterdir():
        file.write_bytes(file.read_bytes().replace(right.encode(), wrong.encode()))
    write_dicom_series(LoadVolume()(source), tmp_path / "series", source=source)
    header = headers(tmp_path / "series")[0]
    assert header.PatientID == PATIENT["PatientID"]


def test_anonymous_leaves_nothing_of_the_source(tmp_path, source):
    write_dicom_series(LoadVolume()(source), tmp_path / "series", source=source, anonymous=True)
    secrets = [str(value) for value in (*PATIENT.values(), *ELSEWHERE.values()) if len(str(value)) > 3]
    secrets += ["PRIVATE-SECRET", "1.2.840.99999", "Jördis", "source"]
    for file in (tmp_path / "series").iterdir():
        content = file.read_bytes()
        found = [secret for secret in secrets for code in ("utf-8", "latin-1") if secret.encode(code) in content]
        assert found == []
    for header in headers(tmp_path / "series"):
        assert (header.PatientIdentityRemoved, header.PatientName, header.PatientID) == ("YES", "", "")
        assert header.DeidentificationMethod
        assert "SourceImageSequence" not in header
    assert differences(LoadVolume()(source), tmp_path / "series") == (0, pytest.approx(0, abs=1e-9))


def test_text_in_the_voxels_is_not_anonymous(tmp_path, source):
    edit(source, BurnedInAnnotation="YES")
    for call in (
        lambda: write_dicom_series(LoadVolume()(source), tmp_path / "series", source=source, anonymous=True),
        lambda: check_dicom_output(source, anonymous=True),
    ):
        with pytest.raises(InputError, match="found BurnedInAnnotation YES, expected images without text"):
            call()
    assert not (tmp_path / "series").exists()
    write_dicom_series(LoadVolume()(source), tmp_path / "series", source=source)
    assert headers(tmp_path / "series")[0].BurnedInAnnotation == "YES"


SHEARED = grid(np.eye(3))
SHEARED[1, 2] = 0.2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: volume(SHEARED), "sheared affine, found two voxel axes 0.0797"),
        (lambda: volume(grid(np.eye(3), (1, 1, 0.001))), "found voxels of 1 x 1 x 0.001 mm, expected 0.02 to 50 mm"),
        (lambda: volume(grid(np.eye(3), (1, 1, 0))), "affine: found .*, expected 4 x 4 finite numbers"),
        (lambda: volume(grid(np.eye(3)), high=32769), "found values from .* to 32[0-9]* HU, expected -32768 to 32767"),
        (lambda: volume(grid(np.eye(3))) * np.nan, "found 210 NaN or infinite voxels, expected finite HU"),
        (lambda: volume(grid(np.eye(3))).as_tensor(), "has no affine, expected a MetaTensor"),
        (lambda: volume(grid(np.eye(3)))[None], r"found shape \(1, 1, 7, 6, 5\), expected"),
        (lambda: volume(grid(np.eye(3))).to(torch.complex64), "complex"),
    ],
)
def test_volumes_that_are_no_ct_grid(tmp_path, make, message):
    image = make()
    if "values" in message:
        image[0, 0, 0, 0] = 32768
    with pytest.raises(InputError, match=message):
        write_dicom_series(image, tmp_path / "series")
    assert list(tmp_path.iterdir()) == []


def test_sources_that_are_none(tmp_path, source):
    image = LoadVolume()(source)
    edit(source, Modality="MR")
    with pytest.raises(InputError, match="found DICOM images of modality MR, expected CT"):
        write_dicom_series(image, tmp_path / "series", source=source)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="found no DICOM series"):
        write_dicom_series(image, tmp_path / "series", source=tmp_path / "empty")
    assert not (tmp_path / "series").exists()


def test_a_folder_of_others_is_left_alone(tmp_path, source):
    image = LoadVolume()(source)
    (tmp_path / "empty").mkdir()
    write_dicom_series(image, tmp_path / "empty")
    before = {file: file.read_bytes() for file in (tmp_path / "empty").iterdir()}
    with pytest.raises(
        InputError, match="found 5 files or folders where a DICOM series goes, expected a new or an empty"
    ):
        write_dicom_series(image, tmp_path / "empty")
    assert {file: file.read_bytes() for file in (tmp_path / "empty").iterdir()} == before
    with pytest.raises(InputError, match="found an output inside the input"):
        write_dicom_series(image, source / "new", source=source)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="found a file, expected a folder"):
        write_dicom_series(image, tmp_path / "file")


@pytest.mark.parametrize("problem", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_nothing_is_half_written(tmp_path, monkeypatch, problem):
    calls = itertools.count()
    save = Dataset.save_as

    def failing(*given: object, **options: object) -> None:
        if next(calls) == 3:
            raise problem
        save(*given, **options)

    monkeypatch.setattr(Dataset, "save_as", failing)
    with pytest.raises((KeyboardInterrupt, InputError)):
        write_dicom_series(volume(grid(np.eye(3))), tmp_path / "new" / "series")
    assert not (tmp_path / "new" / "series").exists()


def test_what_a_killed_process_leaves_is_no_series(tmp_path):
    write_dicom_series(volume(grid(np.eye(3))), tmp_path / "series")
    (tmp_path / "series" / ".monai-iscs-partial").mkdir()
    for file in sorted((tmp_path / "series").glob("*.dcm"))[:2]:
        file.rename(file.parent / ".monai-iscs-partial" / file.name)
    with pytest.raises(InputError, match="DICOM files in 1 of its subfolders"):
        LoadVolume()(tmp_path / "series")


@pytest.mark.parametrize(
    "use", [lambda path: write_dicom_series(volume(grid(np.eye(3))), path / "new"), lambda _: check_dicom_output()]
)
def test_pydicom_is_named_where_it_is_missing(tmp_path, monkeypatch, use: Callable[[Path], None]):
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(InputError, match=r"pip install 'monai-iscs\[dicom\]'"):
        use(tmp_path)
    with pytest.raises(InputError, match=r"pip install 'monai-iscs\[dicom\]'"):
        LoadVolume()(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_run_replaces_its_own_series_and_no_other(tmp_path):
    folder = RunFolder(tmp_path / "run")

    def run(*, with_dicom: bool) -> set[str]:
        folder.expect(*(["dicom"] if with_dicom else []))
        with folder.results() as stage:
            if with_dicom:
                write_dicom_series(volume(grid(np.eye(3))), stage / "dicom")
            (stage / "run.json").write_text("{}")
        return {path.relative_to(folder.path).as_posix() for path in folder.path.rglob("*.dcm")}

    first = headers(folder.path / "dicom") if run(with_dicom=True) else []
    assert len(run(with_dicom=True)) == SHAPE[2]
    assert headers(folder.path / "dicom")[0].SOPInstanceUID != first[0].SOPInstanceUID
    assert run(with_dicom=False) == set()
    assert not (folder.path / "dicom").exists()
    run(with_dicom=True)
    (folder.path / "dicom" / "notes.txt").write_text("mine")
    for with_dicom in (True, False):
        with pytest.raises(InputError, match="dicom: found a folder where a result goes"):
            run(with_dicom=with_dicom)
    assert len(list((folder.path / "dicom").iterdir())) == SHAPE[2] + 1
