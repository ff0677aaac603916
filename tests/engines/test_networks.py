# SPDX-License-Identifier: Apache-2.0
"""The networks of a prior, as an evaluator takes them."""

from __future__ import annotations

import pytest
import torch

from monai_iscs.engines import networks_by_name
from monai_iscs.errors import InputError

CPU = torch.device("cpu")


def test_a_single_network_is_itself_and_several_are_named_with_their_weights(tmp_path):
    first, saved = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    torch.save(saved.state_dict(), tmp_path / "model.pt")
    further = {"coronal": {"network_def": torch.nn.Linear(2, 2), "ckpt_path": str(tmp_path / "model.pt")}}
    assert networks_by_name(("prior",), first, further, CPU) is first
    found = networks_by_name(("prior", "coronal"), first, further, CPU)
    assert found["prior"] is first
    torch.testing.assert_close(found["coronal"].weight, saved.weight)


def test_a_name_without_a_network():
    with pytest.raises(InputError, match="networks: found no network 'coronal', expected one"):
        networks_by_name(("prior", "coronal"), torch.nn.Linear(2, 2), {}, CPU)
