# SPDX-License-Identifier: Apache-2.0
"""Names that the command line and the bundles' configs share; quick to import."""

from __future__ import annotations

SPEED = ("slice_batch", "precision", "compiled")  # options that change a result only by rounding
# Options that set the entry of the same name in a bundle's inference config.
OVERRIDES = (
    *("views", "arc", "table_feed", "row_spacing", "photons", "noise_std", "same_grid", "factor"),
    *("measurement_seed", "spacing"),
    *("recipe", "steps", "eta", "smoothing", "noise_level"),
    *("seed", "samples", *SPEED),
)
# The same of `configs/measured.json`, which takes real projections.
MEASURED_OVERRIDES = (
    *("geometry", "kind", "flat", "dark", "air", "unit", "detector_pitch", "axis_column", "every", "position"),
    *("turns", "rows", "beam_hardening", "water", "shape", "center", "slab"),
)
MEASURED = "measured"  # the config of a bundle for real projections
SIMULATED_ONLY = OVERRIDES[: OVERRIDES.index("spacing")]
MOST = 2**63 - 1  # largest whole number, as in PyTorch's integers
MOST_SMOOTHING = 1000  # samples of the scan: the length of its kernel
