# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from monai_iscs.precision import choose_precision, computing_in

CPU = torch.device("cpu")
SETTINGS = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul, torch.backends.cudnn.conv)


def newer() -> list[str]:
    return [setting.fp32_precision for setting in SETTINGS]


def older() -> tuple[str, bool, bool]:
    """Settings that PyTorch's compiler and other packages read; PyTorch raises if the two interfaces disagree."""
    return (
        torch.get_float32_matmul_precision(),
        torch.backends.cuda.matmul.allow_tf32,
        torch.backends.cudnn.allow_tf32,
    )


@pytest.fixture
def restored():
    before = newer()
    yield
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = True
    for setting, value in zip(SETTINGS, before, strict=True):
        setting.fp32_precision = value


@pytest.mark.parametrize("given", ["highest", "high", "medium"])
@pytest.mark.parametrize(
    ("precision", "during"),
    [("float32", ("highest", False, False)), ("bfloat16", ("highest", False, False)), ("tf32", ("high", True, True))],
)
def test_pytorch_s_own_settings_come_back(restored, given, precision, during):
    torch.set_float32_matmul_precision(given)
    before = newer(), older()
    seen = []

    def fail():
        with computing_in(precision, CPU):
            seen.append((older(), torch.is_autocast_enabled("cpu")))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert seen == [(during, precision == "bfloat16")]
    assert (newer(), older()) == before
    assert not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize("setting", SETTINGS)
def test_settings_of_the_newer_interface_alone(restored, setting):
    setting.fp32_precision = "ieee" if setting is torch.backends.cudnn.conv else "tf32"
    before = newer()
    with computing_in("float32", CPU):
        assert older() == ("highest", False, False)
    assert newer() == before


def test_a_caller_s_autocast_ends_where_exactness_is_asked_for():
    x = torch.rand(4, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (x @ x).dtype == torch.bfloat16
        with computing_in("float32", CPU):
            assert (x @ x).dtype == torch.float32


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"amx_bf16": True, "avx512_bf16": True}, "bfloat16"),
        ({"amx_bf16": False, "avx512_bf16": True}, "bfloat16"),
        ({"amx_bf16": False, "avx512_bf16": False}, "float32"),
        (None, "float32"),
    ],
)
def test_the_default_precision(monkeypatch, capabilities, expected):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    if capabilities is None:  # older PyTorch
        monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    else:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert choose_precision(None, CPU) == expected
    assert choose_precision("float32", CPU) == "float32"
    assert choose_precision("bfloat16", CPU) == "bfloat16"
