# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import nibabel
import numpy as np
import pytest

from monai_iscs.errors import InputError
from monai_iscs.transforms import LoadVolume


@pytest.fixture
def write(phantom, affine, tmp_path):
    """``write(change)``: the phantom as NIfTI, its header changed, with the same sform and qform."""

    def save(change=lambda _: None, *, kind=nibabel.Nifti1Image, name="ct.nii", values=phantom) -> Path:
        image = kind(values, affine)
        image.set_qform(affine, code=1)
        image.set_sform(affine, code=1)
        change(image.header)
        nibabel.save(image, tmp_path / name)
        return tmp_path / name

    return save


def patched(path: Path, offset: int, code: str, *values: float) -> Path:
    """The file with other numbers at a byte of its header."""
    data = bytearray(path.read_bytes())
    struct.pack_into(f"<{code}", data, offset, *values)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("name", ["ct.nii", "ct.nii.gz"])
@pytest.mark.parametrize(("unit", "scale"), [("meter", 1000), ("micron", 1e-3), ("mm", 1), ("unknown", 1)])
def test_lengths_become_mm(write, phantom, affine, kind, name, unit, scale):
    volume = LoadVolume()(write(lambda header: header.set_xyzt_units(unit), kind=kind, name=name))
    np.testing.assert_allclose(volume.affine[:3], affine[:3] * scale, rtol=1e-6)
    np.testing.assert_allclose(volume.meta["pixdim"][1:4], np.array([2, 2.5, 3]) * scale, rtol=1e-6)
    np.testing.assert_array_equal(volume[0].numpy(), phantom)


@pytest.mark.parametrize(
    ("offset", "code", "values", "message"),
    [
        (123, "B", (5,), "the unit 'code 5' of"),
        (80, "fff", (4, 4, 4), "expected one size"),
        (80, "fff", (0, 2.5, 3), "expected one size"),
        (76, "f", (-1,), "different directions"),
        (256, "f", (2,), "found a bad qform in its header"),
        (112, "f", (np.inf,), "scaling of its values by inf"),
        (42, "h", (-40,), r"shape \(-40, 30, 12\)"),
        (42, "h", (0,), r"shape \(0, 30, 12\)"),
        (46, "h", (11,), "bytes after its last voxel"),
        (46, "h", (13,), "found 28,800 bytes, expected 31,200"),
        (42, "hhh", (30000, 30000, 30000), "expected 54,000,000,000,000"),
        (108, "f", (1e30,), "found its voxels at byte 1e\\+30"),
        (344, "4s", (b"ni1",), "found no NIfTI header, expected a single-file NIfTI"),
    ],
)
def test_headers_that_cannot_be_right(write, offset, code, values, message):
    path = patched(write(), offset, code, *values)
    with pytest.raises(InputError, match=f"^{path}: .*{message}"):
        LoadVolume()(path)


@pytest.mark.parametrize("size", [0, np.nan])
def test_a_voxel_size_of_nothing_without_sform_and_qform(write, size):
    path = patched(patched(write(), 252, "hh", 0, 0), 80, "f", size)
    with pytest.raises(InputError, match=f"^{path}: found a singular affine with voxels of {size:g} x 2.5 x 3"):
        LoadVolume()(path)


def test_a_negative_voxel_size_is_its_size(write, affine):
    np.testing.assert_allclose(LoadVolume()(patched(write(), 80, "f", -2)).affine, affine, rtol=1e-6)


def test_an_sform_of_nan(write):
    path = patched(patched(write(), 252, "h", 0), 280, "f", np.nan)
    with pytest.raises(InputError, match=f"^{path}: found NaN or infinite numbers in its sform"):
        LoadVolume()(path)


def test_a_scaling_is_applied(write, phantom):
    path = patched(write(), 112, "ff", 2, -7)
    np.testing.assert_array_equal(LoadVolume()(path)[0].numpy(), 2.0 * phantom - 7)


@pytest.mark.parametrize(
    "dtype", [np.uint8, np.int8, np.uint16, np.int32, np.uint32, np.float32, np.float64, ">i2"], ids=str
)
def test_every_type_of_real_numbers(write, phantom, dtype):
    values = phantom.clip(0, 100).astype(dtype)
    np.testing.assert_array_equal(LoadVolume()(write(values=values))[0].numpy(), phantom.clip(0, 100))


@pytest.mark.parametrize("name", ["mr.nii", "mr.nii.gz"])
@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_complex_voxels(write, phantom, name, dtype):
    path = write(name=name, values=phantom.astype(dtype) * np.exp(1j).astype(dtype))
    with pytest.raises(InputError, match=f"^{path}: found complex voxels"):
        LoadVolume()(path)


def test_colours(write, phantom):
    path = write(values=np.zeros(phantom.shape, [("R", "u1"), ("G", "u1"), ("B", "u1")]))
    with pytest.raises(InputError, match=f"^{path}: found voxels of kind rgb"):
        LoadVolume()(path)


def test_axes_of_one_voxel_behind_the_third(write, phantom):
    assert LoadVolume()(write(values=phantom[..., None, None])).shape == (1, *phantom.shape)


def test_every_flipped_byte_of_a_gzip_is_found(write, phantom):
    """After the gzip's own header, whose name and time do not affect the voxels."""
    noise = np.random.default_rng(0).normal(0, 20, phantom.shape)
    path = write(name="ct.nii.gz", values=(phantom + noise).astype(np.int16))
    whole = path.read_bytes()
    for place in range(20, len(whole), 331):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(InputError, match=f"^{path}: "):
            LoadVolume()(path)


@pytest.mark.parametrize("kept", [-1, -9, -200])
def test_a_gzip_without_its_end(write, kept):
    path = write(name="ct.nii.gz")
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match=f"^{path}: found .*truncated or damaged"):
        LoadVolume()(path)


def test_bytes_behind_a_gzip(write):
    path = write(name="ct.nii.gz")
    path.write_bytes(path.read_bytes() + b"garbage")
    with pytest.raises(InputError, match=f"^{path}: "):
        LoadVolume()(path)


def test_gzip_bombs(write):
    """Refused by the header, or at the first byte after the voxels."""
    path = write()
    deflate = zlib.compressobj(9, zlib.DEFLATED, 31)
    content = [deflate.compress(path.read_bytes()), *(deflate.compress(bytes(2**22)) for _ in range(32))]
    bomb = path.with_name("bomb.nii.gz")
    bomb.write_bytes(b"".join([*content, deflate.flush()]))
    with pytest.raises(InputError, match="bytes after its last voxel"):
        LoadVolume()(bomb)
    bomb.write_bytes(gzip.compress(patched(path, 42, "hhh", 5000, 5000, 5000).read_bytes()))
    with pytest.raises(InputError, match="expected 250,000,000,000 by its header"):
        LoadVolume()(bomb)


def test_what_memory_does_not_hold(write, monkeypatch):
    path = write()
    monkeypatch.setattr("monai_iscs.transforms.stored.available_memory", lambda: 100_000)
    with pytest.raises(InputError, match=f"^{path}: found 0.0 GB of memory, expected 0.0 GB to read it"):
        LoadVolume()(path)
