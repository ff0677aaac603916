# SPDX-License-Identifier: Apache-2.0
"""Slices with what a scan shows of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from monai.data import MetaTensor

from monai_iscs.classical import fdk
from monai_iscs.engines import load_scanned_slices
from monai_iscs.errors import InputError
from monai_iscs.scans import ConeBeamScan
from monai_iscs.scans.meta import grid_of

SETTINGS = {"size": 16, "unit_attenuation": 0.02, "photons": [None]}


def box(slices: int) -> MetaTensor:
    volume = torch.zeros(1, 32, 32, slices)
    volume[:, 8:22, 10:25, 1:] = 0.5
    return MetaTensor(volume, affine=torch.diag(torch.tensor([8.0, 8.0, 8.0, 1.0])))


def read(item: dict) -> dict:
    return {"image": box(int(Path(item["image"]).stem))}


def test_slices_come_with_the_fdk_of_a_scan_on_the_files_own_grid(tmp_path: Path) -> None:
    found = load_scanned_slices(["6.nii"], read, views=[24], cache_dir=tmp_path, **SETTINGS)
    assert len(found) == 6
    volume = box(6)
    measurement = ConeBeamScan(size=16, views=24, unit_attenuation=0.02).simulate(volume.as_tensor(), grid_of(volume))
    expected = fdk(measurement)
    beyond = (expected.shape[-1] - 6) // 2
    for z, item in enumerate(found):
        coarse = volume.as_tensor()[..., z].unfold(1, 2, 2).unfold(2, 2, 2).mean((-1, -2))
        torch.testing.assert_close(item["image"], coarse.half())
        torch.testing.assert_close(item["condition"].float(), expected[..., beyond + z], rtol=1e-2, atol=1e-3)


def test_scans_are_kept_and_differ(tmp_path: Path) -> None:
    """Of two scans of a volume, each has its own views and noise; a second call simulates nothing."""
    calls = []

    def counted(item: dict) -> dict:
        calls.append(item)
        return read(item)

    settings = {**SETTINGS, "photons": [1e3], "views": [6, 12, 24], "cache_dir": tmp_path, "scans": 3}
    first = load_scanned_slices(["4.nii"], counted, **settings)
    assert len(first) == 12
    assert len(calls) == 3
    again = load_scanned_slices(["4.nii"], counted, **settings)
    assert len(calls) == 3
    assert all(torch.equal(a["condition"], b["condition"]) for a, b in zip(first, again, strict=True))
    assert torch.equal(first[0]["image"], first[4]["image"])
    assert not torch.equal(first[0]["condition"], first[4]["condition"])


def test_of_long_volumes_a_part_is_scanned(tmp_path: Path) -> None:
    assert len(load_scanned_slices(["60.nii"], read, views=[6], cache_dir=tmp_path, **SETTINGS)) == 40  # 320 mm


def test_too_few_slices_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"4\.nii: found 4 slices, expected at least 5 \(one batch\)"):
        load_scanned_slices(["4.nii"], read, views=[6], cache_dir=tmp_path, at_least=5, **SETTINGS)
