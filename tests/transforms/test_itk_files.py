# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import itk
import numpy as np
import pytest

from monai_iscs.errors import InputError
from monai_iscs.transforms import LoadVolume


@pytest.fixture
def write(phantom, tmp_path):
    """``write(name, *changes)``: the phantom with noise, and parts of its header replaced."""

    def save(name: str, *changes: tuple[bytes, bytes], compression: bool = False) -> Path:
        noise = np.random.default_rng(0).normal(0, 20, phantom.shape)
        image = itk.image_from_array(np.ascontiguousarray((phantom + noise).astype(np.int16).T))
        image.SetSpacing([2.0, 2.0, 3.0])
        image.SetOrigin([1.0, 2.0, 4.0])
        path = tmp_path / name
        itk.imwrite(image, str(path), compression=compression)
        data = path.read_bytes()
        for old, new in changes:
            assert old in data
            data = data.replace(old, new, 1)
        path.write_bytes(data)
        return path

    return save


@pytest.mark.parametrize(
    ("unit", "scale"),
    [("m", 1000), ("cm", 10), ("mm", 1), ("um", 1e-3), ("µm", 1e-3), ("inches", 25.4), ("", 1), ("???", 1)],
)
@pytest.mark.parametrize("compression", [False, True])
def test_space_units_become_mm(write, unit, scale, compression):
    units = ("encoding:", f'space units: "{unit}" "{unit}" "{unit}"\nencoding:')
    path = write("ct.nrrd", tuple(text.encode() for text in units), compression=compression)
    expected = np.array([[-2, 0, 0, -1], [0, -2, 0, -2], [0, 0, 3, 4]]) * scale
    np.testing.assert_allclose(LoadVolume()(path).affine[:3], expected, rtol=1e-9)


def test_distance_units_become_mm(write):
    path = write("ct.mha", (b"DimSize", b"DistanceUnits = cm\nDimSize"))
    np.testing.assert_allclose(LoadVolume()(path).affine[:3, :3].norm(dim=0), [20, 20, 30])


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("ct.nrrd", b"encoding:", b'space units: "furlong" "furlong" "furlong"\nencoding:', "the unit 'furlong' of"),
        ("ct.nrrd", b"encoding:", b'space units: "m" "m" "mm"\nencoding:', "different units"),
        ("ct.nrrd", b"space directions: (2,0,0) (0,2,0) (0,0,3)\n", b"", "found no voxel size"),
        ("ct.mha", b"ElementSpacing = 2 2 3\n", b"", "found no voxel size"),
        ("ct.mha", b"ElementSpacing = 2 2 3", b"ElementSpacing = 0 2 3", "found voxels of 0 x 2 x 3"),
        ("ct.mha", b"ElementSpacing = 2 2 3", b"ElementSpacing = 2 2", "found voxels of 2 x 2 in"),
        ("ct.mha", b"DimSize", b"ElementToIntensityFunctionOffset = -1024\nDimSize", "found a scaling"),
        ("ct.nrrd", b"sizes: 40 30 12", b"sizes: 40 30 13", "expected 31,200 by its header"),
        ("ct.nrrd", b"sizes: 40 30 12", b"sizes: 40 30 11", "expected 26,400 by its header"),
        ("ct.mha", b"DimSize = 40 30 12", b"DimSize = 40 30 11", "expected 26,400 by its header"),
        ("ct.mha", b"DimSize = 40 30 12", b"DimSize = 9000 9000 9000", "expected 1,458,000,000,000 by its header"),
        ("ct.mha", b"DimSize = 40", b"ElementNumberOfChannels = 2\nDimSize = 20", "voxels of kind vector"),
    ],
)
def test_headers_that_cannot_be_right(write, name, old, new, message):
    path = write(name, (old, new))
    with pytest.raises(InputError, match=f"^{path}: .*{message}"):
        LoadVolume()(path)


def test_complex_voxels(write):
    changes = [
        (b"sizes: 40 30 12", b"sizes: 2 20 30 12"),
        (b"dimension: 3", b"dimension: 4"),
        (b"kinds: domain", b"kinds: complex domain"),
        (b"directions: (", b"directions: none ("),
    ]
    path = write("mr.nrrd", *changes)
    with pytest.raises(InputError, match=f"^{path}: found complex voxels"):
        LoadVolume()(path)


@pytest.mark.parametrize("name", ["ct.nrrd", "ct.mha", "ct.nhdr", "ct.mhd"])
def test_every_flipped_byte_of_compressed_voxels_is_found(write, name):
    path = write(name, compression=True)
    LoadVolume()(path)
    data = {"ct.nhdr": path.with_name("ct.raw.gz"), "ct.mhd": path.with_name("ct.zraw")}.get(name, path)
    whole = data.read_bytes()
    start = max(whole.rfind(b"\n\n", 0, 600) + 2, whole.rfind(b"LOCAL\n", 0, 600) + 6) if data is path else 0
    for place in range(start + 20, len(whole), 577):
        data.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(InputError, match=f"^{path.parent}"):
            LoadVolume()(path)
    data.write_bytes(whole[:-2])
    with pytest.raises(InputError, match="truncated or damaged"):
        LoadVolume()(path)


def test_voxels_that_are_not_there(write):
    path = write("ct.mhd")
    path.with_name("ct.raw").unlink()
    with pytest.raises(InputError, match=f"^{path}: found no file ct.raw beside it"):
        LoadVolume()(path)
