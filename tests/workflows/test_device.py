# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from monai_iscs.errors import InputError
from monai_iscs.workflows.device import choose_device, limit_memory


@pytest.mark.skipif(torch.accelerator.is_available(), reason="needs a machine without an accelerator")
@pytest.mark.parametrize(
    ("processes", "rank", "name", "device"),
    [
        (1, 0, None, "cuda:0"),
        (4, 2, None, "cuda:2"),
        (4, 1, "cuda", "cuda:1"),
        (1, 0, "cuda:3", "cuda:3"),
        (4, 2, "cpu", "cpu"),
    ],
)
def test_each_process_has_its_own_gpu(monkeypatch, processes, rank, name, device):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 4)
    monkeypatch.setenv("WORLD_SIZE", str(processes))
    monkeypatch.setenv("LOCAL_RANK", str(rank))
    assert choose_device(name) == torch.device(device)
    if processes > 1:
        with pytest.raises(InputError, match="found 'cuda:1' with 4 processes, expected cuda"):
            choose_device("cuda:1")


def test_the_memory_limit_is_this_process_s_share(monkeypatch):
    given = []
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (10**9, 40 * 10**9))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda *share: given.append(share))
    limit_memory(torch.device("cuda"), 12)
    assert given == [(0.3, torch.device("cuda"))]
    with pytest.raises(InputError, match=r"--memory: found 41 GB, expected at most the 40\.0 GB that cuda has"):
        limit_memory(torch.device("cuda"), 41)


def test_devices_of_a_plain_machine():
    assert choose_device(None) == choose_device("cpu") == torch.device("cpu")
    with pytest.raises(InputError, match="expected one that this machine has: cpu"):
        choose_device("cuda:0")
