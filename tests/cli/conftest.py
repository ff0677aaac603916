# SPDX-License-Identifier: Apache-2.0
"""Shared by the commands' tests."""

from __future__ import annotations

import json
import shutil

import pytest

from monai_iscs.workflows.bundle import find_bundle


@pytest.fixture(scope="session")
def measuring(bundle, tmp_path_factory):
    """The small bundle, whose only model also takes real projections."""
    folder = shutil.copytree(bundle, tmp_path_factory.mktemp("measuring") / "tiny")
    shipped = find_bundle("body_ct_reconstruction") / "configs" / "measured.json"
    file = folder / "configs" / "measured.json"
    config = json.loads(shipped.read_text())
    config["ckpt_path"] = "$@bundle_root + '/models/model.pt'"
    file.write_text(json.dumps(config))
    (folder / "configs" / "metadata.json").write_text((shipped.parent / "metadata.json").read_text())
    return folder
