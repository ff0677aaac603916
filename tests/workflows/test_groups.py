# SPDX-License-Identifier: Apache-2.0
"""Groups of processes: four of them on a CPU, over three volumes, one of which is broken."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import nibabel as nib
import numpy as np
import pytest

ALONE = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


@pytest.fixture
def started(bodies, bundle, tmp_path):
    """Starts four processes over the folder."""

    def start(*options):
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "4"]
        given = ["reconstruct", bodies, "--bundle", bundle, "--device", "cpu", "--output", tmp_path / "out", *options]
        return subprocess.Popen(
            [*launch, "-m", "monai_iscs", *map(str, given)],
            env={**os.environ, **ALONE},
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )

    return start


def test_a_broken_volume_spoils_no_other_and_a_rerun_does_the_rest(started, bodies, tmp_path):
    """By groups of one process, then of two."""
    whole = (bodies / "b.nii.gz").read_bytes()
    (bodies / "b.nii.gz").write_bytes(whole[:2000])
    run = started()
    out, err = run.communicate(timeout=300)
    assert run.returncode != 0
    assert err.count("found 1 of 3 inputs that failed, expected none: b (") >= 1, err
    assert out.count("2 of 3 reconstructed") == 1  # only one process says so
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a", "c"]
    a, c = (nib.load(tmp_path / "out" / name / "reconstruction.nii.gz").get_fdata() for name in ("a", "c"))
    assert np.linalg.norm(a - c) < 1e-3 * np.linalg.norm(a)  # the same volume, whoever took it
    (bodies / "b.nii.gz").write_bytes(whole)
    run = started("--processes-per-volume", 2)
    out, err = run.communicate(timeout=300)
    assert run.returncode == 0, err
    assert out.count("done already") == 2
    assert (tmp_path / "out" / "b" / "run.json").is_file()


ONE_FAILS = """
import os, sys, time
import ignite.distributed as idist, torch
from monai_iscs.errors import InputError
from monai_iscs.workflows.groups import Groups

groups, member, lines = Groups(2, "gloo"), None, []
for index in groups.indices(2):
    def work():
        global member
        member = idist.get_rank()
        if index == 0 and member == 1:
            raise InputError("disk: found it full, expected room")
        assert idist.all_reduce(torch.ones(1)).item() == 2  # the other one waits here
    start = time.monotonic()
    line = groups.run(index, work)
    lines.append(f"{index} {member} {line} {time.monotonic() - start < 20}")
open(f"{sys.argv[1]}_{os.environ['RANK']}", "w").write("\\n".join(lines))
groups.all_failures({})
"""


def test_a_process_that_fails_alone_ends_the_others_waiting(tmp_path):
    """Both say why, at once, and the next volume is done together."""
    script = tmp_path / "one_fails.py"
    script.write_text(ONE_FAILS)
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        script,
        tmp_path / "said",
    ]
    done = subprocess.run(
        launch, env={**os.environ, **ALONE}, capture_output=True, encoding="utf-8", check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    for member in (0, 1):
        said = (tmp_path / f"said_{member}").read_text().splitlines()
        assert said == [f"0 {member} disk: found it full, expected room True", f"1 {member} None True"]


def test_a_killed_process_leaves_whole_results_only(started, tmp_path):
    run = started("--processes-per-volume", 2)
    marks = tmp_path / "out"
    while not list(marks.glob("*/.monai-iscs-unfinished.pt")) and run.poll() is None:
        time.sleep(0.02)
    children = subprocess.run(["pgrep", "-P", str(run.pid)], capture_output=True, encoding="utf-8", check=True)
    os.kill(int(children.stdout.split()[-1]), signal.SIGKILL)
    run.communicate(timeout=300)
    assert run.returncode != 0
    for folder in marks.iterdir():
        if (folder / "reconstruction.nii.gz").exists():
            assert json.loads((folder / "run.json").read_text())["files"]
    run = started("--processes-per-volume", 2)
    _, err = run.communicate(timeout=300)
    assert run.returncode == 0, err
    assert sorted(path.parent.name for path in marks.glob("*/run.json")) == ["a", "b", "c"]


def test_processes_that_make_no_groups(bodies, bundle, tmp_path, fails, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    given = ["--bundle", str(bundle), "--device", "cpu", "--output", str(tmp_path / "out")]
    expected = "--processes-per-volume: found 3 of 4 processes, expected a number that divides 4"
    assert expected in fails("reconstruct", str(bodies), *given, "--processes-per-volume", "3")
    assert not any((tmp_path / "out").glob("*"))
