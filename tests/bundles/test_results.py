# SPDX-License-Identifier: Apache-2.0
"""The bundles' ``inference.json`` writes one file for each volume of the folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor

BUNDLES = Path(__file__).parents[2] / "bundles"
NAMES = ["1.2.840.1.nii.gz", "1.2.840.2.nii.gz", "UPPER.NII.GZ", "same.nii.gz", "same.nrrd"]


@pytest.mark.parametrize("bundle", ["body_ct_reconstruction", "brain_mri_super_resolution"])
def test_every_volume_has_a_result_of_its_own(tmp_path: Path, bundle: str) -> None:
    (tmp_path / "in").mkdir()
    for name in NAMES:
        (tmp_path / "in" / name).write_bytes(b"\0")
    parser = ConfigParser()
    parser.read_config(str(BUNDLES / bundle / "configs" / "inference.json"))
    parser["dataset_dir"], parser["output_dir"] = str(tmp_path / "in"), str(tmp_path / "out")
    items = parser.get_parsed_content("dataset").data
    assert [Path(item["label"]).name for item in items] == NAMES
    *_, save = parser.get_parsed_content("postprocessing").transforms
    for item in items:
        save({"pred": MetaTensor(torch.ones(1, 2, 3, 4), meta={"filename_or_obj": item["label"]})})
    stems = ["1.2.840.1", "1.2.840.2", "UPPER", "same.nii.gz", "same.nrrd"]
    found = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert found == [f"{stem}_reconstruction.nii.gz" for stem in stems]
