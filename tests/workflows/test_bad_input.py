# SPDX-License-Identifier: Apache-2.0
"""Every error of a user ends in one line that names it, and does not change earlier results."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from monai_iscs.cli import main
from monai_iscs.workflows.checkpoint import NAME
from monai_iscs.workflows.progress import Progress

ROOT = Path(__file__).resolve().parents[2]
EARLIER = {"reconstruction.nii.gz": "earlier volume", "run.json": "earlier record"}


@pytest.fixture
def output(tmp_path) -> Path:
    """A folder with the results of an earlier run, which the test must not change."""
    folder = tmp_path / "results"
    folder.mkdir()
    for name, content in EARLIER.items():
        (folder / name).write_text(content)
    yield folder
    kept = (file for file in folder.iterdir() if file.name != NAME)  # an interrupted run may go on from its checkpoint
    assert {file.name: file.read_text() for file in kept} == EARLIER


@pytest.fixture
def copied_bundle(bundle, tmp_path) -> Path:
    """A copy of the small bundle, to be damaged."""
    return shutil.copytree(bundle, tmp_path / "copy")


def _truncated(path: Path, phantom: np.ndarray, save) -> None:
    noise = np.random.default_rng(0).normal(0, 20, phantom.shape).astype(np.float32)
    whole = save(path, phantom + noise).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def _singular(path: Path, phantom: np.ndarray, save) -> None:
    image = nib.Nifti1Image(phantom, None)
    image.header.set_sform(np.diag([8.0, 0.0, 8.0, 1.0]), code=1)
    nib.save(image, path)


SHEARED = np.array([[8, 2, 0, 0], [0, 8, 0, 0], [0, 0, 8, 0], [0, 0, 0, 1.0]])
UNUSABLE = {
    "truncated": (_truncated, "truncated or damaged"),
    "2D": (lambda path, v, save: save(path, v[..., 0]), "expected one 3D volume"),
    "4D": (lambda path, v, save: save(path, np.stack([v, v], -1)), "expected one 3D volume"),
    "constant": (lambda path, v, save: save(path, np.zeros_like(v)), "found 0 in every voxel"),
    "NaN": (lambda path, v, save: save(path, np.where(v > 500, np.nan, v).astype(np.float32)), "NaN"),
    "not HU": (lambda path, v, save: save(path, (v + 1000) / 10), "not HU"),
    "sheared": (lambda path, v, save: save(path, v, SHEARED), "found a sheared affine"),
    "singular": (_singular, "found a singular affine"),
    "beyond the detector": (
        lambda path, v, save: save(path, v, np.diag([-24.0, 24.0, 8.0, 1.0])),
        "outside the detector",
    ),
}


@pytest.mark.parametrize(("make", "expected"), UNUSABLE.values(), ids=UNUSABLE)
def test_volumes_that_cannot_be_used(fails, bundle, output, tmp_path, save_volume, phantom, make, expected):
    path = tmp_path / "volume.nii.gz"
    make(path, phantom, save_volume)
    line = fails("reconstruct", path, "--bundle", bundle, "--method", "fdk", "--output", output)
    assert expected in line
    assert str(path) in line


@pytest.mark.parametrize("verb", ["reconstruct", "evaluate"])
def test_missing_files(fails, bundle, body, tmp_path, verb):
    arguments = {"reconstruct": ["--output", tmp_path / "o"], "evaluate": [body]}[verb]
    missing = tmp_path / "missing.nii.gz"
    assert f"found {missing}, expected a file or folder that exists" in fails(
        verb, missing, "--bundle", bundle, *arguments
    )
    assert not (tmp_path / "o").exists()


def test_an_unknown_bundle(fails, body, output):
    line = fails("reconstruct", body, "--bundle", "knee_mri", "--output", output)
    assert "argument --bundle: found 'knee_mri'" in line
    assert "body_ct_reconstruction" in line


def test_memory_of_a_device_that_cannot_be_limited(fails, bundle, body, output):
    line = fails("reconstruct", body, "--bundle", bundle, "--device", "cpu", "--memory", "12", "--output", output)
    assert "--memory: found with device cpu, expected a CUDA device" in line


def test_options_of_a_model_for_a_method_without_one(fails, bundle, body, output):
    line = fails(
        "reconstruct", body, "--bundle", bundle, "--method", "fdk", "--precision", "float32", "--output", output
    )
    assert "--precision: found with --method fdk" in line


@pytest.mark.parametrize("device", ["cuda:9", "tpu", "meta"])
def test_an_unknown_device(fails, bundle, body, output, device):
    line = fails("reconstruct", body, "--bundle", bundle, "--device", device, "--output", output)
    assert f"--device: found '{device}'" in line
    assert "cpu" in line


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_where_there_is_none(fails, bundle, body, output):
    line = fails("reconstruct", body, "--bundle", bundle, "--device", "cuda", "--output", output)
    assert "--device: found 'cuda', expected one that this machine has: cpu" in line


def test_a_sampler_s_option_with_a_baseline(fails, bundle, body, output):
    arguments = ["--method", "sirt", "--steps", 3, "--eta", 1, "--output", output]
    assert "--steps, --eta: found with --method sirt" in fails("reconstruct", body, "--bundle", bundle, *arguments)


def test_a_missing_model_file(fails, copied_bundle, body, output):
    model = copied_bundle / "models" / "model.pt"
    model.unlink()
    assert f"{model}: found no such file" in fails("reconstruct", body, "--bundle", copied_bundle, "--output", output)


def test_a_truncated_model_file(fails, copied_bundle, body, output):
    model = copied_bundle / "models" / "model.pt"
    model.write_bytes(model.read_bytes()[:2000])
    line = fails("reconstruct", body, "--bundle", copied_bundle, "--output", output)
    assert f"{model}: found a damaged file or one of another kind, expected weights" in line


@pytest.mark.parametrize("weights", [{"other.weight": torch.zeros(3)}, [1, 2]], ids=["another network's", "a list"])
def test_a_model_file_that_does_not_fit(fails, copied_bundle, body, output, weights):
    model = copied_bundle / "models" / "model.pt"
    torch.save(weights, model)
    line = fails("reconstruct", body, "--bundle", copied_bundle, "--output", output)
    assert f"{model}: found weights that do not fit" in line


def test_a_damaged_config(fails, copied_bundle, body, output):
    config = copied_bundle / "configs" / "inference.json"
    config.write_text(config.read_text()[:100])
    assert f"{config}: found no valid JSON" in fails("reconstruct", body, "--bundle", copied_bundle, "--output", output)


def test_a_config_of_another_kind(fails, copied_bundle, body, output):
    (copied_bundle / "configs" / "inference.json").write_text('{"network_def": 1}')
    line = fails("reconstruct", body, "--bundle", copied_bundle, "--views", 3, "--output", output)
    assert "found no entry" in line


@pytest.mark.parametrize("verb", ["reconstruct", "evaluate", "train"])
def test_an_output_below_a_file(fails, bundle, body, tmp_path, verb):
    (tmp_path / "file").write_text("mine")
    target = tmp_path / "file" / "results"
    arguments = {
        "reconstruct": [body, "--method", "fdk"],
        "evaluate": [body, body],
        "train": ["--dataset", tmp_path],
    }[verb]
    assert str(target) in fails(verb, *arguments, "--bundle", bundle, "--output", target)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_full_disk(fails, monkeypatch, bundle, body, output):
    def full(image, path):
        Path(path).write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(nib, "save", full)
    line = fails("reconstruct", body, "--bundle", bundle, "--method", "fdk", "--output", output)
    assert f"{output}: the disk is full" in line


def test_ctrl_c_between_two_steps(fails, monkeypatch, bundle, body, output):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "step", interrupt)
    line = fails("reconstruct", body, "--bundle", bundle, "--output", output, code=130)
    assert line == "monai-iscs: stopped"


def _start(*arguments: object) -> subprocess.Popen:
    command = [sys.executable, "-m", "monai_iscs", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        # tests that run in a shell's background ignore Ctrl-C, and so would their children
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_at_a_terminal(bundle, body, output, number, code):
    process = _start("reconstruct", body, "--bundle", bundle, "--steps", 100000, "--output", output)
    seen = b""
    while b"reconstructing" not in seen:
        character = process.stderr.read(1)
        assert character, seen.decode()
        seen += character
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert err.endswith(b"monai-iscs: stopped\n")
    assert b"Traceback" not in err
    assert out == b""


def test_ctrl_c_inside_a_finaliser(fails, monkeypatch, bundle, body, output):
    """Python reports an exception in `__del__` and goes on; the run must still stop."""

    class Finalised:
        def __del__(self):
            raise KeyboardInterrupt

    def interrupted(*_, **__):
        Finalised()
        time.sleep(60)

    monkeypatch.setattr("monai_iscs.workflows.one_input.compare", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        assert fails("reconstruct", body, "--bundle", bundle, "--output", output, code=130) == "monai-iscs: stopped"
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_error_at_a_terminal(tmp_path):
    out, err = (
        process := _start("reconstruct", tmp_path / "no.nii", "--bundle", "x", "--output", tmp_path)
    ).communicate()
    assert process.returncode == 2
    assert err.startswith(b"monai-iscs: error: ")
    assert err.count(b"\n") == 1
    assert out == b""


def test_a_defect_of_the_program_is_not_hidden(monkeypatch, bundle, body, tmp_path):
    monkeypatch.setattr("monai_iscs.workflows.one_input.compare", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["reconstruct", str(body), "--bundle", str(bundle), "--method", "fdk", "--output", str(tmp_path / "o")])
    assert not (tmp_path / "o").exists()
