# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import tarfile

import numpy as np
import pytest

from monai_iscs.errors import InputWarning

NAMES = {"IXI002": "IXI002-Guys-0828-T1.nii.gz", "IXI012": "IXI012-HH-1211-T1.nii.gz"}


@pytest.fixture
def signal(brain):
    """Whole numbers, as in the archive."""
    return brain.astype(np.int16)


@pytest.fixture
def scans(archive, save_volume, signal, affine):
    return [save_volume(archive / name, signal, affine) for name in NAMES.values()]


@pytest.fixture
def tar(archive, scans):
    """The archive as it is downloaded: the scans are only in a tar file."""
    with tarfile.open(archive / "IXI-T1.tar", "w") as file:
        for scan in scans:
            file.add(scan, scan.name)
            scan.unlink()
    return archive / "IXI-T1.tar"


def check(output, signal, affine, same, tree):
    (trained,) = (output / "train").iterdir()
    (validated,) = (output / "val").iterdir()
    assert {trained.name, validated.name} == set(NAMES.values())
    for file in (trained, validated):
        same(file, signal, affine)
    assert len(tree(output)) == 5


def test_unpacked(scans, prepare, signal, affine, same, tree):
    check(prepare("ixi"), signal, affine, same, tree)


def test_the_folder_of_the_tar_file(tar, prepare, signal, affine, same, tree):
    output = prepare("ixi")
    check(output, signal, affine, same, tree)
    assert f"IXI-T1.tar/{NAMES['IXI002']}" in (output / "manifest.csv").read_text()


def test_the_tar_file_itself(tar, prepare, signal, affine, same, tree):
    output = prepare("ixi", tar)
    check(output, signal, affine, same, tree)
    assert f",IXI-T1.tar/{NAMES['IXI002']}," in (output / "manifest.csv").read_text()


def test_signals_that_are_no_whole_numbers_stay_exact(archive, prepare, save_volume, brain, affine, same):
    for name in NAMES.values():
        save_volume(archive / name, brain / 3, affine)
    for file in prepare("ixi").rglob("*.nii.gz"):
        same(file, brain / 3, affine)


def test_other_sequences_are_left_out(archive, scans, prepare, tree):
    (archive / "IXI002-Guys-0828-T2.nii.gz").write_bytes(b"")
    (archive / "IXI002-Guys-0828-DTI-00.nii.gz").write_bytes(b"")
    with pytest.warns(InputWarning, match="found 2 T1 scans, left out 1 x IXI .*, 1 x IXI "):
        assert len(tree(prepare("ixi"))) == 5


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["IXI002-Guys-0828-T2.nii.gz"], "found 1 x IXI T2, expected IXI-T1.tar, or files such as"),
        (["sub-01_T1w.nii.gz"], "found 1 other files or folders (sub-01_T1w.nii.gz), expected IXI-T1.tar"),
        ([], "found nothing, expected IXI-T1.tar"),
        (["IXI002-Guys-0828-T1.nii.gz"], "found 1 patient, expected at least 2"),
    ],
)
def test_what_is_not_ixi(archive, refused, names, message):
    for name in names:
        (archive / name).write_bytes(b"")
    assert message in refused("ixi")


def test_a_download_that_was_cut_off(tar, refused):
    whole = tar.read_bytes()
    tar.write_bytes(whole[: len(whole) // 3])
    assert f"{tar}: found a truncated or damaged file" in refused("ixi")


def test_a_damaged_member_is_named_as_in_the_tar_file(archive, refused):
    for name in NAMES.values():
        (archive / name).write_bytes(b"not a NIfTI file")
    with tarfile.open(archive / "IXI-T1.tar", "w") as file:
        for name in NAMES.values():
            file.add(archive / name, f"IXI-T1/{name}")
    line = refused("ixi", archive / "IXI-T1.tar")
    assert line.startswith(f"{archive / 'IXI-T1.tar'}/IXI-T1/IXI0")


def test_ct_is_no_ixi(archive, refused, save_volume, hu):
    for name in NAMES.values():
        save_volume(archive / name, hu)
    assert "expected MR magnitudes" in refused("ixi")
