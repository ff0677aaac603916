# SPDX-License-Identifier: Apache-2.0
"""``torchrun``: two processes on a CPU, as on two GPUs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
import torch

from monai_iscs.cli import main
from monai_iscs.errors import InputError
from monai_iscs.torchrun import local_process


@pytest.fixture
def torchrun(tmp_path):
    """``torchrun(*arguments)`` runs ``monai-iscs`` in two processes; returns their result."""

    def run(*arguments):
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        return subprocess.run(
            [*command, "-m", "monai_iscs", *map(str, arguments)],
            env={**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
            cwd=tmp_path,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )

    return run


# Without noise to stop at, 20 conjugate gradient iterations on 6 views amplify rounding, here of sums of views in
# another order: a measurement that differs in its last bits gives 4e-6 to 3e-4 too, as the seed will have it. With
# noise to stop at, it was up to 2.2e-5.
@pytest.mark.parametrize(("noise", "most"), [([], 1e-3), (["--photons", "1e4"], 1e-4)], ids=["noiseless", "noisy"])
def test_a_reconstruction_is_that_of_one_process(torchrun, bundle, body, tmp_path, noise, most):
    given = ["reconstruct", str(body), "--bundle", str(bundle), "--device", "cpu", *noise, "--output"]
    assert main([*given, str(tmp_path / "one")]) == 0
    done = torchrun(*given, tmp_path / "two")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("metrics.json") == 1  # only one process prints
    assert sorted(os.listdir(tmp_path / "two")) == sorted(os.listdir(tmp_path / "one"))
    one, two = (nib.load(tmp_path / name / "reconstruction.nii.gz").get_fdata() for name in ("one", "two"))
    assert np.linalg.norm(two - one) < most * np.linalg.norm(one)


def test_a_training_of_two_processes(torchrun, bundle, body, tmp_path):
    """Every epoch has half as many steps; one process writes the weights, and they fit the bundle."""
    for name in ("train", "val"):
        (tmp_path / "data" / name).mkdir(parents=True)
        shutil.copy(body, tmp_path / "data" / name)
    given = ["train", "--bundle", bundle, "--dataset", tmp_path / "data", "--epochs", 1, "--device", "cpu", "--output"]
    assert main([*map(str, given), str(tmp_path / "one")]) == 0
    done = torchrun(*given, tmp_path / "two")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("model.pt") == 1
    steps = [torch.load(tmp_path / n / "last.pt", weights_only=True)["trainer"]["iteration"] for n in ("one", "two")]
    assert steps[1] == steps[0] // 2
    weights = torch.load(tmp_path / "two" / "model.pt", weights_only=True)
    assert weights.keys() == torch.load(bundle / "models" / "model.pt", weights_only=True).keys()
    assert len(list((tmp_path / "two").glob("events.*"))) == len(list((tmp_path / "one").glob("events.*")))


def test_a_verb_that_does_not_share_its_work(monkeypatch, fails):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "demo: found 2 processes (torchrun), expected one" in fails("demo")


@pytest.mark.parametrize("variable", ["WORLD_SIZE", "LOCAL_RANK"])
@pytest.mark.parametrize("value", ["abc", "", "-1", "1.5"])
def test_an_environment_that_torchrun_would_not_make(monkeypatch, fails, bundle, body, tmp_path, variable, value):
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv(variable, value)
    if variable == "LOCAL_RANK":
        with pytest.raises(InputError, match=f"LOCAL_RANK: found '{value}' in the environment, expected a whole"):
            local_process()
        return
    line = fails("reconstruct", body, "--bundle", bundle, "--output", tmp_path / "out")
    assert f"WORLD_SIZE: found '{value}' in the environment, expected a whole number of at least 1" in line


def test_a_process_whose_fellows_nobody_started(monkeypatch, fails, bundle, body, tmp_path):
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    line = fails("reconstruct", body, "--bundle", bundle, "--device", "cpu", "--output", tmp_path / "out")
    assert "WORLD_SIZE: found 2 in the environment, expected other processes to join" in line
