# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import platform
import sys
import time
from pathlib import Path

import monai
import pytest
import torch

from monai_iscs.reports import RunRecord


def test_everything_is_recorded():
    record = RunRecord({"method": "dds", "steps": 30}, seed=7, device="cpu")
    content = json.loads(json.dumps(record.as_dict()))
    assert content["settings"] == {"method": "dds", "steps": 30}
    assert content["seed"] == 7
    assert content["device"] == "cpu"
    versions = content["versions"]
    assert {name: versions[name] for name in ("python", "torch", "monai")} == {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "monai": monai.__version__,
    }
    assert set(versions) == {"python", "torch", "monai", "monai_iscs", "numba"}


def test_stages_are_timed_and_add_up():
    record = RunRecord({}, seed=0, device="cpu")
    for _ in range(2):
        with record.stage("sleep"):
            time.sleep(0.02)
    with pytest.raises(RuntimeError), record.stage("fail"):
        raise RuntimeError
    seconds = record.as_dict()["seconds"]
    assert list(seconds) == ["sleep", "fail"]
    assert 0.04 <= seconds["sleep"] < 5


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_peak_memory():
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    peak = int(status["VmHWM"].split()[0]) / 1024
    assert RunRecord({}, seed=0, device="cpu").as_dict()["peak_memory_mb"] == pytest.approx(peak, rel=0.02)
