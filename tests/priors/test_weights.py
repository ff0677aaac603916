# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from torch import nn

from monai_iscs.errors import InputError
from monai_iscs.priors.weights import load_weights


@pytest.fixture
def file(tmp_path):
    """The weights of a network, in half precision."""
    torch.manual_seed(0)
    path = tmp_path / "model.pt"
    torch.save({name: value.half() for name, value in nn.Linear(400, 30).state_dict().items()}, path)
    return path


def test_weights_are_loaded(file):
    network = nn.Linear(400, 30)
    load_weights(network, file)
    torch.testing.assert_close(network.weight.data, torch.load(file)["weight"].float())


def test_a_flipped_byte(file):
    """Anywhere in the numbers: PyTorch loads it without an error."""
    whole = file.read_bytes()
    start = whole.index(torch.load(file)["weight"].numpy().tobytes())
    for place in range(start, start + 24_000, 2_999):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(InputError, match=f"^{file}: found a wrong checksum"):
            load_weights(nn.Linear(400, 30), file)


@pytest.mark.parametrize("kept", [0, 100, -1, -2000])
def test_a_file_without_its_end(file, kept):
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(InputError, match=f"^{file}: found a damaged file or one of another kind, expected weights"):
        load_weights(nn.Linear(400, 30), file)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (torch.ones(30, 400, dtype=torch.complex64), "found complex64 .*, expected real floating-point numbers"),
        (torch.ones(30, 400, dtype=torch.int64), "found int64 .*, expected real floating-point numbers"),
        (torch.ones(30, 400, dtype=torch.bool), "found bool .*, expected real floating-point numbers"),
        (torch.full((30, 400), torch.nan), "found NaN or infinite"),
        (torch.full((30, 400), torch.inf).half(), "found NaN or infinite"),
        (3.0, "found a float as weight"),
        (torch.ones(30, 300), "found weights that do not fit"),
    ],
)
def test_what_is_no_weight(file, weight, message):
    torch.save({"weight": weight, "bias": torch.ones(30)}, file)
    network = nn.Linear(400, 30)
    with pytest.raises(InputError, match=f"^{file}: .*{message}"):
        load_weights(network, file)


@pytest.mark.parametrize("content", [[1, 2], {"weight": torch.ones(30, 400)}, {}])
def test_what_is_not_this_network(file, content):
    torch.save(content, file)
    with pytest.raises(InputError, match="found weights that do not fit"):
        load_weights(nn.Linear(400, 30), file)


def test_a_missing_file(tmp_path):
    with pytest.raises(InputError, match=f"^{tmp_path / 'no.pt'}: found no such file"):
        load_weights(nn.Linear(2, 2), tmp_path / "no.pt")


def test_weights_for_single_slices_in_a_network_for_several(tmp_path):
    """At first it estimates the slices' mean, and knows nothing of the condition."""
    torch.manual_seed(0)
    single = nn.Sequential(nn.Conv2d(4, 8, 3), nn.SiLU(), nn.Conv2d(8, 4, 3))
    several = nn.Sequential(nn.Conv2d(16, 8, 3), nn.SiLU(), nn.Conv2d(8, 12, 3))
    torch.save(single.state_dict(), tmp_path / "single.pt")
    load_weights(several, tmp_path / "single.pt", copies=3)
    slices, condition = torch.rand(2, 3, 4, 9, 9), torch.rand(2, 4, 9, 9)
    found = several(torch.cat([slices.flatten(1, 2), condition], dim=1))
    expected = single(slices.mean(1)).repeat(1, 3, 1, 1)
    torch.testing.assert_close(found, expected)


def test_weights_that_do_not_become_wider_are_refused(tmp_path):
    torch.save(nn.Conv2d(4, 8, 3).state_dict(), tmp_path / "single.pt")
    with pytest.raises(InputError, match="found weights that do not fit"):
        load_weights(nn.Conv2d(10, 8, 3), tmp_path / "single.pt", copies=3)
