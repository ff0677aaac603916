# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from monai_iscs.errors import InputError
from monai_iscs.inferers import Hardware


@pytest.mark.parametrize("slice_batch", [0, -1, 2.5])
def test_slice_batch_must_be_positive(slice_batch):
    with pytest.raises(InputError, match="slice_batch"):
        Hardware(slice_batch=slice_batch)
