# SPDX-License-Identifier: Apache-2.0
"""What the command line and the bundles' configs have in common, without anything that takes long to import."""

from __future__ import annotations

# Options that set the entry of the same name in a bundle's inference config.
OVERRIDES = (
    *("views", "arc", "photons", "noise_std", "factor", "measurement_seed", "spacing"),
    *("recipe", "steps", "eta", "smoothing", "noise_level"),
    *("seed", "slice_batch", "precision", "compiled"),
)
MOST = 2**63 - 1  # of a whole number: more than any option has a use for, and what PyTorch's integers hold
MOST_SMOOTHING = 1000  # samples of the scan: its kernel is as long
