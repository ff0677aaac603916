# SPDX-License-Identifier: Apache-2.0
"""What a bundle's ``metadata.json`` says about its priors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from monai_iscs.errors import InputError

ENTRY, NAMES = "pixel_size_mm", ("least", "usual", "most")


def pixel_size(bundle_root: str | Path, weights: str | Path) -> Mapping[str, float]:
    """The pixel sizes of the slices that a prior was trained on, mm: "least", "usual" and "most".

    Args:
        bundle_root: folder of the bundle.
        weights: file of the prior's weights: the entry ``pixel_size_mm`` has a triple for each.

    Raises:
        InputError: the file or its entry is missing, or is no such triple.
    """
    file = Path(bundle_root) / "configs" / "metadata.json"
    name = Path(weights).name
    try:
        sizes = json.loads(file.read_text(encoding="utf-8")).get(ENTRY, {}).get(name)
        numbers = [float(sizes[key]) for key in NAMES]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{file}: found no {ENTRY} of {name} ({error!r:.60}), expected {', '.join(NAMES)}") from None
    if not 0 < numbers[0] <= numbers[1] <= numbers[2]:
        raise InputError(f"{file}: found {ENTRY} {numbers} of {name}, expected rising positive numbers")
    return dict(zip(NAMES, numbers, strict=True))
